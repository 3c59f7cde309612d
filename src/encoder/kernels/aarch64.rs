//! Sets for 64-bit ARM: dot products of bytes, and plain NEON.
//!
//! Both take bytes with sign, so 128 is taken off the activations.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{COLUMNS, FloatTile, GROUP, Kernels, Tile, portable};

/// Bytes of a group of weights.
const STEP: usize = COLUMNS * GROUP;

/// What this processor has, the fastest first.
pub(super) fn sets() -> Vec<Kernels> {
    let mut sets = Vec::new();
    // NEON belongs to every aarch64 that Rust builds for, so the plain loops use it as they are.
    let loops = *portable::SET.loops();
    if is_aarch64_feature_detected!("dotprod") {
        sets.push(Kernels {
            name: "dotprod",
            rows: 5,
            wide: false,
            offset: 128,
            tile: tile_dotprod,
            float_tile: float_tile::<5>,
            loops,
        });
    }
    sets.push(Kernels {
        name: "neon",
        rows: 3,
        wide: false,
        offset: 128,
        tile: tile_neon,
        float_tile: float_tile::<3>,
        loops,
    });
    sets
}

/// Adds to each of four sums the products of four weights and the four activations of one lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(sums: int32x4_t, weights: int8x16_t, a: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // The intrinsic of this instruction is not stable yet.
    // SAFETY: it only reads and writes the named registers, and the processor has it.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {a:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            a = in(vreg) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// 5 rows × 16 columns: 20 sums wait for none of the others, and 50 tokens (CLIP's patches of 32)
/// are 10 tiles.
#[target_feature(enable = "neon,dotprod")]
fn tile_dotprod(groups: usize, activations: &[u8], weights: &[i8], sums: &mut Tile) {
    const ROWS: usize = 5;
    let mut acc = [[vdupq_n_s32(0); 4]; ROWS];
    let (a, w) = (activations.as_ptr(), weights.as_ptr());
    for g in 0..groups {
        // SAFETY: the caller checked that `groups` groups are there.
        let (w, first, last) = unsafe {
            let a = a.add(g * ROWS * GROUP);
            let last = a.add(4 * GROUP).cast::<i32>().read_unaligned();
            let w = w.add(g * STEP);
            (
                [0, 1, 2, 3].map(|c| vld1q_s8(w.add(c * 16))),
                vld1q_s8(a.cast()),
                vreinterpretq_s8_s32(vsetq_lane_s32::<0>(last, vdupq_n_s32(0))),
            )
        };
        for (c, w) in w.into_iter().enumerate() {
            acc[0][c] = sdot::<0>(acc[0][c], w, first);
            acc[1][c] = sdot::<1>(acc[1][c], w, first);
            acc[2][c] = sdot::<2>(acc[2][c], w, first);
            acc[3][c] = sdot::<3>(acc[3][c], w, first);
            acc[4][c] = sdot::<0>(acc[4][c], w, last);
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        store(sums, acc);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(sums: &mut [i32; COLUMNS], acc: [int32x4_t; 4]) {
    for (c, acc) in acc.into_iter().enumerate() {
        // SAFETY: a row of sums has 16 whole numbers.
        unsafe { vst1q_s32(sums.as_mut_ptr().add(c * 4), acc) };
    }
}

/// 3 rows × 16 columns. A product of two bytes with sign fills 16 bits, and two of −128 · −128 would
/// not fit, so each product goes to sums of 32 bits in a step of its own: the multiplier has one
/// pipe, the other one adds.
#[target_feature(enable = "neon")]
fn tile_neon(groups: usize, activations: &[u8], weights: &[i8], sums: &mut Tile) {
    const ROWS: usize = 3;
    // Each register holds two columns, two sums each.
    let mut acc = [[vdupq_n_s32(0); 8]; ROWS];
    let (a, w) = (activations.as_ptr(), weights.as_ptr());
    for g in 0..groups {
        // SAFETY: the caller checked that `groups` groups are there.
        let (w, a) = unsafe {
            let a = a.add(g * ROWS * GROUP).cast::<i32>();
            let w = w.add(g * STEP);
            (
                [0, 1, 2, 3].map(|c| vld1q_s8(w.add(c * 16))),
                [0, 1, 2].map(|r| vdupq_n_s32(a.add(r).read_unaligned())),
            )
        };
        for (acc, a) in acc.iter_mut().zip(a) {
            let a = vreinterpretq_s8_s32(a);
            for (c, w) in w.into_iter().enumerate() {
                let low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
                acc[2 * c] = vpadalq_s16(acc[2 * c], low);
                acc[2 * c + 1] = vpadalq_s16(acc[2 * c + 1], vmull_high_s8(w, a));
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        let pairs = [0, 2, 4, 6].map(|c| vpaddq_s32(acc[c], acc[c + 1]));
        store(sums, pairs);
    }
}

type Floats<const ROWS: usize> = [[float32x4_t; 4]; ROWS];

/// `ROWS` rows × 16 columns, four inputs at a time.
#[target_feature(enable = "neon")]
fn float_tile<const ROWS: usize>(
    inputs: usize,
    rows: &[f32],
    columns: &[f32],
    sums: &mut FloatTile,
) {
    let mut acc = [[vdupq_n_f32(0.0); 4]; ROWS];
    let (a, w) = (rows.as_ptr(), columns.as_ptr());
    let fours = inputs / 4 * 4;
    for i in (0..fours).step_by(4) {
        let mut four = [vdupq_n_f32(0.0); ROWS];
        for (r, four) in four.iter_mut().enumerate() {
            // SAFETY: the caller checked that `ROWS` rows of `inputs` are there.
            *four = unsafe { vld1q_f32(a.add(r * inputs + i)) };
        }
        // SAFETY: the caller checked that 16 columns of `inputs` are there, and i + 3 < inputs.
        unsafe {
            multiply::<0, ROWS>(&mut acc, &four, w.add(i * COLUMNS));
            multiply::<1, ROWS>(&mut acc, &four, w.add((i + 1) * COLUMNS));
            multiply::<2, ROWS>(&mut acc, &four, w.add((i + 2) * COLUMNS));
            multiply::<3, ROWS>(&mut acc, &four, w.add((i + 3) * COLUMNS));
        }
    }
    for i in fours..inputs {
        let mut one = [vdupq_n_f32(0.0); ROWS];
        for (r, one) in one.iter_mut().enumerate() {
            *one = vdupq_n_f32(rows[r * inputs + i]);
        }
        // SAFETY: as above.
        unsafe { multiply::<0, ROWS>(&mut acc, &one, w.add(i * COLUMNS)) };
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        for (c, acc) in acc.into_iter().enumerate() {
            // SAFETY: a row of sums has 16 floats.
            unsafe { vst1q_f32(sums.as_mut_ptr().add(c * 4), acc) };
        }
    }
}

/// Adds the products of one lane of each row with 16 weights.
///
/// # Safety
/// `weights` points to 16 floats.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn multiply<const LANE: i32, const ROWS: usize>(
    acc: &mut Floats<ROWS>,
    rows: &[float32x4_t; ROWS],
    weights: *const f32,
) {
    for c in 0..4 {
        // SAFETY: see above.
        let w = unsafe { vld1q_f32(weights.add(c * 4)) };
        for (acc, a) in acc.iter_mut().zip(rows) {
            acc[c] = vfmaq_laneq_f32::<LANE>(acc[c], w, *a);
        }
    }
}
