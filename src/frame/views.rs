//! Other views of one picture: mirrored, and parts of it.

use super::{Frame, PIXEL_BYTES};
use crate::error::{Error, Result};

impl Frame {
    /// The picture with left and right exchanged.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let mut bytes =
            Vec::with_capacity(self.width as usize * self.height as usize * PIXEL_BYTES);
        for row in self.rows() {
            bytes.extend(row.rchunks_exact(PIXEL_BYTES).flatten());
        }
        self.packed(self.width, self.height, bytes)
    }

    /// The part of `width × height` pixels whose left upper corner is at (`x`, `y`).
    ///
    /// # Errors
    ///
    /// If the part is empty or reaches beyond the picture.
    pub fn part(&self, (x, y): (u32, u32), (width, height): (u32, u32)) -> Result<Self> {
        let fits = |at: u32, len: u32, whole: u32| len > 0 && at <= whole && len <= whole - at;
        if !fits(x, width, self.width) || !fits(y, height, self.height) {
            return Err(Error::invalid(
                "part of a picture",
                format!("{width}x{height} at {x},{y}"),
                format!("pixels of a picture of {}x{}", self.width, self.height),
            ));
        }
        let mut bytes = Vec::with_capacity(width as usize * height as usize * PIXEL_BYTES);
        let columns = x as usize * PIXEL_BYTES..(x + width) as usize * PIXEL_BYTES;
        for y in y..y + height {
            bytes.extend_from_slice(&self.row(y)[columns.clone()]);
        }
        Ok(self.packed(width, height, bytes))
    }

    /// View `number` of this picture: 0 is the whole, 1 the whole mirrored, and from 2 on parts
    /// of four fifths of each side, every second one mirrored, from the middle and the corners.
    #[must_use]
    pub fn view(&self, number: u8) -> Self {
        let part = |places: (u32, u32)| {
            let size = (self.width.div_ceil(5) * 4, self.height.div_ceil(5) * 4);
            let size = (size.0.min(self.width), size.1.min(self.height));
            let at = (
                (self.width - size.0) * places.0 / 2,
                (self.height - size.1) * places.1 / 2,
            );
            self.part(at, size).expect("the part lies inside")
        };
        // Middle first: where there are few views, the thing is most likely there.
        const PLACES: [(u32, u32); 5] = [(1, 1), (0, 0), (2, 2), (2, 0), (0, 2)];
        match number {
            0 => self.clone(),
            1 => self.mirrored(),
            n => {
                let part = part(PLACES[(usize::from(n) / 2 - 1) % PLACES.len()]);
                if n % 2 == 1 { part.mirrored() } else { part }
            }
        }
    }

    fn packed(&self, width: u32, height: u32, bytes: Vec<u8>) -> Self {
        Self {
            width,
            height,
            stride: width as usize * PIXEL_BYTES,
            bytes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> Frame {
        let bytes = (0..height * width).flat_map(|i| [i as u8, 0, 9]).collect();
        Frame::from_rgb(width, height, bytes).unwrap()
    }

    fn reds(frame: &Frame) -> Vec<u8> {
        frame
            .rows()
            .flat_map(|r| r.chunks(3).map(|p| p[0]).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn mirroring_turns_each_row_round() {
        assert_eq!(reds(&numbered(3, 2).mirrored()), [2, 1, 0, 5, 4, 3]);
    }

    #[test]
    fn parts_are_cut_out_and_stay_inside() {
        let frame = numbered(4, 3);
        assert_eq!(reds(&frame.part((1, 1), (2, 2)).unwrap()), [5, 6, 9, 10]);
        for (at, size) in [((3, 0), (2, 1)), ((0, 0), (0, 1)), ((u32::MAX, 0), (1, 1))] {
            assert!(frame.part(at, size).is_err());
        }
    }

    #[test]
    fn every_view_of_every_size_is_a_picture() {
        for (width, height) in [(1, 1), (1, 9), (7, 5), (640, 480)] {
            let frame =
                Frame::from_rgb(width, height, vec![7; (width * height * 3) as usize]).unwrap();
            for number in 0..=255 {
                let (w, h) = frame.view(number).size();
                assert!(w >= 1 && h >= 1 && w <= width && h <= height);
            }
        }
        let frame = numbered(10, 10);
        assert_eq!(frame.view(0), frame);
        assert_eq!(frame.view(1), frame.mirrored());
        assert_ne!(frame.view(2), frame.view(4));
    }
}
