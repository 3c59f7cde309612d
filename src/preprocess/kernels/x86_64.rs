//! AVX2 bodies. Two 16-bit multiply-adds on split weights cost less than one 32-bit multiply.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_packs_epi32, _mm_packus_epi16,
    _mm_set1_epi32, _mm_srai_epi32, _mm256_add_epi32, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_packs_epi32, _mm256_packus_epi16, _mm256_set1_epi32, _mm256_setr_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use super::super::taps::{BLOCK, FINE_BITS, HALF, Taps, WEIGHT_BITS, Window};
use super::portable;
use crate::frame::PIXEL_BYTES;

/// Rows that share each load of the weights.
const ROWS: usize = 4;
/// Bytes that the vertical pass makes at a time.
const CHUNK: usize = 32;
/// Bytes that a step of the horizontal pass loads; it uses the first 12, four pixels.
const LOAD: usize = 16;

const SHIFT: i32 = WEIGHT_BITS as i32;
const FINE: i32 = FINE_BITS as i32;

/// The horizontal pass.
///
/// # Safety
///
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
unsafe fn weigh<const N: usize>(rows: [*const u8; N], split: &[[i16; 2 * BLOCK]]) -> [u32; N] {
    // Pixels 0 and 1 to the low half, 2 and 3 to the high, as 16-bit pairs r r g g b b.
    #[rustfmt::skip]
    let pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    #[rustfmt::skip]
    let coarse_of = _mm256_setr_epi8(
        0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
        4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7,
    );
    #[rustfmt::skip]
    let fine_of = _mm256_setr_epi8(
        8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11,
        12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15,
    );
    let mut coarse_sums = [_mm256_setzero_si256(); N];
    let mut fine_sums = [_mm256_setzero_si256(); N];
    for (i, block) in split.iter().enumerate() {
        // SAFETY: a block is 16 bytes.
        let block = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
        let block = _mm256_broadcastsi128_si256(block);
        let coarse = _mm256_shuffle_epi8(block, coarse_of);
        let fine = _mm256_shuffle_epi8(block, fine_of);
        for n in 0..N {
            // SAFETY: readable by this function's contract.
            let bytes = unsafe { _mm_loadu_si128(rows[n].add(i * BLOCK * PIXEL_BYTES).cast()) };
            let levels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pairs);
            coarse_sums[n] = _mm256_add_epi32(coarse_sums[n], _mm256_madd_epi16(levels, coarse));
            fine_sums[n] = _mm256_add_epi32(fine_sums[n], _mm256_madd_epi16(levels, fine));
        }
    }
    std::array::from_fn(|n| {
        let sum = join(coarse_sums[n], fine_sums[n]);
        let sum = _mm_add_epi32(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        );
        let level = _mm_srai_epi32::<SHIFT>(_mm_add_epi32(sum, _mm_set1_epi32(HALF)));
        let level = _mm_packs_epi32(level, level);
        _mm_cvtsi128_si32(_mm_packus_epi16(level, level)).cast_unsigned()
    })
}

/// The vertical pass for one row.
///
/// # Safety
///
/// The machine has AVX2, and all weighed rows lie inside the source.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn down(source: &[u8], stride: usize, window: &Window<'_>, out: &mut [u8]) {
    let whole = out.len() / CHUNK * CHUNK;
    for at in (0..whole).step_by(CHUNK) {
        let first = window.start * stride + at;
        // SAFETY: at + CHUNK is at most the length of a row, and rows lie inside the source.
        let levels = unsafe { weigh_rows(source.as_ptr().add(first), stride, window) };
        let out = &mut out[at..at + CHUNK];
        // SAFETY: the slice holds the 32 bytes stored.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), levels) };
    }
    if whole < out.len() {
        portable::down(&source[whole..], stride, window, &mut out[whole..]);
    }
}

/// 32 neighbouring bytes of one output row.
///
/// # Safety
///
/// From the pointer on, 32 bytes can be read at every multiple of `stride` below
/// `stride × window.weights.len()`.
#[target_feature(enable = "avx2")]
unsafe fn weigh_rows(first: *const u8, stride: usize, window: &Window<'_>) -> __m256i {
    let zero = _mm256_setzero_si256();
    let mut coarse_sums = [zero; 4];
    let mut fine_sums = [zero; 4];
    let count = window.weights.len();
    for y in (0..count).step_by(2) {
        // An odd last row stands for its missing partner, whose weight is zero.
        let partner = (y + 1).min(count - 1);
        // SAFETY: both rows are below the count.
        let (a, b) = unsafe {
            (
                _mm256_loadu_si256(first.add(y * stride).cast()),
                _mm256_loadu_si256(first.add(partner * stride).cast()),
            )
        };
        let block = &window.split[y / BLOCK];
        let coarse = pair(block[y % BLOCK], block[y % BLOCK + 1]);
        let fine = pair(block[BLOCK + y % BLOCK], block[BLOCK + y % BLOCK + 1]);
        let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        let levels = [
            _mm256_unpacklo_epi8(low, zero),
            _mm256_unpackhi_epi8(low, zero),
            _mm256_unpacklo_epi8(high, zero),
            _mm256_unpackhi_epi8(high, zero),
        ];
        for n in 0..4 {
            coarse_sums[n] = _mm256_add_epi32(coarse_sums[n], _mm256_madd_epi16(levels[n], coarse));
            fine_sums[n] = _mm256_add_epi32(fine_sums[n], _mm256_madd_epi16(levels[n], fine));
        }
    }
    let half = _mm256_set1_epi32(HALF);
    let level = |n: usize| {
        let sum = join(coarse_sums[n], fine_sums[n]);
        _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(sum, half))
    };
    // Packing stays within halves, as unpacking did, so the order is the first one again.
    _mm256_packus_epi16(
        _mm256_packs_epi32(level(0), level(1)),
        _mm256_packs_epi32(level(2), level(3)),
    )
}

/// Two weights for two rows, in every 32-bit lane.
#[target_feature(enable = "avx2")]
fn pair(first: i16, second: i16) -> __m256i {
    _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()))
}

/// Coarse and fine sums to whole ones.
#[target_feature(enable = "avx2")]
fn join(coarse: __m256i, fine: __m256i) -> __m256i {
    _mm256_add_epi32(_mm256_slli_epi32::<FINE>(coarse), fine)
}
