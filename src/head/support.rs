//! What a head learns from: shots in bursts, and the text weights of the classes.
//!
//! Everything is checked once, here, so that the heads need not check again.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::linalg::{unit_rows, widen};
use crate::error::{Error, Result};

/// How far a squared length may lie from 1: features kept as f16 are off by up to 0.001.
const UNIT_TOLERANCE: f64 = 0.01;

/// Labelled features, as they were taken.
#[derive(Clone, Copy, Debug)]
pub struct Shots<'a> {
    /// N×D, unit rows.
    pub features: ArrayView2<'a, f32>,
    /// Class of each row, below K.
    pub labels: &'a [usize],
    /// Number of each row's burst: rows of one class and burst count as one shot together.
    pub bursts: &'a [u32],
}

/// Shots, text weights and scale that fit each other.
#[derive(Clone, Debug)]
pub struct Support<'a> {
    shots: Shots<'a>,
    text: ArrayView2<'a, f32>,
    scale: f64,
    weights: Array1<f64>,
}

impl<'a> Support<'a> {
    /// Checks and binds together `shots`, `text` (K×D; unit rows, or zeros for a class without
    /// text) and the bundle's logit scale.
    ///
    /// # Errors
    /// Lengths or widths that differ, a label from K up, values that are not finite, rows that
    /// are not of unit length, no class, or a scale that is not positive.
    pub fn new(shots: Shots<'a>, text: ArrayView2<'a, f32>, scale: f32) -> Result<Self> {
        let (n, d) = shots.features.dim();
        let (k, text_width) = text.dim();
        expect_count("text weights", k.min(d), 1..)?;
        expect_count("labels of the shots", shots.labels.len(), n..=n)?;
        expect_count("bursts of the shots", shots.bursts.len(), n..=n)?;
        expect_count("width of the text weights", text_width, d..=d)?;
        if let Some(label) = shots.labels.iter().find(|l| **l >= k) {
            let expected = format!("a class below {k}");
            return Err(Error::invalid(
                "label of a shot",
                label.to_string(),
                expected,
            ));
        }
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::invalid(
                "logit scale",
                scale.to_string(),
                "a positive number",
            ));
        }
        check_rows("feature of a shot", shots.features, false)?;
        check_rows("text weight", text, true)?;
        let weights = burst_weights(&shots);
        Ok(Self {
            shots,
            text,
            scale: f64::from(scale),
            weights,
        })
    }

    /// The same without the shots that `keep` refuses; they stand by with weight 0.
    #[must_use]
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut part = self.clone();
        for (i, weight) in part.weights.iter_mut().enumerate() {
            if !keep(i) {
                *weight = 0.0;
            }
        }
        part
    }

    /// N, the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shots.labels.len()
    }

    /// Whether there is no shot at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.iter().all(|w| *w == 0.0)
    }

    /// K, the number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.text.nrows()
    }

    /// D, the width of the features.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.text.ncols()
    }

    /// The features, N×D.
    #[must_use]
    pub fn features(&self) -> ArrayView2<'a, f32> {
        self.shots.features
    }

    /// The class of each row.
    #[must_use]
    pub fn labels(&self) -> &'a [usize] {
        self.shots.labels
    }

    /// The burst of each row.
    #[must_use]
    pub fn bursts(&self) -> &'a [u32] {
        self.shots.bursts
    }

    /// The text weights, K×D; rows of zeros where unknown.
    #[must_use]
    pub fn text(&self) -> ArrayView2<'a, f32> {
        self.text
    }

    /// The bundle's logit scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The share of a shot that each row is: one over the size of its burst in its class.
    #[must_use]
    pub fn weights(&self) -> &Array1<f64> {
        &self.weights
    }

    /// Sum of the weights: how many independent shots there are.
    #[must_use]
    pub fn effective(&self) -> f64 {
        self.weights.sum()
    }

    /// Weight of the shots of each class.
    #[must_use]
    pub fn class_weights(&self) -> Array1<f64> {
        let mut sums = Array1::zeros(self.classes());
        for (label, weight) in self.labels().iter().zip(&self.weights) {
            sums[*label] += weight;
        }
        sums
    }

    /// Whether class `k` has a text weight.
    #[must_use]
    pub fn has_text(&self, k: usize) -> bool {
        self.text.row(k).iter().any(|v| *v != 0.0)
    }

    /// Weighted means of the features of each class, K×D; rows of zeros without shots.
    pub(super) fn means(&self) -> Array2<f64> {
        let mut means = Array2::<f64>::zeros((self.classes(), self.dim()));
        for ((row, label), weight) in self
            .features()
            .rows()
            .into_iter()
            .zip(self.labels())
            .zip(&self.weights)
        {
            means
                .row_mut(*label)
                .zip_mut_with(&row, |m, v| *m += weight * f64::from(*v));
        }
        for (mut mean, weight) in means.rows_mut().into_iter().zip(self.class_weights()) {
            if weight > 0.0 {
                mean /= weight;
            }
        }
        means
    }

    /// Weighted mean of all features, D; zeros without shots.
    pub(super) fn centre(&self) -> Array1<f64> {
        let mut sum = Array1::zeros(self.dim());
        for (row, weight) in self.features().rows().into_iter().zip(&self.weights) {
            sum.zip_mut_with(&row, |s, v| *s += weight * f64::from(*v));
        }
        sum / self.effective().max(f64::MIN_POSITIVE)
    }

    /// Where heads start: T, K×D, unit rows; the text weight, or the mean of the shots where
    /// there is none. Where classes of both kinds meet, that mean is moved to the text's side.
    ///
    /// # Errors
    /// A class has neither text nor shots.
    pub(super) fn start(&self) -> Result<Array2<f64>> {
        let known: Vec<usize> = (0..self.classes()).filter(|k| self.has_text(*k)).collect();
        let mut start = widen(self.text);
        unit_rows(&mut start);
        if known.len() == self.classes() {
            return Ok(start);
        }
        let mut means = self.means();
        unit_rows(&mut means);
        let weights = self.class_weights();
        if !known.is_empty() {
            let shot: Vec<usize> = (0..self.classes()).filter(|k| weights[*k] > 0.0).collect();
            move_across(&mut means, &shot, &start, &known);
        }
        for k in (0..self.classes()).filter(|k| !self.has_text(*k)) {
            if weights[k] <= 0.0 {
                let found = format!("nothing for class {k}");
                return Err(Error::invalid(
                    "what is known of a class",
                    found,
                    "a text weight or a shot",
                ));
            }
            start.row_mut(k).assign(&means.row(k));
        }
        Ok(start)
    }

    /// # Errors
    /// There is no shot.
    pub(super) fn require_shots(&self, head: &'static str) -> Result<()> {
        if self.is_empty() {
            return Err(Error::invalid(
                head,
                "no shots",
                "at least one shot: use zero-shot until then",
            ));
        }
        Ok(())
    }

    /// A fold for each row, below `most`, dealt burst by burst within each class; rows that no
    /// fold may take, the only burst of a class without text, have none.
    pub(super) fn folds(&self, most: usize) -> Vec<Option<usize>> {
        let mut bursts: Vec<Vec<u32>> = vec![Vec::new(); self.classes()];
        for (i, label) in self.labels().iter().enumerate() {
            if self.weights[i] > 0.0 && !bursts[*label].contains(&self.bursts()[i]) {
                bursts[*label].push(self.bursts()[i]);
            }
        }
        let fold_of = |i: usize| {
            let label = self.labels()[i];
            let own = &bursts[label];
            let rank = own.iter().position(|b| *b == self.bursts()[i])?;
            (own.len() > 1 || self.has_text(label)).then_some((rank + label) % most)
        };
        (0..self.len()).map(fold_of).collect()
    }
}

/// Image features and text weights of CLIP lie in two cones (Liang et al., 2022, "Mind the gap"):
/// moves unit `rows` from around the centre of those in `from` to around the centre of `onto`'s
/// rows in `to`, and brings them to unit length.
pub(super) fn move_across(
    rows: &mut Array2<f64>,
    from: &[usize],
    onto: &Array2<f64>,
    to: &[usize],
) {
    let both: Vec<usize> = from.iter().copied().filter(|k| to.contains(k)).collect();
    // Classes known both ways tell the gap alone; without any, all that there is must do.
    let (from, to) = if both.len() > 1 {
        (&*both, &*both)
    } else {
        (from, to)
    };
    let here = centre(rows, from);
    let there = centre(onto, to);
    *rows += &(&there - &here);
    unit_rows(rows);
}

fn centre(rows: &Array2<f64>, of: &[usize]) -> Array1<f64> {
    let zeros = Array1::zeros(rows.ncols());
    rows.select(Axis(0), of).mean_axis(Axis(0)).unwrap_or(zeros)
}

fn burst_weights(shots: &Shots<'_>) -> Array1<f64> {
    let keys = || {
        shots
            .labels
            .iter()
            .copied()
            .zip(shots.bursts.iter().copied())
    };
    let mut sizes = std::collections::BTreeMap::new();
    for key in keys() {
        *sizes.entry(key).or_insert(0_u32) += 1;
    }
    keys().map(|key| 1.0 / f64::from(sizes[&key])).collect()
}

fn expect_count(
    what: &'static str,
    found: usize,
    range: impl std::ops::RangeBounds<usize> + std::fmt::Debug,
) -> Result<()> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(Error::invalid(
        what,
        found.to_string(),
        format!("{range:?}"),
    ))
}

fn check_rows(what: &'static str, rows: ArrayView2<'_, f32>, zeros: bool) -> Result<()> {
    for (i, row) in rows.rows().into_iter().enumerate() {
        let square: f64 = row.iter().map(|v| f64::from(*v).powi(2)).sum();
        // Not a number fails too.
        if !((square - 1.0).abs() <= UNIT_TOLERANCE || zeros && square == 0.0) {
            let found = format!("length {:.4} in row {i}", square.sqrt());
            return Err(Error::invalid(what, found, "finite values of unit length"));
        }
    }
    Ok(())
}
