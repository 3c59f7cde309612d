//! Steps of bytes: windows, products that stay bytes, channels alone, sums.

use super::super::graph::{Form, Levels, Matrix, Place, Value, Window};
use super::super::program::Program;
use super::convolve::{self, Plane, Planes};
use super::products::{Ahead, Block};
use super::{Machine, Scratch};
use crate::encoder::kernels::bytes::{ByteRows, Piece, ToBytes};
use crate::encoder::kernels::rows::Columns;
use crate::encoder::kernels::{COLUMNS, GROUP, Kernels, Layout, Operands, pieces, pieces_mut};
use crate::store;

impl Machine {
    /// The pictures in bytes, and of them each window's pixels.
    pub(super) fn stem(
        &mut self,
        program: &Program,
        pictures: &[f32],
        window: Window,
        levels: Levels,
        out: &mut [f32],
    ) {
        let [channels, height, width] = program.input();
        let loops = self.kernels.loops();
        let length = height * width;
        self.planes.resize(pictures.len(), 0);
        self.pool.chunks(
            &mut self.scratches,
            &mut self.planes,
            length,
            |_, n, out| {
                let values = &pictures[n * length..][..length];
                let (grid, bounds) = ((levels.scale, levels.zero), (levels.low, levels.high));
                loops.bytes_from_floats(values, grid, bounds, out);
            },
        );
        let planes = &self.planes;
        let lines = window.lines as usize;
        let count = pictures.len() / (channels * length);
        let take = |_: &mut Scratch, unit: usize, out: &mut [Piece]| {
            let (block, picture, y) = (unit / lines / count, unit / lines % count, unit % lines);
            let planes = Planes {
                bytes: &planes[picture * channels * length..][..channels * length],
                height,
                width,
                zero: levels.zero,
            };
            convolve::stem_line(planes, window, (block, y), out);
        };
        let across = window.across as usize;
        self.pool
            .chunks(&mut self.scratches, pieces_mut(out), across, take);
    }

    /// Products of rows of bytes, put on `levels`.
    pub(super) fn multiply_bytes(
        &mut self,
        (program, at): (&Program, usize),
        rows: Value,
        matrix: &Matrix,
        levels: Levels,
        count: usize,
        out: &mut [f32],
    ) {
        let set = self.kernels;
        let loops = set.loops();
        let Form::Int8 {
            weights,
            scales,
            sums,
            ..
        } = matrix.form
        else {
            return;
        };
        let shape = program.shapes[rows as usize];
        let total = shape.rows * count;
        let groups = (matrix.inputs as usize).div_ceil(GROUP);
        let columns = (matrix.columns as usize).div_ceil(COLUMNS);
        let tiling = Tiling::of(&set, total, columns, self.pool.threads());
        let from = pieces(&self.slots[program.slots[rows as usize]]);
        let is_packed = set.layout != Layout::Pieces;
        if is_packed {
            let tiles = tiling.parts * tiling.tiles;
            if self.blocks.len() < tiles {
                self.blocks.resize_with(tiles, Block::default);
            }
            let pack = |_: &mut Scratch, t: usize, block: &mut [Block]| {
                let (first, rows, wanted) = tiling.tile(&set, t);
                let size = set.block_bytes(rows, groups);
                block[0].bytes.resize(size, 0);
                let given = ByteRows {
                    pieces: &from[first..],
                    step: total,
                    blocks: shape.blocks(),
                    count: wanted,
                };
                let to = set.packed(&mut block[0].bytes[..size], rows);
                loops.pack_bytes(given, to);
            };
            self.pool
                .chunks(&mut self.scratches, &mut self.blocks[..tiles], 1, pack);
        }
        let blocks = &self.blocks;
        let width = groups * GROUP * COLUMNS;
        let weights = store::i8s(program.part(weights));
        let (scales, sums) = (program.floats(scales), program.whole(sums));
        let bias = program.floats(matrix.bias);
        let threads = self.pool.threads();
        let next = program.next_weights(at);
        let multiply = |_: &mut Scratch, unit: usize, out: &mut [Piece]| {
            let (c, part) = (unit / tiling.parts, unit % tiling.parts);
            let to = ToBytes {
                columns: Columns::block(c, (scales, bias), (sums, None)),
                low: levels.low,
                high: levels.high,
            };
            let first = (c + threads) * width;
            let mut ahead = Ahead::of(weights, first, width, tiling.tiles, next);
            for at in 0..tiling.tiles {
                let t = part * tiling.tiles + at;
                let (first, rows, wanted) = tiling.tile(&set, t);
                let (activations, step) = if is_packed {
                    (&blocks[t].bytes[..], set.block_step(rows))
                } else {
                    (from[first..].as_flattened(), total * COLUMNS)
                };
                let of = Operands {
                    rows,
                    groups,
                    activations,
                    step,
                    weights: &weights[c * width..][..width],
                    ahead: ahead.next(),
                };
                let first = first - part * tiling.rows;
                set.tile_of_bytes(of, to, &mut out[first..first + wanted]);
            }
        };
        self.pool
            .chunks(&mut self.scratches, pieces_mut(out), tiling.rows, multiply);
    }

    /// Of bytes, each window's pixels as a row.
    pub(super) fn windows(
        &mut self,
        program: &Program,
        rows: Value,
        window: Window,
        count: usize,
        out: &mut [f32],
    ) {
        let Some(from) = Pixels::of(program, &self.slots, rows, count) else {
            return;
        };
        let (side, pixels) = (window.side as usize, window.pixels());
        let take = |_: &mut Scratch, unit: usize, out: &mut [Piece]| {
            let (tap, block) = (unit / from.blocks, unit % from.blocks);
            for (plane, out) in from.planes(block).zip(out.chunks_exact_mut(pixels)) {
                convolve::taps(plane, window, (tap / side, tap % side), out);
            }
        };
        self.pool
            .chunks(&mut self.scratches, pieces_mut(out), pixels * count, take);
    }

    /// A convolution of each channel alone.
    pub(super) fn depthwise(
        &mut self,
        program: &Program,
        (rows, window): (Value, Window),
        ([weights, scales, bias], levels): ([Place; 3], Levels),
        count: usize,
        out: &mut [f32],
    ) {
        let Some(from) = Pixels::of(program, &self.slots, rows, count) else {
            return;
        };
        let loops = self.kernels.loops();
        let taps = (window.side * window.side) as usize * COLUMNS;
        let weights = store::i8s(program.part(weights));
        let (scales, bias) = (program.floats(scales), program.floats(bias));
        let pixels = window.pixels();
        let convolve = |scratch: &mut Scratch, b: usize, out: &mut [Piece]| {
            let block = convolve::Block {
                weights: &weights[b * taps..][..taps],
                scale: &scales.as_chunks().0[b],
                bias: &bias.as_chunks().0[b],
                levels,
            };
            for (plane, out) in from.planes(b).zip(out.chunks_exact_mut(pixels)) {
                convolve::depthwise(loops, &mut scratch.lines, plane, window, block, out);
            }
        };
        self.pool.chunks(
            &mut self.scratches,
            pieces_mut(out),
            pixels * count,
            convolve,
        );
    }

    /// Two values of bytes added.
    pub(super) fn sum(
        &mut self,
        program: &Program,
        values: [Value; 2],
        factors: [f32; 3],
        levels: Levels,
        out: &mut [f32],
    ) {
        let loops = self.kernels.loops();
        let out = pieces_mut(out);
        let blocks = program.shapes[values[0] as usize].blocks();
        let size = out.len() / blocks;
        let [a, b] = values.map(|v| pieces(&self.slots[program.slots[v as usize]]));
        let bounds = (levels.low, levels.high);
        let add = |_: &mut Scratch, n: usize, out: &mut [Piece]| {
            let [a, b] = [a, b].map(|v| &v[n * size..][..size]);
            loops.add_bytes([a, b], factors, bounds, out);
        };
        self.pool.chunks(&mut self.scratches, out, size, add);
    }
}

/// A value of bytes of several pictures.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    pieces: &'a [Piece],
    /// Of each picture.
    rows: usize,
    blocks: usize,
    count: usize,
    across: usize,
    zero: u8,
}

impl<'a> Pixels<'a> {
    fn of(program: &Program, slots: &'a [Vec<f32>], value: Value, count: usize) -> Option<Self> {
        let shape = program.shapes[value as usize];
        let pixels = shape.pixels?;
        Some(Self {
            pieces: pieces(&slots[program.slots[value as usize]]),
            rows: shape.rows,
            blocks: shape.blocks(),
            count,
            across: pixels.across,
            zero: pixels.zero,
        })
    }

    /// A block of channels, picture by picture.
    fn planes(self, block: usize) -> impl Iterator<Item = Plane<'a>> {
        let size = self.rows * self.count;
        let planes = self.pieces[block * size..][..size].chunks_exact(self.rows);
        planes.map(move |pixels| Plane {
            pixels,
            across: self.across,
            zero: self.zero,
        })
    }
}

/// Rows cut into parts of equal length, so that threads share what has few columns, and those into tiles.
#[derive(Clone, Copy)]
struct Tiling {
    parts: usize,
    /// Rows and tiles of each part.
    rows: usize,
    tiles: usize,
}

impl Tiling {
    fn of(set: &Kernels, total: usize, columns: usize, threads: usize) -> Self {
        let enough = |parts: &usize| {
            total.is_multiple_of(*parts) && (threads == 1 || columns * parts >= 4 * threads)
        };
        let parts = (1..=16).find(enough).unwrap_or(1);
        let rows = total / parts;
        Self {
            parts,
            rows,
            tiles: rows.div_ceil(set.rows),
        }
    }

    /// First row and rows of a tile, and how many of them there are.
    fn tile(self, set: &Kernels, at: usize) -> (usize, usize, usize) {
        let part = at / self.tiles;
        let (first, rows) = set.block(at % self.tiles, self.rows);
        (part * self.rows + first, rows, rows.min(self.rows - first))
    }
}
