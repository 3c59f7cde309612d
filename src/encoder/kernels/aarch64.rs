//! Sets for 64-bit ARM: products of 2 × 8 bytes with 8 × 2, dot products of 4 bytes, plain NEON.
//!
//! All take bytes with sign, so 128 is taken off the activations.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::lanes::aarch64::Floats128;
use super::loops::{compile, loops};
use super::{COLUMNS, FloatTile, GROUP, Kernels, Layout, Operands, Tile};

loops!(compile neon super::Floats128, target_feature(enable = "neon"));

/// Bytes of a group of weights.
const STEP: usize = COLUMNS * GROUP;

/// What this processor has, the fastest first.
pub(super) fn sets() -> Vec<Kernels> {
    let mut sets = Vec::new();
    let loops = neon::LOOPS;
    if is_aarch64_feature_detected!("i8mm") {
        sets.push(Kernels {
            name: "i8mm",
            rows: 10,
            is_flexible: false,
            layout: Layout::Pairs,
            offset: 128,
            tile: tile_i8mm,
            byte_tile: None,
            value_tile: None,
            float_tile: float_tile_twice,
            loops,
        });
    }
    if is_aarch64_feature_detected!("dotprod") {
        sets.push(Kernels {
            name: "dotprod",
            rows: 5,
            is_flexible: false,
            layout: Layout::Groups,
            offset: 128,
            tile: tile_dotprod,
            byte_tile: None,
            value_tile: None,
            float_tile: float_tile::<5>,
            loops,
        });
    }
    sets.push(Kernels {
        name: "neon",
        rows: 3,
        is_flexible: false,
        layout: Layout::Groups,
        offset: 128,
        tile: tile_neon,
        byte_tile: None,
        value_tile: None,
        float_tile: float_tile::<3>,
        loops,
    });
    sets
}

/// Adds the products of two rows of eight activations with two columns of eight weights.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(sums: int32x4_t, a: int8x16_t, weights: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: as of `sdot`.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {a:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Groups after which the two halves of a tile change places, so that both read from the first cache.
const STRETCH: usize = 192;

/// 10 rows × 16 columns in two halves of 8: each pair of groups of weights is put side by side by a
/// step for every register, and ten rows share it.
#[target_feature(enable = "neon,i8mm")]
fn tile_i8mm(of: Operands<'_>, sums: &mut Tile) {
    let Operands {
        groups,
        activations,
        weights,
        ..
    } = of;
    const BYTES: usize = 10 * GROUP;
    *sums = Default::default();
    for from in (0..groups).step_by(STRETCH) {
        let count = STRETCH.min(groups - from);
        let a = &activations[from * BYTES..][..count.next_multiple_of(2) * BYTES];
        let w = &weights[from * STEP..][..count * STEP];
        half_i8mm(count, a, w, 0, sums);
        half_i8mm(count, a, w, 1, sums);
    }
}

/// Sums of 10 rows × 8 columns, each register with two rows' sums of two columns.
type Squares = [[int32x4_t; 4]; 5];

#[inline]
#[target_feature(enable = "neon,i8mm")]
fn half_i8mm(groups: usize, activations: &[u8], weights: &[i8], half: usize, sums: &mut Tile) {
    let mut acc = [[vdupq_n_s32(0); 4]; 5];
    let (a, w) = (activations.as_ptr().cast::<i8>(), weights.as_ptr());
    for pair in 0..groups / 2 {
        // SAFETY: the slices hold `groups` groups: the caller cut them so.
        unsafe {
            let w = w.add(2 * pair * STEP + half * STEP / 2);
            let (left, right) = (vld1q_s8_x2(w), vld1q_s8_x2(w.add(STEP)));
            multiply_pair(&mut acc, a.add(pair * 80), left, right);
        }
    }
    if groups % 2 == 1 {
        let none = int8x16x2_t(vdupq_n_s8(0), vdupq_n_s8(0));
        // SAFETY: as above; the activations are there in pairs, whatever the last ones are.
        unsafe {
            let left = vld1q_s8_x2(w.add((groups - 1) * STEP + half * STEP / 2));
            multiply_pair(&mut acc, a.add(groups / 2 * 80), left, none);
        }
    }
    for (sums, acc) in sums.chunks_exact_mut(2).zip(acc) {
        for (c, acc) in acc.chunks_exact(2).enumerate() {
            let (left, right) = (vreinterpretq_s64_s32(acc[0]), vreinterpretq_s64_s32(acc[1]));
            let rows = [vzip1q_s64(left, right), vzip2q_s64(left, right)];
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: a row of sums has 16 whole numbers, `half` and `c` are 0 or 1.
                unsafe {
                    let to = sums.as_mut_ptr().add(half * 8 + c * 4);
                    vst1q_s32(to, vaddq_s32(vld1q_s32(to), vreinterpretq_s32_s64(row)));
                }
            }
        }
    }
}

/// Adds the products of a pair of groups, whose weights come one group `left`, one `right`.
///
/// # Safety
/// `activations` points to 80 bytes.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn multiply_pair(
    acc: &mut Squares,
    activations: *const i8,
    left: int8x16x2_t,
    right: int8x16x2_t,
) {
    let mut rows = [vdupq_n_s8(0); 5];
    for (r, rows) in rows.iter_mut().enumerate() {
        // SAFETY: see above.
        *rows = unsafe { vld1q_s8(activations.add(r * 16)) };
    }
    for (half, (left, right)) in [(left.0, right.0), (left.1, right.1)]
        .into_iter()
        .enumerate()
    {
        let (left, right) = (vreinterpretq_s32_s8(left), vreinterpretq_s32_s8(right));
        let columns = [vzip1q_s32(left, right), vzip2q_s32(left, right)];
        for (c, columns) in columns.into_iter().enumerate() {
            for (acc, rows) in acc.iter_mut().zip(rows) {
                let sums = &mut acc[half * 2 + c];
                *sums = smmla(*sums, rows, vreinterpretq_s8_s32(columns));
            }
        }
    }
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
fn tile_dotprod(of: Operands<'_>, sums: &mut Tile) {
    let Operands {
        groups,
        activations,
        weights,
        ..
    } = of;
    const ROWS: usize = 5;
    let mut acc = [[vdupq_n_s32(0); ROWS]; 4];
    let (a, w) = (activations.as_ptr(), weights.as_ptr());
    for g in 0..groups {
        let (first, last);
        // SAFETY: the caller checked that `groups` groups are there.
        unsafe {
            let a = a.add(g * ROWS * GROUP);
            first = vld1q_s8(a.cast());
            let row = a.add(4 * GROUP).cast::<i32>().read_unaligned();
            last = vreinterpretq_s8_s32(vsetq_lane_s32::<0>(row, vdupq_n_s32(0)));
        }
        for (c, acc) in acc.iter_mut().enumerate() {
            // SAFETY: as above.
            let w = unsafe { vld1q_s8(w.add(g * STEP + c * 16)) };
            acc[0] = sdot::<0>(acc[0], w, first);
            acc[1] = sdot::<1>(acc[1], w, first);
            acc[2] = sdot::<2>(acc[2], w, first);
            acc[3] = sdot::<3>(acc[3], w, first);
            acc[4] = sdot::<0>(acc[4], w, last);
        }
    }
    for (r, sums) in sums.iter_mut().enumerate().take(ROWS) {
        store(sums, [acc[0][r], acc[1][r], acc[2][r], acc[3][r]]);
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

/// Products of four columns' weights with three rows' activations, added to two registers a row.
/// Products are written three ahead of their sums, for cores that keep the order.
macro_rules! columns {
    ($weights:literal, $a0:literal $a1:literal, $b0:literal $b1:literal, $c0:literal $c1:literal) => {
        concat!(
            concat!("smull v13.8h, ", $weights, ".8b, v8.8b\n"),
            concat!("smull2 v14.8h, ", $weights, ".16b, v8.16b\n"),
            concat!("smull v15.8h, ", $weights, ".8b, v9.8b\n"),
            concat!("sadalp ", $a0, ".4s, v13.8h\n"),
            concat!("smull2 v13.8h, ", $weights, ".16b, v9.16b\n"),
            concat!("sadalp ", $a1, ".4s, v14.8h\n"),
            concat!("smull v14.8h, ", $weights, ".8b, v10.8b\n"),
            concat!("sadalp ", $b0, ".4s, v15.8h\n"),
            concat!("smull2 v15.8h, ", $weights, ".16b, v10.16b\n"),
            concat!("sadalp ", $b1, ".4s, v13.8h\n"),
            concat!("sadalp ", $c0, ".4s, v14.8h\n"),
            concat!("sadalp ", $c1, ".4s, v15.8h"),
        )
    };
}

/// 3 rows × 16 columns. A product of two bytes with sign fills 16 bits, and two of −128 · −128 would
/// not fit, so each goes to 32 bits in a step of its own: the multiplier is one pipe, the other adds.
#[target_feature(enable = "neon")]
fn tile_neon(of: Operands<'_>, sums: &mut Tile) {
    let Operands {
        groups,
        activations,
        weights,
        ..
    } = of;
    const ROWS: usize = 3;
    // Sums of a row, two to a column: the compiler, given intrinsics, keeps some of them in memory.
    let mut acc = [[[vdupq_n_s32(0); 2]; 4]; ROWS];
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l]] = &mut acc;
    if groups > 0 {
        // SAFETY: the caller checked that `groups` groups are there, of which each pass reads one;
        // all registers that change are named.
        unsafe {
            asm!(
                "2:",
                "ldr d8, [{a}]",
                "ldr s10, [{a}, #8]",
                "add {a}, {a}, #12",
                "dup v9.4s, v8.s[1]",
                "dup v8.4s, v8.s[0]",
                "dup v10.4s, v10.s[0]",
                "ldp q11, q12, [{w}], #32",
                "subs {groups}, {groups}, #1",
                columns!("v11", "v0" "v1", "v16" "v17", "v24" "v25"),
                columns!("v12", "v2" "v3", "v18" "v19", "v26" "v27"),
                "ldp q11, q12, [{w}], #32",
                columns!("v11", "v4" "v5", "v20" "v21", "v28" "v29"),
                columns!("v12", "v6" "v7", "v22" "v23", "v30" "v31"),
                "b.ne 2b",
                groups = inout(reg) groups => _,
                a = inout(reg) activations.as_ptr() => _,
                w = inout(reg) weights.as_ptr() => _,
                inout("v0") a[0], inout("v1") a[1], inout("v2") b[0], inout("v3") b[1],
                inout("v4") c[0], inout("v5") c[1], inout("v6") d[0], inout("v7") d[1],
                inout("v16") e[0], inout("v17") e[1], inout("v18") f[0], inout("v19") f[1],
                inout("v20") g[0], inout("v21") g[1], inout("v22") h[0], inout("v23") h[1],
                inout("v24") i[0], inout("v25") i[1], inout("v26") j[0], inout("v27") j[1],
                inout("v28") k[0], inout("v29") k[1], inout("v30") l[0], inout("v31") l[1],
                out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _,
                out("v13") _, out("v14") _, out("v15") _,
                options(pure, readonly, nostack),
            );
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        let mut row = [vdupq_n_s32(0); 4];
        for (row, pair) in row.iter_mut().zip(acc) {
            *row = vpaddq_s32(pair[0], pair[1]);
        }
        store(sums, row);
    }
}

/// 10 rows, whose sums would not fit the registers, as twice 5.
#[target_feature(enable = "neon")]
fn float_tile_twice(inputs: usize, rows: &[f32], columns: &[f32], sums: &mut FloatTile) {
    let (first, second) = rows.split_at(5 * inputs);
    let (above, below) = sums.split_at_mut(5);
    floats::<5>(inputs, first, columns, above);
    floats::<5>(inputs, second, columns, below);
}

#[target_feature(enable = "neon")]
fn float_tile<const ROWS: usize>(
    inputs: usize,
    rows: &[f32],
    columns: &[f32],
    sums: &mut FloatTile,
) {
    floats::<ROWS>(inputs, rows, columns, sums);
}

type Floats<const ROWS: usize> = [[float32x4_t; 4]; ROWS];

/// `ROWS` rows × 16 columns, four inputs at a time.
#[inline]
#[target_feature(enable = "neon")]
fn floats<const ROWS: usize>(
    inputs: usize,
    rows: &[f32],
    columns: &[f32],
    sums: &mut [[f32; COLUMNS]],
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
