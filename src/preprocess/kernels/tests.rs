//! Every body against the plain one, over odd sizes and tails.

use proptest::prelude::*;

use super::super::Filter;
use super::super::taps::{Axis, Taps};
use super::{across, down, portable};

/// Bytes that look random and are the same every time.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Many pixels at both ends, where clamping shows.
        match state >> 30 {
            0 => 0,
            1 => 255,
            _ => (state >> 8) as u8,
        }
    };
    (0..len).map(step).collect()
}

/// Inputs along an axis, and the weights of the outputs from some first one on.
fn axis() -> impl Strategy<Value = (usize, Taps)> {
    let parts = (1_u32..200, 1_u64..200, 0_u64..200, any::<bool>());
    parts.prop_map(|(source, target, first, cubic)| {
        let filter = if cubic {
            Filter::Bicubic
        } else {
            Filter::Bilinear
        };
        let first = first % target;
        let axis = Axis {
            source,
            target,
            first,
            count: (target - first) as u32,
        };
        (source as usize, Taps::new(axis, filter))
    })
}

proptest! {
    #[test]
    fn across_equals_the_portable_body(
        (width, taps) in axis(), rows in 1_usize..10, padding in 0_usize..9, seed: u32,
    ) {
        let stride = width * 3 + padding;
        let source = noise(stride * rows - padding, seed);
        let mut found = vec![0; taps.len() * 3 * rows];
        let mut expected = found.clone();
        across(&source, stride, &taps, &mut found);
        portable::across(&source, stride, &taps, &mut expected);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn down_equals_the_portable_body(
        (height, taps) in axis(), row in 1_usize..140, padding in 0_usize..9, seed: u32,
    ) {
        let stride = row + padding;
        let source = noise(stride * height - padding, seed);
        for y in 0..taps.len() {
            let mut found = vec![0; row];
            let mut expected = found.clone();
            down(&source, stride, &taps.window(y), &mut found);
            portable::down(&source, stride, &taps.window(y), &mut expected);
            prop_assert_eq!(found, expected);
        }
    }
}
