//! The two inner loops of a resize, each one safe function that picks its body.
//!
//! Every body gives the same bytes: sums are whole numbers, and a weight split into a coarse and
//! a fine part for 16-bit multipliers adds up again without loss, modulo 2^32 in between.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::taps::{Taps, Window};
use crate::frame::PIXEL_BYTES;

/// The bodies that this build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(not(target_arch = "aarch64"))]
    Portable,
}

fn body() -> Body {
    #[cfg(target_arch = "aarch64")]
    return Body::Neon;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return Body::Avx2;
    }
    #[cfg(not(target_arch = "aarch64"))]
    Body::Portable
}

/// The name of the body that runs here.
pub(super) fn name() -> &'static str {
    match body() {
        #[cfg(target_arch = "x86_64")]
        Body::Avx2 => "AVX2",
        #[cfg(target_arch = "aarch64")]
        Body::Neon => "NEON",
        #[cfg(not(target_arch = "aarch64"))]
        Body::Portable => "portable",
    }
}

/// The horizontal pass: as many rows as `out` holds, packed, from rows every `stride` bytes.
///
/// # Panics
///
/// If `source` ends before the last weighed pixel of the last row.
pub(super) fn across(source: &[u8], stride: usize, taps: &Taps, out: &mut [u8]) {
    let out_row = taps.len() * PIXEL_BYTES;
    assert!(
        out_row > 0 && out.len().is_multiple_of(out_row),
        "whole rows"
    );
    let rows = out.len() / out_row;
    let row = taps.reach().1 as usize * PIXEL_BYTES;
    assert!(
        rows > 0 && (rows - 1) * stride + row <= source.len(),
        "rows lie inside the source"
    );
    match body() {
        // SAFETY: AVX2 was detected; rows lie inside the source, checked above.
        #[cfg(target_arch = "x86_64")]
        Body::Avx2 => unsafe { x86_64::across(source, stride, taps, out) },
        // SAFETY: every aarch64 target has NEON; rows lie inside the source, checked above.
        #[cfg(target_arch = "aarch64")]
        Body::Neon => unsafe { aarch64::across(source, stride, taps, out) },
        #[cfg(not(target_arch = "aarch64"))]
        Body::Portable => portable::across(source, stride, taps, out),
    }
}

/// The vertical pass for one row: `out` from rows of its length that start every `stride` bytes.
///
/// # Panics
///
/// If `source` ends before the last weighed row.
pub(super) fn down(source: &[u8], stride: usize, window: &Window<'_>, out: &mut [u8]) {
    let last = window.start + window.weights.len() - 1;
    assert!(
        last * stride + out.len() <= source.len(),
        "rows lie inside the source"
    );
    match body() {
        // SAFETY: AVX2 was detected; rows lie inside the source, checked above.
        #[cfg(target_arch = "x86_64")]
        Body::Avx2 => unsafe { x86_64::down(source, stride, window, out) },
        // SAFETY: every aarch64 target has NEON; rows lie inside the source, checked above.
        #[cfg(target_arch = "aarch64")]
        Body::Neon => unsafe { aarch64::down(source, stride, window, out) },
        #[cfg(not(target_arch = "aarch64"))]
        Body::Portable => portable::down(source, stride, window, out),
    }
}
