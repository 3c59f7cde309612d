//! What each side answers to the same photos: by name, and by the likest other photo.

use std::path::PathBuf;

use ndarray::Array2;

use super::names::Texts;
use crate::bundle::Score;
use crate::encoder::Feature;
use crate::head::{self, metrics};

/// How far two sides answer alike by name.
pub(super) struct Answers {
    /// Photos whose best name is the same.
    pub(super) same: usize,
    /// The largest difference of a probability.
    pub(super) widest: f64,
}

impl Answers {
    /// Zero-shot answers of each side, from its own features and text weights under one `score`; a side
    /// without text weights takes those of the other. None where neither has any.
    pub(super) fn of(
        photos: &[PathBuf],
        (ours, theirs): (&[Feature], &[Feature]),
        texts: &Texts,
        score: Score,
    ) -> Option<Self> {
        let own = texts.ours.as_ref().or(texts.theirs.as_ref())?;
        let other = texts.theirs.as_ref().unwrap_or(own);
        let (a, b) = (
            probabilities(ours, own, score),
            probabilities(theirs, other, score),
        );
        let (best, their_best) = (metrics::best(a.view()), metrics::best(b.view()));
        let mut same = 0;
        for ((photo, at), there) in photos.iter().zip(best).zip(their_best) {
            same += usize::from(at == there);
            if at != there {
                let name = |at: usize| texts.labels()[at].name();
                log::info!(
                    "{}: {}, by the reference {}",
                    photo.display(),
                    name(at),
                    name(there)
                );
            }
        }
        let differences = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs()));
        let widest = differences.fold(0.0, f64::max);
        Some(Self { same, widest })
    }
}

/// A row of probabilities a photo.
fn probabilities(features: &[Feature], weights: &Array2<f32>, score: Score) -> Array2<f32> {
    let (mut scores, mut all) = (Vec::new(), Vec::new());
    for feature in features {
        head::zero_shot(feature, weights.view(), score, &mut scores);
        all.extend(head::probabilities(&scores, score.form));
    }
    Array2::from_shape_vec((features.len(), weights.nrows()), all).expect("a probability a name")
}

/// Photos whose likest other photo is the same on both sides: answers that need no names.
pub(super) fn same_neighbour(ours: &[Feature], theirs: &[Feature]) -> usize {
    let nearest = |all: &[Feature], i: usize| {
        let others = (0..all.len()).filter(|j| *j != i);
        others.max_by(|a, b| {
            let of = |j: &usize| all[i].cosine(all[*j].values());
            of(a).total_cmp(&of(b))
        })
    };
    (0..ours.len())
        .filter(|i| nearest(ours, *i) == nearest(theirs, *i))
        .count()
}
