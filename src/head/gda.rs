//! Gaussian discriminant: classes are clouds of one shape around their means.
//!
//! `score_k = scale·f·t_k + mix·δ_k(f)`, with the discriminant, measured from the overall mean m,
//! `δ_k(f) = (f−m)·P(μ_k−m) − ½(μ_k−m)·P(μ_k−m)` and `P = Σ⁻¹ = D·((N−1)S + tr(S)·I)⁻¹` (Wang et
//! al., 2024, "A hard-to-beat baseline for training-free CLIP-based adaptation", eq. 5 to 8). The
//! measure from m shifts all scores of a feature alike, and gives a class without shots the
//! discriminant 0, that of the middle. N counts independent shots.

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use super::linalg::{solve_spd, widen};
use super::{Head, Linear, Support};
use crate::error::{Error, Result};

/// Settings of the discriminant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gda {
    /// Weight of the discriminant beside the text score.
    pub mix: f64,
}

impl Default for Gda {
    fn default() -> Self {
        Self { mix: 1.0 }
    }
}

impl Gda {
    pub(super) fn learn(&self, support: &Support<'_>) -> Result<Head> {
        support.require_shots("gda")?;
        let centre = support.centre();
        let weights = support.class_weights();
        let mut means = support.means();
        for (mut mean, weight) in means.rows_mut().into_iter().zip(&weights) {
            // A class without shots stands at the centre.
            mean -= &centre;
            if *weight <= 0.0 {
                mean.fill(0.0);
            }
        }
        let covariance = covariance(support, &centre, &means);
        let solved = solve_spd(covariance, means.t().as_standard_layout().into_owned())
            .ok_or_else(|| {
                Error::invalid(
                    "covariance of the shots",
                    "one that cannot be inverted",
                    "finite features",
                )
            })?;
        let slopes = solved.t();
        let start = support.start()? * support.scale();
        let bias: Vec<f64> = (0..support.classes())
            .map(|k| -self.mix * slopes.row(k).dot(&(&centre + &(&means.row(k) * 0.5))))
            .collect();
        Linear::trained(&(start + &slopes * self.mix), 1.0, &bias).map(Head::Linear)
    }
}

/// ((N−1)S + tr(S)·I)/D; `means` are measured from `centre`. Where no class has two shots, S is
/// taken around the centre.
fn covariance(support: &Support<'_>, centre: &Array1<f64>, means: &Array2<f64>) -> Array2<f64> {
    let single = support.class_weights().iter().all(|w| *w <= 1.0 + 1e-9);
    let mut apart = widen(support.features());
    for ((mut row, label), weight) in apart
        .rows_mut()
        .into_iter()
        .zip(support.labels())
        .zip(support.weights())
    {
        row -= centre;
        if !single {
            row -= &means.row(*label);
        }
        row *= weight.sqrt();
    }
    let d = support.dim();
    let mut scatter = Array2::zeros((d, d));
    for part in apart.axis_chunks_iter(Axis(0), super::softmax::ROWS_AT_ONCE) {
        ndarray::linalg::general_mat_mul(1.0, &part.t(), &part, 1.0, &mut scatter);
    }
    let mut trace = scatter.diag().sum() / (support.effective() - 1.0).max(1.0);
    // One shot, or copies of it: unit features spread by at most 1.
    if trace < 1e-9 {
        trace = 1.0;
    }
    scatter.diag_mut().mapv_inplace(|v| v + trace);
    scatter / d as f64
}
