//! The little linear algebra that learning needs, on ndarray's matrices, in f64.
//!
//! One thread and fixed orders of summation: the same input gives the same bits on one machine.
//! Products are ndarray's own; Cholesky is ours, blocked so that its work is products too.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Columns factored at a time; the rest is products.
const BLOCK: usize = 48;

/// `X` with `A·X = B` for a symmetric positive definite A, by Cholesky; none if A is not.
///
/// Only the lower triangle of `a` is read.
#[must_use]
pub(super) fn solve_spd(mut a: Array2<f64>, mut b: Array2<f64>) -> Option<Array2<f64>> {
    factor(&mut a)?;
    forward(&a, &mut b);
    backward(&a, &mut b);
    b.iter().all(|v| v.is_finite()).then_some(b)
}

/// Overwrites the lower triangle of `a` with L, where A = L·Lᵀ.
fn factor(a: &mut Array2<f64>) -> Option<()> {
    let n = a.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        factor_panel(a, start, end)?;
        // The trailing square, block column by block column, loses panel·panelᵀ.
        for column in (end..n).step_by(BLOCK) {
            let right = (column + BLOCK).min(n);
            let left = a.slice(s![column.., start..end]).to_owned();
            let top = left.slice(s![..right - column, ..]);
            let minus = left.dot(&top.t());
            let mut part = a.slice_mut(s![column.., column..right]);
            part -= &minus;
        }
    }
    Some(())
}

/// The columns `start..end`, rows from `start` down, whose earlier columns are done.
fn factor_panel(a: &mut Array2<f64>, start: usize, end: usize) -> Option<()> {
    for j in start..end {
        let pivot_row = a.slice(s![j, start..j]).to_owned();
        let pivot = a[[j, j]] - pivot_row.dot(&pivot_row);
        if !pivot.is_finite() || pivot <= 0.0 {
            return None;
        }
        let root = pivot.sqrt();
        a[[j, j]] = root;
        for i in j + 1..a.nrows() {
            let dot = a.slice(s![i, start..j]).dot(&pivot_row);
            a[[i, j]] = (a[[i, j]] - dot) / root;
        }
    }
    Some(())
}

/// Overwrites B with L⁻¹·B.
fn forward(l: &Array2<f64>, b: &mut Array2<f64>) {
    let n = l.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        for i in start..end {
            let (done, mut rest) = b.view_mut().split_at(Axis(0), i);
            let mut row = rest.row_mut(0);
            for j in start..i {
                row.scaled_add(-l[[i, j]], &done.row(j));
            }
            row /= l[[i, i]];
        }
        let (done, mut rest) = b.view_mut().split_at(Axis(0), end);
        rest -= &l
            .slice(s![end.., start..end])
            .dot(&done.slice(s![start.., ..]));
    }
}

/// Overwrites B with L⁻ᵀ·B.
fn backward(l: &Array2<f64>, b: &mut Array2<f64>) {
    let n = l.nrows();
    let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
    for start in starts.into_iter().rev() {
        let end = (start + BLOCK).min(n);
        for i in (start..end).rev() {
            let (mut rest, done) = b.view_mut().split_at(Axis(0), i + 1);
            let mut row = rest.row_mut(i);
            for j in i + 1..end {
                row.scaled_add(-l[[j, i]], &done.row(j - i - 1));
            }
            row /= l[[i, i]];
        }
        let (mut rest, done) = b.view_mut().split_at(Axis(0), start);
        let below = l.slice(s![start..end, ..start]);
        rest -= &below.t().dot(&done.slice(s![..end - start, ..]));
    }
}

/// Divides each row by its length and returns the lengths; rows of zeros stay, with length 0.
pub(super) fn unit_rows(a: &mut Array2<f64>) -> Array1<f64> {
    a.rows_mut()
        .into_iter()
        .map(|mut row| {
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row /= length;
            }
            length
        })
        .collect()
}

/// The same values in f64.
pub(super) fn widen(a: ArrayView2<'_, f32>) -> Array2<f64> {
    a.mapv(f64::from)
}

/// The same values in f32.
pub(super) fn narrow(a: &Array2<f64>) -> Array2<f32> {
    a.mapv(|v| v as f32)
}

/// Random numbers that any language repeats: splitmix64 (Steele, Lea and Flood, 2014).
///
/// State += 0x9E3779B97F4A7C15; the output is the state mixed by two xor-shift-multiply steps.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator whose state starts at `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number in [0, 1): the upper 53 bits over 2⁵³.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Orders `items` by chance: for i from the last down to 1, swap i with ⌊uniform·(i+1)⌋.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.uniform() * (i + 1) as f64) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solving_undoes_multiplying_at_odd_sizes() {
        for n in [1, 2, 3, 47, 48, 49, 97, 130] {
            let mut random = Random::new(n as u64);
            let half = Array2::from_shape_simple_fn((n, n + 2), || random.uniform() - 0.5);
            let x = Array2::from_shape_simple_fn((n, 3), || random.uniform() - 0.5);
            let mut a = half.dot(&half.t());
            a.diag_mut().mapv_inplace(|v| v + 0.1);
            let found = solve_spd(a.clone(), a.dot(&x)).unwrap();
            let worst = (&found - &x).iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            assert!(worst < 1e-9, "{n}: {worst}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_solution() {
        let b = Array2::ones((2, 1));
        let singular = ndarray::arr2(&[[1.0, 1.0], [1.0, 1.0]]);
        assert!(solve_spd(singular, b.clone()).is_none());
        assert!(solve_spd(ndarray::arr2(&[[f64::NAN, 0.0], [0.0, 1.0]]), b).is_none());
    }

    #[test]
    fn random_numbers_are_those_of_the_paper() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }
}
