//! Loops over rows of floats, written once in plain Rust and compiled for each set of instructions.
//!
//! Values lie in blocks: `[block of 16 columns][row][column]`, so that a block of columns is one
//! stretch of memory and threads share nothing. Sums run over 16 lanes in an order that no processor
//! changes.

use super::COLUMNS;

/// A piece of a row: one block's columns.
pub(crate) type Lanes = [f32; COLUMNS];

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// x·σ(1.702 x), as OpenAI's CLIP (Hendrycks and Gimpel 2016, the sigmoid form).
    QuickGelu,
    /// x·Φ(x).
    Gelu,
    /// x/2·(1 + tanh(√(2/π)(x + 0.044715 x³))).
    GeluTanh,
}

/// Mean and factor that bring a row to mean 0 and variance 1, with gain and bias by column.
#[derive(Clone, Copy)]
pub(crate) struct Normed<'a> {
    pub(crate) mean: f32,
    pub(crate) factor: f32,
    pub(crate) gain: &'a [f32],
    pub(crate) bias: &'a [f32],
}

/// Where a row's pieces lie: at `first`, then every `step` values; the first `width` values count.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) step: usize,
    pub(crate) width: usize,
}

impl<'a> Row<'a> {
    /// The pieces, each with how many of its values count.
    #[inline(always)]
    fn pieces(self) -> impl Iterator<Item = (&'a Lanes, usize)> {
        let Row {
            values,
            step,
            width,
        } = self;
        let count = width.div_ceil(COLUMNS);
        (0..count).map(move |b| {
            let piece = values[b * step..]
                .first_chunk()
                .expect("checked by the graph");
            (piece, (width - b * COLUMNS).min(COLUMNS))
        })
    }
}

/// How activations of one row become 8 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Grid {
    /// From the row's own least to its greatest value, zero included, as ONNX's DynamicQuantizeLinear.
    Own,
    /// `scale·(q − zero)`, q from `low` to `high`, which span 255 at most.
    Fixed {
        scale: f32,
        zero: i32,
        low: i32,
        high: i32,
    },
}

/// Scale and zero point of a row as it was packed, before any offset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    /// Sum of the row's whole numbers, each less what stands for zero.
    pub(crate) sum: i32,
}

/// Where a row of activations goes.
pub(crate) struct Packed<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Which row of its block of rows it is, of how many.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    pub(crate) wide: bool,
    pub(crate) pairs: bool,
    pub(crate) offset: i32,
}

impl Packed<'_> {
    /// The byte where a group of the row begins.
    #[inline(always)]
    fn place(&self, group: usize) -> usize {
        let pairs = usize::from(self.pairs);
        let before = ((group >> pairs) * self.rows + self.row) << pairs | group & pairs;
        before * 4 * if self.wide { 2 } else { 1 }
    }
}

/// Facts of a block of columns of weights.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) scale: &'a Lanes,
    pub(crate) sum: &'a [i32; COLUMNS],
    /// What stands for zero in each column, where it is not 0.
    pub(crate) zero: Option<&'a [i32; COLUMNS]>,
    pub(crate) bias: &'a Lanes,
}

/// Adds shift this far and back to round to the nearest whole number, ties to even.
const SHIFT: f32 = 12_582_912.0;

#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    // ln 2 in two parts, so that the rest keeps its bits (Cody and Waite).
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    // Minimax on ±ln 2/2, as in Cephes.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let value = p * (r * r) + r + 1.0;
    let power = shifted.to_bits().wrapping_sub(SHIFT.to_bits());
    value * f32::from_bits(power.wrapping_add(127) << 23)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The distribution function of the normal distribution, to 1e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4 * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = (p * t + 0.254_829_6) * t;
    let half = 0.5 * p * exp(-z * z);
    if x < 0.0 { half } else { 1.0 - half }
}

#[inline(always)]
fn activate(activation: Activation, y: &mut Lanes) {
    match activation {
        Activation::None => {}
        Activation::QuickGelu => y.iter_mut().for_each(|y| *y *= sigmoid(1.702 * *y)),
        Activation::Gelu => y.iter_mut().for_each(|y| *y *= normal(*y)),
        Activation::GeluTanh => y.iter_mut().for_each(|y| {
            let inner = 1.595_769 * (*y + 0.044_715 * *y * *y * *y);
            *y *= sigmoid(inner);
        }),
    }
}

/// Lanes added up in a tree.
#[inline(always)]
fn total(lanes: &Lanes) -> f32 {
    let mut lanes = *lanes;
    let mut half = COLUMNS / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Mean of a row, and 1/√(variance + `epsilon`) (Ba, Kiros and Hinton 2016, equation 4).
#[inline(always)]
pub(super) fn moments(row: Row<'_>, epsilon: f32) -> (f32, f32) {
    let count = row.width as f32;
    let mut sums = [0.0; COLUMNS];
    for (piece, width) in row.pieces() {
        if width == COLUMNS {
            (0..COLUMNS).for_each(|i| sums[i] += piece[i]);
        } else {
            (0..width).for_each(|i| sums[i] += piece[i]);
        }
    }
    let mean = total(&sums) / count;
    let mut squares = [0.0; COLUMNS];
    for (piece, width) in row.pieces() {
        let mut add = |i: usize| {
            let d = piece[i] - mean;
            squares[i] += d * d;
        };
        if width == COLUMNS {
            (0..COLUMNS).for_each(&mut add);
        } else {
            (0..width).for_each(&mut add);
        }
    }
    (mean, 1.0 / (total(&squares) / count + epsilon).sqrt())
}

#[inline(always)]
fn normed(piece: &Lanes, block: usize, norm: Option<&Normed<'_>>) -> Lanes {
    let mut out = *piece;
    if let Some(n) = norm {
        let gain = n.gain[block * COLUMNS..].first_chunk::<COLUMNS>();
        let bias = n.bias[block * COLUMNS..].first_chunk::<COLUMNS>();
        let (Some(gain), Some(bias)) = (gain, bias) else {
            return out;
        };
        for i in 0..COLUMNS {
            out[i] = (piece[i] - n.mean) * n.factor * gain[i] + bias[i];
        }
    }
    out
}

/// A row normed into `out`, whose pieces lie as `step` says.
#[inline(always)]
pub(super) fn norm(row: Row<'_>, norm: &Normed<'_>, out: &mut [f32], step: usize) {
    for (b, (piece, _)) in row.pieces().enumerate() {
        let to = &mut out[b * step..][..COLUMNS];
        to.copy_from_slice(&normed(piece, b, Some(norm)));
    }
}

/// Least and greatest value of a row after `norm`, zero included.
#[inline(always)]
pub(super) fn extent(row: Row<'_>, norm: Option<&Normed<'_>>) -> (f32, f32) {
    let (mut low, mut high) = ([0.0_f32; COLUMNS], [0.0_f32; COLUMNS]);
    for (b, (piece, width)) in row.pieces().enumerate() {
        let values = normed(piece, b, norm);
        let mut see = |i: usize| {
            low[i] = if values[i] < low[i] {
                values[i]
            } else {
                low[i]
            };
            high[i] = if values[i] > high[i] {
                values[i]
            } else {
                high[i]
            };
        };
        if width == COLUMNS {
            (0..COLUMNS).for_each(&mut see);
        } else {
            (0..width).for_each(&mut see);
        }
    }
    let least = low.iter().fold(0.0_f32, |m, v| if *v < m { *v } else { m });
    let most = high
        .iter()
        .fold(0.0_f32, |m, v| if *v > m { *v } else { m });
    (least, most)
}

/// The scale that spans `extent` in 255 steps, and what stands for zero.
pub(crate) fn scale_of((low, high): (f32, f32)) -> Scale {
    let scale = (high - low) / 255.0;
    // Nothing but zeros, or nothing finite: the product is zero, or the encoder says so later.
    if !(scale > 0.0 && scale.is_finite()) {
        return Scale {
            scale: if scale == 0.0 { 0.0 } else { f32::NAN },
            zero: 0,
            sum: 0,
        };
    }
    let zero = ((-low / scale).clamp(0.0, 255.0) + SHIFT) - SHIFT;
    Scale {
        scale,
        zero: zero as i32,
        sum: 0,
    }
}

/// Rounds a row to `low ..= high` on the grid of `scale`, and packs it; values of no column are 0.
/// Gives the sum of its whole numbers, each less what stands for zero.
#[inline(always)]
pub(super) fn quantize(
    row: Row<'_>,
    norm: Option<&Normed<'_>>,
    scale: Scale,
    (low, high): (i32, i32),
    to: Packed<'_>,
) -> i32 {
    let factor = if scale.scale > 0.0 {
        1.0 / scale.scale
    } else {
        0.0
    };
    let zero = scale.zero as f32;
    let (low, high) = (low as f32, high as f32);
    let blank = scale.zero - to.offset;
    let mut sums = [0_i32; COLUMNS];
    for (b, (piece, width)) in row.pieces().enumerate() {
        let values = normed(piece, b, norm);
        let mut q = [0_i32; COLUMNS];
        for i in 0..COLUMNS {
            let v = values[i] * factor + zero;
            let v = if v < low { low } else { v };
            let v = if v > high { high } else { v };
            // The whole number lies in the low bits after the shift.
            let bits = (v + SHIFT).to_bits();
            q[i] = (bits.wrapping_sub(SHIFT.to_bits())) as i32 - to.offset;
        }
        q[width..].fill(blank);
        for i in 0..COLUMNS {
            sums[i] = sums[i].wrapping_add(q[i] - blank);
        }
        let (groups, _) = q.as_chunks::<4>();
        for (g, q) in groups.iter().enumerate() {
            let at = to.place(4 * b + g);
            match to.wide {
                true => put(
                    to.bytes,
                    at,
                    q.map(|q| (q as i16).to_ne_bytes()).as_flattened(),
                ),
                false => put(to.bytes, at, &q.map(|q| q as u8)),
            }
        }
    }
    sums.iter().fold(0, |sum, s| sum.wrapping_add(*s))
}

/// Writes `group` at `at`, unless the row has ended before.
#[inline(always)]
fn put(bytes: &mut [u8], at: usize, group: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + group.len()) {
        place.copy_from_slice(group);
    }
}

/// Sums of a tile's row to values: `(sum − zero·Σw − zero of w·Σq)·scale + bias`, activated, with `residual` added.
#[inline(always)]
pub(super) fn finish(
    sums: &[i32; COLUMNS],
    row: Scale,
    columns: Columns<'_>,
    activation: Activation,
    residual: Option<&Lanes>,
    out: &mut Lanes,
) {
    let mut whole = *sums;
    if let Some(zero) = columns.zero {
        for i in 0..COLUMNS {
            whole[i] = whole[i].wrapping_sub(row.sum.wrapping_mul(zero[i]));
        }
    }
    let mut y = [0.0; COLUMNS];
    for i in 0..COLUMNS {
        let sum = whole[i].wrapping_sub(row.zero.wrapping_mul(columns.sum[i]));
        y[i] = sum as f32 * (row.scale * columns.scale[i]) + columns.bias[i];
    }
    settle(y, activation, residual, out);
}

/// The same for sums in floats.
#[inline(always)]
pub(super) fn finish_floats(
    sums: &Lanes,
    bias: &Lanes,
    activation: Activation,
    residual: Option<&Lanes>,
    out: &mut Lanes,
) {
    let mut y = *sums;
    for i in 0..COLUMNS {
        y[i] += bias[i];
    }
    settle(y, activation, residual, out);
}

#[inline(always)]
fn settle(mut y: Lanes, activation: Activation, residual: Option<&Lanes>, out: &mut Lanes) {
    activate(activation, &mut y);
    if let Some(residual) = residual {
        for i in 0..COLUMNS {
            y[i] += residual[i];
        }
    }
    *out = y;
}

/// Softmax of `scale` times the first `width` values; what follows them becomes 0.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], width: usize, scale: f32) {
    row[width..].fill(f32::NEG_INFINITY);
    let mut most = [f32::NEG_INFINITY; COLUMNS];
    let (pieces, _) = row.as_chunks_mut::<COLUMNS>();
    for piece in pieces.iter() {
        for i in 0..COLUMNS {
            most[i] = if piece[i] > most[i] {
                piece[i]
            } else {
                most[i]
            };
        }
    }
    let most = most
        .iter()
        .fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
    let mut sums = [0.0; COLUMNS];
    for piece in pieces.iter_mut() {
        for i in 0..COLUMNS {
            piece[i] = exp(scale * (piece[i] - most));
            sums[i] += piece[i];
        }
    }
    // What the clamp of exp left of nothing is taken out again.
    let last = width % COLUMNS;
    if last > 0
        && let Some(piece) = pieces.last_mut()
    {
        for i in last..COLUMNS {
            sums[i] -= piece[i];
            piece[i] = 0.0;
        }
    }
    let factor = 1.0 / total(&sums);
    for piece in pieces.iter_mut() {
        piece.iter_mut().for_each(|v| *v *= factor);
    }
}

type Quantize = unsafe fn(Row<'_>, Option<&Normed<'_>>, Scale, (i32, i32), Packed<'_>) -> i32;

/// Every loop of this module as one set of instructions has it.
#[derive(Clone, Copy)]
pub(crate) struct Loops {
    pub(super) moments: unsafe fn(Row<'_>, f32) -> (f32, f32),
    pub(super) norm: unsafe fn(Row<'_>, &Normed<'_>, &mut [f32], usize),
    pub(super) extent: unsafe fn(Row<'_>, Option<&Normed<'_>>) -> (f32, f32),
    pub(super) quantize: Quantize,
    pub(super) finish:
        unsafe fn(&[i32; COLUMNS], Scale, Columns<'_>, Activation, Option<&Lanes>, &mut Lanes),
    pub(super) finish_floats: unsafe fn(&Lanes, &Lanes, Activation, Option<&Lanes>, &mut Lanes),
    pub(super) softmax: unsafe fn(&mut [f32], usize, f32),
}

/// Compiles the loops with the named instructions: `compiled!(avx2, "avx2,fma")` makes a module `avx2`.
macro_rules! compiled {
    ($name:ident $(, $features:literal)?) => {
        mod $name {
            use crate::encoder::kernels::COLUMNS;
            use crate::encoder::kernels::rows::{self, Activation, Columns, Lanes, Loops, Normed, Packed, Row, Scale};

            $(#[target_feature(enable = $features)])?
            fn moments(row: Row<'_>, epsilon: f32) -> (f32, f32) {
                rows::moments(row, epsilon)
            }
            $(#[target_feature(enable = $features)])?
            fn norm(row: Row<'_>, norm: &Normed<'_>, out: &mut [f32], step: usize) {
                rows::norm(row, norm, out, step);
            }
            $(#[target_feature(enable = $features)])?
            fn extent(row: Row<'_>, norm: Option<&Normed<'_>>) -> (f32, f32) {
                rows::extent(row, norm)
            }
            $(#[target_feature(enable = $features)])?
            fn quantize(row: Row<'_>, norm: Option<&Normed<'_>>, scale: Scale, bounds: (i32, i32), to: Packed<'_>) -> i32 {
                rows::quantize(row, norm, scale, bounds, to)
            }
            $(#[target_feature(enable = $features)])?
            fn finish(sums: &[i32; COLUMNS], row: Scale, columns: Columns<'_>, activation: Activation, residual: Option<&Lanes>, out: &mut Lanes) {
                rows::finish(sums, row, columns, activation, residual, out);
            }
            $(#[target_feature(enable = $features)])?
            fn finish_floats(sums: &Lanes, bias: &Lanes, activation: Activation, residual: Option<&Lanes>, out: &mut Lanes) {
                rows::finish_floats(sums, bias, activation, residual, out);
            }
            $(#[target_feature(enable = $features)])?
            fn softmax(row: &mut [f32], width: usize, scale: f32) {
                rows::softmax(row, width, scale);
            }

            pub(in crate::encoder::kernels) const LOOPS: Loops = Loops {
                moments,
                norm,
                extent,
                quantize,
                finish,
                finish_floats,
                softmax,
            };
        }
    };
}
pub(super) use compiled;

impl Loops {
    // SAFETY of all: a set of loops is handed out for a processor that has its instructions.

    pub(crate) fn moments(&self, row: Row<'_>, epsilon: f32) -> (f32, f32) {
        // SAFETY: see above.
        unsafe { (self.moments)(row, epsilon) }
    }

    pub(crate) fn norm(&self, row: Row<'_>, norm: &Normed<'_>, out: &mut [f32], step: usize) {
        // SAFETY: see above.
        unsafe { (self.norm)(row, norm, out, step) }
    }

    pub(crate) fn extent(&self, row: Row<'_>, norm: Option<&Normed<'_>>) -> (f32, f32) {
        // SAFETY: see above.
        unsafe { (self.extent)(row, norm) }
    }

    pub(crate) fn quantize(
        &self,
        row: Row<'_>,
        norm: Option<&Normed<'_>>,
        scale: Scale,
        bounds: (i32, i32),
        to: Packed<'_>,
    ) -> i32 {
        // SAFETY: see above.
        unsafe { (self.quantize)(row, norm, scale, bounds, to) }
    }

    pub(crate) fn finish(
        &self,
        sums: &[i32; COLUMNS],
        row: Scale,
        columns: Columns<'_>,
        activation: Activation,
        residual: Option<&Lanes>,
        out: &mut Lanes,
    ) {
        // SAFETY: see above.
        unsafe { (self.finish)(sums, row, columns, activation, residual, out) }
    }

    pub(crate) fn finish_floats(
        &self,
        sums: &Lanes,
        bias: &Lanes,
        activation: Activation,
        residual: Option<&Lanes>,
        out: &mut Lanes,
    ) {
        // SAFETY: see above.
        unsafe { (self.finish_floats)(sums, bias, activation, residual, out) }
    }

    pub(crate) fn softmax(&self, row: &mut [f32], width: usize, scale: f32) {
        // SAFETY: see above.
        unsafe { (self.softmax)(row, width, scale) }
    }
}
