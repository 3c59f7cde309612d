//! The plain bodies: what runs without vector instructions, and what the others are held against.

use super::super::taps::{HALF, Taps, WEIGHT_BITS, Window};
use crate::frame::PIXEL_BYTES;

/// Bytes that the vertical pass sums at a time, so that the sums stay in registers.
const CHUNK: usize = 32;

#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub(super) fn across(source: &[u8], stride: usize, taps: &Taps, out: &mut [u8]) {
    for (y, out) in out.chunks_exact_mut(taps.len() * PIXEL_BYTES).enumerate() {
        let row = &source[y * stride..];
        for (x, out) in out.chunks_exact_mut(PIXEL_BYTES).enumerate() {
            pixel(row, &taps.window(x), out);
        }
    }
}

/// One pixel of the horizontal pass.
pub(super) fn pixel(row: &[u8], window: &Window<'_>, out: &mut [u8]) {
    let mut sums = [HALF; PIXEL_BYTES];
    let inputs = row[window.start * PIXEL_BYTES..].chunks_exact(PIXEL_BYTES);
    for (input, weight) in inputs.zip(window.weights) {
        for (sum, level) in sums.iter_mut().zip(input) {
            *sum += i32::from(*level) * weight;
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = to_level(sum);
    }
}

pub(super) fn down(source: &[u8], stride: usize, window: &Window<'_>, out: &mut [u8]) {
    for (i, out) in out.chunks_mut(CHUNK).enumerate() {
        let mut sums = [HALF; CHUNK];
        for (y, weight) in window.weights.iter().enumerate() {
            let input = &source[(window.start + y) * stride + i * CHUNK..][..out.len()];
            for (sum, level) in sums.iter_mut().zip(input) {
                *sum += i32::from(*level) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = to_level(sum);
        }
    }
}

fn to_level(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}
