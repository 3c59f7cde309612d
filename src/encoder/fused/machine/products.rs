//! Products of rows of floats: rounded and packed, then multiplied block of columns by block of columns.

use super::super::graph::{Form, Matrix, Norm, Place, Rounding, Value};
use super::super::program::Program;
use super::view::{View, lanes};
use super::{Machine, Scratch};
use crate::encoder::kernels::rows::{
    Activation, Columns, Lanes, MOST, Moments, Normed, Rows, Scale, ToFloats, scale_of,
};
use crate::encoder::kernels::{COLUMNS, FloatTile, GROUP, Operands};
use crate::store;

/// Bytes that a cache takes at once.
const LINE: usize = 64;

/// A block of rows, packed for a product.
#[derive(Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    floats: Vec<f32>,
    scales: [Scale; MOST],
}

impl Machine {
    /// Lays a picture's single row of a value side by side in `row`, in whole blocks.
    pub(super) fn single_row(
        &mut self,
        program: &Program,
        rows: Value,
        count: usize,
        picture: usize,
    ) {
        let blocks = program.shapes[rows as usize].blocks();
        let values = &self.slots[program.slots[rows as usize]];
        self.row.resize(blocks * COLUMNS, 0.0);
        for (b, piece) in self.row.chunks_exact_mut(COLUMNS).enumerate() {
            piece.copy_from_slice(&values[(b * count + picture) * COLUMNS..][..COLUMNS]);
        }
    }

    /// A single row of floats with weights of 8 bits.
    pub(super) fn multiply_row(
        &mut self,
        program: &Program,
        rows: Value,
        [weights, scales, bias]: [Place; 3],
        count: usize,
        out: &mut [f32],
    ) {
        let inputs = program.shapes[rows as usize].width;
        let size = inputs.div_ceil(GROUP) * GROUP * COLUMNS;
        let weights = store::i8s(program.part(weights));
        let (scales, bias) = (program.floats(scales), program.floats(bias));
        let set = self.kernels;
        let loops = set.loops();
        for picture in 0..count {
            self.single_row(program, rows, count, picture);
            let row = &self.row[..inputs];
            let multiply = |_: &mut Scratch, c: usize, out: &mut [f32]| {
                let out = &mut out[picture * COLUMNS..][..COLUMNS];
                let mut sums = [0.0; COLUMNS];
                loops.multiply_floats(row, &weights[c * size..][..size], &mut sums);
                for (i, out) in out.iter_mut().enumerate() {
                    let column = c * COLUMNS + i;
                    *out = sums[i] * scales[column] + bias[column];
                }
            };
            self.pool
                .chunks(&mut self.scratches, out, count * COLUMNS, multiply);
        }
    }

    /// Rounds and packs the rows of a value for `matrix`, block by block.
    pub(super) fn pack(
        &mut self,
        program: &Program,
        rows: Value,
        norm: Option<&Norm>,
        matrix: &Matrix,
        count: usize,
    ) {
        let set = self.kernels;
        let loops = set.loops();
        // Not `view`: the blocks are written meanwhile.
        let from = View {
            values: &self.slots[program.slots[rows as usize]],
            shape: program.shapes[rows as usize],
            count,
        };
        let total = from.shape.rows * count;
        let blocks = total.div_ceil(set.rows);
        if self.blocks.len() < blocks {
            self.blocks.resize_with(blocks, Block::default);
        }
        let inputs = matrix.inputs as usize;
        let rounding = match matrix.form {
            Form::Floats { .. } | Form::Mixed { .. } => None,
            Form::Int8 { rounding, .. } => Some(rounding),
        };
        let extents_of = |rows: Rows<'_>, norm: Option<&Normed<'_>>| {
            let mut extents = [(0.0, 0.0); MOST];
            loops.extents(rows, norm, &mut extents);
            extents
        };
        self.extents.clear();
        if rounding == Some(Rounding::Picture) {
            self.extents.resize(count, (0.0, 0.0));
            for some in from.blocks() {
                let rows = from.rows(some.clone());
                let mut moments = [Moments::default(); MOST];
                let norm = program.normed(norm, rows, &set, &mut moments);
                for (row, extent) in some.zip(extents_of(rows, norm.as_ref())) {
                    let all = &mut self.extents[row / from.shape.rows];
                    *all = (all.0.min(extent.0), all.1.max(extent.1));
                }
            }
        }
        let extents = &self.extents;
        let groups = inputs.div_ceil(GROUP);
        let prepare = |_: &mut Scratch, b: usize, block: &mut [Block]| {
            let block = &mut block[0];
            // Tiles of floats have their rows whether there are so many or not.
            let (first, rows) = match rounding {
                None => (b * set.rows, set.rows),
                Some(_) => set.block(b, total),
            };
            let some = from.rows(first..total.min(first + rows));
            let mut moments = [Moments::default(); MOST];
            let norm = program.normed(norm, some, &set, &mut moments);
            let Some(rounding) = rounding else {
                block.floats.resize(rows * inputs, 0.0);
                return loops.floats(some, norm.as_ref(), &mut block.floats);
            };
            let width = set.block_bytes(rows, groups);
            block.bytes.resize(width, 0);
            let (scales, bounds) = match rounding {
                Rounding::Fixed {
                    scale,
                    zero,
                    low,
                    high,
                } => {
                    let sum = 0;
                    ([Scale { scale, zero, sum }; MOST], (low, high))
                }
                Rounding::Picture => {
                    let of = |r: usize| extents[(first + r).min(total - 1) / from.shape.rows];
                    (std::array::from_fn(|r| scale_of(of(r))), (0, 255))
                }
                Rounding::Row | Rounding::Kept => {
                    (extents_of(some, norm.as_ref()).map(scale_of), (0, 255))
                }
            };
            block.scales = scales;
            let to = set.packed(&mut block.bytes[..width], rows);
            loops.quantize(some, norm.as_ref(), &mut block.scales, bounds, to);
            for scale in &mut block.scales {
                scale.zero -= set.offset;
            }
        };
        self.pool
            .chunks(&mut self.scratches, &mut self.blocks[..blocks], 1, prepare);
    }

    /// Products of the packed rows with `matrix`, block of columns by block of columns.
    pub(super) fn multiply(
        &mut self,
        (program, at): (&Program, usize),
        matrix: &Matrix,
        (activation, residual): (Activation, Option<Value>),
        total: usize,
        out: &mut [f32],
    ) {
        let set = self.kernels;
        let loops = set.loops();
        let inputs = matrix.inputs as usize;
        let groups = inputs.div_ceil(GROUP);
        let blocks = &self.blocks[..total.div_ceil(set.rows)];
        let residual = residual.map(|r| &self.slots[program.slots[r as usize]][..]);
        let bias = program.floats(matrix.bias);
        let size = total * COLUMNS;
        let added = |c: usize, row: usize| residual.map(|r| lanes(&r[c * size + row * COLUMNS..]));
        match matrix.form {
            Form::Int8 {
                weights,
                scales,
                sums,
                zeros,
                ..
            } => {
                let weights = store::i8s(program.part(weights));
                let (scales, sums) = (program.floats(scales), program.whole(sums));
                let zeros = zeros.map(|z| program.whole(z));
                let width = groups * GROUP * COLUMNS;
                let threads = self.pool.threads();
                let next = program.next_weights(at);
                self.pool
                    .chunks(&mut self.scratches, out, size, |_, c, out| {
                        let first = (c + threads) * width;
                        let mut ahead = Ahead::of(weights, first, width, blocks.len(), next);
                        let weights = &weights[c * width..][..width];
                        let columns = Columns::block(c, (scales, bias), (sums, zeros));
                        for (b, block) in blocks.iter().enumerate() {
                            let (first, rows) = set.block(b, total);
                            let of = Operands {
                                rows,
                                groups,
                                activations: &block.bytes[..set.block_bytes(rows, groups)],
                                step: set.block_step(rows),
                                weights,
                                ahead: ahead.next(),
                            };
                            let (out, _) = out[first * COLUMNS..].as_chunks_mut::<COLUMNS>();
                            let wanted = rows.min(out.len());
                            let to = ToFloats {
                                rows: &block.scales,
                                columns,
                                activation,
                                residual: added(c, first),
                            };
                            set.tile_of_floats(of, to, &mut out[..wanted]);
                        }
                    });
            }
            // Rows of their own, see above.
            Form::Mixed { .. } => {}
            Form::Floats { weights } => {
                let weights = program.floats(weights);
                let width = inputs * COLUMNS;
                self.pool
                    .chunks(&mut self.scratches, out, size, |_, c, out| {
                        let mut tile = FloatTile::default();
                        let weights = &weights[c * width..][..width];
                        let bias: &Lanes = bias[c * COLUMNS..].first_chunk().expect("checked");
                        for (b, block) in blocks.iter().enumerate() {
                            set.float_tile(
                                inputs,
                                &block.floats[..set.rows * inputs],
                                weights,
                                &mut tile,
                            );
                            let first = b * set.rows;
                            let (out, _) = out[first * COLUMNS..].as_chunks_mut::<COLUMNS>();
                            let wanted = set.rows.min(out.len());
                            loops.finish_floats(
                                &tile,
                                bias,
                                activation,
                                added(c, first),
                                &mut out[..wanted],
                            );
                        }
                    });
            }
        }
    }
}

/// Weights that are needed next, which come nearer part by part while a block of columns is multiplied.
pub(super) struct Ahead<'a>(std::slice::Chunks<'a, i8>);

impl<'a> Ahead<'a> {
    /// Of the block of columns that begins at `first`, `width` long, in `parts`; behind the last one those of the
    /// `next` product.
    pub(super) fn of(
        weights: &'a [i8],
        first: usize,
        width: usize,
        parts: usize,
        next: &'a [i8],
    ) -> Self {
        let (from, length) = match weights.get(first..) {
            Some(from) if !from.is_empty() => (from, width),
            _ => (
                next.get(first - weights.len()..).unwrap_or_default(),
                MOST_NEXT,
            ),
        };
        let ahead = &from[..length.min(from.len())];
        let part = (ahead.len() / parts.max(1)).next_multiple_of(LINE);
        Self(ahead.chunks(part.max(LINE)))
    }

    pub(super) fn next(&mut self) -> &'a [i8] {
        self.0.next().unwrap_or_default()
    }
}

/// Bytes of the next product that are fetched before it begins.
const MOST_NEXT: usize = 1 << 16;
