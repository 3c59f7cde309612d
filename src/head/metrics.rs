//! How well scores and probabilities answer: pure functions, rows against labels.
//!
//! Empty input gives NaN, as a mean of nothing is.

use ndarray::{ArrayView1, ArrayView2};

use super::linalg::Random;

/// Bins of [`calibration_error`].
const BINS: usize = 15;

/// Position of the largest value of each row; the first where several are.
pub fn best(scores: ArrayView2<'_, f32>) -> Vec<usize> {
    scores.rows().into_iter().map(argmax).collect()
}

/// Position of the largest value; the first where several are.
pub(super) fn argmax(values: ArrayView1<'_, f32>) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

/// Share of the rows whose best class is their label.
#[must_use]
pub fn top1(scores: ArrayView2<'_, f32>, labels: &[usize]) -> f64 {
    let hits = best(scores)
        .iter()
        .zip(labels)
        .filter(|(b, l)| b == l)
        .count();
    hits as f64 / labels.len() as f64
}

/// Mean over the classes that occur of the share of their rows that are answered rightly.
#[must_use]
pub fn balanced_accuracy(scores: ArrayView2<'_, f32>, labels: &[usize]) -> f64 {
    let mut counts = std::collections::BTreeMap::<usize, (f64, f64)>::new();
    for (best, label) in best(scores).iter().zip(labels) {
        let (hits, all) = counts.entry(*label).or_default();
        *hits += f64::from(u8::from(best == label));
        *all += 1.0;
    }
    mean(counts.values().map(|(hits, all)| hits / all))
}

/// Mean of −log p of the label; p is held from below at 1e-12.
#[must_use]
pub fn log_loss(p: ArrayView2<'_, f32>, labels: &[usize]) -> f64 {
    mean(
        p.rows()
            .into_iter()
            .zip(labels)
            .map(|(row, label)| -f64::from(row[*label]).max(1e-12).ln()),
    )
}

/// Expected calibration error over 15 bins of equal mass by the largest probability
/// (Naeini et al., 2015; equal mass as Nixon et al., 2019): Σ share·|accuracy − confidence|.
#[must_use]
pub fn calibration_error(p: ArrayView2<'_, f32>, labels: &[usize]) -> f64 {
    let right = best(p)
        .iter()
        .zip(labels)
        .map(|(b, l)| b == l)
        .collect::<Vec<_>>();
    let confidences = confidences(p);
    let mut order: Vec<usize> = (0..right.len()).collect();
    order.sort_by(|a, b| confidences[*a].total_cmp(&confidences[*b]));
    let sorted: Vec<f64> = order.iter().map(|i| confidences[*i]).collect();
    binned(&sorted, |i| right[order[i]])
}

/// What [`calibration_error`] a perfectly calibrated head would show on rows of these
/// probabilities: the mean of `rounds` draws in which each answer is right with the probability
/// that it claims. An error near this floor is no evidence of miscalibration.
#[must_use]
pub fn calibration_floor(p: ArrayView2<'_, f32>, rounds: usize, seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let mut sorted = confidences(p);
    sorted.sort_by(f64::total_cmp);
    mean((0..rounds).map(|_| binned(&sorted, |i| random.uniform() < sorted[i])))
}

/// Area under the ROC curve: the chance that a positive row has a larger value than a negative
/// one, ties counting half (Hanley and McNeil, 1982). NaN unless both kinds occur.
#[must_use]
pub fn auroc(values: &[f32], positive: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut below, mut wins, mut positives) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let up = tied.iter().filter(|i| positive[**i]).count() as f64;
        let down = tied.len() as f64 - up;
        wins += up * (below + 0.5 * down);
        below += down;
        positives += up;
    }
    wins / (positives * below)
}

fn confidences(p: ArrayView2<'_, f32>) -> Vec<f64> {
    let top = |row: ndarray::ArrayView1<'_, f32>| row.iter().copied().fold(0.0_f32, f32::max);
    p.rows()
        .into_iter()
        .map(|row| f64::from(top(row)))
        .collect()
}

/// Σ |hits − claimed| over bins of equal mass, over the number of rows.
fn binned(sorted: &[f64], mut right: impl FnMut(usize) -> bool) -> f64 {
    let n = sorted.len();
    let mut apart = 0.0;
    for bin in 0..BINS {
        let rows = bin * n / BINS..(bin + 1) * n / BINS;
        let off: f64 = rows
            .map(|i| f64::from(u8::from(right(i))) - sorted[i])
            .sum();
        apart += off.abs();
    }
    apart / n as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-6,
            "{found} instead of {expected}"
        );
    }

    #[test]
    fn accuracies_agree_with_counting() {
        let scores = arr2(&[[3.0, 1.0], [0.0, 2.0], [5.0, 4.0], [1.0, 1.0]]);
        near(top1(scores.view(), &[0, 1, 1, 0]), 0.75);
        // Class 0: both right; class 1: one of two.
        near(balanced_accuracy(scores.view(), &[0, 1, 1, 0]), 0.75);
        // Class 0: three of four.
        near(balanced_accuracy(scores.view(), &[0, 0, 0, 0]), 0.75);
        near(balanced_accuracy(scores.view(), &[0, 1, 0, 1]), 0.75);
        // Class 0: one of one; class 1: one of three.
        near(balanced_accuracy(scores.view(), &[0, 1, 1, 1]), 2.0 / 3.0);
    }

    #[test]
    fn log_loss_is_the_mean_surprise() {
        let p = arr2(&[[0.5, 0.5], [0.25, 0.75]]);
        near(
            log_loss(p.view(), &[0, 0]),
            (2.0_f64.ln() + 4.0_f64.ln()) / 2.0,
        );
        near(
            log_loss(arr2(&[[1.0, 0.0]]).view(), &[1]),
            -(1e-12_f64).ln(),
        );
    }

    #[test]
    fn calibration_error_by_hand() {
        // Thirty rows, two a bin: the surest fifteen are all right, the others half.
        let p = Array2::from_shape_fn((30, 2), |(i, k)| {
            let top = if i < 15 { 0.6 } else { 0.9 };
            if k == 0 { top } else { 1.0 - top }
        });
        let labels: Vec<usize> = (0..30).map(|i| usize::from(i < 15 && i % 2 == 1)).collect();
        // Bins 0-6: one right of two, |1 − 1.2|; bin 7: rows 14 and 15, both right, |2 − 1.5|;
        // bins 8-14: both right, |2 − 1.8|.
        near(
            calibration_error(p.view(), &labels),
            (7.0 * 0.2 + 0.5 + 7.0 * 0.2) / 30.0,
        );
    }

    #[test]
    fn the_floor_falls_with_the_number_of_rows() {
        let p = |n| Array2::from_elem((n, 2), 0.5);
        let (few, many) = (p(150), p(15_000));
        let (few, many) = (
            calibration_floor(few.view(), 200, 1),
            calibration_floor(many.view(), 20, 1),
        );
        // Ten coins a bin: E|hits − 5|/10 = 0.1230; a thousand: near √(0.25·2/(π·1000)) = 0.0126.
        assert!((few - 0.1230).abs() < 0.005, "{few}");
        assert!((many - 0.0126).abs() < 0.001, "{many}");
        assert_eq!(
            calibration_floor(Array2::from_elem((9, 1), 1.0).view(), 5, 1),
            0.0
        );
    }

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        near(
            auroc(&[1.0, 2.0, 3.0, 4.0], &[false, false, true, true]),
            1.0,
        );
        near(auroc(&[4.0, 1.0, 3.0], &[false, true, true]), 0.0);
        // Pairs: 2>1, 2=2, 3>1, 3>2: 3.5 of 4.
        near(
            auroc(&[1.0, 2.0, 2.0, 3.0], &[false, false, true, true]),
            0.875,
        );
        assert!(auroc(&[1.0], &[true]).is_nan());
    }
}
