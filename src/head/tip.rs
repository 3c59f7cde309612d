//! Tip-Adapter: the shots themselves are kept as keys of a cache.
//!
//! `score_k = scale·f·t_k + Σ_{i of class k} s_i·exp(−sharpness·(1 − f·key_i))` (Zhang et al.,
//! 2022, "Tip-Adapter", eq. 5 to 8). The s_i share `strength` within a burst. `tip` keeps the
//! features as keys; `tip-f` trains them from there on the shots, full batch, with Adam.

use ndarray::{Array2, ArrayView2, s};
use serde::{Deserialize, Serialize};

use super::linalg::{narrow, widen};
use super::linear::{Linear, dot, require_finite};
use super::optimise::{Adam, cosine};
use super::softmax::{ROWS_AT_ONCE, cross_entropy};
use super::{Head, Support};
use crate::error::{Error, Result};

/// Settings of Tip-Adapter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tip {
    /// How fast a key's say falls with distance: β of the paper.
    pub sharpness: f64,
    /// Say of a shot that equals the feature: α of the paper.
    pub strength: f64,
    /// Training of the keys, for `tip-f`.
    pub training: Option<KeyTraining>,
}

/// How the keys of `tip-f` are trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyTraining {
    /// Steps of Adam.
    pub steps: usize,
    /// Learning rate of the first, which falls along a cosine.
    pub rate: f64,
}

impl Default for KeyTraining {
    fn default() -> Self {
        Self {
            steps: 100,
            rate: 1e-3,
        }
    }
}

impl Default for Tip {
    fn default() -> Self {
        Self {
            sharpness: 5.5,
            strength: 1.0,
            training: None,
        }
    }
}

impl Tip {
    /// The settings of `tip-f`.
    #[must_use]
    pub fn trained() -> Self {
        Self {
            training: Some(KeyTraining::default()),
            ..Self::default()
        }
    }

    pub(super) fn learn(&self, support: &Support<'_>) -> Result<Head> {
        support.require_shots("tip")?;
        let kept: Vec<usize> = (0..support.len())
            .filter(|i| support.weights()[*i] > 0.0)
            .collect();
        let cache = Training {
            x: widen(support.features().select(ndarray::Axis(0), &kept).view()),
            start: support.start()?,
            labels: kept.iter().map(|i| support.labels()[*i]).collect(),
            weights: kept.iter().map(|i| support.weights()[*i]).collect(),
            scale: support.scale(),
            settings: *self,
        };
        let keys = cache.keys();
        let bias = vec![0.0; support.classes()];
        Ok(Head::Cache(Cache::new(CacheParts {
            linear: Linear::trained(&cache.start, cache.scale, &bias)?,
            keys: narrow(&keys),
            key_classes: cache.labels.iter().map(|l| *l as u32).collect(),
            strengths: cache
                .weights
                .iter()
                .map(|w| (self.strength * w) as f32)
                .collect(),
            sharpness: self.sharpness as f32,
        })?))
    }
}

struct Training {
    x: Array2<f64>,
    start: Array2<f64>,
    labels: Vec<usize>,
    weights: Vec<f64>,
    scale: f64,
    settings: Tip,
}

impl Training {
    fn keys(&self) -> Array2<f64> {
        let mut keys = self.x.clone();
        let Some(training) = self.settings.training else {
            return keys;
        };
        let mut gradient = Array2::zeros(keys.dim());
        let mut adam = Adam::new(keys.len(), 0.0);
        for t in 0..training.steps {
            self.value(keys.view(), &mut gradient);
            let flat = gradient.as_slice().expect("keys stand in rows");
            let rate = cosine(training.rate, t, training.steps);
            adam.step(keys.as_slice_mut().expect("keys stand in rows"), flat, rate);
        }
        keys
    }

    /// Weighted mean loss of the shots, and its gradient by the keys.
    fn value(&self, keys: ArrayView2<'_, f64>, gradient: &mut Array2<f64>) -> f64 {
        let total: f64 = self.weights.iter().sum();
        let weights = ndarray::aview1(&self.weights);
        let mut loss = 0.0;
        gradient.fill(0.0);
        for start in (0..self.labels.len()).step_by(ROWS_AT_ONCE) {
            let end = (start + ROWS_AT_ONCE).min(self.labels.len());
            let x = self.x.slice(s![start..end, ..]);
            let mut logits = x.dot(&self.start.t()) * self.scale;
            let mut near = x.dot(&keys.t());
            for (mut near, mut logits) in near.rows_mut().into_iter().zip(logits.rows_mut()) {
                for ((near, label), weight) in near.iter_mut().zip(&self.labels).zip(&self.weights)
                {
                    *near = self.settings.strength
                        * weight
                        * (self.settings.sharpness * (*near - 1.0)).exp();
                    logits[*label] += *near;
                }
            }
            loss += cross_entropy(
                logits.view_mut(),
                &self.labels[start..end],
                weights.slice(s![start..end]),
            );
            for (mut near, logits) in near.rows_mut().into_iter().zip(logits.rows()) {
                near.iter_mut()
                    .zip(&self.labels)
                    .for_each(|(near, label)| *near *= logits[*label]);
            }
            let factor = self.settings.sharpness / total;
            ndarray::linalg::general_mat_mul(factor, &near.t(), &x, 1.0, gradient);
        }
        loss / total
    }
}

/// A linear head and keys that add to the score of their class where the feature is near.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache(CacheParts);

/// What a [`Cache`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheParts {
    /// Scores of the text weights.
    pub linear: Linear,
    /// Keys, N×D.
    pub keys: Array2<f32>,
    /// Class of each key, below K.
    pub key_classes: Vec<u32>,
    /// Say of each key for a feature that equals it.
    pub strengths: Vec<f32>,
    /// How fast that falls with 1 − cosine.
    pub sharpness: f32,
}

impl Cache {
    pub(super) fn scaled(self, by: f32) -> Self {
        let mut parts = self.0;
        parts.linear = parts.linear.scaled(by);
        parts.strengths.iter_mut().for_each(|v| *v *= by);
        Self(parts)
    }

    /// A cache of `parts`.
    ///
    /// # Errors
    /// Lengths or widths that differ, a key of no class, or values that are not finite.
    pub fn new(parts: CacheParts) -> Result<Self> {
        let (n, d) = parts.keys.dim();
        let (k, width) = parts.linear.weights().dim();
        if d != width || parts.key_classes.len() != n || parts.strengths.len() != n {
            let found = format!(
                "{n}x{d} keys, {} classes, {} strengths",
                parts.key_classes.len(),
                parts.strengths.len()
            );
            return Err(Error::invalid(
                "cache head",
                found,
                format!("one of each a key, {width} wide"),
            ));
        }
        if let Some(class) = parts.key_classes.iter().find(|c| **c as usize >= k) {
            return Err(Error::invalid(
                "class of a key",
                class.to_string(),
                format!("below {k}"),
            ));
        }
        let numbers = parts
            .keys
            .iter()
            .chain(&parts.strengths)
            .chain([&parts.sharpness]);
        require_finite("cache head", numbers)?;
        let keys = parts.keys.as_standard_layout().into_owned();
        Ok(Self(CacheParts { keys, ..parts }))
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &CacheParts {
        &self.0
    }

    pub(super) fn scores_into(&self, feature: &[f32], out: &mut Vec<f32>) {
        let parts = &self.0;
        parts.linear.scores_into(feature, out);
        let keys = parts
            .keys
            .rows()
            .into_iter()
            .zip(&parts.key_classes)
            .zip(&parts.strengths);
        for ((key, class), strength) in keys {
            let cosine = dot(
                key.to_slice().expect("heads keep their rows whole"),
                feature,
            );
            out[*class as usize] += strength * (parts.sharpness * (cosine - 1.0)).exp();
        }
    }
}
