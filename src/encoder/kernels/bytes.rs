//! Loops over rows of bytes: pixels of convolutions, whose values stand on grids that the file fixed.
//!
//! Pixels lie as rows of floats do, `[block of 16 channels][pixel][channel]`.

use super::lanes::{Floats, Lanes, Whole, WholeLanes};
use super::rows::{Columns, MOST, Packed, SHIFT};
use super::{COLUMNS, GROUP};

/// A piece of a row of bytes: one block's channels.
pub(crate) type Piece = [u8; COLUMNS];

/// Some rows of bytes, [`MOST`] at most, `step` pieces from one block of columns to the next.
#[derive(Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    pub(crate) pieces: &'a [Piece],
    pub(crate) step: usize,
    pub(crate) blocks: usize,
    pub(crate) count: usize,
}

/// How sums become bytes: `sum · scale + bias` by column, zero points and the grid's own step within, kept to
/// `low ..= high`.
#[derive(Clone, Copy)]
pub(crate) struct ToBytes<'a> {
    pub(crate) columns: Columns<'a>,
    pub(crate) low: u8,
    pub(crate) high: u8,
}

/// The byte nearest to each value from `low` to `high`.
#[inline(always)]
fn nearest<F: Floats>(v: F, low: F, high: F) -> Piece {
    // In this order, NaN becomes a number; it then lies in the low bits.
    v.max(low).min(high).add(F::splat(SHIFT)).bits().bytes()
}

/// [`ToBytes`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Finish<F: Floats> {
    scale: F,
    bias: F,
    low: F,
    high: F,
    more: F::Whole,
}

impl<F: Floats> Finish<F> {
    /// Of sums of products from which `offset` was taken off all that was multiplied.
    #[inline(always)]
    pub(super) fn of(to: ToBytes<'_>, offset: i32) -> Self {
        Self {
            scale: F::load(to.columns.scale),
            bias: F::load(to.columns.bias),
            low: F::splat(to.low.into()),
            high: F::splat(to.high.into()),
            more: F::Whole::load(to.columns.sum).mul(F::Whole::splat(offset)),
        }
    }

    #[inline(always)]
    pub(super) fn bytes(self, sum: F::Whole) -> Piece {
        let v = sum.add(self.more).floats().mul(self.scale).add(self.bias);
        nearest(v, self.low, self.high)
    }
}

/// Sums of a tile's rows to bytes; `offset` was taken off all that was multiplied.
#[inline(always)]
pub(super) fn finish_bytes<F: Floats>(
    sums: &[WholeLanes],
    to: ToBytes<'_>,
    offset: i32,
    out: &mut [Piece],
) {
    let finish = Finish::<F>::of(to, offset);
    for (sums, out) in sums.iter().zip(out) {
        *out = finish.bytes(F::Whole::load(sums));
    }
}

/// Packs rows of bytes for a product.
#[inline(always)]
pub(super) fn pack_bytes<F: Floats>(rows: ByteRows<'_>, mut to: Packed<'_>) {
    let offset = F::Whole::splat(to.offset);
    for b in 0..rows.blocks {
        let pieces = &rows.pieces[b * rows.step..][..rows.count];
        for (r, piece) in pieces.iter().enumerate().take(MOST) {
            to.write(b, r, F::Whole::of_bytes(piece).sub(offset));
        }
    }
}

/// A line of a convolution of each channel with weights of its own: `lines` are the ones that the window covers,
/// with their margins; `weights` lie tap by tap. `side` and `stride` are those of the window.
#[inline(always)]
pub(super) fn depthwise<F: Floats>(
    lines: &[&[Piece]],
    weights: &[WholeLanes],
    (side, stride): (usize, usize),
    to: ToBytes<'_>,
    out: &mut [Piece],
) {
    let window = Window {
        lines,
        weights,
        finish: Finish::<F>::of(to, 0),
    };
    match (side, stride) {
        (3, 1) => window.line::<3, 1>(out),
        (3, 2) => window.line::<3, 2>(out),
        (5, 1) => window.line::<5, 1>(out),
        (5, 2) => window.line::<5, 2>(out),
        _ => window.any_line((side, stride), out),
    }
}

#[derive(Clone, Copy)]
struct Window<'a, F: Floats> {
    lines: &'a [&'a [Piece]],
    weights: &'a [WholeLanes],
    finish: Finish<F>,
}

impl<F: Floats> Window<'_, F> {
    #[inline(always)]
    fn line<const SIDE: usize, const STRIDE: usize>(self, out: &mut [Piece]) {
        let (fours, rest) = out.as_chunks_mut::<4>();
        let first = fours.len() * 4;
        for (n, out) in fours.iter_mut().enumerate() {
            self.pixels::<SIDE, STRIDE, 4>(4 * n, out);
        }
        for (n, out) in rest.iter_mut().enumerate() {
            self.pixels::<SIDE, STRIDE, 1>(first + n, std::array::from_mut(out));
        }
    }

    /// Some pixels side by side, so that each pixel of a line is read once for all.
    #[inline(always)]
    fn pixels<const SIDE: usize, const STRIDE: usize, const COUNT: usize>(
        self,
        first: usize,
        out: &mut [Piece; COUNT],
    ) {
        let mut sums = [F::Whole::splat(0); COUNT];
        for (line, weights) in self.lines.iter().zip(self.weights.as_chunks::<SIDE>().0) {
            let width = (COUNT - 1) * STRIDE + SIDE;
            let line = &line[first * STRIDE..][..width];
            for at in 0..width {
                let pixel = F::Whole::of_bytes(&line[at]);
                for n in 0..COUNT {
                    if at >= n * STRIDE && at < n * STRIDE + SIDE {
                        let weight = F::Whole::load(&weights[at - n * STRIDE]);
                        sums[n] = sums[n].add_product(pixel, weight);
                    }
                }
            }
        }
        for n in 0..COUNT {
            out[n] = self.finish.bytes(sums[n]);
        }
    }

    /// Windows of any size.
    #[inline(always)]
    fn any_line(self, (side, stride): (usize, usize), out: &mut [Piece]) {
        for (x, out) in out.iter_mut().enumerate() {
            let mut sum = F::Whole::splat(0);
            for (line, weights) in self.lines.iter().zip(self.weights.chunks_exact(side)) {
                for (pixel, weight) in line[x * stride..][..side].iter().zip(weights) {
                    sum = sum.add_product(F::Whole::of_bytes(pixel), F::Whole::load(weight));
                }
            }
            *out = self.finish.bytes(sum);
        }
    }
}

/// `a · factors[0] + b · factors[1] + factors[2]`, to the nearest byte from `low` to `high`.
#[inline(always)]
pub(super) fn add_bytes<F: Floats>(
    [a, b]: [&[Piece]; 2],
    factors: [f32; 3],
    (low, high): (u8, u8),
    out: &mut [Piece],
) {
    let [of_a, of_b, more] = factors.map(F::splat);
    let (low, high) = (F::splat(low.into()), F::splat(high.into()));
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let a = F::Whole::of_bytes(a).floats().mul(of_a);
        let b = F::Whole::of_bytes(b).floats().mul(of_b);
        *out = nearest(a.add(b).add(more), low, high);
    }
}

/// Sums of a block's channels over its pixels.
#[inline(always)]
pub(super) fn sum_bytes<F: Floats>(pieces: &[Piece], out: &mut WholeLanes) {
    let mut sum = F::Whole::splat(0);
    for piece in pieces {
        sum = sum.add(F::Whole::of_bytes(piece));
    }
    sum.store(out);
}

/// Floats to bytes: `v / scale + zero`, to the nearest from `low` to `high`.
#[inline(always)]
pub(super) fn bytes_from_floats<F: Floats>(
    values: &[f32],
    (scale, zero): (f32, u8),
    (low, high): (u8, u8),
    out: &mut [u8],
) {
    let (values, last) = values.as_chunks::<COLUMNS>();
    let (out, rest) = out.as_chunks_mut::<COLUMNS>();
    for (values, out) in values.iter().zip(out) {
        *out = on_grid::<F>(values, (scale, zero), (low, high));
    }
    let mut padded = [0.0; COLUMNS];
    padded[..last.len()].copy_from_slice(last);
    let piece = on_grid::<F>(&padded, (scale, zero), (low, high));
    rest.copy_from_slice(&piece[..rest.len()]);
}

/// The nearest step first, as ONNX's QuantizeLinear; then what stands for zero.
#[inline(always)]
fn on_grid<F: Floats>(values: &Lanes, (scale, zero): (f32, u8), (low, high): (u8, u8)) -> Piece {
    let of = F::splat(SHIFT);
    let steps = F::load(values).div(F::splat(scale)).add(of).sub(of);
    let (low, high) = (F::splat(low.into()), F::splat(high.into()));
    nearest(steps.add(F::splat(zero.into())), low, high)
}

/// Products of one row of floats with a block of columns of weights in 8 bits, as sums.
#[inline(always)]
pub(super) fn multiply_floats<F: Floats>(row: &[f32], weights: &[i8], out: &mut Lanes) {
    let mut sums = [F::zero(); GROUP];
    let groups = weights.as_chunks::<{ GROUP * COLUMNS }>().0;
    for (row, group) in row.chunks(GROUP).zip(groups) {
        let mut whole = [0; COLUMNS];
        for (w, four) in whole.iter_mut().zip(group.as_chunks::<GROUP>().0) {
            *w = i32::from_le_bytes(four.map(|b| b as u8));
        }
        let four = F::Whole::load(&whole);
        let each = [four.up::<24>(), four.up::<16>(), four.up::<8>(), four];
        for n in 0..row.len() {
            let weight = each[n].down::<24>().floats();
            sums[n] = sums[n].add(weight.mul(F::splat(row[n])));
        }
    }
    let [a, b, c, d] = sums;
    a.add(b).add(c.add(d)).store(out);
}
