//! Whether two frames show the same, told cheaply from a grid of their pixels.

use crate::frame::Frame;

/// Columns and rows of the grid.
const GRID: (u32, u32) = (32, 24);
const CELLS: usize = (GRID.0 * GRID.1) as usize;

/// Brightness of a frame at the points of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance([u8; CELLS]);

impl Glance {
    /// A glance at `frame`.
    #[must_use]
    pub(super) fn at(frame: &Frame) -> Self {
        let (width, height) = frame.size();
        let mut cells = [0; CELLS];
        for (i, cell) in cells.iter_mut().enumerate() {
            let (column, row) = (i as u32 % GRID.0, i as u32 / GRID.0);
            let middle = |at: u32, of: u32, all: u32| ((2 * at + 1) * all / (2 * of)).min(all - 1);
            let x = middle(column, GRID.0, width) as usize * 3;
            let pixels = frame.row(middle(row, GRID.1, height));
            *cell = brightness(&pixels[x..x + 3]);
        }
        Self(cells)
    }

    /// Mean difference of brightness, 0 to 255.
    #[must_use]
    pub(super) fn difference(&self, other: &Self) -> f32 {
        let pairs = self.0.iter().zip(&other.0);
        let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / CELLS as f32
    }
}

/// ITU-R BT.601 luma of an RGB pixel.
pub(super) fn brightness(rgb: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|i| u32::from(rgb[i]));
    ((77 * r + 150 * g + 29 * b) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_frames_do_not_differ_and_others_do() {
        let grey = |v: u8| Frame::from_rgb(5, 3, vec![v; 45]).unwrap();
        let a = Glance::at(&grey(10));
        assert_eq!(a, Glance::at(&grey(10)));
        assert!((a.difference(&Glance::at(&grey(30))) - 20.0).abs() < 1.0);
        assert_eq!([brightness(&[255; 3]), brightness(&[0; 3])], [255, 0]);
    }
}
