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

prop_compose! {
    fn taps()(source in 1_u32..200, target in 1_u64..200, cubic: bool)(
        first in 0..target, source in Just(source), target in Just(target), cubic in Just(cubic),
    ) -> (u32, Taps) {
        let filter = if cubic { Filter::Bicubic } else { Filter::Bilinear };
        let count = (target - first) as u32;
        (source, Taps::new(Axis { source, target, first, count }, filter))
    }
}

proptest! {
    #[test]
    fn across_equals_the_portable_body(
        (width, taps) in taps(), rows in 1_usize..10, padding in 0_usize..9, seed: u32,
    ) {
        let stride = width as usize * 3 + padding;
        let source = noise(stride * rows - padding, seed);
        let mut found = vec![0; taps.len() * 3 * rows];
        let mut expected = found.clone();
        across(&source, stride, &taps, &mut found);
        portable::across(&source, stride, &taps, &mut expected);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn down_equals_the_portable_body(
        (height, taps) in taps(), row in 1_usize..140, padding in 0_usize..9, seed: u32,
    ) {
        let stride = row + padding;
        let source = noise(stride * height as usize - padding, seed);
        for y in 0..taps.len() {
            let mut found = vec![0; row];
            let mut expected = found.clone();
            down(&source, stride, &taps.window(y), &mut found);
            portable::down(&source, stride, &taps.window(y), &mut expected);
            prop_assert_eq!(found, expected);
        }
    }
}
