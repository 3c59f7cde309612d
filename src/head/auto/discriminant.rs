//! The discriminant inside `auto`: class means and one covariance, both shrunk, with the answers
//! that it would give to each shot without that shot, exactly.
//!
//! As in `gda` the classes share a covariance Σ, and score_k(f) = f·Σ⁻¹μ_k − ½ μ_k·Σ⁻¹μ_k around the
//! centre of the classes (Fisher's discriminant; Wang et al., ICLR 2024, use it on CLIP features).
//! Two things differ, for few shots. The mean of a class with n shots is drawn to the centre of all
//! by n/(n + κ), as an empirical Bayes estimate would be. And the scatter is that within the
//! classes plus a small part of that between them, which alone is known at one shot a class.
//!
//! Leaving shot i out changes the scatter by one rank and one mean by a known step, so that
//! Sherman and Morrison's formula gives all held-out scores at the price of one fit.

use ndarray::{Array1, Array2, ArrayView1, Axis, s};

use super::super::linalg;

/// Ridge on the scatter, in mean squared deviations of one shot.
const RIDGE: f64 = 1.0;
/// κ, the shots that the prior of a class mean is worth.
pub(super) const KAPPA: f64 = 2.5;
/// Rows that are worked on at a time: memory stays small with many shots.
const BLOCK: usize = 256;

/// A fitted discriminant of K classes.
#[derive(Debug)]
pub(super) struct Discriminant {
    /// K×D; zero rows for classes without shots.
    pub(super) weights: Array2<f64>,
    /// K, to be added to `weights · (f − centre)`.
    pub(super) bias: Array1<f64>,
    /// Mean of the class means, D.
    pub(super) centre: Array1<f64>,
    /// Shots of each class.
    pub(super) counts: Vec<usize>,
    /// N×K: scores of each shot without itself; rows of zeros for a class's only shot.
    pub(super) held_out: Array2<f32>,
}

/// What leaving out needs to know of the classes.
struct Classes {
    moments: Moments,
    /// K×D: means times the inverse covariance.
    through: Array2<f64>,
    /// Squared length of each mean by that measure.
    lengths: Vec<f64>,
    freedom: f64,
}

/// Counts, centre, and means around it.
struct Moments {
    counts: Vec<usize>,
    /// How many classes have shots.
    seen: usize,
    centre: Array1<f64>,
    means: Array2<f64>,
    /// Shots beyond the first of each class.
    spare: f64,
    /// The spread of the means stands in for the spread within, the less the more is known of that.
    between: f64,
}

impl Moments {
    fn of(x: &Array2<f64>, y: &[usize], k: usize) -> Self {
        let mut counts = vec![0; k];
        y.iter().for_each(|c| counts[*c] += 1);
        let seen = counts.iter().filter(|c| **c > 0).count();
        let mut means = Array2::zeros((k, x.ncols()));
        for (row, class) in x.rows().into_iter().zip(y) {
            means
                .row_mut(*class)
                .scaled_add(1.0 / counts[*class] as f64, &row);
        }
        let centre = means.sum_axis(Axis(0)) / seen.max(1) as f64;
        for (mut mean, count) in means.rows_mut().into_iter().zip(&counts) {
            if *count > 0 {
                mean -= &centre;
            }
        }
        let spare = y.len().saturating_sub(seen) as f64;
        Self {
            counts,
            seen,
            centre,
            means,
            spare,
            between: 0.5 / (1.0 + spare),
        }
    }

    /// What the regularised scatter of `n` shots is divided by.
    fn freedom(&self, n: usize, d: usize) -> f64 {
        (self.spare + 2.0 * self.between * (self.seen as f64 - 1.0)).max(0.5)
            * (1.0 + RIDGE * d as f64 / n as f64)
    }

    /// Within-class scatter plus `between` times that of the means, weighted by their shots.
    fn scatter(&self, x: &Array2<f64>, y: &[usize]) -> Array2<f64> {
        let d = x.ncols();
        let mut sum = Array2::zeros((d, d));
        for (rows, classes) in x.axis_chunks_iter(Axis(0), BLOCK).zip(y.chunks(BLOCK)) {
            let mut rest = &rows - &self.centre;
            for (mut row, class) in rest.rows_mut().into_iter().zip(classes) {
                row -= &self.means.row(*class);
            }
            ndarray::linalg::general_mat_mul(1.0, &rest.t(), &rest, 1.0, &mut sum);
        }
        let mut spread = self.means.clone();
        for (mut row, count) in spread.rows_mut().into_iter().zip(&self.counts) {
            row *= (self.between * *count as f64).sqrt();
        }
        ndarray::linalg::general_mat_mul(1.0, &spread.t(), &spread, 1.0, &mut sum);
        sum
    }
}

impl Discriminant {
    /// Learns from the rows of `x`, each of class `y`, of `k` classes. None where numbers fail.
    pub(super) fn fit(x: &Array2<f64>, y: &[usize], k: usize) -> Option<Self> {
        let (n, d) = x.dim();
        let moments = Moments::of(x, y, k);
        let mut regular = moments.scatter(x, y);
        let ridge = (RIDGE * regular.diag().sum() / n as f64).max(1e-9);
        regular.diag_mut().mapv_inplace(|v| v + ridge);
        let freedom = moments.freedom(n, d);
        let precision = linalg::solve_spd(regular, Array2::eye(d))? * freedom;
        let through = moments.means.dot(&precision);
        let lengths: Vec<f64> = through
            .rows()
            .into_iter()
            .zip(moments.means.rows())
            .map(|(a, b)| a.dot(&b))
            .collect();
        let classes = Classes {
            through,
            lengths,
            freedom,
            moments,
        };
        let held_out = classes.held_out(x, y, &precision);
        let Classes {
            through: mut weights,
            lengths,
            moments,
            ..
        } = classes;
        let mut bias = Array1::zeros(k);
        for class in 0..k {
            let drawn = shrink(moments.counts[class] as f64);
            weights.row_mut(class).mapv_inplace(|v| v * drawn);
            bias[class] = -0.5 * drawn * drawn * lengths[class];
        }
        Some(Self {
            weights,
            bias,
            centre: moments.centre,
            counts: moments.counts,
            held_out,
        })
    }
}

fn shrink(shots: f64) -> f64 {
    shots / (shots + KAPPA)
}

impl Classes {
    fn held_out(&self, x: &Array2<f64>, y: &[usize], precision: &Array2<f64>) -> Array2<f32> {
        let mut out = Array2::zeros((x.nrows(), self.lengths.len()));
        let between = self.moments.means.dot(&self.through.t());
        for (at, rows) in x.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
            let rows = &rows - &self.moments.centre;
            let scores = rows.dot(&self.through.t());
            let lengths = (&rows.dot(precision) * &rows).sum_axis(Axis(1));
            for i in 0..rows.nrows() {
                let shot = at * BLOCK + i;
                let own = y[shot];
                if self.moments.counts[own] > 1 {
                    let row = self.without(own, scores.row(i), lengths[i], between.row(own));
                    out.slice_mut(s![shot, ..]).assign(&row);
                }
            }
        }
        out
    }

    /// Scores of a shot x of class `own` by the discriminant that never saw it.
    ///
    /// `scores` are x·Σ⁻¹μ_k, `length` is x·Σ⁻¹x, `between` are μ_own·Σ⁻¹μ_k. Without x, μ_own moves
    /// by −(x − μ_own)/(n − 1), the centre by a share of that, and the scatter loses
    /// n/(n − 1) (x − μ_own)(x − μ_own)ᵀ; the shrinkage constants stay.
    fn without(
        &self,
        own: usize,
        scores: ArrayView1<'_, f64>,
        length: f64,
        between: ArrayView1<'_, f64>,
    ) -> Array1<f32> {
        let counts = &self.moments.counts;
        let n = counts[own] as f64;
        let step = 1.0 / (n - 1.0);
        let to_centre = step / self.moments.seen as f64;
        let off_x = length - scores[own];
        let off_off = (length - 2.0 * scores[own] + self.lengths[own]).max(0.0);
        let lost = n * step / self.freedom;
        let gain = lost / (1.0 - lost * off_off).max(0.02);
        let off_u = off_x + to_centre * off_off;
        Array1::from_shape_fn(counts.len(), |k| {
            if counts[k] == 0 {
                return 0.0;
            }
            let moved = if k == own {
                to_centre - step
            } else {
                to_centre
            };
            let off_k = scores[k] - between[k];
            let off_v = off_k + moved * off_off;
            let product = scores[k]
                + moved * off_x
                + to_centre * off_k
                + to_centre * moved * off_off
                + gain * off_u * off_v;
            let length_k = self.lengths[k]
                + 2.0 * moved * off_k
                + moved * moved * off_off
                + gain * off_v * off_v;
            let drawn = shrink(if k == own { n - 1.0 } else { counts[k] as f64 });
            (drawn * product - 0.5 * drawn * drawn * length_k) as f32
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::head::linalg::Random;

    fn sample(n: usize, d: usize, k: usize, seed: u64) -> (Array2<f64>, Vec<usize>) {
        let mut random = Random::new(seed);
        let y: Vec<usize> = (0..n).map(|i| i % k).collect();
        let mut x = Array2::from_shape_simple_fn((n, d), || random.uniform() - 0.5);
        for (mut row, class) in x.rows_mut().into_iter().zip(&y) {
            row[*class % d] += 1.0;
        }
        linalg::unit_rows(&mut x);
        (x, y)
    }

    /// By brute force: means, centre and scatter without the shot, a fresh inverse; as the formula does,
    /// it keeps ridge, freedom and the spread between the means as they were with the shot.
    #[test]
    fn held_out_scores_are_those_of_a_refit_without_the_shot() {
        let (n, d, k) = (23, 9, 4);
        let (x, y) = sample(n, d, k, 5);
        let whole = Discriminant::fit(&x, &y, k).unwrap();
        for out in 0..n {
            let expected = without(&x, &y, k, out);
            for (class, expected) in expected.iter().enumerate() {
                let found = f64::from(whole.held_out[[out, class]]);
                assert!(
                    (found - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                    "{out} {class}: {found} {expected}"
                );
            }
        }
    }

    fn without(x: &Array2<f64>, y: &[usize], k: usize, out: usize) -> Vec<f64> {
        let (n, d) = x.dim();
        let whole = Moments::of(x, y, k);
        let kept: Vec<usize> = (0..n).filter(|i| *i != out).collect();
        let labels: Vec<usize> = kept.iter().map(|i| y[*i]).collect();
        let rest = Moments::of(&x.select(Axis(0), &kept), &labels, k);
        let mut scatter = whole.scatter(x, y);
        let ridge = RIDGE * scatter.diag().sum() / n as f64;
        scatter.diag_mut().mapv_inplace(|v| v + ridge);
        let off = &x.row(out) - &whole.centre - whole.means.row(y[out]);
        let count = whole.counts[y[out]] as f64;
        for i in 0..d {
            for j in 0..d {
                scatter[[i, j]] -= count / (count - 1.0) * off[i] * off[j];
            }
        }
        let precision = linalg::solve_spd(scatter, Array2::eye(d)).unwrap() * whole.freedom(n, d);
        let from = &x.row(out) - &rest.centre;
        let score = |class: usize| {
            let mean = rest.means.row(class);
            let through = precision.dot(&mean);
            let drawn = shrink(rest.counts[class] as f64);
            drawn * from.dot(&through) - 0.5 * drawn * drawn * mean.dot(&through)
        };
        (0..k).map(score).collect()
    }

    #[test]
    fn a_class_without_shots_or_with_one_stays_finite() {
        let (x, mut y) = sample(6, 5, 3, 9);
        y.fill(0);
        y[5] = 2;
        let fitted = Discriminant::fit(&x, &y, 3).unwrap();
        assert!(fitted.weights.row(1).iter().all(|v| *v == 0.0) && fitted.bias[1] == 0.0);
        assert!(fitted.held_out.row(5).iter().all(|v| *v == 0.0));
        assert!(fitted.held_out.iter().all(|v| v.is_finite()));
    }
}
