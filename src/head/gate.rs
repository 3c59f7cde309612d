//! The gate of `auto`: CLIP-Adapter instead of the mix, where shots left out say clearly that it is
//! better. It has a hundred times the freedom of the mix, so a small lead on few shots is no evidence.
//!
//! The published share, α = 0.2, is tried on one fold of two. Where it is far behind, as it is on most
//! data, that is all. Where it comes near, other shares are tried on the same fold, and the best of
//! them on the second. The more were tried, the more the best must gain. β stays 0: adapting the names
//! too took twice the time and was worse wherever the gate was near.

use super::folds::Folded;
use super::held_out::HeldOutScores;
use super::{ClipAdapter, HeldOut, Method, Share, Support, Training};

/// Classes up to which the bottleneck is tried: beyond, it takes longer than a lesson may.
const MOST_CLASSES: usize = 100;
/// Shares tried beside the published one, the likeliest first: after so few steps, larger ones
/// have moved further.
const OTHERS: [f64; 2] = [0.6, 0.4];
/// Shots times squared width, a measure of time, up to which all of them are tried, else the first.
const ALL_SHARES: usize = 8 << 20;
/// What the bottleneck must gain on shots left out, in nats and in standard deviations.
const LEAST_GAIN: f64 = 4.0;
const SURE: f64 = 3.0;
/// Standard deviations that the published share may be behind for others to be tried.
const NEAR: f64 = 2.0;
/// Nats by which another share must lead the published one.
const LEAD: f64 = 1.0;
const FOLDS: usize = 2;

/// The adapter that passed.
pub(super) struct Passed {
    pub(super) method: Method,
    pub(super) held_out: HeldOutScores,
    pub(super) words: String,
}

/// The adapter that answers shots left out better than the mix did, if one does.
pub(super) fn pass(support: &Support<'_>, mix: &[Option<HeldOut>]) -> Option<Passed> {
    let named = (0..support.classes())
        .filter(|k| support.has_text(*k))
        .count();
    // Beside classes without a name, the folds would judge the named ones alone.
    let half_named = named > 0 && named < support.classes();
    if half_named || support.classes() > MOST_CLASSES {
        return None;
    }
    let published = Trial::new(support, mix, 0.2);
    if published.gain.nats <= -NEAR * published.gain.spread {
        return None;
    }
    let small = support.len() * support.dim() * support.dim() <= ALL_SHARES;
    let others = &OTHERS[..if small { OTHERS.len() } else { 1 }];
    let tries = (1 + others.len()) as f64;
    let least = published.gain.nats + LEAD;
    let mut best = published;
    for alpha in others {
        let trial = Trial::new(support, mix, *alpha);
        if trial.gain.nats > best.gain.nats.max(least) {
            best = trial;
        }
    }
    if best.gain.nats <= 0.0 {
        return None;
    }
    best.finish(mix);
    best.gain.is_clear(tries).then(|| Passed {
        method: best.method,
        held_out: best.folded.answers(),
        words: format!(
            "a bottleneck adapter (CLIP-Adapter, alpha {}, beta 0) answers shots left out better, by {:.1} nats: taken",
            best.alpha, best.gain.nats
        ),
    })
}

/// One share, on the folds that were left out so far.
struct Trial<'a, 's> {
    alpha: f64,
    method: Method,
    folded: Folded<'a, 's>,
    gain: Gain,
}

impl<'a, 's> Trial<'a, 's> {
    fn new(support: &'a Support<'s>, mix: &[Option<HeldOut>], alpha: f64) -> Self {
        let method = Method::ClipAdapter(ClipAdapter {
            alpha: Share::Fixed(alpha),
            training: Training::Lbfgs { steps: 12 },
            ..ClipAdapter::default()
        });
        let mut folded = Folded::new(support, FOLDS);
        folded.answer(method, 0);
        let gain = Gain::of(&folded.answers(), mix);
        Self {
            alpha,
            method,
            folded,
            gain,
        }
    }

    fn finish(&mut self, mix: &[Option<HeldOut>]) {
        (1..FOLDS).for_each(|fold| self.folded.answer(self.method, fold));
        self.gain = Gain::of(&self.folded.answers(), mix);
    }
}

/// Sum over shots of log p of their class, less that of the mix; and the deviation of such sums.
struct Gain {
    nats: f64,
    spread: f64,
}

impl Gain {
    fn of(found: &HeldOutScores, mix: &[Option<HeldOut>]) -> Self {
        let theirs = found.answers(&found.probabilities(found.temperature()));
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for ((ours, theirs), weight) in mix.iter().zip(&theirs).zip(&found.weights) {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let gain = f64::from((theirs.p_own.max(1e-6) / ours.p_own.max(1e-6)).ln());
                sum += weight * gain;
                squares += weight * gain * gain;
                count += weight;
            }
        }
        Self {
            nats: sum,
            spread: (squares - sum * sum / f64::max(count, 1.0)).max(0.0).sqrt(),
        }
    }

    /// Whether the best of `tries` gained enough. Chance makes the best of m exceed what one would by
    /// ln m nats, and z² by 2 ln m where one exceeds z as often.
    fn is_clear(&self, tries: f64) -> bool {
        let sure = (SURE * SURE + 2.0 * tries.ln()).sqrt();
        self.nats >= LEAST_GAIN + tries.ln() && self.nats >= sure * self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_must_gain_more_than_one_alone() {
        let gain = |nats, spread| Gain { nats, spread };
        assert!(gain(4.0, 1.3).is_clear(1.0) && !gain(4.0, 1.3).is_clear(2.0));
        assert!(!gain(3.9, 0.0).is_clear(1.0));
        assert!(gain(31.0, 10.0).is_clear(1.0) && !gain(31.0, 10.0).is_clear(3.0));
        assert!(gain(34.0, 10.0).is_clear(3.0));
    }
}
