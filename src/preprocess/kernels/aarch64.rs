//! NEON bodies, on split weights as the x86-64 ones. Every aarch64 that this
//! crate is built for has NEON.
#![allow(unsafe_code)]

use std::arch::aarch64::{
    int16x8_t, int32x4_t, uint8x8_t, uint8x16_t, vaddq_s32, vcombine_s16, vcombine_u8, vdupq_n_s32,
    vget_high_s16, vget_high_u8, vget_lane_u32, vget_low_s16, vget_low_u8, vld1_s16, vld1q_u8,
    vmlal_lane_s16, vmlal_n_s16, vmovl_u8, vqmovn_s32, vqmovun_s16, vqtbl1q_u8,
    vreinterpret_u32_u8, vreinterpretq_s16_u16, vshlq_n_s32, vshrq_n_s32, vst1q_u8,
};

use super::super::taps::{BLOCK, FINE_BITS, HALF, Taps, WEIGHT_BITS, Window};
use super::portable;
use crate::frame::PIXEL_BYTES;

/// Rows that share each load of the weights.
const ROWS: usize = 4;
/// Bytes that the vertical pass makes at a time.
const CHUNK: usize = 16;
/// Bytes that a step of the horizontal pass loads; it uses the first 12, four pixels.
const LOAD: usize = 16;

const SHIFT: i32 = WEIGHT_BITS as i32;
const FINE: i32 = FINE_BITS as i32;

/// Four pixels to four bytes each; an index past the end gives zero.
const SPREAD: [u8; LOAD] = [0, 1, 2, 99, 3, 4, 5, 99, 6, 7, 8, 99, 9, 10, 11, 99];

/// The horizontal pass.
///
/// # Safety
///
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn across(source: &[u8], stride: usize, taps: &Taps, out: &mut [u8]) {
    let out_row = taps.len() * PIXEL_BYTES;
    let whole = out.len() / (ROWS * out_row) * ROWS;
    let (blocks, rest) = out.split_at_mut(whole * out_row);
    for (i, out) in blocks.chunks_exact_mut(ROWS * out_row).enumerate() {
        across_rows::<ROWS>(&source[i * ROWS * stride..], stride, taps, out);
    }
    for (i, out) in rest.chunks_exact_mut(out_row).enumerate() {
        across_rows::<1>(&source[(whole + i) * stride..], stride, taps, out);
    }
}

/// `N` rows of the horizontal pass, packed in `out`.
#[target_feature(enable = "neon")]
fn across_rows<const N: usize>(source: &[u8], stride: usize, taps: &Taps, out: &mut [u8]) {
    let out_row = out.len() / N;
    let rows: [&[u8]; N] = std::array::from_fn(|n| &source[n * stride..]);
    // The last row is the shortest: what may be loaded there may be loaded in all.
    let loadable = rows[N - 1].len();
    for x in 0..taps.len() {
        let window = taps.window(x);
        let first = window.start * PIXEL_BYTES;
        let end = first + (window.split.len() - 1) * BLOCK * PIXEL_BYTES + LOAD;
        if end > loadable {
            for (n, row) in rows.iter().enumerate() {
                portable::pixel(
                    row,
                    &window,
                    &mut out[n * out_row + x * PIXEL_BYTES..][..PIXEL_BYTES],
                );
            }
            continue;
        }
        // SAFETY: all blocks of this window can be loaded from every row, checked above.
        let pixels = unsafe { weigh::<N>(rows.map(|row| row.as_ptr().add(first)), window.split) };
        for (n, pixel) in pixels.iter().enumerate() {
            let at = n * out_row + x * PIXEL_BYTES;
            out[at..at + PIXEL_BYTES].copy_from_slice(&pixel.to_le_bytes()[..PIXEL_BYTES]);
        }
    }
}

/// One output pixel of `N` rows; red in the lowest byte.
///
/// # Safety
///
/// From each pointer on, 16 bytes can be read at every multiple of 12 below `12 × split.len()`.
#[target_feature(enable = "neon")]
unsafe fn weigh<const N: usize>(rows: [*const u8; N], split: &[[i16; 2 * BLOCK]]) -> [u32; N] {
    let mut coarse_sums = [vdupq_n_s32(0); N];
    let mut fine_sums = [vdupq_n_s32(0); N];
    // SAFETY: the table is 16 bytes.
    let spread = unsafe { vld1q_u8(SPREAD.as_ptr()) };
    for (i, block) in split.iter().enumerate() {
        // SAFETY: a block is four coarse and four fine weights.
        let (coarse, fine) = unsafe {
            (
                vld1_s16(block.as_ptr()),
                vld1_s16(block.as_ptr().add(BLOCK)),
            )
        };
        for n in 0..N {
            // SAFETY: readable by this function's contract.
            let bytes = unsafe { vld1q_u8(rows[n].add(i * BLOCK * PIXEL_BYTES)) };
            let [a, b] = widen(vqtbl1q_u8(bytes, spread));
            let pixels = [
                vget_low_s16(a),
                vget_high_s16(a),
                vget_low_s16(b),
                vget_high_s16(b),
            ];
            let sum = vmlal_lane_s16::<0>(coarse_sums[n], pixels[0], coarse);
            let sum = vmlal_lane_s16::<1>(sum, pixels[1], coarse);
            let sum = vmlal_lane_s16::<2>(sum, pixels[2], coarse);
            coarse_sums[n] = vmlal_lane_s16::<3>(sum, pixels[3], coarse);
            let sum = vmlal_lane_s16::<0>(fine_sums[n], pixels[0], fine);
            let sum = vmlal_lane_s16::<1>(sum, pixels[1], fine);
            let sum = vmlal_lane_s16::<2>(sum, pixels[2], fine);
            fine_sums[n] = vmlal_lane_s16::<3>(sum, pixels[3], fine);
        }
    }
    std::array::from_fn(|n| {
        let zero = vdupq_n_s32(0);
        let level = to_levels(join(coarse_sums[n], fine_sums[n]), zero);
        vget_lane_u32::<0>(vreinterpret_u32_u8(level))
    })
}

/// The vertical pass for one row.
///
/// # Safety
///
/// The machine has NEON, and all weighed rows lie inside the source.
#[target_feature(enable = "neon")]
pub(super) unsafe fn down(source: &[u8], stride: usize, window: &Window<'_>, out: &mut [u8]) {
    let whole = out.len() / CHUNK * CHUNK;
    for at in (0..whole).step_by(CHUNK) {
        let first = window.start * stride + at;
        // SAFETY: at + CHUNK is at most the length of a row, and rows lie inside the source.
        let levels = unsafe { weigh_rows(source.as_ptr().add(first), stride, window) };
        let out = &mut out[at..at + CHUNK];
        // SAFETY: the slice holds the 16 bytes stored.
        unsafe { vst1q_u8(out.as_mut_ptr(), levels) };
    }
    if whole < out.len() {
        portable::down(&source[whole..], stride, window, &mut out[whole..]);
    }
}

/// 16 neighbouring bytes of one output row.
///
/// # Safety
///
/// From the pointer on, 16 bytes can be read at every multiple of `stride` below
/// `stride × window.weights.len()`.
#[target_feature(enable = "neon")]
unsafe fn weigh_rows(first: *const u8, stride: usize, window: &Window<'_>) -> uint8x16_t {
    let mut coarse_sums = [vdupq_n_s32(0); 4];
    let mut fine_sums = [vdupq_n_s32(0); 4];
    for y in 0..window.weights.len() {
        let block = &window.split[y / BLOCK];
        let (coarse, fine) = (block[y % BLOCK], block[BLOCK + y % BLOCK]);
        // SAFETY: the row is below the count.
        let [a, b] = widen(unsafe { vld1q_u8(first.add(y * stride)) });
        let levels = [
            vget_low_s16(a),
            vget_high_s16(a),
            vget_low_s16(b),
            vget_high_s16(b),
        ];
        for n in 0..4 {
            coarse_sums[n] = vmlal_n_s16(coarse_sums[n], levels[n], coarse);
            fine_sums[n] = vmlal_n_s16(fine_sums[n], levels[n], fine);
        }
    }
    let sum = |n: usize| join(coarse_sums[n], fine_sums[n]);
    vcombine_u8(to_levels(sum(0), sum(1)), to_levels(sum(2), sum(3)))
}

/// 16 bytes to twice eight 16-bit lanes.
#[target_feature(enable = "neon")]
fn widen(bytes: uint8x16_t) -> [int16x8_t; 2] {
    [
        vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
        vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(bytes))),
    ]
}

/// Coarse and fine sums to whole ones.
#[target_feature(enable = "neon")]
fn join(coarse: int32x4_t, fine: int32x4_t) -> int32x4_t {
    vaddq_s32(vshlq_n_s32::<FINE>(coarse), fine)
}

/// Eight sums to eight bytes.
#[target_feature(enable = "neon")]
fn to_levels(low: int32x4_t, high: int32x4_t) -> uint8x8_t {
    let half = vdupq_n_s32(HALF);
    let low = vqmovn_s32(vshrq_n_s32::<SHIFT>(vaddq_s32(low, half)));
    let high = vqmovn_s32(vshrq_n_s32::<SHIFT>(vaddq_s32(high, half)));
    vqmovun_s16(vcombine_s16(low, high))
}
