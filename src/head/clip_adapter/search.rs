//! The shares α and β that folds of bursts ask for.

use super::train::{Batch, Problem};
use super::{ClipAdapter, Share, Shares};
use crate::error::{Error, Result};
use crate::head::Support;

const GRID: [f64; 5] = [0.0, 0.2, 0.4, 0.6, 0.8];
const FOLDS: usize = 4;

/// The pair with the least log-loss on shots held out, fold by fold; the smaller shares where
/// pairs are equal, as they change less.
///
/// # Errors
/// No shot can be held out: its class would be left with nothing.
pub(super) fn best_shares(settings: &ClipAdapter, support: &Support<'_>) -> Result<Shares> {
    let folds = support.folds(FOLDS);
    if folds.iter().all(Option::is_none) {
        let found = "one burst a class and no text";
        return Err(Error::invalid(
            "shots to search the shares with",
            found,
            "two bursts in a class, or fixed shares",
        ));
    }
    let mut best = (
        f64::INFINITY,
        Shares {
            alpha: 0.0,
            beta: 0.0,
        },
    );
    for alpha in candidates(settings.alpha) {
        for beta in candidates(settings.beta) {
            let shares = Shares { alpha, beta };
            let loss = held_out_loss(settings, support, &folds, shares)?;
            if loss < best.0 {
                best = (loss, shares);
            }
        }
    }
    Ok(best.1)
}

fn candidates(share: Share) -> Vec<f64> {
    match share {
        Share::Fixed(value) => vec![value],
        Share::Searched => GRID.to_vec(),
    }
}

fn held_out_loss(
    settings: &ClipAdapter,
    support: &Support<'_>,
    folds: &[Option<usize>],
    shares: Shares,
) -> Result<f64> {
    let mut loss = 0.0;
    for fold in 0..FOLDS {
        let held = support.only(|i| folds[i] == Some(fold));
        let kept = support.only(|i| folds[i] != Some(fold));
        if held.is_empty() || kept.is_empty() {
            continue;
        }
        let problem = Problem::new(&kept, shares)?;
        let weights = problem.train(&Batch::of(&kept), settings.training, settings.seed);
        let held = Batch::of(&held);
        let mut unused = vec![0.0; weights.len()];
        loss += held.effective() * problem.value(&held, &weights, &mut unused);
    }
    Ok(loss)
}
