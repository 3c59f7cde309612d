//! Zero-shot: the names alone.
//!
//! `score_k = scale·f·t_k` (Radford et al., 2021, section 3.1).

use ndarray::ArrayView2;

use super::{Head, Linear, Support};
use crate::bundle::Score;
use crate::encoder::Feature;
use crate::error::{Error, Result};

/// The head of the text weights.
///
/// # Errors
/// A class has no text weight.
pub(super) fn learn(support: &Support<'_>) -> Result<Head> {
    if let Some(k) = (0..support.classes()).find(|k| !support.has_text(*k)) {
        let found = format!("no text weight for class {k}");
        return Err(Error::invalid(
            "zero-shot",
            found,
            "one for every class: choose a head that learns from shots",
        ));
    }
    let bias = vec![0.0; support.classes()];
    Linear::trained(&support.start()?, support.scale(), &bias).map(Head::Linear)
}

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
    let cosines = weights.rows().into_iter().map(|row| row.dot(&f));
    scores.extend(cosines.map(|cosine| score.scale * cosine + score.bias));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ScoreForm;

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
}
