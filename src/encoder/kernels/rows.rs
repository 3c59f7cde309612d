//! Loops over rows of floats, written once in [`lanes`](super::lanes) and compiled for each set of instructions.
//!
//! Values lie in blocks: `[block of 16 columns][row][column]`, so that a block of columns is one
//! stretch of memory and threads share nothing. Sums run over 16 lanes in an order that no processor
//! changes.

use std::f32::consts::LOG2_E;

pub(crate) use super::lanes::Lanes;
use super::lanes::{Floats, Whole, WholeLanes};
use super::{COLUMNS, GROUP, Layout};

/// Most rows that a loop takes at once.
pub(crate) const MOST: usize = 16;

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

/// Mean and factor that bring a row to mean 0 and variance 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    pub(crate) factor: f32,
}

/// How rows are normed: each by its own moments, with gain and bias by column in whole blocks.
#[derive(Clone, Copy)]
pub(crate) struct Normed<'a> {
    pub(crate) moments: &'a [Moments],
    pub(crate) gain: &'a [f32],
    pub(crate) bias: &'a [f32],
}

/// Some rows, [`MOST`] at most: the pieces of a block of columns lie side by side, those of the next block
/// `step` values on; the first `width` values of each row count.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) step: usize,
    pub(crate) width: usize,
    pub(crate) count: usize,
}

impl<'a> Rows<'a> {
    /// Blocks of columns.
    #[inline(always)]
    fn blocks(self) -> usize {
        self.width.div_ceil(COLUMNS)
    }

    /// Each row's piece of a block, and which of its values count.
    #[inline(always)]
    fn block(self, block: usize) -> (&'a [Lanes], &'static Mask) {
        let values = &self.values[block * self.step..][..self.count * COLUMNS];
        (values.as_chunks().0, &MASKS[self.pieces(block)])
    }

    /// How many values of a block count.
    #[inline(always)]
    fn pieces(self, block: usize) -> usize {
        (self.width - block * COLUMNS).min(COLUMNS)
    }
}

/// All bits of a lane that counts, none of another: branches would keep loops from becoming vectors.
type Mask = WholeLanes;

/// Masks of the first n lanes.
static MASKS: [Mask; COLUMNS + 1] = {
    let mut masks = [[0; COLUMNS]; COLUMNS + 1];
    let mut n = 0;
    while n <= COLUMNS {
        let mut i = 0;
        while i < n {
            masks[n][i] = -1;
            i += 1;
        }
        n += 1;
    }
    masks
};

/// Scale and zero point of a row as it was packed, before any offset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    /// Sum of the row's whole numbers, each less what stands for zero.
    pub(crate) sum: i32,
}

/// Where activations go: to a block of `rows` rows.
pub(crate) struct Packed<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) rows: usize,
    pub(crate) layout: Layout,
    pub(crate) offset: i32,
}

/// Facts of a block of columns of weights.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) scale: &'a Lanes,
    pub(crate) sum: &'a WholeLanes,
    /// What stands for zero in each column, where it is not 0.
    pub(crate) zero: Option<&'a WholeLanes>,
    pub(crate) bias: &'a Lanes,
}

impl<'a> Columns<'a> {
    /// Of block `at`, where there is one value for each column, in whole blocks.
    pub(crate) fn block(
        at: usize,
        (scale, bias): (&'a [f32], &'a [f32]),
        (sum, zero): (&'a [i32], Option<&'a [i32]>),
    ) -> Self {
        Self {
            scale: &scale.as_chunks().0[at],
            sum: &sum.as_chunks().0[at],
            zero: zero.map(|zero| &zero.as_chunks().0[at]),
            bias: &bias.as_chunks().0[at],
        }
    }
}

/// Adds shift this far and back to round to the nearest whole number, ties to even.
pub(super) const SHIFT: f32 = 12_582_912.0;

/// The nearest whole numbers, ties to even.
#[inline(always)]
fn nearest<F: Floats>(v: F) -> F::Whole {
    let shifted = v.add(F::splat(SHIFT)).bits();
    shifted.sub(F::Whole::splat(SHIFT.to_bits() as i32))
}

/// A polynomial by Horner's rule, the highest power's factor first.
#[inline(always)]
fn polynomial<F: Floats>(x: F, factors: &[f32]) -> F {
    let mut sum = F::splat(factors[0]);
    for factor in &factors[1..] {
        sum = sum.mul(x).add(F::splat(*factor));
    }
    sum
}

/// 2ᵗ, to 2e-7; beyond ±126 as there.
#[inline(always)]
#[allow(
    clippy::approx_constant,
    reason = "a factor of the polynomial, not ln 2"
)]
fn power_of_two<F: Floats>(t: F) -> F {
    let of = F::splat;
    let t = t.max(of(-126.0)).min(of(126.0));
    let shifted = t.add(of(SHIFT));
    let rest = t.sub(shifted.sub(of(SHIFT)));
    // Minimax on ±1/2.
    let factors = [
        1.326_472_7e-3,
        9.671_513e-3,
        5.550_733_6e-2,
        0.240_222_42,
        0.693_147,
        1.0,
    ];
    let value = polynomial(rest, &factors);
    // The whole number lies in the low bits after the shift; it is added to the exponent.
    value.bits().add(shifted.bits().up::<23>()).as_floats()
}

#[inline(always)]
fn exp<F: Floats>(x: F) -> F {
    power_of_two(x.mul(F::splat(LOG2_E)))
}

/// σ(`factor` · x).
#[inline(always)]
fn sigmoid<F: Floats>(x: F, factor: f32) -> F {
    let one = F::splat(1.0);
    one.div(one.add(power_of_two(x.mul(F::splat(-factor * LOG2_E)))))
}

/// The distribution function of the normal distribution, to 1e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal<F: Floats>(x: F) -> F {
    let of = F::splat;
    let size = x.bits().and(F::Whole::splat(i32::MAX)).as_floats();
    let z = size.mul(of(std::f32::consts::FRAC_1_SQRT_2));
    let t = of(1.0).div(of(1.0).add(of(0.327_591_1).mul(z)));
    let factors = [
        1.061_405_4,
        -1.453_152,
        1.421_413_7,
        -0.284_496_74,
        0.254_829_6,
    ];
    let p = polynomial(t, &factors).mul(t);
    let half = of(0.5).mul(p).mul(exp(F::zero().sub(z).mul(z)));
    select(x.less(F::zero()), half, of(1.0).sub(half))
}

/// `yes` where all bits of a lane are set, `no` where none is.
#[inline(always)]
fn select<F: Floats>(mask: F::Whole, yes: F, no: F) -> F {
    let all = F::Whole::splat(-1);
    let (yes, no) = (yes.bits().and(mask), no.bits().and(all.sub(mask)));
    yes.or(no).as_floats()
}

#[inline(always)]
fn activate<F: Floats>(activation: Activation, y: F) -> F {
    match activation {
        Activation::None => y,
        Activation::QuickGelu => y.mul(sigmoid(y, 1.702)),
        Activation::Gelu => y.mul(normal(y)),
        Activation::GeluTanh => {
            let cube = F::splat(0.044_715).mul(y).mul(y).mul(y);
            y.mul(sigmoid(y.add(cube), 1.595_769))
        }
    }
}

/// Lanes joined in a tree.
#[inline(always)]
fn fold<T: Copy>(lanes: [T; COLUMNS], join: impl Fn(T, T) -> T) -> T {
    let mut lanes = lanes;
    let mut half = COLUMNS / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// All lanes added up.
#[inline(always)]
fn total<F: Floats>(v: F) -> f32 {
    let mut lanes = [0.0; COLUMNS];
    v.store(&mut lanes);
    fold(lanes, |a, b| a + b)
}

/// The greatest lane.
#[inline(always)]
fn greatest<F: Floats>(v: F) -> f32 {
    let mut lanes = [0.0; COLUMNS];
    v.store(&mut lanes);
    fold(lanes, |a, b| if b > a { b } else { a })
}

/// Rows whose sums are kept in registers at once.
const SOME: usize = 4;

/// The same for each of [`SOME`] rows, written out, so that what is kept for each stays in a register.
macro_rules! each {
    (|$n:ident| $body:block) => {{
        {
            const $n: usize = 0;
            $body
        }
        {
            const $n: usize = 1;
            $body
        }
        {
            const $n: usize = 2;
            $body
        }
        {
            const $n: usize = 3;
            $body
        }
    }};
}

/// Rows from `first`; the last one again where there are fewer.
#[inline(always)]
fn some(first: usize, count: usize) -> [usize; SOME] {
    std::array::from_fn(|n| (first + n).min(count - 1))
}

/// `v` where the mask is set, else 0.
#[inline(always)]
fn masked<F: Floats>(v: F, mask: &Mask) -> F {
    v.bits().and(F::Whole::load(mask)).as_floats()
}

/// Mean of each row, and 1/√(variance + `epsilon`) (Ba, Kiros and Hinton 2016, equation 4).
#[inline(always)]
pub(super) fn moments<F: Floats>(rows: Rows<'_>, epsilon: f32, out: &mut [Moments]) {
    let count = rows.width as f32;
    for first in (0..rows.count).step_by(SOME) {
        let at = some(first, rows.count);
        let mut sums = [F::zero(); SOME];
        for b in 0..rows.blocks() {
            let (pieces, mask) = rows.block(b);
            each!(|N| {
                sums[N] = sums[N].add(masked(F::load(&pieces[at[N]]), mask));
            });
        }
        let mut means = [0.0; SOME];
        each!(|N| {
            means[N] = total(sums[N]) / count;
        });
        let mut squares = [F::zero(); SOME];
        for b in 0..rows.blocks() {
            let (pieces, mask) = rows.block(b);
            each!(|N| {
                let d = F::load(&pieces[at[N]]).sub(F::splat(means[N]));
                let d = masked(d, mask);
                squares[N] = squares[N].add(d.mul(d));
            });
        }
        each!(|N| {
            out[at[N]] = Moments {
                mean: means[N],
                factor: 1.0 / (total(squares[N]) / count + epsilon).sqrt(),
            };
        });
    }
}

/// Gain and bias of a block of columns.
#[inline(always)]
fn gain_and_bias<F: Floats>(norm: Option<&Normed<'_>>, block: usize) -> (F, F) {
    let of = |all: &[f32]| -> Lanes {
        *all[block * COLUMNS..]
            .first_chunk()
            .expect("checked by the graph")
    };
    match norm {
        None => (F::zero(), F::zero()),
        Some(n) => (F::load(&of(n.gain)), F::load(&of(n.bias))),
    }
}

/// The piece of row `r` after `norm`.
#[inline(always)]
fn normed<F: Floats>(
    piece: &Lanes,
    norm: Option<&Normed<'_>>,
    r: usize,
    (gain, bias): (F, F),
) -> F {
    let v = F::load(piece);
    match norm {
        None => v,
        Some(n) => {
            let Moments { mean, factor } = n.moments[r];
            let unit = v.sub(F::splat(mean)).mul(F::splat(factor));
            unit.mul(gain).add(bias)
        }
    }
}

/// Rows normed into `out`, whose blocks are `step` values apart.
#[inline(always)]
pub(super) fn norm<F: Floats>(rows: Rows<'_>, norm: &Normed<'_>, out: &mut [f32], step: usize) {
    for b in 0..rows.blocks() {
        let columns = gain_and_bias(Some(norm), b);
        let (pieces, _) = rows.block(b);
        let (out, _) = out[b * step..].as_chunks_mut();
        for (r, (piece, out)) in pieces.iter().zip(out).enumerate() {
            normed::<F>(piece, Some(norm), r, columns).store(out);
        }
    }
}

/// Rows after `norm`, one after the other.
#[inline(always)]
pub(super) fn floats<F: Floats>(rows: Rows<'_>, norm: Option<&Normed<'_>>, out: &mut [f32]) {
    for b in 0..rows.blocks() {
        let columns = gain_and_bias(norm, b);
        let (pieces, _) = rows.block(b);
        let width = rows.pieces(b);
        for (r, piece) in pieces.iter().enumerate() {
            let mut lanes = [0.0; COLUMNS];
            normed::<F>(piece, norm, r, columns).store(&mut lanes);
            out[r * rows.width + b * COLUMNS..][..width].copy_from_slice(&lanes[..width]);
        }
    }
}

/// Least and greatest value of each row after `norm`, zero included.
#[inline(always)]
pub(super) fn extents<F: Floats>(
    rows: Rows<'_>,
    norm: Option<&Normed<'_>>,
    out: &mut [(f32, f32)],
) {
    for first in (0..rows.count).step_by(SOME) {
        let at = some(first, rows.count);
        // The least as the greatest of what is below zero.
        let (mut low, mut high) = ([F::zero(); SOME], [F::zero(); SOME]);
        for b in 0..rows.blocks() {
            let columns = gain_and_bias(norm, b);
            let (pieces, mask) = rows.block(b);
            each!(|N| {
                let v = masked(normed::<F>(&pieces[at[N]], norm, at[N], columns), mask);
                low[N] = F::zero().sub(v).max(low[N]);
                high[N] = v.max(high[N]);
            });
        }
        each!(|N| {
            out[at[N]] = (0.0 - greatest(low[N]), greatest(high[N]));
        });
    }
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

/// Rounds rows to `low ..= high` on the grids of `scales`, and packs them; values of no column are 0.
/// Leaves in each scale the sum of its row's whole numbers, each less what stands for zero.
#[inline(always)]
pub(super) fn quantize<F: Floats>(
    rows: Rows<'_>,
    norm: Option<&Normed<'_>>,
    scales: &mut [Scale],
    bounds: (i32, i32),
    to: Packed<'_>,
) {
    // A loop for each, which then knows it.
    match (to.layout, norm) {
        (Layout::Pieces, None) => quantize_to::<F, Pieces>(rows, None, scales, bounds, to),
        (Layout::Pieces, norm) => quantize_to::<F, Pieces>(rows, norm, scales, bounds, to),
        (Layout::Shorts, norm) => quantize_to::<F, Shorts>(rows, norm, scales, bounds, to),
        (Layout::Groups, norm) => quantize_to::<F, Groups>(rows, norm, scales, bounds, to),
        (Layout::Pairs, norm) => quantize_to::<F, Pairs>(rows, norm, scales, bounds, to),
    }
}

#[inline(always)]
fn quantize_to<F: Floats, W: Write>(
    rows: Rows<'_>,
    norm: Option<&Normed<'_>>,
    scales: &mut [Scale],
    (low, high): (i32, i32),
    mut to: Packed<'_>,
) {
    let (low, high) = (F::splat(low as f32), F::splat(high as f32));
    let shift = F::splat(SHIFT);
    let scales = &mut scales[..rows.count];
    for first in (0..rows.count).step_by(SOME) {
        let at = some(first, rows.count);
        let (mut factors, mut zeros) = ([F::zero(); SOME], [F::zero(); SOME]);
        // What is taken off a rounded value's bits, and what is added to the rest.
        let mut taken = [F::Whole::splat(0); SOME];
        let mut added = [F::Whole::splat(0); SOME];
        let mut sums = [F::Whole::splat(0); SOME];
        each!(|N| {
            let Scale { scale, zero, .. } = scales[at[N]];
            factors[N] = F::splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
            zeros[N] = F::splat(zero as f32);
            taken[N] = F::Whole::splat((SHIFT.to_bits() as i32).wrapping_add(zero));
            added[N] = F::Whole::splat(zero.wrapping_sub(to.offset));
        });
        for b in 0..rows.blocks() {
            let columns = gain_and_bias(norm, b);
            let (pieces, mask) = rows.block(b);
            let mask = F::Whole::load(mask);
            each!(|N| {
                let v = normed::<F>(&pieces[at[N]], norm, at[N], columns);
                let v = v.mul(factors[N]).add(zeros[N]);
                // In this order, NaN becomes a number. Whole numbers then lie in the low bits.
                let bits = v.max(low).min(high).add(shift).bits();
                let above = bits.sub(taken[N]).and(mask);
                sums[N] = sums[N].add(above);
                W::write(&mut to, b, at[N], above.add(added[N]));
            });
        }
        each!(|N| {
            let mut lanes = [0; COLUMNS];
            sums[N].store(&mut lanes);
            scales[at[N]].sum = fold(lanes, i32::wrapping_add);
        });
    }
}

/// How a piece is written: block `b` of the columns of row `r` of those that are packed.
trait Write {
    fn write<W: Whole>(to: &mut Packed<'_>, b: usize, r: usize, q: W);
}

struct Pieces;
struct Shorts;
struct Groups;
struct Pairs;

impl Write for Pieces {
    #[inline(always)]
    fn write<W: Whole>(to: &mut Packed<'_>, b: usize, r: usize, q: W) {
        let at = b * to.rows + r;
        if let Some(piece) = to.bytes.as_chunks_mut().0.get_mut(at) {
            *piece = q.bytes();
        }
    }
}

impl Write for Shorts {
    #[inline(always)]
    fn write<W: Whole>(to: &mut Packed<'_>, b: usize, r: usize, q: W) {
        let at = b * to.rows + r;
        if let Some(piece) = to.bytes.as_chunks_mut::<32>().0.get_mut(at) {
            piece.copy_from_slice(q.shorts().map(i16::to_ne_bytes).as_flattened());
        }
    }
}

impl Write for Groups {
    #[inline(always)]
    fn write<W: Whole>(to: &mut Packed<'_>, b: usize, r: usize, q: W) {
        let at = (4 * b * to.rows + r) * 4;
        put(to.bytes, q.bytes().as_chunks::<4>().0, at, to.rows * 4);
    }
}

impl Write for Pairs {
    #[inline(always)]
    fn write<W: Whole>(to: &mut Packed<'_>, b: usize, r: usize, q: W) {
        let at = (2 * b * to.rows + r) * 8;
        put(to.bytes, q.bytes().as_chunks::<8>().0, at, to.rows * 8);
    }
}

impl Packed<'_> {
    /// Writes a piece of row `r` of those that are packed, block `b` of its columns.
    #[inline(always)]
    pub(super) fn write<W: Whole>(&mut self, b: usize, r: usize, q: W) {
        match self.layout {
            Layout::Pieces => Pieces::write(self, b, r, q),
            Layout::Shorts => Shorts::write(self, b, r, q),
            Layout::Groups => Groups::write(self, b, r, q),
            Layout::Pairs => Pairs::write(self, b, r, q),
        }
    }
}

/// Writes `parts` from `at`, each `step` bytes after the one before, unless the block has ended before.
#[inline(always)]
fn put<const SIZE: usize>(to: &mut [u8], parts: &[[u8; SIZE]], at: usize, step: usize) {
    let end = at + (parts.len() - 1) * step + SIZE;
    for (n, part) in parts.iter().enumerate() {
        let at = at + n * step;
        if end <= to.len() {
            // SAFETY: the last part ends within the bytes, and the others lie before it.
            unsafe {
                to.as_mut_ptr()
                    .add(at)
                    .cast::<[u8; SIZE]>()
                    .write_unaligned(*part)
            };
        } else if let Some(place) = to.get_mut(at..at + SIZE) {
            place.copy_from_slice(part);
        }
    }
}

/// How a tile's sums become values: `(sum − zero·Σw − zero of w·Σq)·scale + bias`, activated, with `residual` added.
#[derive(Clone, Copy)]
pub(crate) struct ToFloats<'a> {
    pub(crate) rows: &'a [Scale],
    pub(crate) columns: Columns<'a>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [Lanes]>,
}

/// The first part of [`ToFloats`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Values<F: Floats> {
    scale: F,
    bias: F,
    sum: F::Whole,
}

impl<F: Floats> Values<F> {
    #[inline(always)]
    pub(super) fn of(to: ToFloats<'_>) -> Self {
        Self {
            scale: F::load(to.columns.scale),
            bias: F::load(to.columns.bias),
            sum: F::Whole::load(to.columns.sum),
        }
    }

    /// Row `r`, not yet activated.
    #[inline(always)]
    pub(super) fn row(self, to: ToFloats<'_>, r: usize, sum: F::Whole) -> F {
        let (mut whole, row) = (sum, to.rows[r]);
        if let Some(zero) = to.columns.zero {
            whole = whole.sub(F::Whole::splat(row.sum).mul(F::Whole::load(zero)));
        }
        let whole = whole.sub(F::Whole::splat(row.zero).mul(self.sum));
        let scale = F::splat(row.scale).mul(self.scale);
        whole.floats().mul(scale).add(self.bias)
    }
}

/// Sums of a tile's rows to values.
#[inline(always)]
pub(super) fn finish<F: Floats>(sums: &[WholeLanes], to: ToFloats<'_>, out: &mut [Lanes]) {
    let values = Values::<F>::of(to);
    for (r, out) in out.iter_mut().enumerate() {
        let y = values.row(to, r, F::Whole::load(&sums[r]));
        settle(
            y,
            to.activation,
            to.residual.map(|residual| &residual[r]),
            out,
        );
    }
}

/// The same for sums in floats.
#[inline(always)]
pub(super) fn finish_floats<F: Floats>(
    sums: &[Lanes],
    bias: &Lanes,
    activation: Activation,
    residual: Option<&[Lanes]>,
    out: &mut [Lanes],
) {
    let bias = F::load(bias);
    for (r, out) in out.iter_mut().enumerate() {
        let y = F::load(&sums[r]).add(bias);
        settle(y, activation, residual.map(|residual| &residual[r]), out);
    }
}

#[inline(always)]
pub(super) fn settle<F: Floats>(
    y: F,
    activation: Activation,
    residual: Option<&Lanes>,
    out: &mut Lanes,
) {
    let y = activate(activation, y);
    match residual {
        None => y.store(out),
        Some(residual) => y.add(F::load(residual)).store(out),
    }
}

/// Softmax of `scale` times the first `width` values; what follows them becomes 0.
#[inline(always)]
pub(super) fn softmax<F: Floats>(row: &mut [f32], width: usize, scale: f32) {
    row[width..].fill(f32::NEG_INFINITY);
    let (pieces, _) = row.as_chunks_mut::<COLUMNS>();
    let mut most = F::splat(f32::NEG_INFINITY);
    for piece in pieces.iter() {
        most = F::load(piece).max(most);
    }
    let most = F::splat(greatest(most));
    let mut sums = F::zero();
    for (b, piece) in pieces.iter_mut().enumerate() {
        let mask = &MASKS[width.saturating_sub(b * COLUMNS).min(COLUMNS)];
        let e = exp(F::splat(scale).mul(F::load(piece).sub(most)));
        // What the clamp of exp left of nothing is taken out again.
        let e = masked(e, mask);
        e.store(piece);
        sums = sums.add(e);
    }
    let factor = F::splat(1.0 / total(sums));
    for piece in pieces.iter_mut() {
        F::load(piece).mul(factor).store(piece);
    }
}

/// Softmax of `scale` times each row, in 16 bits: shares of the greatest, in two blocks of bytes, 255ths and 255ths
/// of those. Leaves in each scale what makes shares of a whole of the first bytes.
#[inline(always)]
pub(super) fn shares<F: Floats>(
    rows: Rows<'_>,
    scale: f32,
    scales: &mut [Scale],
    mut to: [Packed<'_>; 2],
) {
    let shift = F::splat(SHIFT);
    let offset = F::Whole::splat(to[0].offset);
    let (steps, half) = (F::splat(255.0), F::splat(0.5));
    let blocks = rows.blocks();
    for first in (0..rows.count).step_by(SOME) {
        let at = some(first, rows.count);
        let mut most = [F::splat(f32::NEG_INFINITY); SOME];
        for b in 0..blocks {
            let (pieces, mask) = rows.block(b);
            let mask = F::Whole::load(mask);
            each!(|N| {
                let v = F::load(&pieces[at[N]]);
                most[N] = select(mask, v, F::splat(f32::NEG_INFINITY)).max(most[N]);
            });
        }
        let mut sums = [F::zero(); SOME];
        each!(|N| {
            most[N] = F::splat(greatest(most[N]));
        });
        for b in 0..blocks {
            let (pieces, mask) = rows.block(b);
            each!(|N| {
                let above = F::load(&pieces[at[N]]).sub(most[N]);
                let e = masked(power_of_two(F::splat(scale * LOG2_E).mul(above)), mask);
                sums[N] = sums[N].add(e);
                // The whole part, then what it leaves.
                let e = e.mul(steps);
                let low = e.sub(half);
                let rest = e.sub(low.add(shift).sub(shift)).mul(steps);
                to[0].write(b, at[N], nearest(low).sub(offset));
                to[1].write(b, at[N], nearest(rest).sub(offset));
            });
        }
        each!(|N| {
            scales[at[N]] = Scale {
                scale: 1.0 / 255.0 / total(sums[N]),
                zero: 0,
                sum: 0,
            };
        });
    }
}

/// Adds up rows of one block of columns.
#[inline(always)]
pub(super) fn column_sums<F: Floats>(rows: &[Lanes], out: &mut Lanes) {
    let mut sum = F::zero();
    for row in rows {
        sum = sum.add(F::load(row));
    }
    sum.store(out);
}

/// Rounds rows of one block of columns to s8, each column by its greatest, and packs them as weights.
#[inline(always)]
pub(super) fn pack_columns<F: Floats>(
    rows: &[Lanes],
    to: &mut [u8],
    scale: &mut Lanes,
    sums: &mut WholeLanes,
) {
    let size = F::Whole::splat(i32::MAX);
    let mut most = F::zero();
    for row in rows {
        most = F::load(row).bits().and(size).as_floats().max(most);
    }
    most.mul(F::splat(1.0 / 127.0)).store(scale);
    let factor = select(F::zero().less(most), F::splat(127.0).div(most), F::zero());
    let (low, high) = (F::splat(-127.0), F::splat(127.0));
    let byte = F::Whole::splat(0xff);
    let mut sum = F::Whole::splat(0);
    let groups = to.as_chunks_mut::<{ GROUP * COLUMNS }>().0;
    for (to, rows) in groups.iter_mut().zip(rows.chunks(GROUP)) {
        // The four inputs of a group are the bytes of one whole number, the first the lowest.
        let mut group = F::Whole::splat(0);
        for row in rows.iter().rev() {
            let q = nearest(F::load(row).mul(factor).max(low).min(high));
            sum = sum.add(q);
            group = group.up::<8>().or(q.and(byte));
        }
        let mut lanes = [0; COLUMNS];
        group.store(&mut lanes);
        for (to, q) in to.as_chunks_mut::<GROUP>().0.iter_mut().zip(lanes) {
            *to = q.to_le_bytes();
        }
    }
    sum.store(sums);
}
