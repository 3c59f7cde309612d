//! Softmax cross-entropy of weighted shots, with its gradient.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};

use super::Support;

/// Rows whose logits are held at once: bounds memory where shots and classes are many.
pub(super) const ROWS_AT_ONCE: usize = 2048;

/// Sum of weight·(−log p_label) over the rows of `logits`, which become weight·(p − onehot).
///
/// `p = softmax(logits)`; the largest logit is taken off first, so that nothing overflows.
pub(super) fn cross_entropy(
    mut logits: ArrayViewMut2<'_, f64>,
    labels: &[usize],
    weights: ArrayView1<'_, f64>,
) -> f64 {
    let mut loss = 0.0;
    for ((mut row, label), weight) in logits.rows_mut().into_iter().zip(labels).zip(weights) {
        let own = row[*label];
        let log_sum = softmax(row.as_slice_mut().expect("logits stand in rows"));
        row[*label] -= 1.0;
        row *= *weight;
        if *weight > 0.0 {
            loss += weight * (log_sum - own);
        }
    }
    loss
}

/// Overwrites `row` with its softmax; returns log Σ exp.
pub(super) fn softmax(row: &mut [f64]) -> f64 {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for v in row.iter_mut() {
        *v = (*v - top).exp();
        sum += *v;
    }
    row.iter_mut().for_each(|v| *v /= sum);
    top + sum.ln()
}

/// Greatest score, and Σ exp of what lies below it: what [`softmax_of`] needs.
pub(super) fn softmax_parts(scores: &[f32]) -> (f64, f64) {
    let top = scores.iter().map(|s| f64::from(*s));
    let top = top.fold(f64::NEG_INFINITY, f64::max);
    let sum = scores.iter().map(|s| (f64::from(*s) - top).exp()).sum();
    (top, sum)
}

/// The softmax of one score, to the same bits as [`softmax`] gives it.
pub(super) fn softmax_of(score: f32, top: f64, sum: f64) -> f32 {
    ((f64::from(score) - top).exp() / sum) as f32
}

/// Shots for a regression: `logits = scale·x·Wᵀ + bias`.
pub(super) struct Regression<'a> {
    /// Features, N×D.
    pub(super) x: ArrayView2<'a, f64>,
    /// Classes, N.
    pub(super) labels: &'a [usize],
    /// Weights of the rows, N.
    pub(super) weights: ArrayView1<'a, f64>,
    /// The logit scale.
    pub(super) scale: f64,
}

impl<'a> Regression<'a> {
    /// The shots of `support`, whose features in f64 are `x`.
    pub(super) fn of(support: &'a Support<'_>, x: &'a Array2<f64>) -> Self {
        Self {
            x: x.view(),
            labels: support.labels(),
            weights: support.weights().view(),
            scale: support.scale(),
        }
    }

    /// Weighted mean loss at `w` (K×D) and `bias` (K, or empty for none); overwrites the
    /// gradients, of the same shapes.
    pub(super) fn value(
        &self,
        w: ArrayView2<'_, f64>,
        bias: &[f64],
        dw: &mut Array2<f64>,
        db: &mut [f64],
    ) -> f64 {
        let total = self.weights.sum();
        let mut loss = 0.0;
        dw.fill(0.0);
        db.fill(0.0);
        for start in (0..self.labels.len()).step_by(ROWS_AT_ONCE) {
            let end = (start + ROWS_AT_ONCE).min(self.labels.len());
            let x = self.x.slice(s![start..end, ..]);
            let mut logits = x.dot(&w.t());
            logits *= self.scale;
            if !bias.is_empty() {
                logits += &ArrayView1::from(bias);
            }
            let weights = self.weights.slice(s![start..end]);
            loss += cross_entropy(logits.view_mut(), &self.labels[start..end], weights);
            if !db.is_empty() {
                let sums = logits.sum_axis(Axis(0));
                db.iter_mut().zip(&sums).for_each(|(b, s)| *b += s / total);
            }
            ndarray::linalg::general_mat_mul(self.scale / total, &logits.t(), &x, 1.0, dw);
        }
        loss / total
    }
}
