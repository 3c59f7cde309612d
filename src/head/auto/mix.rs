//! The mix inside `auto`: how much names, photos and their average each count, from the answers
//! that were given to shots left out.
//!
//! `score_k = a·z_k + c·c_k + g·l_k + b_k`: z the scaled cosine to the text weight around its mean over
//! the names, c_k how much dearer the average photo is to name k than to others, l the discriminant,
//! b_k a small bias. Classes without a name have no z and c; they have a g of their own and a common
//! offset d. All are chosen by the log-loss of held-out shots plus a Gaussian prior that says how far
//! each may go on how little evidence (maximum a posteriori): the prior is worth a fixed number of
//! shots, so its share falls as 1/N.

use ndarray::{Array2, ArrayView1};

use super::super::optimise::{Stop, lbfgs};
use super::super::softmax::softmax;

/// Prior of ln a: names are believed as the bundle scales them.
const SPREAD_A: f64 = 0.3;
/// Prior of ln g around the strength that [`Mix::fit`] states.
const SPREAD_G: f64 = 0.3;
/// Prior of c.
const MEAN_C: f64 = 0.25;
const SPREAD_C: f64 = 0.5;
/// Prior of d around the score of the best name.
const SPREAD_D: f64 = 4.0;
/// 1/variance of each bias.
const TIGHT_B: f64 = 2.0;

/// g where names say nothing: the discriminant's scores are too sure of themselves by 1/g, since
/// its covariance is estimated from few shots.
pub(super) const STRENGTH: f64 = 0.08;
/// Where names alone lose `loss` of ln K, photos start at STRENGTH·√(2·loss), at least a fifth of it:
/// what names tell already, photos need not.
const LOSS_FACTOR: f64 = 2.0;
const LEAST: f64 = 0.2;
/// … and at 0.3 less where no shot can be checked by another of its class.
const UNCHECKED: f64 = 0.3;

/// What is known of each shot and class.
pub(super) struct Evidence<'a> {
    /// N×K: scaled cosines to the text weights around their mean over the names, 0 without a name.
    pub(super) names: Option<Array2<f32>>,
    /// N×K: the discriminant's held-out scores.
    pub(super) photos: &'a Array2<f32>,
    /// K: how the average photo leans towards each name.
    pub(super) lean: Vec<f64>,
    /// N: classes of the shots.
    pub(super) labels: &'a [usize],
    /// N: weights of the shots; every class weighs the same.
    pub(super) weights: Vec<f64>,
    /// N: whether the shot's class has other shots.
    pub(super) checked: Vec<bool>,
    /// Classes but for the background, which stands last where it has shots.
    pub(super) classes: usize,
    /// K: whether the class has a text weight.
    pub(super) named: Vec<bool>,
    /// K: whether it has shots.
    pub(super) seen: Vec<bool>,
}

/// The strengths, as found.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    /// ln a, ln g of classes with and without a name, c, d, then a bias a class.
    values: Vec<f64>,
    /// Prior of g for classes with a name.
    pub(super) strength: f64,
    /// Share of ln K that names alone lose, where there are names.
    pub(super) loss_of_names: Option<f64>,
}

/// Which part of the evidence counts.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// Shots of named classes, against names alone.
    Names,
    /// Everything.
    Whole,
}

impl Mix {
    pub(super) fn fit(evidence: &Evidence<'_>) -> Self {
        let k = evidence.named.len();
        let mut mix = Self {
            values: vec![0.0; 5 + k],
            strength: STRENGTH,
            loss_of_names: None,
        };
        let mut prior = vec![0.0; 5 + k];
        (prior[1], prior[2], prior[3]) = (STRENGTH.ln(), STRENGTH.ln(), MEAN_C);
        prior[4] = evidence.best_name();
        mix.values.clone_from(&prior);
        let counts = |i: &usize| evidence.named[evidence.labels[*i]];
        let named: Vec<usize> = (0..evidence.labels.len()).filter(counts).collect();
        if evidence.names.is_some() && !named.is_empty() {
            mix.minimise(evidence, &prior, Part::Names);
            let loss = mix.loss_of_names(evidence, &named);
            let weight = |all: &[usize]| all.iter().map(|i| evidence.weights[*i]).sum::<f64>();
            let checked: Vec<usize> = named
                .iter()
                .copied()
                .filter(|i| evidence.checked[*i])
                .collect();
            let unchecked = 1.0 - weight(&checked) / weight(&named);
            mix.loss_of_names = Some(loss);
            mix.strength = STRENGTH
                * (LOSS_FACTOR * loss).sqrt().clamp(LEAST, 1.0)
                * (1.0 - UNCHECKED * unchecked);
        }
        prior[1] = mix.strength.ln();
        (mix.values[1], mix.values[2]) = (prior[1], prior[2]);
        mix.minimise(evidence, &prior, Part::Whole);
        mix
    }

    /// a, the strength of names.
    pub(super) fn names(&self) -> f64 {
        self.values[0].exp()
    }

    /// c, the weight of the average photo's lean.
    pub(super) fn lean(&self) -> f64 {
        self.values[3]
    }

    /// g, the strength of photos, for classes with (`true`) and without a name.
    pub(super) fn photos(&self, named: bool) -> f64 {
        self.values[if named { 1 } else { 2 }].exp()
    }

    /// Offset of the classes without a name.
    pub(super) fn offset(&self) -> f64 {
        self.values[4]
    }

    pub(super) fn move_offset(&mut self, by: f64) {
        self.values[4] += by;
    }

    /// b + d, by class.
    pub(super) fn biases(&self, evidence: &Evidence<'_>) -> Vec<f64> {
        let given = &self.values[5..];
        let seen = evidence.seen.iter().filter(|s| **s).count().max(1) as f64;
        let sum: f64 = given
            .iter()
            .zip(&evidence.seen)
            .filter(|(_, s)| **s)
            .map(|(b, _)| b)
            .sum();
        // Beside names without shots, whose bias is 0, only differences may be learned.
        let shift = if evidence.has_idle_names() {
            sum / seen
        } else {
            0.0
        };
        (0..given.len())
            .map(|k| {
                let own = if evidence.seen[k] {
                    given[k] - shift
                } else {
                    0.0
                };
                own + if evidence.named[k] {
                    0.0
                } else {
                    self.values[4]
                }
            })
            .collect()
    }

    /// Scores of shot `i`, whose discriminant gives `photos`, written over `out`.
    pub(super) fn scores(
        &self,
        evidence: &Evidence<'_>,
        i: usize,
        photos: ArrayView1<'_, f32>,
        biases: &[f64],
        out: &mut [f64],
    ) {
        self.add_up(evidence, i, photos, biases, 1.0, out);
    }

    fn add_up(
        &self,
        evidence: &Evidence<'_>,
        i: usize,
        photos: ArrayView1<'_, f32>,
        biases: &[f64],
        use_photos: f64,
        out: &mut [f64],
    ) {
        let (named, unnamed) = (
            use_photos * self.photos(true),
            use_photos * self.photos(false),
        );
        for (k, out) in out.iter_mut().enumerate() {
            let strength = if evidence.named[k] { named } else { unnamed };
            *out = strength * f64::from(photos[k]) + biases[k];
        }
        if let Some(names) = &evidence.names {
            let (a, c) = (self.names(), self.lean());
            for ((out, z), lean) in out.iter_mut().zip(names.row(i)).zip(&evidence.lean) {
                *out += a * f64::from(*z) + c * lean;
            }
        }
    }

    fn loss_of_names(&self, evidence: &Evidence<'_>, named: &[usize]) -> f64 {
        let biases = self.biases(evidence);
        let (mut loss, mut weight) = (0.0, 0.0);
        let mut scores = vec![0.0; evidence.named.len()];
        for &i in named {
            self.add_up(
                evidence,
                i,
                evidence.photos.row(i),
                &biases,
                0.0,
                &mut scores,
            );
            evidence.strike_unnamed(&mut scores);
            let own = scores[evidence.labels[i]];
            loss += evidence.weights[i] * (softmax(&mut scores) - own);
            weight += evidence.weights[i];
        }
        let names = evidence.named.iter().filter(|n| **n).count().max(2);
        loss / weight / (names as f64).ln()
    }

    fn minimise(&mut self, evidence: &Evidence<'_>, prior: &[f64], part: Part) {
        let stop = Stop {
            steps: 60,
            gradient: 1e-9,
            fall: 1e-7,
        };
        let mut x = self.values.clone();
        lbfgs(&mut x, stop, &mut |x: &[f64], gradient: &mut [f64]| {
            let at = Self {
                values: x.to_vec(),
                strength: self.strength,
                loss_of_names: None,
            };
            at.objective(evidence, prior, part, gradient)
        });
        self.values = x;
    }

    /// −log posterior, with its gradient.
    fn objective(
        &self,
        evidence: &Evidence<'_>,
        prior: &[f64],
        part: Part,
        gradient: &mut [f64],
    ) -> f64 {
        gradient.fill(0.0);
        let k = evidence.named.len();
        let use_photos = if part == Part::Names { 0.0 } else { 1.0 };
        let biases = self.biases(evidence);
        let mut sums = vec![0.0; k];
        let mut scores = vec![0.0; k];
        let mut value = 0.0;
        for (i, &own) in evidence.labels.iter().enumerate() {
            if part == Part::Names && !evidence.named[own] {
                continue;
            }
            let photos = evidence.photos.row(i);
            self.add_up(evidence, i, photos, &biases, use_photos, &mut scores);
            if part == Part::Names {
                evidence.strike_unnamed(&mut scores);
            }
            let score = scores[own];
            let weight = evidence.weights[i];
            value += weight * (softmax(&mut scores) - score);
            scores[own] -= 1.0;
            for (j, p) in scores.iter_mut().enumerate() {
                *p *= weight;
                sums[j] += *p;
                gradient[if evidence.named[j] { 1 } else { 2 }] +=
                    use_photos * *p * f64::from(photos[j]);
            }
            if let Some(names) = &evidence.names {
                gradient[0] += names
                    .row(i)
                    .iter()
                    .zip(&scores)
                    .map(|(z, p)| p * f64::from(*z))
                    .sum::<f64>();
            }
        }
        gradient[0] *= self.names();
        gradient[1] *= self.photos(true);
        gradient[2] *= self.photos(false);
        gradient[3] = sums.iter().zip(&evidence.lean).map(|(p, c)| p * c).sum();
        gradient[4] = sums
            .iter()
            .zip(&evidence.named)
            .filter(|(_, named)| !**named)
            .map(|(p, _)| p)
            .sum();
        let seen = evidence.seen.iter().filter(|s| **s).count().max(1) as f64;
        let over_seen: f64 = sums
            .iter()
            .zip(&evidence.seen)
            .filter(|(_, s)| **s)
            .map(|(p, _)| p)
            .sum();
        let shift = if evidence.has_idle_names() {
            over_seen / seen
        } else {
            0.0
        };
        for j in (0..k).filter(|j| evidence.seen[*j]) {
            gradient[5 + j] = sums[j] - shift;
        }
        for (j, value_j) in self.values.iter().enumerate() {
            let tight = match j {
                0 => SPREAD_A.powi(-2),
                1 | 2 => SPREAD_G.powi(-2),
                3 => SPREAD_C.powi(-2),
                4 => SPREAD_D.powi(-2),
                _ => TIGHT_B,
            };
            let off = value_j - prior[j];
            value += 0.5 * tight * off * off;
            gradient[j] += tight * off;
        }
        value
    }
}

impl Evidence<'_> {
    /// Names without shots, beside classes with shots.
    pub(super) fn has_idle_names(&self) -> bool {
        self.named
            .iter()
            .zip(&self.seen)
            .any(|(named, seen)| *named && !*seen)
    }

    /// Whether there are classes of both kinds; the background is of neither.
    pub(super) fn is_half_named(&self) -> bool {
        self.names.is_some() && self.named[..self.classes].contains(&false)
    }

    /// Mean over the shots of the best name's score, where a class without a name must keep up.
    pub(super) fn best_name(&self) -> f64 {
        let Some(names) = self.names.as_ref().filter(|_| self.named.contains(&false)) else {
            return 0.0;
        };
        let best = |row: ArrayView1<'_, f32>| {
            let named = row.iter().zip(&self.named).filter(|(_, named)| **named);
            f64::from(named.fold(f32::NEG_INFINITY, |best, (z, _)| best.max(*z)))
        };
        names.rows().into_iter().map(best).sum::<f64>() / names.nrows().max(1) as f64
    }

    fn strike_unnamed(&self, scores: &mut [f64]) {
        for (score, named) in scores.iter_mut().zip(&self.named) {
            if !named {
                *score = f64::NEG_INFINITY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::linalg::Random;
    use super::*;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (n, k) = (11, 5);
        let mut random = Random::new(3);
        let mut matrix =
            || Array2::from_shape_simple_fn((n, k), || (4.0 * random.uniform() - 2.0) as f32);
        let photos = matrix();
        let labels: Vec<usize> = (0..n).map(|i| i % 4).collect();
        let mut evidence = Evidence {
            names: Some(matrix()),
            photos: &photos,
            lean: vec![0.3, -0.2, 0.0, 0.5, 0.1],
            labels: &labels,
            weights: vec![1.25; n],
            checked: vec![true; n],
            classes: 5,
            named: vec![true, true, false, true, true],
            seen: vec![true, true, true, true, false],
        };
        for idle in [true, false] {
            evidence.named[4] = idle;
            for part in [Part::Names, Part::Whole] {
                let prior = [0.0, -2.5, -2.0, 0.25, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
                let values = vec![0.1, -1.0, -0.5, 0.4, 0.7, 0.2, -0.1, 0.3, 0.05, 0.0];
                let mix = |values: Vec<f64>| Mix {
                    values,
                    strength: 0.08,
                    loss_of_names: None,
                };
                let mut gradient = vec![0.0; 10];
                mix(values.clone()).objective(&evidence, &prior, part, &mut gradient);
                let mut unused = vec![0.0; 10];
                for j in 0..10 {
                    let mut at = |by: f64| {
                        let mut moved = values.clone();
                        moved[j] += by;
                        mix(moved).objective(&evidence, &prior, part, &mut unused)
                    };
                    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!(
                        (slope - gradient[j]).abs() < 1e-6,
                        "{j}: {slope} {}",
                        gradient[j]
                    );
                }
            }
        }
    }
}
