//! A moving test pattern: a live source on a machine without a camera.

use std::time::Duration;

use super::pace::{Pace, gap_of};
use super::{Captured, Fault, Source, Wish};
use crate::error::{Error, Result};
use crate::frame::{Decode, Frame};

const SIZE: (u32, u32) = (640, 480);
const FPS: f32 = 30.0;
/// Frames in which the colours behind the shapes come round.
const ROUND: u64 = 256;

/// A square and a disc that bounce over slowly changing colours. Equal frame numbers give equal
/// pixels.
#[derive(Debug)]
pub(super) struct Pattern {
    size: (u32, u32),
    fps: f32,
    gap: Duration,
    pace: Pace,
    number: u64,
}

impl Pattern {
    /// # Errors
    /// The wished size is larger than a picture may be, or the rate is none.
    pub(super) fn open(wish: &Wish) -> Result<Self> {
        let size = wish.size.unwrap_or(SIZE);
        let pixels = u64::from(size.0) * u64::from(size.1);
        let most = Decode::default().max_pixels;
        let sides = 1..=Frame::MAX_SIDE;
        if !(sides.contains(&size.0) && sides.contains(&size.1) && pixels <= most) {
            let expected = format!("sides of at least 1, and at most {most} pixels");
            let found = format!("{}×{}", size.0, size.1);
            return Err(Error::invalid("size of the test pattern", found, expected));
        }
        let fps = wish.fps.unwrap_or(FPS);
        Ok(Self {
            size,
            fps,
            gap: gap_of(fps)?,
            pace: Pace::default(),
            number: 0,
        })
    }
}

impl Source for Pattern {
    fn about(&self) -> String {
        let (w, h) = self.size;
        format!("test pattern: {w}×{h}, {} frames a second", self.fps)
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        let taken = self.pace.wait(self.gap, patience)?;
        let sequence = self.number;
        self.number += 1;
        let (w, h) = self.size;
        let frame = Frame::from_rgb(w, h, draw(self.size, sequence, buffer));
        Ok(Captured {
            frame: frame.map_err(Fault::Lost)?,
            taken,
            sequence,
        })
    }
}

/// The pixels of frame `number`, written over `buffer`.
fn draw((w, h): (u32, u32), number: u64, mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.resize(w as usize * h as usize * 3, 0);
    let phase = (number % ROUND) as u32;
    let side = (w.min(h) / 4).max(1);
    let square = (
        bounce(number * 3, w - side.min(w)),
        bounce(number * 2, h - side.min(h)),
    );
    let radius = i64::from(side / 2);
    let disc = (
        i64::from(bounce(number * 2 + 97, w)),
        i64::from(bounce(number * 3 + 31, h)),
    );
    for (y, row) in (0..h).zip(buffer.chunks_exact_mut(w as usize * 3)) {
        let blue = (y * 255 / h) as u8;
        let in_rows = (square.1..square.1 + side).contains(&y);
        let dy = i64::from(y) - disc.1;
        for (x, pixel) in (0..w).zip(row.chunks_exact_mut(3)) {
            let dx = i64::from(x) - disc.0;
            let colour = if in_rows && (square.0..square.0 + side).contains(&x) {
                [230, 40, 30]
            } else if dx * dx + dy * dy <= radius * radius {
                [250, 220, 40]
            } else {
                [(x * 127 / w) as u8, (phase / 2) as u8, blue]
            };
            pixel.copy_from_slice(&colour);
        }
    }
    buffer
}

/// To and fro between 0 and `most`, a step each.
fn bounce(step: u64, most: u32) -> u32 {
    let most = u64::from(most.max(1));
    let at = step % (2 * most);
    // Both lie within `most`, which came as u32.
    at.min(2 * most - at) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    fn fast(size: (u32, u32)) -> Pattern {
        let wish = Wish {
            size: Some(size),
            fps: Some(10_000.0),
            ..Wish::default()
        };
        Pattern::open(&wish).unwrap()
    }

    #[test]
    fn equal_numbers_give_equal_pixels_and_others_move() {
        let size = (64, 48);
        let mut pattern = fast(size);
        let mut before = Vec::new();
        for number in 0..20 {
            let got = pattern.next(Vec::new(), LONG).unwrap();
            assert_eq!(got.sequence, number);
            assert_eq!(got.frame.size(), size);
            assert_eq!(got.frame.bytes(), draw(size, number, vec![9; 5]));
            assert_ne!(got.frame.bytes(), before, "{number}");
            before = got.frame.into_bytes();
        }
    }

    #[test]
    fn the_buffer_is_written_again() {
        let mut pattern = fast((64, 48));
        let first = pattern.next(Vec::new(), LONG).unwrap().frame.into_bytes();
        let place = first.as_ptr();
        let second = pattern.next(first, LONG).unwrap().frame.into_bytes();
        assert_eq!(second.as_ptr(), place);
    }

    #[test]
    fn odd_sizes_are_drawn() {
        for size in [(1, 1), (1, 90), (200, 1), (3, 5), (641, 479)] {
            let got = fast(size).next(Vec::new(), LONG).unwrap();
            assert_eq!(got.frame.size(), size);
        }
    }

    #[test]
    fn sizes_beyond_a_picture_are_refused() {
        for size in [(0, 480), (60_000, 60_000), (100_000, 1)] {
            let wish = Wish {
                size: Some(size),
                ..Wish::default()
            };
            assert!(Pattern::open(&wish).is_err(), "{size:?}");
        }
    }
}
