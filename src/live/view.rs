//! Which part of a frame is looked at, and how it is turned.

use crate::error::{Error, Result};
use crate::frame::Frame;

/// A part of each frame, turned and mirrored as the camera hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Left edge, top edge, width and height in pixels of the camera's frame.
    pub crop: Option<(u32, u32, u32, u32)>,
    /// Clockwise quarter turns.
    pub turns: u8,
    /// Left and right changed, after turning.
    pub mirror: bool,
}

impl View {
    /// Whether it leaves frames as they are.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.crop.is_none() && self.turns.is_multiple_of(4) && !self.mirror
    }

    /// The view of `frame`, written into `buffer`.
    ///
    /// # Errors
    /// The crop does not lie within the frame.
    pub fn of(&self, frame: &Frame, mut buffer: Vec<u8>) -> Result<Frame> {
        let (width, height) = frame.size();
        let (left, top, w, h) = self.crop.unwrap_or((0, 0, width, height));
        let within = |at: u32, length: u32, all| at.checked_add(length).is_some_and(|e| e <= all);
        if w == 0 || h == 0 || !within(left, w, width) || !within(top, h, height) {
            let found = format!("{left},{top},{w},{h}");
            let expected = format!("x,y,width,height within {width}×{height} pixels");
            return Err(Error::invalid("crop", found, expected));
        }
        buffer.clear();
        let turned = !self.turns.is_multiple_of(2);
        let (out_w, out_h) = if turned { (h, w) } else { (w, h) };
        for y in 0..out_h {
            for x in 0..out_w {
                let x = if self.mirror { out_w - 1 - x } else { x };
                // Where a pixel of the turned picture stood before.
                let (from_x, from_y) = match self.turns % 4 {
                    0 => (x, y),
                    1 => (y, h - 1 - x),
                    2 => (w - 1 - x, h - 1 - y),
                    _ => (w - 1 - y, x),
                };
                let at = ((left + from_x) * 3) as usize;
                buffer.extend_from_slice(&frame.row(top + from_y)[at..at + 3]);
            }
        }
        Frame::from_rgb(out_w, out_h, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3×2 pixels, numbered by rows.
    fn frame() -> Frame {
        Frame::from_rgb(3, 2, (0..6).flat_map(|i| [i; 3]).collect()).unwrap()
    }

    fn numbers(view: View) -> (u32, u32, Vec<u8>) {
        let seen = view.of(&frame(), vec![9; 100]).unwrap();
        let (w, h) = seen.size();
        (w, h, seen.bytes().iter().step_by(3).copied().collect())
    }

    #[test]
    fn turns_are_clockwise_and_mirrors_come_after() {
        let turned = |turns, mirror| {
            numbers(View {
                crop: None,
                turns,
                mirror,
            })
        };
        assert_eq!(turned(0, false), (3, 2, vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(turned(1, false), (2, 3, vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(turned(2, false), (3, 2, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(turned(3, false), (2, 3, vec![2, 5, 1, 4, 0, 3]));
        assert_eq!(turned(0, true), (3, 2, vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(turned(1, true), (2, 3, vec![0, 3, 1, 4, 2, 5]));
    }

    #[test]
    fn a_crop_keeps_its_pixels_and_may_not_reach_out() {
        let cut = |crop| View {
            crop: Some(crop),
            ..View::default()
        };
        assert_eq!(numbers(cut((1, 0, 2, 2))), (2, 2, vec![1, 2, 4, 5]));
        for bad in [
            (2, 0, 2, 1),
            (0, 0, 0, 1),
            (0, 1, 1, 2),
            (u32::MAX, 0, 2, 1),
        ] {
            assert!(cut(bad).of(&frame(), Vec::new()).is_err(), "{bad:?}");
        }
    }
}
