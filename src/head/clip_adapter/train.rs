//! The loss of CLIP-Adapter with its gradient, and the three trainings.

use ndarray::{Array1, Array2, Axis, s};

use super::bottleneck::{Bottleneck, Gradient};
use super::{Shares, Training};
use crate::error::Result;
use crate::head::Support;
use crate::head::linalg::{Random, widen};
use crate::head::optimise::{Adam, Sgd, Stop, cosine, lbfgs};
use crate::head::softmax::{ROWS_AT_ONCE, cross_entropy};

/// Shots in f64.
pub(super) struct Batch {
    x: Array2<f64>,
    labels: Vec<usize>,
    weights: Array1<f64>,
}

impl Batch {
    /// The shots of `support` that count.
    pub(super) fn of(support: &Support<'_>) -> Self {
        let rows: Vec<usize> = (0..support.len())
            .filter(|i| support.weights()[*i] > 0.0)
            .collect();
        Self {
            x: widen(support.features().select(Axis(0), &rows).view()),
            labels: rows.iter().map(|i| support.labels()[*i]).collect(),
            weights: rows.iter().map(|i| support.weights()[*i]).collect(),
        }
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            x: self.x.select(Axis(0), rows),
            labels: rows.iter().map(|i| self.labels[*i]).collect(),
            weights: rows.iter().map(|i| self.weights[*i]).collect(),
        }
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    /// Sum of the weights.
    pub(super) fn effective(&self) -> f64 {
        self.weights.sum()
    }
}

/// What stays fixed while the adapters train. The weights are one flat array: W1 and W2 of the
/// visual adapter, if its share is above 0, then those of the text adapter, likewise.
pub(super) struct Problem {
    /// T, K×D, unit rows.
    pub(super) start: Array2<f64>,
    pub(super) scale: f64,
    pub(super) shares: Shares,
    /// Independent shots for each class that has some.
    shots_each: f64,
}

impl Problem {
    pub(super) fn new(support: &Support<'_>, shares: Shares) -> Result<Self> {
        let with_shots = support.class_weights().iter().filter(|w| **w > 0.0).count();
        Ok(Self {
            start: support.start()?,
            scale: support.scale(),
            shares,
            shots_each: support.effective() / with_shots as f64,
        })
    }

    /// Hidden width H and feature width D.
    fn shape(&self) -> (usize, usize) {
        let d = self.start.ncols();
        ((d / 4).max(1), d)
    }

    /// Where the text adapter's weights begin, and how many there are in all.
    fn lengths(&self) -> (usize, usize) {
        let (h, d) = self.shape();
        let of = |share: f64| if share > 0.0 { 2 * h * d } else { 0 };
        (
            of(self.shares.alpha),
            of(self.shares.alpha) + of(self.shares.beta),
        )
    }

    pub(super) fn visual<'a>(&self, weights: &'a [f64]) -> Option<Bottleneck<'a>> {
        let (middle, _) = self.lengths();
        (middle > 0).then(|| Bottleneck::split(&weights[..middle], self.shape(), self.shares.alpha))
    }

    fn textual<'a>(&self, weights: &'a [f64]) -> Option<Bottleneck<'a>> {
        let (middle, end) = self.lengths();
        (end > middle)
            .then(|| Bottleneck::split(&weights[middle..], self.shape(), self.shares.beta))
    }

    /// The text side after its adapter, K×D.
    pub(super) fn text(&self, weights: &[f64]) -> Array2<f64> {
        match self.textual(weights) {
            Some(adapter) => adapter.pass(self.start.view()).unit,
            None => self.start.clone(),
        }
    }

    /// Uniform in ±1/√fan-in, as torch starts its linear layers; row after row, W1 before W2.
    fn first_weights(&self, random: &mut Random) -> Vec<f64> {
        let (h, d) = self.shape();
        let mut weights = vec![0.0; self.lengths().1];
        for (i, part) in weights.chunks_exact_mut(h * d).enumerate() {
            let fan_in = if i % 2 == 0 { d } else { h };
            let bound = 1.0 / (fan_in as f64).sqrt();
            part.iter_mut()
                .for_each(|w| *w = bound * (2.0 * random.uniform() - 1.0));
        }
        weights
    }

    /// Weighted mean log-loss of `batch`; overwrites the gradient.
    pub(super) fn value(&self, batch: &Batch, weights: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let (visual, textual) = (self.visual(weights), self.textual(weights));
        let passed = textual.map(|t| t.pass(self.start.view()));
        let text = passed.as_ref().map_or(&self.start, |p| &p.unit);
        let (d_visual, d_textual) = gradient.split_at_mut(self.lengths().0);
        let mut d_text = Array2::zeros(if textual.is_some() {
            text.dim()
        } else {
            (0, 0)
        });
        let factor = self.scale / batch.effective();
        let mut loss = 0.0;
        for start in (0..batch.len()).step_by(ROWS_AT_ONCE) {
            let end = (start + ROWS_AT_ONCE).min(batch.len());
            let x = batch.x.slice(s![start..end, ..]);
            let seen = visual.map(|v| v.pass(x));
            let f = seen.as_ref().map_or(x, |p| p.unit.view());
            let mut logits = f.dot(&text.t()) * self.scale;
            let (labels, shares) = (
                &batch.labels[start..end],
                batch.weights.slice(s![start..end]),
            );
            loss += cross_entropy(logits.view_mut(), labels, shares);
            logits *= factor;
            if textual.is_some() {
                ndarray::linalg::general_mat_mul(1.0, &logits.t(), &f, 1.0, &mut d_text);
            }
            if let (Some(visual), Some(seen)) = (visual, &seen) {
                visual.pass_back(x, seen, logits.dot(text), self.parts(d_visual));
            }
        }
        if let (Some(textual), Some(passed)) = (textual, &passed) {
            textual.pass_back(self.start.view(), passed, d_text, self.parts(d_textual));
        }
        loss / batch.effective()
    }

    fn parts<'a>(&self, flat: &'a mut [f64]) -> Gradient<'a> {
        let (h, d) = self.shape();
        Gradient::split(flat, h, d)
    }

    /// Weights trained on `batch` from the start that `seed` draws.
    pub(super) fn train(&self, batch: &Batch, training: Training, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        let mut weights = self.first_weights(&mut random);
        if weights.is_empty() {
            return weights;
        }
        match training {
            Training::FullBatch {
                epochs,
                rate,
                decay,
            } => {
                let mut gradient = vec![0.0; weights.len()];
                let mut adam = Adam::new(weights.len(), decay);
                for t in 0..epochs {
                    self.value(batch, &weights, &mut gradient);
                    adam.step(&mut weights, &gradient, cosine(rate, t, epochs));
                }
            }
            Training::Authors => self.train_as_authors(batch, &mut weights, &mut random),
            Training::Lbfgs { steps } => {
                let stop = Stop {
                    steps,
                    gradient: 1e-4,
                    fall: 1e-5,
                };
                lbfgs(&mut weights, stop, &mut |w, gradient| {
                    self.value(batch, w, gradient)
                });
            }
        }
        weights
    }

    fn train_as_authors(&self, batch: &Batch, weights: &mut [f64], random: &mut Random) {
        const BATCH: usize = 32;
        let (rate, warm_up_rate) = (0.002, 1e-5);
        let epochs = match self.shots_each {
            shots if shots <= 1.0 => 50,
            shots if shots <= 4.0 => 100,
            _ => 200,
        };
        let mut sgd = Sgd::new(weights.len(), 0.9, 5e-4);
        let mut gradient = vec![0.0; weights.len()];
        let mut order: Vec<usize> = (0..batch.len()).collect();
        for epoch in 0..epochs {
            // The cosine begins after the warm-up, as Dassl's scheduler recounts.
            let rate = if epoch == 0 {
                warm_up_rate
            } else {
                cosine(rate, epoch - 1, epochs)
            };
            random.shuffle(&mut order);
            // Dassl drops the last batch if it is not full, unless it is the only one.
            let used = if order.len() < BATCH {
                order.len()
            } else {
                order.len() / BATCH * BATCH
            };
            for rows in order[..used].chunks(BATCH) {
                self.value(&batch.select(rows), weights, &mut gradient);
                sgd.step(weights, &gradient, rate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::linalg::unit_rows;

    /// An odd width, so that H = 3 does not divide it, and rows of unequal weight.
    fn problem(alpha: f64, beta: f64) -> (Problem, Batch) {
        let mut random = Random::new(3);
        let mut rows = |n: usize| {
            let mut a = Array2::from_shape_simple_fn((n, 13), || random.uniform() - 0.3);
            unit_rows(&mut a);
            a
        };
        let batch = Batch {
            x: rows(7),
            labels: vec![0, 1, 2, 0, 1, 2, 2],
            weights: vec![1.0, 1.0, 0.5, 0.5, 1.0, 0.25, 1.0].into(),
        };
        (
            Problem {
                start: rows(3),
                scale: 9.0,
                shares: Shares { alpha, beta },
                shots_each: 2.0,
            },
            batch,
        )
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for (alpha, beta) in [(0.2, 0.0), (0.0, 0.3), (0.6, 0.4), (1.0, 1.0)] {
            let (problem, batch) = problem(alpha, beta);
            let mut weights = problem.first_weights(&mut Random::new(5));
            // One hidden unit that no row wakes: its gradient is exactly zero.
            weights[..13].fill(-1.0);
            let mut gradient = vec![0.0; weights.len()];
            let mut unused = vec![0.0; weights.len()];
            problem.value(&batch, &weights, &mut gradient);
            for i in 0..weights.len() {
                let mut at = |step: f64| {
                    let mut moved = weights.clone();
                    moved[i] += step;
                    problem.value(&batch, &moved, &mut unused)
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!(
                    (slope - gradient[i]).abs() < 1e-6,
                    "{alpha}, {beta}, {i}: {slope} against {}",
                    gradient[i]
                );
            }
            assert!(gradient.contains(&0.0) && gradient.iter().any(|g| *g != 0.0));
        }
    }

    #[test]
    fn a_dead_adapter_leaves_a_finite_loss() {
        let (problem, batch) = problem(1.0, 0.0);
        let (h, d) = problem.shape();
        let weights = vec![-1.0; 2 * h * d];
        let mut gradient = vec![0.0; weights.len()];
        assert!(problem.value(&batch, &weights, &mut gradient).is_finite());
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
