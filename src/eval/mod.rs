//! Measures what is learned: heads on labelled features, classifiers on labelled photos.
//!
//! Nothing here is used in learning: what a head chooses, it chooses from its shots alone.

mod confusion;
mod curve;
mod exchange;
mod pack;
mod picture;

use ndarray::Array2;

pub use confusion::confusion;
pub use curve::{Line, curve};
pub use exchange::{Exchanged, read_head, write_head};
pub use pack::{Draw, Labelled, Pack};
pub use picture::Picture;

use crate::error::Result;
use crate::head::metrics;
use crate::head::{self, Learned, Method, Settings, Shots, Support};

/// What came of one head at one number of shots, over some draws.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Shots a class.
    pub shots: usize,
    /// Draws that the figures are means of.
    pub draws: usize,
    /// Share of queries whose best class is right.
    pub top1: f64,
    /// The same by class, then the mean of classes.
    pub balanced: f64,
    /// Mean −log of the right class's probability.
    pub log_loss: f64,
    /// Expected calibration error over 15 equal-mass bins of the draws pooled, less `ece_floor`.
    pub ece: f64,
    /// What a perfectly calibrated predictor shows at this size.
    pub ece_floor: f64,
    /// Top-1 by names alone, where every class has one.
    pub zero_shot: Option<f64>,
    /// The learner's own guess of its top-1, and the mean ends of its interval.
    pub estimate: Option<(f64, f64, f64)>,
    /// What it chose and why, for the last draw.
    pub words: Vec<String>,
    /// Seconds of learning, mean over draws.
    pub seconds: f64,
    /// Right answers and queries of each class, over all draws.
    pub per_class: Vec<(usize, usize)>,
}

/// How well the later half of the classes is told from the first half, which alone is learned: areas
/// under the ROC curve, mean over draws.
#[derive(Clone, Copy, Debug)]
pub struct OpenSet {
    /// By how well known a feature is ([`Learned::knownness`]).
    pub auroc: f64,
    /// By the largest probability of the same head.
    pub max_softmax: f64,
}

/// Figures of one set of answers: `p` is N×K, `labels` the truth.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Share of rows whose largest value is the right class's.
    pub top1: f64,
    /// The same by class, then the mean of classes.
    pub balanced: f64,
    /// Mean −log of the right class's probability.
    pub log_loss: f64,
}

impl Figures {
    /// Measures probabilities against the truth.
    #[must_use]
    pub fn of(p: &Array2<f32>, labels: &[usize]) -> Self {
        Self {
            top1: metrics::top1(p.view(), labels),
            balanced: metrics::balanced_accuracy(p.view(), labels),
            log_loss: metrics::log_loss(p.view(), labels),
        }
    }
}

/// Learns from each of `draws`, of `shots` a class, and measures on what they leave. Heads other than
/// `auto` are left as they come where `uncalibrated`: that is what tables of top-1 need.
///
/// # Errors
/// The pack has too few rows, or the head cannot be learned from them.
pub fn measure(
    pack: &Pack,
    shots: usize,
    settings: &Settings,
    draws: &[Draw],
    uncalibrated: bool,
) -> Result<Cell> {
    if draws.is_empty() {
        return Err(crate::Error::invalid(
            "draws of shots",
            "none",
            "one at least",
        ));
    }
    let mut figures = Vec::new();
    let (mut pooled, mut labels) = (Vec::new(), Vec::new());
    let (mut estimates, mut words, mut seconds) = (Vec::new(), Vec::new(), 0.0);
    for draw in draws {
        let bursts: Vec<u32> = (0..draw.support.labels.len() as u32).collect();
        let started = std::time::Instant::now();
        let shots = Shots {
            features: draw.support.features.view(),
            labels: &draw.support.labels,
            bursts: &bursts,
        };
        let support = Support::new(shots, pack.text.view(), pack.scale)?;
        let learned = match settings.method {
            method if uncalibrated && method != Method::Auto => {
                Learned::elsewhere(method.learn(&support)?)
            }
            _ => head::learn(&support, settings, 0)?,
        };
        seconds += started.elapsed().as_secs_f64();
        let mut p = learned.head.scores(draw.query.features.view());
        for mut row in p.rows_mut() {
            let probabilities = learned.probabilities(&row.to_vec());
            row.assign(&ndarray::aview1(&probabilities));
        }
        figures.push(Figures::of(&p, &draw.query.labels));
        pooled.push(p);
        labels.extend_from_slice(&draw.query.labels);
        estimates.extend(learned.estimate.map(|e| (e.accuracy, e.low, e.high)));
        words = learned.words;
    }
    let count = draws.len() as f64;
    let mean = |of: fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>() / count;
    let parts: Vec<_> = pooled.iter().map(|p: &Array2<f32>| p.view()).collect();
    let pooled =
        ndarray::concatenate(ndarray::Axis(0), &parts).expect("all draws have the same classes");
    let (ece, floor) = calibration(&pooled, &labels);
    let mut per_class = vec![(0, 0); pack.classes.len()];
    for (own, best) in labels.iter().zip(metrics::best(pooled.view())) {
        per_class[*own].0 += usize::from(best == *own);
        per_class[*own].1 += 1;
    }
    Ok(Cell {
        per_class,
        shots,
        draws: draws.len(),
        top1: mean(|f| f.top1),
        balanced: mean(|f| f.balanced),
        log_loss: mean(|f| f.log_loss),
        ece: (ece - floor).max(0.0),
        ece_floor: floor,
        zero_shot: pack.is_named().then(|| zero_shot(pack, draws)),
        estimate: (estimates.len() == draws.len()).then(|| {
            let sum = estimates
                .iter()
                .fold((0.0, 0.0, 0.0), |s, e| (s.0 + e.0, s.1 + e.1, s.2 + e.2));
            (sum.0 / count, sum.1 / count, sum.2 / count)
        }),
        words,
        seconds: seconds / count,
    })
}

/// Learns the first half of the classes from each of `draws` and asks for all; none where the head knows no
/// unknown, or there are fewer than four classes.
///
/// # Errors
/// The head cannot be learned from so few.
pub fn open_set(pack: &Pack, settings: &Settings, draws: &[Draw]) -> Result<Option<OpenSet>> {
    let known = pack.classes.len() / 2;
    if known < 2 {
        return Ok(None);
    }
    let text = pack.text.slice(ndarray::s![..known, ..]);
    let (mut auroc, mut max_softmax) = (0.0, 0.0);
    for draw in draws {
        let rows: Vec<usize> = (0..draw.support.labels.len())
            .filter(|i| draw.support.labels[*i] < known)
            .collect();
        let labels: Vec<usize> = rows.iter().map(|i| draw.support.labels[*i]).collect();
        let bursts: Vec<u32> = (0..rows.len() as u32).collect();
        let features = draw.support.features.select(ndarray::Axis(0), &rows);
        let shots = Shots {
            features: features.view(),
            labels: &labels,
            bursts: &bursts,
        };
        let learned = head::learn(&Support::new(shots, text, pack.scale)?, settings, 0)?;
        let own: Vec<bool> = draw.query.labels.iter().map(|y| *y < known).collect();
        let scores = learned.head.scores(draw.query.features.view());
        let (mut by_known, mut by_top) = (Vec::new(), Vec::new());
        for (row, feature) in scores.rows().into_iter().zip(draw.query.features.rows()) {
            let (row, feature) = (row.to_vec(), feature.to_vec());
            let Some(known) = learned.knownness(&feature, &row, known) else {
                return Ok(None);
            };
            by_known.push(known);
            by_top.push(learned.probabilities(&row).into_iter().fold(0.0, f32::max));
        }
        auroc += metrics::auroc(&by_known, &own) / draws.len() as f64;
        max_softmax += metrics::auroc(&by_top, &own) / draws.len() as f64;
    }
    Ok(Some(OpenSet { auroc, max_softmax }))
}

/// Calibration error of probabilities (N×K), and the floor that a perfect predictor shows.
#[must_use]
pub fn calibration(p: &Array2<f32>, labels: &[usize]) -> (f64, f64) {
    const ROUNDS: usize = 50;
    (
        metrics::calibration_error(p.view(), labels),
        metrics::calibration_floor(p.view(), ROUNDS, 0),
    )
}

fn zero_shot(pack: &Pack, draws: &[Draw]) -> f64 {
    let hits = draws
        .iter()
        .map(|d| metrics::top1(d.query.features.dot(&pack.text.t()).view(), &d.query.labels));
    hits.sum::<f64>() / draws.len() as f64
}
