//! Classes known by name beside classes known by photos alone: the offset between the two kinds.
//!
//! Image features and text weights lie in two cones (Liang et al., NeurIPS 2022, "Mind the gap"), so
//! their scores have no common zero point. Where shots of both kinds were left out and answered, the
//! offset is moved until neither kind loses more of its own to the other. Where no shot speaks for some
//! names, a shot stands in for a thing of such a name: with its own class struck out, it should go to
//! the names.

use ndarray::ArrayView1;

use super::mix::{Evidence, Mix, STRENGTH};
use super::{CURVE, Shots};

/// Errors of the two kinds may differ by this much.
const FAIR: f64 = 0.02;

/// Offsets tried: `2·count + 1` around `middle`, up to `reach` away.
fn tries(middle: f64, reach: f64, count: i32) -> impl Iterator<Item = f64> {
    (-count..=count).map(move |i| middle + reach * f64::from(i) / f64::from(count))
}

/// Chooses the offset for names that no shot speaks for; leaves it where there are none.
pub(super) fn place_idle_names(
    mix: &mut Mix,
    evidence: &Evidence<'_>,
    shots: &Shots<'_>,
    middle: f64,
) {
    let spoken_for = evidence
        .named
        .iter()
        .zip(&evidence.seen)
        .any(|(n, s)| *n && *s);
    if !evidence.is_half_named() || (spoken_for && !evidence.has_idle_names()) {
        return;
    }
    let sides: Vec<Sides> = (0..evidence.labels.len())
        .filter(|i| !evidence.named[evidence.labels[*i]])
        .map(|i| Sides::of(mix, evidence, shots, i))
        .collect();
    let loss = |offset: f64| sides.iter().map(|s| s.loss(offset)).sum::<f64>();
    let best = tries(middle, 12.0, 48).min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
    mix.move_offset(best.unwrap_or(middle) - mix.offset());
}

/// log Σ exp over each kind, without the offset: of a shot as it is, and with its class struck out.
struct Sides {
    named: f64,
    unnamed: f64,
    unnamed_without: f64,
    weight: f64,
}

impl Sides {
    fn of(mix: &Mix, evidence: &Evidence<'_>, shots: &Shots<'_>, i: usize) -> Self {
        let k = evidence.named.len();
        let mut biases = mix.biases(evidence);
        for (bias, named) in biases.iter_mut().zip(&evidence.named) {
            if !named {
                *bias -= mix.offset();
            }
        }
        let mut scores = vec![0.0; k];
        let side = |scores: &[f64], named: bool, without: Option<usize>| {
            let kept = (0..k).filter(|j| evidence.named[*j] == named && Some(*j) != without);
            log_sum(kept.map(|j| scores[j]))
        };
        mix.scores(evidence, i, evidence.photos.row(i), &biases, &mut scores);
        let (named, unnamed) = (side(&scores, true, None), side(&scores, false, None));
        let inside = shots.inside(i);
        mix.scores(evidence, i, ArrayView1::from(&inside), &biases, &mut scores);
        let own = evidence.labels[i];
        Self {
            named,
            unnamed,
            unnamed_without: side(&scores, false, Some(own)),
            weight: evidence.weights[i],
        }
    }

    /// −log of the share of the unnamed side as it is, and of the named side with the class struck out.
    fn loss(&self, offset: f64) -> f64 {
        let both = |unnamed: f64| log_sum([self.named, unnamed + offset].into_iter());
        self.weight
            * (both(self.unnamed) - self.unnamed - offset + both(self.unnamed_without) - self.named)
    }
}

fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + values.map(|v| (v - top).exp()).sum::<f64>().ln()
}

/// Moves the offset by the least step that makes both kinds err about equally often; the background,
/// which is no kind of thing, is left out.
///
/// `boost` is what leaving one out takes from the discriminant's strength.
pub(super) fn be_fair(mix: &mut Mix, evidence: &Evidence<'_>, shots: &Shots<'_>, boost: f64) {
    if !evidence.is_half_named() {
        return;
    }
    let biases = mix.biases(evidence);
    let of_classes = (0..evidence.labels.len()).filter(|i| evidence.labels[*i] < evidence.classes);
    let duels: Vec<Duel> = of_classes
        .map(|i| Duel::of(mix, evidence, shots, &biases, (i, boost)))
        .collect();
    let has = |named: bool| duels.iter().any(|d| d.named == named);
    if !has(true) || !has(false) {
        return;
    }
    let mut best = (true, f64::INFINITY, 0.0);
    for by in tries(0.0, 6.0, 60) {
        let gap = gap(&duels, by).abs();
        let fair = gap <= FAIR;
        let found = (!fair, if fair { by.abs() } else { gap }, by);
        if (found.0, found.1) < (best.0, best.1) {
            best = found;
        }
    }
    mix.move_offset(best.2);
}

/// A held-out shot between the kinds: all that its error depends on, whatever the offset.
struct Duel {
    own: f64,
    named: bool,
    /// Best score of another class with a name, and without.
    rivals: [f64; 2],
    /// log Σ exp of the scores with a name, and without.
    sums: [f64; 2],
    weight: f64,
    /// What having the shot back does to the error of its class.
    learned: f64,
}

impl Duel {
    fn of(
        mix: &Mix,
        evidence: &Evidence<'_>,
        shots: &Shots<'_>,
        biases: &[f64],
        (i, boost): (usize, f64),
    ) -> Self {
        let own = evidence.labels[i];
        let mut scores = vec![0.0; biases.len()];
        let photos = shots.expected(evidence, i, boost);
        mix.scores(evidence, i, ArrayView1::from(&photos), biases, &mut scores);
        let side = |named: bool| (0..scores.len()).filter(move |k| evidence.named[*k] == named);
        let rival = |named: bool| {
            let others = side(named).filter(|k| *k != own);
            others.map(|k| scores[k]).fold(f64::NEG_INFINITY, f64::max)
        };
        let sum = |named: bool| log_sum(side(named).map(|k| scores[k]));
        let named = evidence.named[own];
        let curve = if named {
            CURVE * mix.strength / STRENGTH
        } else {
            CURVE
        };
        let learned = if evidence.checked[i] {
            shots.left(i).max(0.5) / shots.count(i)
        } else {
            1.0
        };
        Self {
            own: scores[own],
            named,
            rivals: [rival(true), rival(false)],
            sums: [sum(true), sum(false)],
            weight: evidence.weights[i],
            learned: learned.powf(curve),
        }
    }

    /// Its error, half by the hit and half by the probability, with the unnamed scores moved `by`.
    fn error(&self, by: f64) -> f64 {
        let own = if self.named { self.own } else { self.own + by };
        let right = own > self.rivals[0] && own > self.rivals[1] + by;
        let p = (own - log_sum([self.sums[0], self.sums[1] + by].into_iter())).exp();
        (1.0 - 0.5 * (f64::from(u8::from(right)) + p)) * self.learned
    }
}

/// Error of the unnamed kind less that of the named, with the offset moved `by`.
fn gap(duels: &[Duel], by: f64) -> f64 {
    let error = |named: bool| {
        let kind = || duels.iter().filter(move |d| d.named == named);
        kind().map(|d| d.weight * d.error(by)).sum::<f64>() / kind().map(|d| d.weight).sum::<f64>()
    };
    error(false) - error(true)
}
