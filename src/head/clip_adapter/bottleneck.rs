//! The bottleneck over many rows: forward, and the gradient by hand.

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Zip};

use crate::head::linalg::unit_rows;

/// One adapter and its share.
#[derive(Clone, Copy)]
pub(super) struct Bottleneck<'a> {
    /// W1, H×D.
    pub(super) down: ArrayView2<'a, f64>,
    /// W2, D×H.
    pub(super) up: ArrayView2<'a, f64>,
    /// Share of the adapted side.
    pub(super) share: f64,
}

/// What the gradient needs of a forward pass over M rows.
pub(super) struct Passed {
    /// relu(W1·x), M×H.
    hidden: Array2<f64>,
    /// W2·hidden, M×D.
    raw: Array2<f64>,
    /// Blended rows of unit length, M×D.
    pub(super) unit: Array2<f64>,
    /// Lengths before.
    lengths: Array1<f64>,
}

impl Bottleneck<'_> {
    /// unit(share·relu(W2·relu(W1·x)) + (1 − share)·x) for each row of `x`.
    pub(super) fn pass(&self, x: ArrayView2<'_, f64>) -> Passed {
        let mut hidden = x.dot(&self.down.t());
        hidden.mapv_inplace(|v| v.max(0.0));
        let raw = hidden.dot(&self.up.t());
        let mut unit = Array2::zeros(raw.dim());
        Zip::from(&mut unit)
            .and(&raw)
            .and(x)
            .for_each(|u, raw, x| *u = self.share * raw.max(0.0) + (1.0 - self.share) * x);
        let lengths = unit_rows(&mut unit);
        Passed {
            hidden,
            raw,
            unit,
            lengths,
        }
    }

    /// Adds to the gradients of W1 and W2 what follows from `d_unit`, the gradient by the unit rows.
    pub(super) fn pass_back(
        &self,
        x: ArrayView2<'_, f64>,
        passed: &Passed,
        mut d_unit: Array2<f64>,
        d: Gradient<'_>,
    ) {
        let rows = d_unit
            .rows_mut()
            .into_iter()
            .zip(passed.unit.rows())
            .zip(&passed.lengths);
        for ((mut row, unit), length) in rows {
            let along = row.dot(&unit);
            row.scaled_add(-along, &unit);
            // A row of no length has no direction to turn.
            row *= if *length > 0.0 {
                self.share / length
            } else {
                0.0
            };
        }
        let mut d_raw = d_unit;
        Zip::from(&mut d_raw).and(&passed.raw).for_each(|d, raw| {
            if *raw <= 0.0 {
                *d = 0.0;
            }
        });
        let Gradient { mut down, mut up } = d;
        ndarray::linalg::general_mat_mul(1.0, &d_raw.t(), &passed.hidden, 1.0, &mut up);
        let mut d_hidden = d_raw.dot(&self.up);
        Zip::from(&mut d_hidden)
            .and(&passed.hidden)
            .for_each(|d, hidden| {
                if *hidden <= 0.0 {
                    *d = 0.0;
                }
            });
        ndarray::linalg::general_mat_mul(1.0, &d_hidden.t(), &x, 1.0, &mut down);
    }
}

/// Gradients of W1 and W2.
pub(super) struct Gradient<'a> {
    pub(super) down: ArrayViewMut2<'a, f64>,
    pub(super) up: ArrayViewMut2<'a, f64>,
}

impl<'a> Gradient<'a> {
    /// The two parts of a flat gradient of an adapter of `h`×`d`.
    pub(super) fn split(flat: &'a mut [f64], h: usize, d: usize) -> Self {
        let (down, up) = flat.split_at_mut(h * d);
        Self {
            down: ArrayViewMut2::from_shape((h, d), down).expect("H·D values"),
            up: ArrayViewMut2::from_shape((d, h), up).expect("D·H values"),
        }
    }
}

impl<'a> Bottleneck<'a> {
    /// The two matrices of flat weights of an adapter of `h`×`d`.
    pub(super) fn split(flat: &'a [f64], (h, d): (usize, usize), share: f64) -> Self {
        let (down, up) = flat.split_at(h * d);
        Self {
            down: ArrayView2::from_shape((h, d), down).expect("H·D values"),
            up: ArrayView2::from_shape((d, h), up).expect("D·H values"),
            share,
        }
    }
}
