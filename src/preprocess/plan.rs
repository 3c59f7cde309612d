//! What one source size needs on its way to the tensor: the weights of both passes.

use super::taps::{Axis, Taps};
use super::{Filter, kernels};
use crate::error::{Error, Result};
use crate::frame::{Frame, PIXEL_BYTES};

/// The most pixels that may stand between the two passes; 400 MB.
const MAX_MIDDLE_PIXELS: u64 = 1 << 27;

/// What is wanted: a window of the picture as it would be after resizing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// `(width, height)` after the resize.
    pub(super) resized: (u64, u64),
    /// `(width, height)` of the centre that is kept.
    pub(super) kept: (u32, u32),
    /// How pixels are weighed.
    pub(super) filter: Filter,
}

/// One pass: an axis that keeps its size is only cut, as Pillow skips it too.
#[derive(Debug)]
enum Pass {
    Cut { first: u32, count: u32 },
    Weigh(Taps),
}

/// Both passes for frames of one size.
#[derive(Debug)]
pub(super) struct Plan {
    source: (u32, u32),
    across: Pass,
    down: Pass,
    rows: (u32, u32),
    kept_width: u32,
}

impl Plan {
    /// The passes from `source` (width, height) to `target`.
    pub(super) fn new(source: (u32, u32), target: &Target) -> Result<Self> {
        let (width, height) = target.resized;
        let across = Pass::new(source.0, width, target.kept.0, target.filter);
        let mut down = Pass::new(source.1, height, target.kept.1, target.filter);
        let rows = down.reach();
        let middle = u64::from(rows.1 - rows.0) * u64::from(target.kept.0);
        if middle > MAX_MIDDLE_PIXELS {
            return Err(Error::Limit {
                what: "pixels between the passes of a resize",
                found: middle,
                limit: MAX_MIDDLE_PIXELS,
            });
        }
        down.rebase(rows.0);
        Ok(Self {
            source,
            across,
            down,
            rows,
            kept_width: target.kept.0,
        })
    }

    /// The `(width, height)` of frames that this plan is for.
    pub(super) fn source(&self) -> (u32, u32) {
        self.source
    }

    /// Writes the kept window of `frame`, row after row without padding, to `out`.
    ///
    /// `middle` holds the result of the first pass; it grows when needed and is kept.
    pub(super) fn run(&self, frame: &Frame, middle: &mut Vec<u8>, out: &mut [u8]) {
        debug_assert_eq!(frame.size(), self.source);
        let row = self.kept_width as usize * PIXEL_BYTES;
        let from_first = &frame.bytes()[self.rows.0 as usize * frame.stride()..];
        match &self.across {
            Pass::Cut { first, .. } => {
                let columns = &from_first[*first as usize * PIXEL_BYTES..];
                self.down.run(columns, frame.stride(), row, out);
            }
            Pass::Weigh(taps) => {
                let len = (self.rows.1 - self.rows.0) as usize * row;
                if middle.len() < len {
                    middle.resize(len, 0);
                }
                kernels::across(from_first, frame.stride(), taps, &mut middle[..len]);
                self.down.run(&middle[..len], row, row, out);
            }
        }
    }
}

impl Pass {
    fn new(source: u32, target: u64, kept: u32, filter: Filter) -> Self {
        let first = (target - u64::from(kept)) / 2;
        if u64::from(source) == target {
            return Self::Cut {
                first: first as u32,
                count: kept,
            };
        }
        let axis = Axis {
            source,
            target,
            first,
            count: kept,
        };
        Self::Weigh(Taps::new(axis, filter))
    }

    /// The inputs needed: first, and one past the last.
    fn reach(&self) -> (u32, u32) {
        match self {
            Self::Cut { first, count } => (*first, first + count),
            Self::Weigh(taps) => taps.reach(),
        }
    }

    fn rebase(&mut self, by: u32) {
        match self {
            Self::Cut { first, .. } => *first -= by,
            Self::Weigh(taps) => taps.rebase(by),
        }
    }

    /// The vertical pass over rows that start every `stride` bytes; `row` bytes of each count.
    fn run(&self, source: &[u8], stride: usize, row: usize, out: &mut [u8]) {
        for (y, out) in out.chunks_exact_mut(row).enumerate() {
            match self {
                Self::Cut { first, .. } => {
                    out.copy_from_slice(&source[(*first as usize + y) * stride..][..row]);
                }
                Self::Weigh(taps) => kernels::down(source, stride, &taps.window(y), out),
            }
        }
    }
}
