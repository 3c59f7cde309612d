//! Linear probe: softmax regression on the scaled features, from zero.
//!
//! `score_k = scale·f·w_k + b_k`; minimises mean loss + (penalty/2)·‖W‖² (Radford et al., 2021,
//! section 3.2). The text weights play no part. A class without shots stands outside: its free
//! bias would fall for ever, so it scores −scale, the lowest that a cosine gives.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::linalg::widen;
use super::optimise::{Stop, lbfgs};
use super::softmax::Regression;
use super::{Head, Linear, Support};
use crate::error::Result;

/// Settings of the linear probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearProbe {
    /// Strength of the pull of the weights to zero.
    pub penalty: f64,
    /// Most steps of L-BFGS; where shots are many they end first, which costs no accuracy.
    pub steps: usize,
}

impl Default for LinearProbe {
    fn default() -> Self {
        Self {
            penalty: 0.01,
            steps: 200,
        }
    }
}

/// No penalty bends the biases, so the end lies flat; the steps end the search before, as a rule.
const SETTLED: Stop = Stop {
    steps: 200,
    gradient: 1e-10,
    fall: 1e-15,
};

impl LinearProbe {
    pub(super) fn learn(&self, support: &Support<'_>) -> Result<Head> {
        support.require_shots("linear-probe")?;
        let mut x = widen(support.features());
        // The bias is free, so centred features give the same head, in far fewer steps.
        let centre = support.centre();
        x -= &centre;
        let counts = support.class_weights();
        let shot: Vec<usize> = (0..support.classes())
            .filter(|k| counts[*k] > 0.0)
            .collect();
        // Rows of weight 0 may be of no class at all; any label does for them.
        let place = |label: &usize| shot.binary_search(label).unwrap_or(0);
        let labels: Vec<usize> = support.labels().iter().map(place).collect();
        let regression = Regression {
            labels: &labels,
            ..Regression::of(support, &x)
        };
        let (k, d) = (shot.len(), support.dim());
        let mut parameters = vec![0.0; k * d + k];
        let mut dw = Array2::zeros((k, d));
        let stop = Stop {
            steps: self.steps,
            ..SETTLED
        };
        lbfgs(&mut parameters, stop, &mut |p, gradient| {
            let (w, bias) = p.split_at(k * d);
            let (gw, gb) = gradient.split_at_mut(k * d);
            let view = ArrayView2::from_shape((k, d), w).expect("split at K·D");
            let loss = regression.value(view, bias, &mut dw, gb);
            let mut square = 0.0;
            for ((g, w), dw) in gw.iter_mut().zip(w).zip(&dw) {
                *g = dw + self.penalty * w;
                square += w * w;
            }
            loss + 0.5 * self.penalty * square
        });
        let found = ArrayView2::from_shape((k, d), &parameters[..k * d]).expect("split at K·D");
        let mut weights = Array2::zeros((support.classes(), d));
        let mut bias = vec![-support.scale(); support.classes()];
        for (i, k_all) in shot.iter().enumerate() {
            weights.row_mut(*k_all).assign(&found.row(i));
            bias[*k_all] = parameters[k * d + i] - found.row(i).dot(&centre) * support.scale();
        }
        Linear::trained(&weights, support.scale(), &bias).map(Head::Linear)
    }
}
