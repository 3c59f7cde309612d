//! Windows over pixels of bytes.

use super::super::graph::{Levels, Window};
use crate::encoder::kernels::bytes::{Piece, ToBytes};
use crate::encoder::kernels::rows::Columns;
use crate::encoder::kernels::{COLUMNS, Loops, WholeLanes};

/// What one thread needs of its own for a convolution of each channel.
#[derive(Default)]
pub(super) struct Scratch {
    /// Lines that a window covers, with their margins, each in the place of its number's rest.
    lines: Vec<Piece>,
    /// Weights, tap by tap.
    taps: Vec<WholeLanes>,
}

impl Scratch {
    /// Room for windows over lines of `across` pixels.
    pub(super) fn reserve(&mut self, window: Window, across: usize) {
        let side = window.side as usize;
        let lines = side * Margins::of(window, across).length;
        self.lines.resize(self.lines.len().max(lines), [0; COLUMNS]);
        let taps = self.taps.len().max(side * side);
        self.taps.resize(taps, [0; COLUMNS]);
    }
}

/// A line with what stands for zero around it.
#[derive(Clone, Copy)]
struct Margins {
    before: usize,
    length: usize,
}

impl Margins {
    fn of(window: Window, across: usize) -> Self {
        let before = window.before[1] as usize;
        let needed = (window.across as usize - 1) * window.stride as usize + window.side as usize;
        Self {
            before,
            length: needed.max(before + across),
        }
    }
}

/// Lines × pixels of one block of channels of one picture.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) pixels: &'a [Piece],
    pub(super) across: usize,
    /// What stands for zero.
    pub(super) zero: u8,
}

impl<'a> Plane<'a> {
    /// A line, or none beyond the picture.
    fn line(&self, at: isize) -> Option<&'a [Piece]> {
        let first = usize::try_from(at).ok()?.checked_mul(self.across)?;
        self.pixels.get(first..first + self.across)
    }
}

/// Weights, scales and bias of a block of channels, and the levels of what comes out.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) weights: &'a [i8],
    pub(super) scale: &'a [f32; COLUMNS],
    pub(super) bias: &'a [f32; COLUMNS],
    pub(super) levels: Levels,
}

/// A convolution of each channel of a plane alone.
pub(super) fn depthwise(
    loops: &Loops,
    scratch: &mut Scratch,
    plane: Plane<'_>,
    window: Window,
    block: Block<'_>,
    out: &mut [Piece],
) {
    scratch.reserve(window, plane.across);
    let (side, stride) = (window.side as usize, window.stride as usize);
    let margins = Margins::of(window, plane.across);
    let taps = &mut scratch.taps[..side * side];
    for (tap, weights) in taps.iter_mut().zip(block.weights.as_chunks::<COLUMNS>().0) {
        *tap = weights.map(i32::from);
    }
    let to = ToBytes {
        columns: Columns {
            scale: block.scale,
            sum: &[0; COLUMNS],
            zero: None,
            bias: block.bias,
        },
        low: block.levels.low,
        high: block.levels.high,
    };
    let zero = [plane.zero; COLUMNS];
    let (lines, _) = scratch.lines.split_at_mut(side * margins.length);
    let mut filled = 0;
    for (y, out) in out.chunks_exact_mut(window.across as usize).enumerate() {
        let first = y * stride;
        // Each line is copied once; the places of those that lie behind are used again.
        for line in filled.max(first)..first + side {
            let place = &mut lines[line % side * margins.length..][..margins.length];
            place.fill(zero);
            if let Some(pixels) = plane.line(line as isize - window.before[0] as isize) {
                place[margins.before..][..pixels.len()].copy_from_slice(pixels);
            }
        }
        filled = first + side;
        let mut views: [&[Piece]; MOST_SIDE] = [&[]; MOST_SIDE];
        for (n, view) in views.iter_mut().enumerate().take(side) {
            *view = &lines[(first + n) % side * margins.length..][..margins.length];
        }
        loops.depthwise(&views[..side], taps, (side, stride), to, out);
    }
}

/// Longest side of a window, as the graph checks.
pub(in super::super) const MOST_SIDE: usize = 64;

/// One pixel of each window of a plane.
pub(super) fn taps(plane: Plane<'_>, window: Window, (dy, dx): (usize, usize), out: &mut [Piece]) {
    let stride = window.stride as usize;
    let [above, before] = window.before.map(|n| n as isize);
    for (y, out) in out.chunks_exact_mut(window.across as usize).enumerate() {
        let line = plane.line((y * stride + dy) as isize - above);
        for (x, out) in out.iter_mut().enumerate() {
            let at = usize::try_from((x * stride + dx) as isize - before);
            let pixel = at.ok().zip(line).and_then(|(at, line)| line.get(at));
            *out = pixel.copied().unwrap_or([plane.zero; COLUMNS]);
        }
    }
}

/// A picture in bytes, channel by channel.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) zero: u8,
}

/// A block of columns of a line of windows: channel by channel, line by line, pixel by pixel.
pub(super) fn stem_line(
    planes: Planes<'_>,
    window: Window,
    (block, y): (usize, usize),
    out: &mut [Piece],
) {
    out.fill([0; COLUMNS]);
    let (side, stride) = (window.side as usize, window.stride as usize);
    let channels = planes.bytes.len() / (planes.height * planes.width);
    let last = channels * side * side;
    for at in block * COLUMNS..last.min((block + 1) * COLUMNS) {
        let (channel, dy, dx) = (at / (side * side), at / side % side, at % side);
        let line = (y * stride + dy).checked_sub(window.before[0] as usize);
        let line = line.filter(|line| *line < planes.height).map(|line| {
            let first = (channel * planes.height + line) * planes.width;
            &planes.bytes[first..first + planes.width]
        });
        // Windows whose pixel lies within the line.
        let before = window.before[1] as usize;
        let first = before.saturating_sub(dx).div_ceil(stride);
        let end = (planes.width + before).saturating_sub(dx).div_ceil(stride);
        let (first, end) = (first.min(out.len()), end.min(out.len()));
        let column = at % COLUMNS;
        let Some(line) = line.filter(|_| first < end) else {
            out.iter_mut().for_each(|out| out[column] = planes.zero);
            continue;
        };
        let pixels = line[first * stride + dx - before..].iter().step_by(stride);
        let (left, out) = out.split_at_mut(first);
        let (middle, right) = out.split_at_mut(end - first);
        middle
            .iter_mut()
            .zip(pixels)
            .for_each(|(out, pixel)| out[column] = *pixel);
        for out in left.iter_mut().chain(right) {
            out[column] = planes.zero;
        }
    }
}
