//! Heads: pure functions from a feature to the scores of the classes.
//!
//! ```text
//! Shots + text weights + scale = Support ── Method::learn ──► Head ── scores_into ──► scores
//! ```
//!
//! Each file is one method and opens with its formula and source. Training runs in f64 on one
//! thread, from features in f32 to weights in f32; the same support gives the same bits on one
//! machine. What a head refuses to do: choose itself, judge itself, or know of files.

mod auto;
mod clip_adapter;
mod exchange;
mod folds;
mod gate;
mod gda;
mod held_out;
mod learn;
mod linalg;
mod linear;
mod linear_probe;
mod method;
pub mod metrics;
mod nearest_mean;
mod optimise;
mod residual_linear;
mod softmax;
mod support;
mod tip;
mod unknown;
mod zero_shot;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::bundle::ScoreForm;

pub use clip_adapter::{Adapter, AdapterParts, ClipAdapter, Share, Training};
pub use exchange::{Tensor, Tensors, Values};
pub use gda::Gda;
pub use held_out::{Estimate, HeldOut};
pub use learn::{Learned, Settings, learn};
#[cfg(feature = "import")]
pub(crate) use linalg::Random;
pub use linear::Linear;
pub use linear_probe::LinearProbe;
pub use method::Method;
pub use residual_linear::Penalty;
pub use support::{Shots, Support};
pub use tip::{Cache, CacheParts, KeyTraining, Tip};
pub use unknown::{LIKELY, Unknown};
pub use zero_shot::zero_shot;

/// What was learned: all that is needed to score a feature. Saved and read as [`Tensors`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Tensors", into = "Tensors")]
pub enum Head {
    /// One weight vector a class.
    Linear(Linear),
    /// The same with the shots as keys beside it.
    Cache(Cache),
    /// A visual adapter before it.
    Adapter(Adapter),
}

/// Working memory of [`Head::scores_into`], kept from feature to feature.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    hidden: Vec<f32>,
    blended: Vec<f32>,
}

impl Head {
    fn linear(&self) -> &Linear {
        match self {
            Self::Linear(linear) => linear,
            Self::Cache(cache) => &cache.parts().linear,
            Self::Adapter(adapter) => &adapter.parts().linear,
        }
    }

    /// The same with all scores times `by`.
    pub(super) fn scaled(self, by: f32) -> Self {
        match self {
            Self::Linear(linear) => Self::Linear(linear.scaled(by)),
            Self::Cache(cache) => Self::Cache(cache.scaled(by)),
            Self::Adapter(adapter) => Self::Adapter(adapter.scaled(by)),
        }
    }

    /// What stands in it: `linear`, `cache` or `adapter`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Cache(_) => "cache",
            Self::Adapter(_) => "adapter",
        }
    }

    /// K, the number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.linear().weights().nrows()
    }

    /// D, the width of the features.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.linear().weights().ncols()
    }

    /// Overwrites `out` with the K scores of one feature; once both have grown, nothing is
    /// allocated.
    ///
    /// # Panics
    /// The feature's width is not D.
    pub fn scores_into(&self, feature: &[f32], scratch: &mut Scratch, out: &mut Vec<f32>) {
        assert_eq!(
            feature.len(),
            self.dim(),
            "features of one space have one width"
        );
        match self {
            Self::Linear(linear) => linear.scores_into(feature, out),
            Self::Cache(cache) => cache.scores_into(feature, out),
            Self::Adapter(adapter) => adapter.scores_into(feature, scratch, out),
        }
    }

    /// Scores of many features (M×D), M×K; bit for bit those of [`Head::scores_into`].
    ///
    /// # Panics
    /// The features' width is not D.
    #[must_use]
    pub fn scores(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut all = Array2::zeros((features.nrows(), self.classes()));
        let (mut scratch, mut feature, mut scores) = (Scratch::default(), Vec::new(), Vec::new());
        for (row, mut out) in features.rows().into_iter().zip(all.rows_mut()) {
            feature.clear();
            feature.extend(row);
            self.scores_into(&feature, &mut scratch, &mut scores);
            out.iter_mut().zip(&scores).for_each(|(o, s)| *o = *s);
        }
        all
    }

    /// Weighted mean of −log p over the shots of `support`, p the softmax of the scores.
    ///
    /// # Panics
    /// The support is of another width or has more classes.
    #[must_use]
    pub fn loss(&self, support: &Support<'_>) -> f64 {
        let mut scores = self.scores(support.features()).mapv(f64::from);
        let weights = support.weights();
        let sum = softmax::cross_entropy(scores.view_mut(), support.labels(), weights.view());
        sum / support.effective()
    }
}

/// Probabilities of `scores`: a softmax that sums to one, or a sigmoid for each.
#[must_use]
pub fn probabilities(scores: &[f32], form: ScoreForm) -> Vec<f32> {
    let mut p = Vec::with_capacity(scores.len());
    probabilities_into(scores, form, &mut p);
    p
}

/// The same, written over `p`, whose memory is reused.
pub fn probabilities_into(scores: &[f32], form: ScoreForm, p: &mut Vec<f32>) {
    p.clear();
    match form {
        ScoreForm::Sigmoid => p.extend(scores.iter().map(|s| 1.0 / (1.0 + (-s).exp()))),
        ScoreForm::Softmax => {
            let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            p.extend(scores.iter().map(|s| (s - top).exp()));
            let sum: f32 = p.iter().sum();
            p.iter_mut().for_each(|r| *r /= sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_survive_large_scores() {
        let p = probabilities(&[1000.0, 999.0, -1000.0], ScoreForm::Softmax);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[0] / p[1] - std::f32::consts::E).abs() < 1e-4);
        let p = probabilities(&[0.0, 200.0], ScoreForm::Sigmoid);
        assert_eq!(p, [0.5, 1.0]);
    }
}
