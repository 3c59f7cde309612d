//! Heads: pure functions from a feature to the scores of the classes.
//!
//! Zero-shot alone stands here so far: CLIP's own rule (Radford et al., 2021, section 3.1).

use ndarray::ArrayView2;

use crate::bundle::{Score, ScoreForm};
use crate::encoder::Feature;

/// Zero-shot scores of one feature, in class order: `scale · f·t_k + bias`.
///
/// `weights` is K×D with unit rows; `scores` is overwritten with K values.
///
/// # Panics
/// The feature's width is not D.
pub fn zero_shot(
    feature: &Feature,
    weights: ArrayView2<'_, f32>,
    score: Score,
    scores: &mut Vec<f32>,
) {
    scores.clear();
    let f = ndarray::aview1(feature.values());
    scores.extend(
        weights
            .dot(&f)
            .iter()
            .map(|cosine| score.scale * cosine + score.bias),
    );
}

/// Probabilities of `scores`: a softmax that sums to one, or a sigmoid for each.
#[must_use]
pub fn probabilities(scores: &[f32], form: ScoreForm) -> Vec<f32> {
    match form {
        ScoreForm::Sigmoid => scores.iter().map(|s| 1.0 / (1.0 + (-s).exp())).collect(),
        ScoreForm::Softmax => {
            let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let raised: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
            let sum: f32 = raised.iter().sum();
            raised.into_iter().map(|r| r / sum).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Score = Score {
        form: ScoreForm::Softmax,
        scale: 100.0,
        bias: 0.0,
    };

    #[test]
    fn zero_shot_is_scale_times_cosine() {
        let feature = Feature::from_values(vec![3.0, 4.0]).unwrap();
        let weights = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]]);
        let mut scores = vec![9.0];
        zero_shot(&feature, weights.view(), CLIP, &mut scores);
        for (found, expected) in scores.iter().zip([60.0, 80.0, -100.0]) {
            assert!((found - expected).abs() < 1e-4, "{scores:?}");
        }
    }

    #[test]
    fn probabilities_sum_to_one_and_survive_large_scores() {
        let p = probabilities(&[1000.0, 999.0, -1000.0], ScoreForm::Softmax);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[0] / p[1] - std::f32::consts::E).abs() < 1e-4);
        let p = probabilities(&[0.0, 200.0], ScoreForm::Sigmoid);
        assert_eq!(p, [0.5, 1.0]);
    }
}
