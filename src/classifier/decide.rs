//! From a feature to answers, or to the word that nothing known is seen.

use super::Classifier;
use crate::encoder::Feature;
use crate::error::{Error, Result};
use crate::head::{self, Scratch};

/// One class with its score for a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// The class's name.
    pub label: &'a str,
    /// The head's score; of names alone it is the cosine times the bundle's scale.
    pub score: f32,
    /// Its probability: calibrated by the shots left out while learning, or by the bundle's score
    /// form where there are none.
    pub p: f32,
}

/// What a classifier says of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<'a> {
    /// The best classes, best first.
    pub answers: Vec<Answer<'a>>,
    /// Whether it looks like none of the classes; `None` where there are no shots to judge by.
    pub unknown: Option<bool>,
}

/// A decision in figures, in class order, with the memory that it takes.
#[derive(Debug, Default)]
pub struct Judged {
    scratch: Scratch,
    scores: Vec<f32>,
    p: Vec<f32>,
    unknown: Option<bool>,
}

impl Judged {
    /// Probabilities, in class order; the background, where it has shots, stands last.
    #[must_use]
    pub fn p(&self) -> &[f32] {
        &self.p
    }

    /// As [`Decision::unknown`].
    #[must_use]
    pub fn unknown(&self) -> Option<bool> {
        self.unknown
    }
}

impl Classifier {
    /// Scores of one feature, in class order, written over `scores`; the background, where it has
    /// shots, stands last. Once `scratch` and `scores` have grown, nothing is allocated.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn scores_into(
        &self,
        feature: &Feature,
        scratch: &mut Scratch,
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        if feature.dim() != self.dim() {
            return Err(Error::invalid(
                "feature width",
                feature.dim().to_string(),
                self.dim().to_string(),
            ));
        }
        match &self.learned {
            Some(learned) => learned.head.scores_into(feature.values(), scratch, scores),
            None => head::zero_shot(feature, self.text.view(), self.score, scores),
        }
        Ok(())
    }

    /// The `top` best classes for one feature, best first.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn answers(&self, feature: &Feature, top: usize) -> Result<Vec<Answer<'_>>> {
        Ok(self.decide(feature, top)?.answers)
    }

    /// The `top` best classes, and whether none of them is likely enough.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn decide(&self, feature: &Feature, top: usize) -> Result<Decision<'_>> {
        let mut scores = Vec::new();
        self.scores_into(feature, &mut Scratch::default(), &mut scores)?;
        let p = self.probabilities(&scores);
        let learned = self.learned.as_ref();
        let unknown =
            learned.and_then(|l| l.is_unknown(feature.values(), &scores, self.classes.len()));
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order.truncate(top);
        let answers = order
            .into_iter()
            .map(|i| Answer {
                label: self.classes[i].name(),
                score: scores[i],
                p: p[i],
            })
            .collect();
        Ok(Decision { answers, unknown })
    }

    /// What [`decide`](Self::decide) says, written over `judged`, whose memory is reused: once that has
    /// grown, nothing is allocated.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn judge_into(&self, feature: &Feature, judged: &mut Judged) -> Result<()> {
        let Judged {
            scratch,
            scores,
            p,
            unknown,
        } = judged;
        self.scores_into(feature, scratch, scores)?;
        match &self.learned {
            Some(learned) => learned.probabilities_into(scores, p),
            None => head::probabilities_into(scores, self.score.form, p),
        }
        let learned = self.learned.as_ref();
        *unknown = learned.and_then(|l| l.is_unknown(feature.values(), scores, self.classes.len()));
        Ok(())
    }

    /// Probabilities of scores that [`scores_into`](Self::scores_into) gave.
    #[must_use]
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        match &self.learned {
            Some(learned) => learned.probabilities(scores),
            None => head::probabilities(scores, self.score.form),
        }
    }
}
