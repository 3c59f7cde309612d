//! Classes known by name beside classes known by photos alone: the offset between the two kinds.
//!
//! Image features and text weights lie in two cones (Liang et al., NeurIPS 2022, "Mind the gap"), so
//! their scores have no common zero point. Where shots of both kinds were left out and answered, the
//! offset is moved until neither kind loses more of its own to the other. Where no shot speaks for some
//! names, a shot stands in for a thing of such a name: with its own class struck out, it should go to
//! the names.

use ndarray::ArrayView1;

use super::super::softmax::softmax;
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

/// Moves the offset by the least step that makes both kinds err about equally often.
///
/// `boost` is what leaving one out takes from the discriminant's strength.
pub(super) fn be_fair(mix: &mut Mix, evidence: &Evidence<'_>, shots: &Shots<'_>, boost: f64) {
    let both = |named: bool| evidence.labels.iter().any(|k| evidence.named[*k] == named);
    if !evidence.is_half_named() || !both(true) || !both(false) {
        return;
    }
    let biases = mix.biases(evidence);
    let mut all = Vec::with_capacity(evidence.labels.len());
    let mut scores = vec![0.0; biases.len()];
    for i in 0..evidence.labels.len() {
        let photos = shots.expected(evidence, i, boost);
        mix.scores(evidence, i, ArrayView1::from(&photos), &biases, &mut scores);
        all.push(scores.clone());
    }
    let mut best = (true, f64::INFINITY, 0.0);
    for by in tries(0.0, 6.0, 60) {
        let gap = gap(mix, evidence, shots, &all, by).abs();
        let fair = gap <= FAIR;
        let found = (!fair, if fair { by.abs() } else { gap }, by);
        if (found.0, found.1) < (best.0, best.1) {
            best = found;
        }
    }
    mix.move_offset(best.2);
}

/// Error of the unnamed kind less that of the named, with the offset moved `by`.
fn gap(mix: &Mix, evidence: &Evidence<'_>, shots: &Shots<'_>, scores: &[Vec<f64>], by: f64) -> f64 {
    let mut error = [(0.0, 0.0); 2];
    for (i, scores) in scores.iter().enumerate() {
        let own = evidence.labels[i];
        let mut p: Vec<f64> = scores.clone();
        for (score, named) in p.iter_mut().zip(&evidence.named) {
            if !named {
                *score += by;
            }
        }
        softmax(&mut p);
        let right = (0..p.len()).all(|k| k == own || p[k] < p[own]);
        let named = evidence.named[own];
        let curve = if named {
            CURVE * mix.strength / STRENGTH
        } else {
            CURVE
        };
        // With the shot back, its class errs a little less.
        let learned = if evidence.checked[i] {
            shots.left(i).max(0.5) / shots.count(i)
        } else {
            1.0
        };
        let e = (1.0 - 0.5 * (f64::from(u8::from(right)) + p[own])) * learned.powf(curve);
        let (sum, weight) = &mut error[usize::from(named)];
        *sum += evidence.weights[i] * e;
        *weight += evidence.weights[i];
    }
    error[0].0 / error[0].1 - error[1].0 / error[1].1
}
