//! The form that most heads end in: one weight vector and one bias a class.

use ndarray::{Array2, ArrayView2};

use super::linalg::narrow;
use crate::error::{Error, Result};

/// `score_k = weights_k·f + bias_k`; the bundle's scale is part of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    weights: Array2<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// A head of K×D `weights` and K biases.
    ///
    /// # Errors
    /// No class, no width, another number of biases than of rows, or values that are not finite.
    pub fn new(weights: Array2<f32>, bias: Vec<f32>) -> Result<Self> {
        let (k, d) = weights.dim();
        if k == 0 || d == 0 || bias.len() != k {
            let found = format!("{k}x{d} weights and {} biases", bias.len());
            return Err(Error::invalid(
                "linear head",
                found,
                "one row and one bias a class",
            ));
        }
        require_finite("linear head", weights.iter().chain(&bias))?;
        let weights = weights.as_standard_layout().into_owned();
        Ok(Self { weights, bias })
    }

    /// From what training found: weights times `scale`, in f32.
    pub(super) fn trained(weights: &Array2<f64>, scale: f64, bias: &[f64]) -> Result<Self> {
        let bias = bias.iter().map(|b| *b as f32).collect();
        Self::new(narrow(&(weights * scale)), bias)
    }

    pub(super) fn scaled(mut self, by: f32) -> Self {
        self.weights.mapv_inplace(|v| v * by);
        self.bias.iter_mut().for_each(|v| *v *= by);
        self
    }

    /// Weights, K×D.
    #[must_use]
    pub fn weights(&self) -> ArrayView2<'_, f32> {
        self.weights.view()
    }

    /// Biases, one a class.
    #[must_use]
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Overwrites `out` with the scores of one feature, in class order.
    pub(super) fn scores_into(&self, feature: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(&self.bias);
        add_products(self.weights.view(), feature, out);
    }
}

/// Adds `rows·feature` to `out`.
pub(super) fn add_products(rows: ArrayView2<'_, f32>, feature: &[f32], out: &mut [f32]) {
    for (row, out) in rows.rows().into_iter().zip(out) {
        *out += dot(
            row.to_slice().expect("heads keep their rows whole"),
            feature,
        );
    }
}

/// Sixteen sums side by side, so that compilers use wide registers; the order never varies.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// # Errors
/// A value is infinite or not a number.
pub(super) fn require_finite<'a>(
    what: &'static str,
    values: impl IntoIterator<Item = &'a f32>,
) -> Result<()> {
    match values.into_iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(Error::invalid(what, v.to_string(), "finite values")),
    }
}
