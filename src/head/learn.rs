//! From shots to a head that knows how sure it is: calibration, an estimate of its own accuracy, and
//! the threshold below which nothing known is seen. All of it comes from answers to shots left out.

use ndarray::{Array1, Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use super::folds::held_out_by_folds;
use super::held_out::HeldOutScores;
use super::linear::Linear;
use super::metrics::argmax;
use super::softmax::{softmax_of, softmax_parts};
use super::unknown::{self, LIKELY, Unknown};
use super::{Estimate, Head, HeldOut, Method, Penalty, Support, auto, gate, nearest_mean};
use crate::error::{Error, Result};

/// Folds of bursts for heads that have no formula for leaving one out.
const FOLDS: usize = 5;
/// A score that no class of any photo is below.
const NEVER: f32 = -1e6;

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The head.
    pub method: Method,
    /// Share of strange things that may be taken for a class; sets the threshold of `unknown`.
    pub false_accept: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Auto,
            false_accept: 0.05,
        }
    }
}

impl Settings {
    /// Refuses what no flag gives.
    ///
    /// # Errors
    /// A false-accept share that is none, or [`Method::check`] refuses.
    pub fn check(&self) -> Result<()> {
        if !(self.false_accept > 0.0 && self.false_accept < 1.0) {
            let found = self.false_accept.to_string();
            return Err(Error::invalid(
                "false-accept share",
                found,
                "a number between 0 and 1",
            ));
        }
        self.method.check()
    }
}

/// A head with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Scores of the classes; their softmax is calibrated.
    pub head: Head,
    /// What was answered to each shot by a head that had not seen its burst; none where the class
    /// has no other burst and no name.
    pub held_out: Vec<Option<HeldOut>>,
    /// Its own guess of its accuracy; none where too few shots could be judged.
    pub estimate: Option<Estimate>,
    /// Where unknown begins; none where no shot could be judged.
    pub unknown: Option<Unknown>,
    /// What was chosen and why, in words.
    pub words: Vec<String>,
}

/// Learns the head of `settings` from `support`. The last `background` classes of it (none or one)
/// stand for what must be answered `unknown`.
///
/// # Errors
/// There is no shot, the method refuses them, or a class is not known at all.
pub fn learn(support: &Support<'_>, settings: &Settings, background: usize) -> Result<Learned> {
    settings.check()?;
    support.require_shots("learning")?;
    let classes = support.classes() - background.min(support.classes() - 1);
    let fitted = match settings.method {
        _ if support.classes() == 1 => Fitted::of_one_class(support)?,
        _ if support.labels().iter().all(|y| *y >= classes) => Fitted::of_names(support)?,
        Method::Auto => Fitted::chosen(support, background)?,
        method => Fitted::by_folds(support, method)?,
    };
    let held = &fitted.held_out;
    let p = held.probabilities(fitted.temperature);
    let unknown = unknown::threshold(
        support,
        (held, fitted.temperature),
        fitted.zero_point.as_ref(),
        classes,
        settings.false_accept.into(),
    );
    let estimate = if classes > 1 {
        held.estimate(&p, fitted.curve, classes)
    } else {
        None
    };
    let mut words = fitted.words;
    words.push(Unknown::words(unknown.as_ref()));
    Ok(Learned {
        held_out: held.answers(&p),
        head: fitted.head.scaled(1.0 / fitted.temperature),
        estimate,
        unknown,
        words,
    })
}

impl Learned {
    /// A head of which nothing is known: no shot was answered, no threshold found.
    #[must_use]
    pub fn elsewhere(head: Head) -> Self {
        let words = vec!["learned elsewhere: its probabilities are taken as they come".to_owned()];
        Self {
            head,
            held_out: Vec::new(),
            estimate: None,
            unknown: None,
            words,
        }
    }

    /// Probabilities of scores that the head gave.
    #[must_use]
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        let mut p = Vec::with_capacity(scores.len());
        self.probabilities_into(scores, &mut p);
        p
    }

    /// The same, written over `p`, whose memory is reused.
    pub fn probabilities_into(&self, scores: &[f32], p: &mut Vec<f32>) {
        let (top, sum) = softmax_parts(scores);
        p.clear();
        p.extend(scores.iter().map(|s| softmax_of(*s, top, sum)));
    }

    /// How well known a feature is, on no scale but its own: the higher, the surer that it shows one
    /// of the first `classes` classes. `None` where there is no threshold to hold it against.
    #[must_use]
    pub fn knownness(&self, feature: &[f32], scores: &[f32], classes: usize) -> Option<f32> {
        let unknown = self.unknown.as_ref()?;
        Some(highest(&scores[..classes]) + unknown.zero(feature))
    }

    /// Whether a feature shows none of the first `classes` classes: another, the background, has the
    /// best score, or the feature is not known well enough.
    #[must_use]
    pub fn is_unknown(&self, feature: &[f32], scores: &[f32], classes: usize) -> Option<bool> {
        if highest(&scores[classes..]) > highest(&scores[..classes]) {
            return Some(true);
        }
        let unknown = self.unknown.as_ref()?;
        let known = self.knownness(feature, scores, classes)?;
        let answer = argmax(ArrayView1::from(&scores[..classes]));
        if unknown.idle[answer] {
            let (top, sum) = softmax_parts(scores);
            let p = softmax_of(scores[answer], top, sum);
            return Some(known < unknown.by_name || p < LIKELY);
        }
        Some(known < unknown.threshold)
    }

    /// Refuses what learning never makes, as a file might hold it.
    ///
    /// # Errors
    /// Another number of classes or shots, another width, or values that are no numbers.
    pub fn check(&self, classes: usize, dim: usize, shots: usize) -> Result<()> {
        let found = (self.head.classes(), self.head.dim(), self.held_out.len());
        if found != (classes, dim, shots)
            && !(self.held_out.is_empty() && (found.0, found.1) == (classes, dim))
        {
            let expected = format!("{:?}", (classes, dim, shots));
            return Err(Error::invalid(
                "learned head: classes, width, shots",
                format!("{found:?}"),
                expected,
            ));
        }
        let wrong = |what: &'static str| {
            Err(Error::invalid(
                what,
                "a value that cannot be",
                "what learning writes",
            ))
        };
        if self.held_out.iter().flatten().any(|h| h.best >= classes) {
            return wrong("answers to shots left out");
        }
        if let Some(u) = &self.unknown {
            let width = u.zero_point.len();
            if u.idle.len() != classes
                || u.by_name.is_nan()
                || !u.threshold.is_finite()
                || (width != 0 && width != dim)
                || u.zero_point.iter().any(|v| !v.is_finite())
            {
                return wrong("threshold of unknown");
            }
        }
        Ok(())
    }
}

fn highest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// A head, and the answers of its like to shots left out.
struct Fitted {
    head: Head,
    held_out: HeldOutScores,
    /// What scores must be divided by to be calibrated; 1 for the mix, which is.
    temperature: f32,
    curve: f64,
    zero_point: Option<Array1<f64>>,
    words: Vec<String>,
}

impl Fitted {
    /// A head whose scores are calibrated as they come, and whose errors are taken as they are.
    fn plain(head: Head, held_out: HeldOutScores, words: impl Into<String>) -> Self {
        Self {
            head,
            held_out,
            temperature: 1.0,
            curve: 0.0,
            zero_point: None,
            words: vec![words.into()],
        }
    }

    fn auto(support: &Support<'_>, background: usize) -> Result<Self> {
        let found = auto::learn(support, background)?;
        Ok(Self {
            head: Head::Linear(found.linear),
            held_out: found.held_out,
            temperature: 1.0,
            curve: found.curve,
            zero_point: found.zero_point,
            words: found.words,
        })
    }

    /// What `auto` chooses.
    fn chosen(support: &Support<'_>, background: usize) -> Result<Self> {
        let shots = support.class_weights();
        let seen = shots.iter().filter(|n| **n > 0.0).count();
        let idle = shots.len() - seen;
        if idle == 0 {
            let mix = Self::auto(support, background)?;
            let answers = mix
                .held_out
                .answers(&mix.held_out.probabilities(mix.temperature));
            let Some(passed) = gate::pass(support, &answers) else {
                return Ok(mix);
            };
            return Ok(Self {
                temperature: passed.held_out.temperature(),
                ..Self::plain(passed.method.learn(support)?, passed.held_out, passed.words)
            });
        }
        // Shots of one class say nothing of how classes differ, and nothing that is left out of them
        // can tell what the others lose: only that class's own weight may move.
        let mut fitted = if seen == 1 {
            let method = Method::ResidualLinear(Penalty::PerClass);
            let words =
                "one class has photos: its own weight moves, those of the names stay".to_owned();
            Self {
                words: vec![words],
                ..Self::by_folds(support, method)?
            }
        } else {
            Self::auto(support, background)?
        };
        let (classes, have) = if idle == 1 {
            ("class", "has")
        } else {
            ("classes", "have")
        };
        fitted.words.push(format!(
            "{idle} {classes} {have} no photos: what they lose or gain is not judged"
        ));
        Ok(fitted)
    }

    fn by_folds(support: &Support<'_>, method: Method) -> Result<Self> {
        let head = method.learn(support)?;
        let held_out = held_out_by_folds(support, method, FOLDS);
        let temperature = held_out.temperature();
        let words = match held_out.rows().count() {
            0 => format!(
                "{method}, as asked for; no shot could be judged, so its probabilities are taken as they come"
            ),
            n => format!(
                "{method}, as asked for; temperature {temperature:.2} from {n} shots left out in {FOLDS} folds"
            ),
        };
        Ok(Self {
            temperature,
            ..Self::plain(head, held_out, words)
        })
    }

    /// Beside names alone a background is no class to choose: it only tells where unknown begins.
    fn of_names(support: &Support<'_>) -> Result<Self> {
        let weights = support.text().mapv(|v| v * support.scale() as f32);
        let mut bias = vec![0.0; support.classes()];
        if let Some(last) = bias.last_mut() {
            *last = NEVER;
        }
        let head = Head::Linear(Linear::new(weights, bias)?);
        let scores = head.scores(support.features());
        let held_out = HeldOutScores::of_shots(support, scores, vec![true; support.len()]);
        let words = "names alone choose; the background tells where unknown begins";
        Ok(Self::plain(head, held_out, words))
    }

    /// With nothing to choose between, likeness to the mean of the shots is all that there is.
    fn of_one_class(support: &Support<'_>) -> Result<Self> {
        let head = nearest_mean::learn(support)?;
        let mut scores = Array2::zeros((support.len(), 1));
        let mut judged = vec![false; support.len()];
        let bursts = support.bursts();
        for i in 0..support.len() {
            let rest = support.only(|j| bursts[j] != bursts[i]);
            let Ok(other) = nearest_mean::learn(&rest) else {
                continue;
            };
            scores.row_mut(i).assign(
                &other
                    .scores(support.features().slice(ndarray::s![i..=i, ..]))
                    .row(0),
            );
            judged[i] = !rest.is_empty();
        }
        let held_out = HeldOutScores::of_shots(support, scores, judged);
        let words = match held_out.rows().count() {
            0 => {
                "one class and one view: every picture will be answered by it until it is shown others"
            }
            _ => "one class: what is not like its photos is unknown",
        };
        Ok(Self::plain(head, held_out, words))
    }
}
