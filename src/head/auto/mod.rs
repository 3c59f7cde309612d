//! `auto`: mixes names and photos by what the shots themselves say, each answered while left out.
//!
//! 1. Bursts become one shot each, their mean: ten near-duplicates say no more than one.
//! 2. A discriminant is fitted to the shots (see [`discriminant`]); its formula gives the score that
//!    every shot would have had without itself, exactly.
//! 3. The text scores, those held-out scores, the lean of the average photo towards each name and a
//!    bias a class are mixed with strengths chosen by held-out log-loss and a prior worth a fixed
//!    number of shots (see [`mix`]). Few shots leave it near zero-shot, many let photos decide.
//! 4. Classes without a name are brought level with the named ones (see [`kinds`]).
//! 5. Where the bottleneck of CLIP-Adapter answers the held-out shots clearly better, it is taken.
//!
//! All of the first four are linear in the feature: the head is one weight vector and one bias a
//! class, and its scores are calibrated, since they were chosen by log-loss.

mod discriminant;
mod kinds;
mod mix;

use ndarray::{Array1, Array2, Axis};

use super::Support;
use super::held_out::HeldOutScores;
use super::linalg::{unit_rows, widen};
use super::linear::Linear;
use crate::error::{Error, Result};

use discriminant::{Discriminant, KAPPA};
use mix::{Evidence, Mix, STRENGTH};

/// Errors fall about as shots^−CURVE where photos alone decide.
const CURVE: f64 = 0.7;
/// Held-out scores saw one shot less than the head will: with few shots it is weaker by this share.
const ONE_LESS: f64 = 0.3;

/// What `auto` learned.
#[derive(Debug)]
pub(super) struct Auto {
    pub(super) linear: Linear,
    pub(super) held_out: HeldOutScores,
    /// How errors fall with shots, for the estimate: error ∝ shots^−curve.
    pub(super) curve: f64,
    /// a·scale·mean of the text weights, D: what the head's scores are relative to.
    pub(super) zero_point: Option<Array1<f64>>,
    pub(super) words: Vec<String>,
}

/// Bursts as shots, with what the discriminant makes of them.
struct Shots<'a> {
    x: &'a Array2<f64>,
    labels: &'a [usize],
    discriminant: &'a Discriminant,
}

impl Shots<'_> {
    /// Shots of the class of shot `i`.
    fn count(&self, i: usize) -> f64 {
        self.discriminant.counts[self.labels[i]] as f64
    }

    /// The same without it.
    fn left(&self, i: usize) -> f64 {
        self.count(i) - 1.0
    }

    /// The discriminant's scores of shot `i`, which it has seen.
    fn inside(&self, i: usize) -> Vec<f32> {
        let from = &self.x.row(i) - &self.discriminant.centre;
        let scores = self.discriminant.weights.dot(&from) + &self.discriminant.bias;
        scores.iter().map(|s| *s as f32).collect()
    }

    /// Its scores of a photo like shot `i`: held out and brought up to the strength of all shots, or, of
    /// a class's only shot, what a second one would score on average.
    fn expected(&self, evidence: &Evidence<'_>, i: usize, boost: f64) -> Vec<f32> {
        if evidence.checked[i] {
            return evidence
                .photos
                .row(i)
                .iter()
                .map(|s| (f64::from(*s) * (1.0 + boost)) as f32)
                .collect();
        }
        let mut scores = self.inside(i);
        let own = self.labels[i];
        // The bias is minus half the squared length of the drawn mean; a new photo scores plus half.
        scores[own] = -self.discriminant.bias[own] as f32;
        scores
    }
}

/// Learns from `support`, whose last `background` classes (none or one) are what is to be unknown.
pub(super) fn learn(support: &Support<'_>, background: usize) -> Result<Auto> {
    support.require_shots("auto")?;
    let (x, labels, burst_of) = merged(support);
    let k = support.classes();
    let discriminant = Discriminant::fit(&x, &labels, k).ok_or_else(|| {
        Error::invalid(
            "shots",
            "features that have no covariance",
            "finite features of unit length",
        )
    })?;
    let shots = Shots {
        x: &x,
        labels: &labels,
        discriminant: &discriminant,
    };
    let named: Vec<bool> = (0..k).map(|class| support.has_text(class)).collect();
    let mut names = Names::of(support, &named, &x, &discriminant.centre);
    let seen: Vec<bool> = discriminant.counts.iter().map(|n| *n > 0).collect();
    let per_class = labels.len() as f64 / seen.iter().filter(|s| **s).count().max(1) as f64;
    let evidence = Evidence {
        names: names.as_mut().map(|n| std::mem::take(&mut n.scores)),
        photos: &discriminant.held_out,
        lean: names.as_ref().map_or(vec![0.0; k], |n| n.lean.clone()),
        labels: &labels,
        weights: labels
            .iter()
            .map(|y| per_class / discriminant.counts[*y] as f64)
            .collect(),
        checked: labels.iter().map(|y| discriminant.counts[*y] > 1).collect(),
        classes: k - background,
        named,
        seen,
    };
    let mut mix = Mix::fit(&evidence);
    let boost = boost(&evidence, &shots);
    kinds::place_idle_names(&mut mix, &evidence, &shots, evidence.best_name());
    kinds::be_fair(&mut mix, &evidence, &shots, boost);
    let held_out = held_out(support, &evidence, &mix, &burst_of);
    let curve = if evidence.names.is_some() && !evidence.is_half_named() {
        CURVE * mix.strength / STRENGTH
    } else {
        CURVE
    };
    Ok(Auto {
        linear: linear(&mix, &evidence, &discriminant, names.as_ref(), boost)?,
        held_out,
        curve,
        zero_point: names.map(|n| n.middle * mix.names()),
        words: words(&mix, &evidence, &discriminant),
    })
}

/// One row a burst, its mean at unit length; the class of each, and the row of each shot.
fn merged(support: &Support<'_>) -> (Array2<f64>, Vec<usize>, Vec<usize>) {
    let mut rows = std::collections::BTreeMap::new();
    let mut labels = Vec::new();
    let mut row_of = Vec::with_capacity(support.len());
    for (label, burst) in support.labels().iter().zip(support.bursts()) {
        let next = rows.len();
        let row = *rows.entry((*label, *burst)).or_insert(next);
        if row == next {
            labels.push(*label);
        }
        row_of.push(row);
    }
    let features = widen(support.features());
    let mut x = Array2::zeros((labels.len(), support.dim()));
    for (feature, row) in features.rows().into_iter().zip(&row_of) {
        let mut sum = x.row_mut(*row);
        sum += &feature;
    }
    unit_rows(&mut x);
    (x, labels, row_of)
}

/// The text weights' side of things.
struct Names {
    /// K×D: scaled text weights around their mean; zero rows without a name.
    weights: Array2<f64>,
    /// D: that mean.
    middle: Array1<f64>,
    /// N×K.
    scores: Array2<f32>,
    /// K.
    lean: Vec<f64>,
}

impl Names {
    fn of(
        support: &Support<'_>,
        named: &[bool],
        x: &Array2<f64>,
        centre: &Array1<f64>,
    ) -> Option<Self> {
        let count = named.iter().filter(|n| **n).count();
        if count == 0 {
            return None;
        }
        let mut weights = widen(support.text());
        unit_rows(&mut weights);
        weights *= support.scale();
        let middle = weights.sum_axis(Axis(0)) / count as f64;
        for (mut row, named) in weights.rows_mut().into_iter().zip(named) {
            if *named {
                row -= &middle;
            }
        }
        let mut scores = Array2::zeros((x.nrows(), named.len()));
        for (rows, mut part) in x
            .axis_chunks_iter(Axis(0), 256)
            .zip(scores.axis_chunks_iter_mut(Axis(0), 256))
        {
            part.assign(&rows.dot(&weights.t()).mapv(|v| v as f32));
        }
        let lean = weights.dot(centre).iter().map(|v| -v).collect();
        Some(Self {
            weights,
            middle,
            scores,
            lean,
        })
    }
}

/// By how much the discriminant is stronger with all shots than with one left out.
fn boost(evidence: &Evidence<'_>, shots: &Shots<'_>) -> f64 {
    let (mut sum, mut weight) = (0.0, 1e-9);
    for i in (0..evidence.labels.len()).filter(|i| evidence.checked[*i]) {
        sum += evidence.weights[i] / shots.left(i).max(1.0).powi(2);
        weight += evidence.weights[i];
    }
    ONE_LESS * sum / weight
}

fn linear(
    mix: &Mix,
    evidence: &Evidence<'_>,
    found: &Discriminant,
    names: Option<&Names>,
    boost: f64,
) -> Result<Linear> {
    let mut weights = found.weights.clone();
    let biases = mix.biases(evidence);
    let mut bias = Vec::with_capacity(biases.len());
    for (k, mut row) in weights.rows_mut().into_iter().enumerate() {
        let boost = if evidence.named[k] {
            boost * mix.strength / STRENGTH
        } else {
            boost
        };
        let strength = mix.photos(evidence.named[k]) * (1.0 + boost);
        bias.push(
            strength * (found.bias[k] - row.dot(&found.centre))
                + biases[k]
                + mix.lean() * evidence.lean[k],
        );
        row *= strength;
        if let Some(names) = names {
            row.scaled_add(mix.names(), &names.weights.row(k));
        }
    }
    Linear::trained(&weights, 1.0, &bias)
}

/// Scores of each shot by the mix that did not see its burst; none where nothing is left to say.
fn held_out(
    support: &Support<'_>,
    evidence: &Evidence<'_>,
    mix: &Mix,
    burst_of: &[usize],
) -> HeldOutScores {
    let biases = mix.biases(evidence);
    let mut row = vec![0.0; biases.len()];
    let mut scores = Array2::zeros((evidence.labels.len(), biases.len()));
    for i in 0..evidence.labels.len() {
        mix.scores(evidence, i, evidence.photos.row(i), &biases, &mut row);
        scores
            .row_mut(i)
            .iter_mut()
            .zip(&row)
            .for_each(|(to, from)| *to = *from as f32);
    }
    let judged = (0..evidence.labels.len())
        .map(|i| evidence.checked[i] || evidence.named[evidence.labels[i]]);
    HeldOutScores::of_bursts(support, scores, judged.collect(), burst_of)
}

/// What was chosen and why, for people.
fn words(mix: &Mix, evidence: &Evidence<'_>, found: &Discriminant) -> Vec<String> {
    let shots = evidence.labels.len();
    let views = if shots == 1 {
        "1 view".to_owned()
    } else {
        format!("{shots} views")
    };
    let alone = evidence
        .seen
        .iter()
        .zip(&found.counts)
        .filter(|(seen, n)| **seen && **n == 1)
        .count();
    let mut words = Vec::new();
    words.push(match mix.loss_of_names {
        None if evidence.names.is_none() => {
            format!("no class has a name to go by: {views} decide, around the average of all classes")
        }
        None => format!("no photo shows a named class: names and {views} were weighed without one to compare them by"),
        Some(loss) => {
            let tell = match loss {
                ..0.15 => "names tell the classes apart well",
                0.15..0.5 => "names tell the classes apart in part",
                _ => "names tell the classes apart poorly",
            };
            let lead = match mix.photos(true) / STRENGTH {
                ..0.5 => "names lead, photos correct them",
                0.5..1.2 => "names and photos share the decision",
                _ => "photos lead, names help",
            };
            format!("{tell}: {lead} ({views})")
        }
    });
    if alone > 0 {
        let classes = if alone == 1 {
            "1 class has"
        } else {
            &*format!("{alone} classes have")
        };
        words.push(format!(
            "{classes} a single view, which nothing can check: drawn {:.0}% towards the average",
            100.0 * KAPPA / (1.0 + KAPPA)
        ));
    }
    if evidence.is_half_named() {
        words.push("classes without a name were brought level with the named ones".to_owned());
    }
    words
}
