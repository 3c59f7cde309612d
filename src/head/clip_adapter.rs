//! CLIP-Adapter: a small bottleneck blended into the frozen feature, the text weights, or both.
//!
//! `A(x) = relu(W2·relu(W1·x))`, W1 D/4×D, W2 D×D/4, no biases (Gao et al., 2024, "CLIP-Adapter",
//! eq. 1 to 6, and the authors' clip_adapter.py). `f' = α·A(f) + (1−α)·f`, then unit length;
//! `w_k = β·A_t(t_k) + (1−β)·t_k`, then unit length; `score_k = scale·f'·w_k`. α and β are shares
//! of the *adapted* side. Weights start uniform in ±1/√fan-in, so the first step is not zero-shot.

mod bottleneck;
mod search;
mod train;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::linalg::narrow;
use super::linear::{Linear, add_products, dot, require_finite};
use super::{Head, Scratch, Support};
use crate::error::{Error, Result};

use train::{Batch, Problem};

/// Settings of CLIP-Adapter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipAdapter {
    /// α, the share of the visual adapter; 0 for none.
    pub alpha: Share,
    /// β, the share of the text adapter; 0 for none.
    pub beta: Share,
    /// How the weights are trained.
    pub training: Training,
    /// Seed of the starting weights and of the order of batches.
    pub seed: u64,
}

impl Default for ClipAdapter {
    fn default() -> Self {
        Self {
            alpha: Share::Fixed(0.2),
            beta: Share::Fixed(0.0),
            training: Training::FULL_BATCH,
            seed: 0,
        }
    }
}

/// The share of the adapted side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Share {
    /// From 0 to 1.
    Fixed(f64),
    /// The best of 0, 0.2, 0.4, 0.6 and 0.8 by log-loss over folds of bursts.
    Searched,
}

/// How CLIP-Adapter is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Training {
    /// Adam over all shots at once, with cosine decay of the rate.
    FullBatch {
        /// Steps.
        epochs: usize,
        /// Learning rate of the first.
        rate: f64,
        /// Decoupled weight decay.
        decay: f64,
    },
    /// As the authors do: SGD 0.002 with momentum 0.9 and weight decay 5e-4, batches of 32, one
    /// epoch of warm-up at 1e-5, cosine; 50 epochs up to one shot a class, 100 up to four, else 200.
    Authors,
    /// L-BFGS over all shots at once.
    Lbfgs {
        /// Most steps.
        steps: usize,
    },
}

impl Training {
    /// 200 epochs at 1e-3 with decay 1e-4.
    pub const FULL_BATCH: Self = Self::FullBatch {
        epochs: 200,
        rate: 1e-3,
        decay: 1e-4,
    };
    /// L-BFGS to a lower training loss than [`Training::FULL_BATCH`] in half its time or less.
    ///
    /// Not to be preferred: on real features with text it *answers worse* by 2 to 7 points, since
    /// Adam's small steps stay near the start and these do not.
    pub const FAST: Self = Self::Lbfgs { steps: 60 };
}

/// α and β as numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    alpha: f64,
    beta: f64,
}

impl ClipAdapter {
    /// Its numbers, and the most steps that it trains.
    pub(super) fn numbers(&self) -> (Vec<f64>, usize) {
        let mut numbers: Vec<f64> = [self.alpha, self.beta]
            .iter()
            .filter_map(|share| match share {
                Share::Fixed(v) => Some(*v),
                Share::Searched => None,
            })
            .collect();
        let steps = match self.training {
            Training::FullBatch {
                epochs,
                rate,
                decay,
            } => {
                numbers.extend([rate, decay]);
                epochs
            }
            Training::Lbfgs { steps } => steps,
            Training::Authors => 0,
        };
        (numbers, steps)
    }

    pub(super) fn learn(&self, support: &Support<'_>) -> Result<Head> {
        support.require_shots("clip-adapter")?;
        let shares = self.shares(support)?;
        let problem = Problem::new(support, shares)?;
        let weights = problem.train(&Batch::of(support), self.training, self.seed);
        problem.head(&weights)
    }

    fn shares(&self, support: &Support<'_>) -> Result<Shares> {
        for share in [self.alpha, self.beta] {
            if let Share::Fixed(v) = share
                && !(0.0..=1.0).contains(&v)
            {
                return Err(Error::invalid(
                    "share of the adapter",
                    v.to_string(),
                    "0 to 1",
                ));
            }
        }
        match (self.alpha, self.beta) {
            (Share::Fixed(alpha), Share::Fixed(beta)) => Ok(Shares { alpha, beta }),
            _ => search::best_shares(self, support),
        }
    }
}

/// A visual adapter before a linear head.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter(AdapterParts);

/// What an [`Adapter`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterParts {
    /// W1, H×D.
    pub down: Array2<f32>,
    /// W2, D×H.
    pub up: Array2<f32>,
    /// Share of the adapted side.
    pub alpha: f32,
    /// Scores of the blended feature; an adapted text side is part of its weights.
    pub linear: Linear,
}

impl Adapter {
    /// An adapter of `parts`.
    ///
    /// # Errors
    /// Widths that differ, a share outside 0 to 1, or values that are not finite.
    pub fn new(parts: AdapterParts) -> Result<Self> {
        let (h, d) = parts.down.dim();
        let width = parts.linear.weights().ncols();
        if d != width || h == 0 || parts.up.dim() != (d, h) {
            let (rows, columns) = parts.up.dim();
            let found = format!("{h}x{d} down, {rows}x{columns} up");
            return Err(Error::invalid(
                "adapter head",
                found,
                format!("Hx{width} and {width}xH"),
            ));
        }
        if !(0.0..=1.0).contains(&parts.alpha) {
            return Err(Error::invalid(
                "share of the adapter",
                parts.alpha.to_string(),
                "0 to 1",
            ));
        }
        require_finite("adapter head", parts.down.iter().chain(&parts.up))?;
        let down = parts.down.as_standard_layout().into_owned();
        let up = parts.up.as_standard_layout().into_owned();
        Ok(Self(AdapterParts { down, up, ..parts }))
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &AdapterParts {
        &self.0
    }

    pub(super) fn scaled(self, by: f32) -> Self {
        Self(AdapterParts {
            linear: self.0.linear.scaled(by),
            ..self.0
        })
    }

    pub(super) fn scores_into(&self, feature: &[f32], scratch: &mut Scratch, out: &mut Vec<f32>) {
        let Scratch { hidden, blended } = scratch;
        relu_products(self.0.down.view(), feature, hidden);
        relu_products(self.0.up.view(), hidden, blended);
        // Eq. 3: blend with the frozen feature, so that alpha = 0 is exactly zero-shot.
        for (v, f) in blended.iter_mut().zip(feature) {
            *v = self.0.alpha * *v + (1.0 - self.0.alpha) * f;
        }
        let length = dot(blended, blended).sqrt();
        if length > 0.0 {
            blended.iter_mut().for_each(|v| *v /= length);
        }
        self.0.linear.scores_into(blended, out);
    }
}

fn relu_products(rows: ArrayView2<'_, f32>, x: &[f32], out: &mut Vec<f32>) {
    out.clear();
    out.resize(rows.nrows(), 0.0);
    add_products(rows, x, out);
    out.iter_mut().for_each(|v| *v = v.max(0.0));
}

impl Problem {
    /// The head of trained weights.
    fn head(&self, weights: &[f64]) -> Result<Head> {
        let bias = vec![0.0; self.start.nrows()];
        let linear = Linear::trained(&self.text(weights), self.scale, &bias)?;
        let Some(visual) = self.visual(weights) else {
            return Ok(Head::Linear(linear));
        };
        Adapter::new(AdapterParts {
            down: narrow(&visual.down.to_owned()),
            up: narrow(&visual.up.to_owned()),
            alpha: self.shares.alpha as f32,
            linear,
        })
        .map(Head::Adapter)
    }
}
