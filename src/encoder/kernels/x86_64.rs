//! Sets for x86-64: AVX-512 with VNNI, AVX with VNNI, AVX2.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use super::bytes::{Finish, Piece, ToBytes};
use super::lanes::x86_64::{Floats256, Floats512, Whole512};
use super::lanes::{Floats, Lanes, Whole};
use super::loops::{compile, loops};
use super::rows::{Activation, ToFloats, Values, settle};
use super::{COLUMNS, FloatTile, GROUP, GROUPS, Kernels, Layout, Operands, Tile};

loops!(compile avx2 super::Floats256, target_feature(enable = "avx2"));
loops!(compile avx512 super::Floats512, target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni"));

/// Bytes of a group of weights.
const STEP: usize = COLUMNS * GROUP;

/// What this processor has, the fastest first.
pub(super) fn sets() -> Vec<Kernels> {
    let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let has_512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    let mut sets = Vec::new();
    if has_avx2 && has_512 && is_x86_feature_detected!("avx512vnni") {
        sets.push(Kernels {
            name: "avx512-vnni",
            rows: 12,
            is_flexible: true,
            layout: Layout::Pieces,
            offset: 0,
            tile: tile_avx512_vnni,
            byte_tile: Some(byte_tile_avx512_vnni),
            value_tile: Some(value_tile_avx512_vnni),
            float_tile: float_tile_avx512,
            loops: avx512::LOOPS,
        });
    }
    if has_avx2 && is_x86_feature_detected!("avxvnni") {
        sets.push(Kernels {
            name: "avx-vnni",
            rows: 6,
            is_flexible: true,
            layout: Layout::Pieces,
            offset: 0,
            tile: tile_avx_vnni,
            byte_tile: None,
            value_tile: None,
            float_tile: float_tile_avx2,
            loops: avx2::LOOPS,
        });
    }
    if has_avx2 {
        sets.push(Kernels {
            name: "avx2",
            rows: 6,
            is_flexible: true,
            layout: Layout::Shorts,
            offset: 0,
            tile: tile_avx2,
            byte_tile: None,
            value_tile: None,
            float_tile: float_tile_avx2,
            loops: avx2::LOOPS,
        });
    }
    sets
}

/// A tile of any of these numbers of rows: one function compiled for each.
macro_rules! by_rows {
    ($name:ident($out:ident: $of:ty), $made:ident, $features:literal, $($rows:literal)*) => {
        #[target_feature(enable = $features)]
        fn $name(of: Operands<'_>, $out: $of) {
            match of.rows {
                $($rows => $made::<$rows>(of, $out),)*
                _ => unreachable!("checked by the caller"),
            }
        }
    };
}

by_rows!(tile_avx512_vnni(sums: &mut Tile), avx512_vnni, "avx512f,avx512vnni", 1 2 3 4 5 6 7 8 9 10 11 12);
by_rows!(byte_tile_avx512_vnni(out: (ToBytes<'_>, &mut [Piece])), avx512_vnni_bytes,
    "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni", 1 2 3 4 5 6 7 8 9 10 11 12);
by_rows!(value_tile_avx512_vnni(out: (ToFloats<'_>, &mut [Lanes])), avx512_vnni_values,
    "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni", 1 2 3 4 5 6 7 8 9 10 11 12);
by_rows!(tile_avx_vnni(sums: &mut Tile), avx_vnni, "avx2,avxvnni", 1 2 3 4 5 6);
by_rows!(tile_avx2(sums: &mut Tile), avx2_pairs, "avx2", 1 2 3 4 5 6);

/// Brings the lines of block `at` of `blocks` nearer, spread evenly: memory answers so many requests at a time.
#[inline(always)]
fn fetch(ahead: &[i8], at: usize, blocks: usize) {
    let lines = ahead.len() / STEP;
    let each = lines.div_ceil(blocks);
    for line in at * each..lines.min((at + 1) * each) {
        let line = ahead.as_ptr().wrapping_add(line * STEP);
        // SAFETY: every x86-64 has the instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line) };
    }
}

/// Hands on for each group where its weights and its first row of activations are, `size` bytes an input.
macro_rules! each_group {
    ($of:expr, $size:literal, |$w:ident, $a:ident| $body:block) => {
        let (w, a) = ($of.weights.as_ptr(), $of.activations.as_ptr());
        // Whole blocks in a loop of their own, which is unrolled.
        let whole = $of.groups / GROUPS;
        for block in 0..whole {
            fetch($of.ahead, block, whole);
            each_group!(@block GROUPS, block, $of, w, a, $size, |$w, $a| $body);
        }
        each_group!(@block $of.groups % GROUPS, whole, $of, w, a, $size, |$w, $a| $body);
    };
    (@block $count:expr, $block:expr, $of:expr, $weights:ident, $activations:ident, $size:literal, |$w:ident, $a:ident| $body:block) => {
        for n in 0..$count {
            // SAFETY: the caller checked that so many groups are there.
            unsafe {
                let $w = $weights.add(($block * GROUPS + n) * STEP);
                let $a = $activations.add($block * $of.step + n * GROUP * $size);
                $body
            }
        }
    };
}

/// One register a row.
macro_rules! sums_avx512_vnni {
    ($of:expr, $rows:ident) => {{
        let mut acc = [_mm512_setzero_si512(); $rows];
        each_group!($of, 1, |w, a| {
            let w = _mm512_loadu_si512(w.cast());
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_epi32(a.add(r * COLUMNS).cast::<i32>().read_unaligned());
                *acc = _mm512_dpbusd_epi32(*acc, a, w);
            }
        });
        acc
    }};
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512_vnni<const ROWS: usize>(of: Operands<'_>, sums: &mut Tile) {
    let acc = sums_avx512_vnni!(of, ROWS);
    for (sums, acc) in sums.iter_mut().zip(acc) {
        Whole512(acc).store(sums);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")]
fn avx512_vnni_bytes<const ROWS: usize>(of: Operands<'_>, (to, out): (ToBytes<'_>, &mut [Piece])) {
    let acc = sums_avx512_vnni!(of, ROWS);
    let finish = Finish::<Floats512>::of(to, 0);
    if let Some(out) = out.first_chunk_mut::<ROWS>() {
        for r in 0..ROWS {
            out[r] = finish.bytes(Whole512(acc[r]));
        }
    } else {
        for (out, acc) in out.iter_mut().zip(acc) {
            *out = finish.bytes(Whole512(acc));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")]
fn avx512_vnni_values<const ROWS: usize>(
    of: Operands<'_>,
    (to, out): (ToFloats<'_>, &mut [Lanes]),
) {
    let acc = sums_avx512_vnni!(of, ROWS);
    let values = Values::<Floats512>::of(to);
    if let (Some(out), None) = (out.first_chunk_mut::<ROWS>(), to.residual) {
        for r in 0..ROWS {
            values.row(to, r, Whole512(acc[r])).store(&mut out[r]);
        }
        return;
    }
    for (r, (out, acc)) in out.iter_mut().zip(acc).enumerate() {
        let y = values.row(to, r, Whole512(acc));
        settle(
            y,
            Activation::None,
            to.residual.map(|residual| &residual[r]),
            out,
        );
    }
}

/// Two registers a row.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn avx_vnni<const ROWS: usize>(of: Operands<'_>, sums: &mut Tile) {
    let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
    each_group!(of, 1, |w, a| {
        let w = w.cast::<__m256i>();
        let w = [_mm256_loadu_si256(w), _mm256_loadu_si256(w.add(1))];
        for (r, acc) in acc.iter_mut().enumerate() {
            let a = _mm256_set1_epi32(a.add(r * COLUMNS).cast::<i32>().read_unaligned());
            acc[0] = _mm256_dpbusd_avx_epi32(acc[0], a, w[0]);
            acc[1] = _mm256_dpbusd_avx_epi32(acc[1], a, w[1]);
        }
    });
    for (sums, acc) in sums.iter_mut().zip(acc) {
        let to = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a row of sums has 16 whole numbers.
        unsafe {
            _mm256_storeu_si256(to, acc[0]);
            _mm256_storeu_si256(to.add(1), acc[1]);
        }
    }
}

/// Groups after which the two halves of a tile change places, so that both read from the first cache; whole blocks.
const STRETCH: usize = 192;

/// Two halves of 8 columns. Weights are widened to i16 and multiplied in pairs, whose sums are
/// exact; the multiplier of bytes would saturate.
#[inline]
#[target_feature(enable = "avx2")]
fn avx2_pairs<const ROWS: usize>(of: Operands<'_>, sums: &mut Tile) {
    *sums = Default::default();
    let mut from = 0;
    while from < of.groups {
        let count = STRETCH.min(of.groups - from);
        let part = Operands {
            groups: count,
            activations: &of.activations[from / GROUPS * of.step..],
            weights: &of.weights[from * STEP..][..count * STEP],
            ahead: of.ahead.get(from * STEP..).unwrap_or_default(),
            ..of
        };
        half_avx2::<ROWS>(part, 0, sums);
        half_avx2::<ROWS>(Operands { ahead: &[], ..part }, 1, sums);
        from += count;
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_avx2<const ROWS: usize>(of: Operands<'_>, half: usize, sums: &mut Tile) {
    // Each register holds four columns, two sums each.
    let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
    each_group!(of, 2, |w, a| {
        let w = w.add(half * STEP / 2).cast::<__m128i>();
        let w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(w));
        let w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(1)));
        for (r, acc) in acc.iter_mut().enumerate() {
            let a = a.add(r * COLUMNS * 2).cast::<i64>().read_unaligned();
            let a = _mm256_set1_epi64x(a);
            acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(w0, a));
            acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(w1, a));
        }
    });
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // Columns 0 1 4 5 | 2 3 6 7, then in their order.
        let pairs = _mm256_hadd_epi32(acc[0], acc[1]);
        let columns = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
        // SAFETY: a row of sums has 16 whole numbers, and `half` is 0 or 1.
        unsafe {
            let to = sums.as_mut_ptr().add(half * COLUMNS / 2).cast::<__m256i>();
            let before = _mm256_loadu_si256(to);
            _mm256_storeu_si256(to, _mm256_add_epi32(before, columns));
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn float_tile_avx2(inputs: usize, rows: &[f32], columns: &[f32], sums: &mut FloatTile) {
    const ROWS: usize = 6;
    let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
    let (a, w) = (rows.as_ptr(), columns.as_ptr());
    for i in 0..inputs {
        // SAFETY: the caller checked that 6 rows and 16 columns of `inputs` are there.
        unsafe {
            let w = w.add(i * COLUMNS);
            let w = [_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(8))];
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*a.add(r * inputs + i));
                acc[0] = _mm256_fmadd_ps(a, w[0], acc[0]);
                acc[1] = _mm256_fmadd_ps(a, w[1], acc[1]);
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: a row of sums has 16 floats.
        unsafe {
            _mm256_storeu_ps(sums.as_mut_ptr(), acc[0]);
            _mm256_storeu_ps(sums.as_mut_ptr().add(8), acc[1]);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn float_tile_avx512(inputs: usize, rows: &[f32], columns: &[f32], sums: &mut FloatTile) {
    const ROWS: usize = 12;
    let mut acc = [_mm512_setzero_ps(); ROWS];
    let (a, w) = (rows.as_ptr(), columns.as_ptr());
    for i in 0..inputs {
        // SAFETY: the caller checked that 12 rows and 16 columns of `inputs` are there.
        unsafe {
            let w = _mm512_loadu_ps(w.add(i * COLUMNS));
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.add(r * inputs + i));
                *acc = _mm512_fmadd_ps(a, w, *acc);
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: a row of sums has 16 floats.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
    }
}
