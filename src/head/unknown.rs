//! Where unknown begins: how well known a feature must be to be answered by a class.

use ndarray::{Array1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::Support;
use super::held_out::HeldOutScores;
use super::linear::dot;

/// Share of known things that may at most be called unknown, whatever false accepts that costs.
const MOST_REJECTED: f64 = 0.1;
/// A class known by its name alone is answered from this probability on.
pub const LIKELY: f32 = 0.5;

/// Known-ness of a feature is its best score plus `zero_point·f`: scores are differences from the mean
/// of the names, and the mean tells whether the photo looks like any name at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unknown {
    /// D values, or none without names.
    pub zero_point: Vec<f32>,
    /// Below it a feature is unknown.
    pub threshold: f32,
    /// The same where the best class is known by its name alone: no photo says how well known such
    /// things are, so only what strange things reach is refused, and what is [not likely](LIKELY).
    pub by_name: f32,
    /// K: classes known by their name alone.
    pub idle: Vec<bool>,
    /// Share of strange things that it lets pass, and of known ones that it turns away, as far as the
    /// shots that were left out tell; none where nothing stood for strange things.
    pub accepts: Option<f32>,
    /// See `accepts`.
    pub rejects: f32,
}

impl Unknown {
    /// What a feature is worth beside its best score.
    pub(super) fn zero(&self, feature: &[f32]) -> f32 {
        zero(&self.zero_point, feature)
    }

    /// What is told of it.
    pub(super) fn words(found: Option<&Self>) -> String {
        match found {
            None => "too few shots to tell when nothing known is seen".to_owned(),
            Some(Self {
                accepts: None,
                rejects,
                ..
            }) => {
                let share = 100.0 * rejects;
                format!(
                    "unknown: {share:.0}% of the shots fall under it; show a --background to judge strange things"
                )
            }
            Some(Self {
                accepts: Some(accepts),
                rejects,
                ..
            }) => format!(
                "unknown: {:.0}% of strange things pass and {:.0}% of known ones are turned away, as far as the shots tell",
                100.0 * accepts,
                100.0 * rejects
            ),
        }
    }
}

fn zero(zero_point: &[f32], feature: &[f32]) -> f32 {
    if zero_point.is_empty() {
        0.0
    } else {
        dot(zero_point, feature)
    }
}

/// The threshold that lets `false_accept` of strange things pass, but never turns away more than
/// [`MOST_REJECTED`] of the shots. Strange things are the background shots, or else shots with their own
/// class struck out: what they would look like if it had never been learned.
///
/// `held` were answered in scores that `temperature` calibrates.
pub(super) fn threshold(
    support: &Support<'_>,
    (held, temperature): (&HeldOutScores, f32),
    zero_point: Option<&Array1<f64>>,
    classes: usize,
    false_accept: f64,
) -> Option<Unknown> {
    let zero_point: Vec<f32> = zero_point
        .into_iter()
        .flatten()
        .map(|v| *v as f32)
        .collect();
    let zeros = zeros_of_rows(support.features(), held, &zero_point);
    let (mut known, mut strange, mut background) = (Vec::new(), Vec::new(), Vec::new());
    for i in held.rows() {
        let scores = held.scores.row(i);
        let best = |without: usize| {
            let kept = (0..classes)
                .filter(|k| *k != without)
                .map(|k| scores[k] / temperature);
            kept.fold(f32::NEG_INFINITY, f32::max) + zeros[i]
        };
        let own = held.labels[i];
        if own >= classes {
            background.push((best(usize::MAX), held.weights[i]));
            continue;
        }
        known.push((best(usize::MAX), held.weights[i]));
        if classes > 1 {
            strange.push((best(own), held.weights[i]));
        }
    }
    let mut strange = if background.is_empty() {
        strange
    } else {
        background
    };
    let reject = quantile(&mut known, MOST_REJECTED);
    // Where both wishes can be met there is a gap between known and strange: its middle is safest.
    let accept = quantile(&mut strange, 1.0 - false_accept);
    let threshold = match (accept, reject) {
        (Some(accept), Some(reject)) if accept < reject => f32::midpoint(accept, reject),
        _ => reject.or(accept)?,
    };
    let by_name = accept.map_or(threshold, |accept| accept.min(threshold));
    let shots = support.class_weights();
    let idle = (0..support.classes()).map(|k| shots[k] == 0.0).collect();
    let accepts = (!strange.is_empty()).then(|| 1.0 - below(&strange, threshold));
    let rejects = if known.is_empty() {
        0.0
    } else {
        below(&known, threshold)
    };
    threshold.is_finite().then_some(Unknown {
        zero_point,
        threshold,
        by_name,
        idle,
        accepts,
        rejects,
    })
}

/// Mean of `zero_point·f` over the shots of each row.
fn zeros_of_rows(
    features: ArrayView2<'_, f32>,
    held: &HeldOutScores,
    zero_point: &[f32],
) -> Vec<f32> {
    let mut sums = vec![(0.0_f32, 0.0_f32); held.labels.len()];
    for (feature, row) in features.rows().into_iter().zip(&held.row_of) {
        sums[*row].0 += zero(zero_point, &feature.to_vec());
        sums[*row].1 += 1.0;
    }
    sums.into_iter()
        .map(|(sum, count)| sum / count.max(1.0))
        .collect()
}

/// Share of the weight whose values lie below `threshold`.
fn below(values: &[(f32, f64)], threshold: f32) -> f32 {
    let weight = |under: bool| {
        values
            .iter()
            .filter(|v| !under || v.0 < threshold)
            .map(|v| v.1)
            .sum::<f64>()
    };
    // An empty sum is -0.
    (weight(true) / weight(false)).abs() as f32
}

/// The value below which the share `q` of the weight lies; sorts the values.
fn quantile(values: &mut [(f32, f64)], q: f64) -> Option<f32> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let whole: f64 = values.iter().map(|v| v.1).sum();
    let mut sum = 0.0;
    let reached = |v: &&(f32, f64)| {
        sum += v.1;
        sum >= q * whole
    };
    values.iter().find(reached).or(values.last()).map(|v| v.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_weights() {
        let mut values = vec![(3.0, 1.0), (1.0, 2.0), (2.0, 1.0)];
        assert_eq!(quantile(&mut values, 0.25), Some(1.0));
        assert_eq!(quantile(&mut values, 0.6), Some(2.0));
        assert_eq!(quantile(&mut values, 1.0), Some(3.0));
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(below(&values, 2.0), 0.5);
    }
}
