//! The weights of a resize along one axis, as Pillow's Resample.c computes them.

use super::Filter;

/// Bits behind the point of a weight: 32 less 8 of the pixel and 2 of headroom.
pub(super) const WEIGHT_BITS: u32 = 22;
/// A half on that scale, where every sum starts.
pub(super) const HALF: i32 = 1 << (WEIGHT_BITS - 1);
/// Weights stand in blocks of this many, for the kernels' sake.
pub(super) const BLOCK: usize = 4;
/// Bits of the fine part of a split weight.
pub(super) const FINE_BITS: u32 = 12;

/// One axis of a resize: which outputs of how many, from how many inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Pixels along the axis before.
    pub(super) source: u32,
    /// Pixels along the axis after.
    pub(super) target: u64,
    /// The first output that is wanted.
    pub(super) first: u64,
    /// How many outputs are wanted.
    pub(super) count: u32,
}

/// For each wanted output the inputs that make it, and their weights.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    spans: Vec<(u32, u32)>,
    blocks: usize,
    weights: Vec<i32>,
    split: Vec<[i16; 2 * BLOCK]>,
}

/// One output: `weights[i]` belongs to input `start + i`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// The first input.
    pub(super) start: usize,
    /// Weights in 22-bit fixed point, without padding.
    pub(super) weights: &'a [i32],
    /// The same in blocks of four, padded with zeros: first the four coarse parts, then the four
    /// fine ones, where `weight = coarse × 2^12 + fine`. Both fit the 16-bit multipliers.
    pub(super) split: &'a [[i16; 2 * BLOCK]],
}

impl Taps {
    /// Weights of the outputs `axis.first ..` of an axis.
    pub(super) fn new(axis: Axis, filter: Filter) -> Self {
        let scale = f64::from(axis.source) / axis.target as f64;
        // Shrinking widens the filter, so that no input is skipped.
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let span_of = |output: u64| {
            let centre = (output as f64 + 0.5) * scale;
            // The cast cuts towards zero and clamps at it, as Pillow does in two steps.
            let start = (centre - support + 0.5) as u32;
            let end = ((centre + support + 0.5) as u32).min(axis.source);
            (centre, start, end - start)
        };
        let outputs = || axis.first..axis.first + u64::from(axis.count);
        let longest = outputs().map(|output| span_of(output).2).max().unwrap_or(0);
        let mut taps = Self {
            spans: Vec::with_capacity(axis.count as usize),
            blocks: (longest as usize).div_ceil(BLOCK),
            weights: Vec::new(),
            split: Vec::new(),
        };
        let mut exact = Vec::with_capacity(longest as usize);
        for output in outputs() {
            let (centre, start, count) = span_of(output);
            exact.clear();
            exact.extend((start..start + count).map(|input| {
                // In Pillow's order, input and centre first: doubles round as they go.
                filter.weight((f64::from(input) - centre + 0.5) * (1.0 / stretch))
            }));
            taps.push(start, &exact);
        }
        taps
    }

    /// Adds an output, its weights brought to a sum of one and to fixed point.
    fn push(&mut self, start: u32, exact: &[f64]) {
        let sum: f64 = exact.iter().sum();
        let offset = self.weights.len();
        self.spans.push((start, exact.len() as u32));
        self.weights.resize(offset + self.blocks * BLOCK, 0);
        for (fixed, weight) in self.weights[offset..].iter_mut().zip(exact) {
            let share = if sum == 0.0 { *weight } else { weight / sum };
            let scaled = share * f64::from(1 << WEIGHT_BITS);
            // Half away from zero by adding and cutting, as Pillow does.
            *fixed = (if share < 0.0 {
                scaled - 0.5
            } else {
                scaled + 0.5
            }) as i32;
        }
        for block in self.weights[offset..].chunks_exact(BLOCK) {
            let mut split = [0; 2 * BLOCK];
            for (i, weight) in block.iter().enumerate() {
                split[i] = (weight >> FINE_BITS) as i16;
                split[BLOCK + i] = (weight & ((1 << FINE_BITS) - 1)) as i16;
            }
            self.split.push(split);
        }
    }

    /// How many outputs there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The inputs and weights of one output.
    pub(super) fn window(&self, output: usize) -> Window<'_> {
        let (start, count) = self.spans[output];
        let block = output * self.blocks;
        Window {
            start: start as usize,
            weights: &self.weights[block * BLOCK..][..count as usize],
            split: &self.split[block..block + self.blocks],
        }
    }

    /// The inputs that any output needs: first, and one past the last.
    pub(super) fn reach(&self) -> (u32, u32) {
        let first = self.spans.iter().map(|span| span.0).min();
        let end = self.spans.iter().map(|span| span.0 + span.1).max();
        (first.unwrap_or(0), end.unwrap_or(0))
    }

    /// Counts inputs from `first` on, for a buffer that starts there.
    pub(super) fn rebase(&mut self, first: u32) {
        for span in &mut self.spans {
            span.0 -= first;
        }
    }
}

impl Filter {
    /// Inputs to each side that count, at a scale of one.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    /// The weight at a distance from the centre; Pillow's expressions, operation by operation.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(source: u32, target: u32) -> Axis {
        Axis {
            source,
            target: target.into(),
            first: 0,
            count: target,
        }
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for (source, target) in [(1, 1), (1, 9), (9, 1), (720, 256), (256, 720), (1001, 3)] {
            for filter in [Filter::Bicubic, Filter::Bilinear] {
                let taps = Taps::new(whole(source, target), filter);
                for output in 0..taps.len() {
                    let window = taps.window(output);
                    let sum: i32 = window.weights.iter().sum();
                    assert!(
                        (sum - (1 << WEIGHT_BITS)).unsigned_abs() as usize <= window.weights.len()
                    );
                    assert!(window.start + window.weights.len() <= source as usize);
                }
            }
        }
    }

    #[test]
    fn split_weights_are_the_weights() {
        let taps = Taps::new(whole(50, 31), Filter::Bicubic);
        for output in 0..taps.len() {
            let window = taps.window(output);
            for (i, weight) in window.weights.iter().enumerate() {
                let block = window.split[i / BLOCK];
                let coarse = i32::from(block[i % BLOCK]);
                let fine = i32::from(block[BLOCK + i % BLOCK]);
                assert_eq!(coarse * (1 << FINE_BITS) + fine, *weight);
            }
        }
    }

    #[test]
    fn a_part_of_an_axis_has_the_weights_of_the_whole() {
        let all = Taps::new(whole(100, 37), Filter::Bicubic);
        let axis = Axis {
            first: 11,
            count: 9,
            ..whole(100, 37)
        };
        let part = Taps::new(axis, Filter::Bicubic);
        for output in 0..part.len() {
            let (found, expected) = (part.window(output), all.window(11 + output));
            assert_eq!(found.start, expected.start);
            assert_eq!(found.weights, expected.weights);
        }
    }
}
