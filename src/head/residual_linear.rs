//! Residual linear heads: softmax regression that is pulled back to where it started.
//!
//! `score_k = scale·f·w_k`, from T (text weights, or means of shots where there is no text).
//! - fixed penalty, `taskres`: mean loss + (λ/2)·‖W−T‖² with λ = 100 (Yu et al., 2023, "Task
//!   residual for tuning vision-language models", eq. 5, with a penalty for its small steps);
//! - one penalty a class, `clap`: rows of unit length, mean loss + Σ_k λ_k·‖w_k−t_k‖², λ_k the
//!   mean zero-shot probability of the shots of class k (Silva-Rodriguez et al., 2024, "A closer
//!   look at the few-shot adaptation of large vision-language models", eq. 8 and 9);
//! - falling penalty, `residual-linear`: λ = strength/N, N the number of independent shots (the
//!   1/N of Fahes et al., 2025, "ProLIP").

use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::linalg::{unit_rows, widen};
use super::optimise::{Stop, lbfgs};
use super::softmax::{Regression, softmax};
use super::{Head, Linear, Support};
use crate::error::Result;

/// How strongly the weights are held to their start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Penalty {
    /// λ, whatever the number of shots.
    Fixed(f64),
    /// λ_k by how well zero-shot knows the shots of class k; unit rows.
    PerClass,
    /// λ = this / N.
    Falling(f64),
}

impl Penalty {
    /// The penalty of `taskres`.
    pub const TASKRES: Self = Self::Fixed(100.0);
    /// The penalty of `residual-linear`.
    pub const FALLING: Self = Self::Falling(3000.0);

    pub(super) fn learn(self, support: &Support<'_>) -> Result<Head> {
        support.require_shots("residual-linear")?;
        let x = widen(support.features());
        let start = support.start()?;
        let regression = Regression::of(support, &x);
        let weights = match self {
            Self::Fixed(penalty) => tied(&regression, &start, penalty),
            Self::Falling(strength) => tied(&regression, &start, strength / support.effective()),
            Self::PerClass => tied_by_class(&regression, &start, &trust(&regression, &start)),
        };
        let bias = vec![0.0; support.classes()];
        Linear::trained(&weights, support.scale(), &bias).map(Head::Linear)
    }
}

/// Where scores have settled to five digits; the penalty bends every way, so that is soon.
const SETTLED: Stop = Stop {
    steps: 200,
    gradient: 1e-8,
    fall: 1e-13,
};

/// The W with the least mean loss + (penalty/2)·‖W−T‖².
fn tied(regression: &Regression<'_>, start: &Array2<f64>, penalty: f64) -> Array2<f64> {
    let shape = start.dim();
    let (mut w, mut dw) = (start.clone(), Array2::zeros(shape));
    lbfgs(
        w.as_slice_mut().expect("weights stand in rows"),
        SETTLED,
        &mut |w, gradient| {
            let view = ArrayView2::from_shape(shape, w).expect("of the start's shape");
            let loss = regression.value(view, &[], &mut dw, &mut []);
            let mut square = 0.0;
            for (((g, w), t), dw) in gradient.iter_mut().zip(w).zip(start).zip(&dw) {
                *g = dw + penalty * (w - t);
                square += (w - t).powi(2);
            }
            loss + 0.5 * penalty * square
        },
    );
    w
}

/// λ_k: mean zero-shot probability of the own shots; 1 for a class without any.
fn trust(regression: &Regression<'_>, start: &Array2<f64>) -> Array1<f64> {
    let k = start.nrows();
    let (mut sum, mut weights) = (Array1::<f64>::zeros(k), Array1::<f64>::zeros(k));
    for ((x, label), weight) in regression
        .x
        .rows()
        .into_iter()
        .zip(regression.labels)
        .zip(regression.weights)
    {
        let mut p = (start.dot(&x) * regression.scale).to_vec();
        softmax(&mut p);
        sum[*label] += weight * p[*label];
        weights[*label] += weight;
    }
    ndarray::Zip::from(&mut sum)
        .and(&weights)
        .for_each(|s, w| *s = if *w > 0.0 { *s / w } else { 1.0 });
    sum
}

/// The W with unit rows and the least mean loss + Σ_k λ_k·‖w_k−t_k‖²; the rows are v/‖v‖ and v
/// is what moves.
fn tied_by_class(
    regression: &Regression<'_>,
    start: &Array2<f64>,
    trust: &Array1<f64>,
) -> Array2<f64> {
    let shape = start.dim();
    let (mut v, mut dw) = (start.clone(), Array2::zeros(shape));
    lbfgs(
        v.as_slice_mut().expect("weights stand in rows"),
        SETTLED,
        &mut |v, gradient| {
            let view = ArrayView2::from_shape(shape, v).expect("of the start's shape");
            let mut w = view.to_owned();
            let lengths = unit_rows(&mut w);
            let mut value = regression.value(w.view(), &[], &mut dw, &mut []);
            let apart = &w - start;
            value += (&apart * &apart).sum_axis(Axis(1)).dot(trust);
            for k in 0..shape.0 {
                let mut row = dw.row_mut(k);
                row.scaled_add(2.0 * trust[k], &apart.row(k));
                let along = row.dot(&w.row(k));
                row.scaled_add(-along, &w.row(k));
                row /= lengths[k].max(f64::MIN_POSITIVE);
            }
            gradient.copy_from_slice(dw.as_slice().expect("weights stand in rows"));
            value
        },
    );
    unit_rows(&mut v);
    v
}
