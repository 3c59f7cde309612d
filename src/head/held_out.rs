//! Answers to shots left out: what calibration and the estimate of accuracy are made from.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::Support;
use super::metrics::argmax;
use super::softmax::softmax;

/// An estimate needs this share of the shots to have been judged.
const LEAST_JUDGED: f64 = 0.25;

/// The answer to one shot left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The class that was answered.
    pub best: usize,
    /// Its probability.
    pub p_best: f32,
    /// The probability of the shot's own class.
    pub p_own: f32,
}

/// Top-1 accuracy on photos like the shots, every class as often, with a 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The guess, 0 to 1.
    pub accuracy: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Scores that were given to rows, shots or bursts, while they were left out.
#[derive(Debug)]
pub(super) struct HeldOutScores {
    /// R×K.
    pub(super) scores: Array2<f32>,
    pub(super) labels: Vec<usize>,
    /// R: a burst counts as one.
    pub(super) weights: Vec<f64>,
    /// R: the number of other shots of the row's class.
    left: Vec<f64>,
    pub(super) judged: Vec<bool>,
    /// N: the row of each shot.
    pub(super) row_of: Vec<usize>,
}

impl HeldOutScores {
    pub(super) fn of_shots(support: &Support<'_>, scores: Array2<f32>, judged: Vec<bool>) -> Self {
        let labels = support.labels().to_vec();
        Self {
            left: others(support, &labels),
            weights: support.weights().to_vec(),
            row_of: (0..labels.len()).collect(),
            scores,
            labels,
            judged,
        }
    }

    pub(super) fn of_bursts(
        support: &Support<'_>,
        scores: Array2<f32>,
        judged: Vec<bool>,
        row_of: &[usize],
    ) -> Self {
        let mut labels = vec![0; scores.nrows()];
        for (row, label) in row_of.iter().zip(support.labels()) {
            labels[*row] = *label;
        }
        Self {
            left: others(support, &labels),
            weights: vec![1.0; labels.len()],
            row_of: row_of.to_vec(),
            scores,
            labels,
            judged,
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.labels.len()).filter(|i| self.judged[*i])
    }

    /// Weight of row `i` where every class counts the same.
    fn balanced(&self) -> Vec<f64> {
        let mut of_class = vec![0.0; self.scores.ncols()];
        self.labels
            .iter()
            .zip(&self.weights)
            .for_each(|(y, w)| of_class[*y] += w);
        self.labels
            .iter()
            .zip(&self.weights)
            .map(|(y, w)| w / of_class[*y])
            .collect()
    }

    pub(super) fn probabilities(&self, temperature: f32) -> Array2<f32> {
        let mut p = self.scores.clone();
        let mut row = vec![0.0; p.ncols()];
        for mut scores in p.rows_mut() {
            row.iter_mut()
                .zip(&scores)
                .for_each(|(to, from)| *to = f64::from(from / temperature));
            softmax(&mut row);
            scores
                .iter_mut()
                .zip(&row)
                .for_each(|(to, from)| *to = *from as f32);
        }
        p
    }

    /// The temperature of least log-loss (Guo et al., ICML 2017), held near 1 by a prior worth one shot.
    pub(super) fn temperature(&self) -> f32 {
        let loss = |log_t: f64| {
            let scale = (-log_t).exp();
            let mut row = vec![0.0; self.scores.ncols()];
            let of_row = |i: usize| {
                row.iter_mut()
                    .zip(self.scores.row(i))
                    .for_each(|(to, from)| *to = f64::from(*from) * scale);
                let own = row[self.labels[i]];
                self.weights[i] * (softmax(&mut row) - own)
            };
            self.rows().map(of_row).sum::<f64>() + 0.5 * log_t * log_t
        };
        // The loss is convex in 1/t; golden sections find its least value.
        let (mut low, mut high) = (-4.0_f64, 6.0_f64);
        let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
        for _ in 0..40 {
            let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
            if loss(a) < loss(b) { high = b } else { low = a }
        }
        f64::midpoint(low, high).exp() as f32
    }

    /// Expected error of the finished head on its first `classes` classes, from that of rows left out.
    ///
    /// Each row errs by the mean of what it was answered and of what its probability owned up to: the
    /// first is honest, the second less noisy. The error is carried from the shots that were left to all
    /// shots along shots^−curve. The interval holds the noise of so few rows and what the carrying may
    /// be off by.
    pub(super) fn estimate(&self, p: &Array2<f32>, curve: f64, classes: usize) -> Option<Estimate> {
        let balanced = self.balanced();
        let counts = |i: &usize| self.labels[*i] < classes;
        let whole: f64 = (0..balanced.len())
            .filter(counts)
            .map(|i| balanced[i])
            .sum();
        let judged: f64 = self.rows().filter(counts).map(|i| balanced[i]).sum();
        if judged == 0.0 || judged < LEAST_JUDGED * whole {
            return None;
        }
        let k = self.scores.ncols();
        let mut of_class = vec![(0.0, 0.0); k];
        let (mut at_one, mut squares) = (0.0, 0.0);
        for i in self.rows().filter(counts) {
            let row = p.row(i);
            let top = row.iter().copied().fold(0.0, f32::max);
            let right = f64::from(u8::from(argmax(row) == self.labels[i]));
            let error = 1.0 - 0.5 * (right + f64::from(top));
            let left = self.left[i].max(0.5);
            let (sum, weight) = &mut of_class[self.labels[i]];
            *sum += balanced[i] * error * (left / (self.left[i] + 1.0)).powf(curve);
            *weight += balanced[i];
            at_one += balanced[i] * error * left.powf(curve);
            squares += balanced[i] * balanced[i] / self.weights[i];
        }
        // Classes of a single shot err as others would with one.
        let at_one = (at_one / judged).min(1.0 - 1.0 / k as f64);
        let mut seen = vec![false; k];
        self.labels.iter().for_each(|y| seen[*y] = true);
        let errors: Vec<f64> = (0..classes)
            .filter(|y| seen[*y])
            .map(|y| {
                if of_class[y].1 > 0.0 {
                    of_class[y].0 / of_class[y].1
                } else {
                    at_one
                }
            })
            .collect();
        let error = errors.iter().sum::<f64>() / errors.len() as f64;
        let rows = judged * judged / squares;
        let noise = (error * (1.0 - error) + 0.25 / rows) / rows + (0.01 + 0.2 * error).powi(2);
        let reach = 1.64 * noise.sqrt();
        let accuracy = 1.0 - error;
        Some(Estimate {
            accuracy,
            low: (accuracy - reach).max(0.0),
            high: (accuracy + reach).min(1.0),
        })
    }

    pub(super) fn answers(&self, p: &Array2<f32>) -> Vec<Option<HeldOut>> {
        let answer = |row: usize| {
            let all = p.row(row);
            let best = argmax(all);
            HeldOut {
                best,
                p_best: all[best],
                p_own: all[self.labels[row]],
            }
        };
        self.row_of
            .iter()
            .map(|row| self.judged[*row].then(|| answer(*row)))
            .collect()
    }
}

/// For a shot of each label: how many others its class has.
fn others(support: &Support<'_>, labels: &[usize]) -> Vec<f64> {
    let counts = support.class_weights();
    labels.iter().map(|y| (counts[*y] - 1.0).max(0.0)).collect()
}
