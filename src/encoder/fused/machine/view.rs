//! How the rows of a value lie.

use std::ops::Range;

use super::super::graph::Shape;
use crate::encoder::kernels::COLUMNS;
use crate::encoder::kernels::rows::{Lanes, MOST, Rows};

/// A value of several pictures: their rows lie side by side in each block.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) values: &'a [f32],
    pub(super) shape: Shape,
    pub(super) count: usize,
}

impl<'a> View<'a> {
    /// Floats from one block to the next.
    pub(super) fn step(&self) -> usize {
        self.shape.rows * self.count * COLUMNS
    }

    /// Some rows, counted through all pictures.
    pub(super) fn rows(&self, rows: Range<usize>) -> Rows<'a> {
        Rows {
            values: &self.values[rows.start * COLUMNS..],
            step: self.step(),
            width: self.shape.width,
            count: rows.len(),
        }
    }

    /// All rows, as many at once as loops take.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let total = self.shape.rows * self.count;
        (0..total)
            .step_by(MOST)
            .map(move |first| first..total.min(first + MOST))
    }

    /// One head of one picture.
    pub(super) fn of(&self, head: usize, picture: usize) -> Head<'a> {
        let first = head * self.shape.blocks() * self.step();
        Head {
            values: &self.values[first + picture * self.shape.rows * COLUMNS..],
            step: self.step(),
            shape: self.shape,
        }
    }

    /// Makes the single row that each picture has in `out`, from each block.
    pub(super) fn gather(&self, out: &mut [f32], make: impl Fn(&[f32], &mut [f32])) {
        let rows = self.shape.rows * COLUMNS;
        let pictures = self.values.chunks_exact(rows);
        for (from, to) in pictures.zip(out.chunks_exact_mut(COLUMNS)) {
            make(from, to);
        }
    }
}

/// Rows of one head of one picture.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    values: &'a [f32],
    step: usize,
    pub(super) shape: Shape,
}

impl<'a> Head<'a> {
    /// Its rows in a block of columns.
    pub(super) fn block(&self, block: usize) -> &'a [f32] {
        &self.values[block * self.step..][..self.shape.rows * COLUMNS]
    }

    /// Some of its rows.
    pub(super) fn rows(&self, rows: Range<usize>) -> Rows<'a> {
        Rows {
            values: &self.values[rows.start * COLUMNS..],
            step: self.step,
            width: self.shape.width,
            count: rows.len(),
        }
    }
}

/// Values as pieces of rows.
pub(super) fn lanes(values: &[f32]) -> &[Lanes] {
    values.as_chunks().0
}
