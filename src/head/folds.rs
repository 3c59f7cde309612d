//! Answers to shots by heads that were learned without their fold of bursts.

use ndarray::{Array2, Axis};

use super::held_out::HeldOutScores;
use super::{Method, Support};

/// Folds of bursts, and what was answered to the shots of those that were left out so far.
pub(super) struct Folded<'a, 's> {
    support: &'a Support<'s>,
    folds: Vec<Option<usize>>,
    scores: Array2<f32>,
    judged: Vec<bool>,
}

impl<'a, 's> Folded<'a, 's> {
    pub(super) fn new(support: &'a Support<'s>, count: usize) -> Self {
        Self {
            support,
            folds: support.folds(count),
            scores: Array2::zeros((support.len(), support.classes())),
            judged: vec![false; support.len()],
        }
    }

    /// Learns without `fold` and answers its shots.
    pub(super) fn answer(&mut self, method: Method, fold: usize) {
        let of_fold = |i: &usize| self.folds[*i] == Some(fold);
        let left_out: Vec<usize> = (0..self.support.len()).filter(of_fold).collect();
        if left_out.is_empty() {
            return;
        }
        let rest = self.support.only(|i| !of_fold(&i));
        // Without names, a fold may leave nothing to learn from.
        let Ok(other) = method.learn(&rest) else {
            return;
        };
        let features = self.support.features().select(Axis(0), &left_out);
        let answers = other.scores(features.view());
        for (i, answer) in left_out.into_iter().zip(answers.rows()) {
            self.scores.row_mut(i).assign(&answer);
            self.judged[i] = true;
        }
    }

    /// What was answered; shots of folds that were not left out yet are not judged.
    pub(super) fn answers(&self) -> HeldOutScores {
        HeldOutScores::of_shots(self.support, self.scores.clone(), self.judged.clone())
    }
}

/// Scores of each shot by a head that was learned without its fold, of `count`.
pub(super) fn held_out_by_folds(
    support: &Support<'_>,
    method: Method,
    count: usize,
) -> HeldOutScores {
    let mut folded = Folded::new(support, count);
    (0..count).for_each(|fold| folded.answer(method, fold));
    folded.answers()
}
