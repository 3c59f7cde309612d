//! softmax(scale · Q Kᵀ) V of one head of one picture (Vaswani et al. 2017, equation 1), in floats or in 8 bits.

use super::super::graph::{Graph, Part, Shape, Step};
use super::super::program::Program;
use super::Machine;
use super::view::{Head, View, lanes};
use crate::encoder::kernels::rows::{
    Activation, Columns, Lanes, MOST, Moments, Normed, Packed, Rows, Scale, ToFloats, scale_of,
};
use crate::encoder::kernels::{COLUMNS, FloatTile, GROUP, Kernels, Layout, MOST_ROWS, Operands};
use crate::store;

/// What one thread needs of its own for attention.
#[derive(Default)]
pub(super) struct Scratch {
    floats: Floats,
    bytes: Bytes,
}

#[derive(Default)]
struct Floats {
    queries: Vec<f32>,
    keys: Vec<f32>,
    /// Products of a block of queries with all keys, in whole blocks.
    scores: Vec<f32>,
    /// What becomes of them by softmax, side by side.
    shares: Vec<f32>,
    tile: FloatTile,
}

#[derive(Default)]
struct Bytes {
    queries: Vec<u8>,
    /// The keys' mean, taken off, and ones beside it.
    means: Vec<f32>,
    ones: Vec<f32>,
    /// Keys as the columns of a product, each with its scale and sum.
    keys: Weights,
    /// Values likewise, a column for each of theirs.
    values: Weights,
    scores: Vec<f32>,
    shares: [Vec<u8>; 2],
}

/// Weights that are made anew for each head.
#[derive(Default)]
struct Weights {
    packed: Vec<u8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Weights {
    fn resize(&mut self, columns: usize, inputs: usize) {
        let columns = columns.next_multiple_of(COLUMNS);
        self.packed
            .resize(columns * inputs.next_multiple_of(GROUP), 0);
        self.scales.resize(columns, 0.0);
        self.sums.resize(columns, 0);
    }

    /// A block of columns, `inputs` high.
    fn block(&self, block: usize, inputs: usize) -> (&[i8], Columns<'_>) {
        let size = inputs.next_multiple_of(GROUP) * COLUMNS;
        let columns = Columns {
            scale: &self.scales.as_chunks().0[block],
            sum: &self.sums.as_chunks().0[block],
            zero: None,
            bias: &[0.0; COLUMNS],
        };
        (store::i8s(&self.packed[block * size..][..size]), columns)
    }
}

impl Scratch {
    /// With room for every attention of `graph`: a thread may have its first one in any frame.
    pub(super) fn of(graph: &Graph, shapes: &[Shape], set: &Kernels) -> Self {
        let mut scratch = Self::default();
        for step in &graph.steps {
            let Step::Attention {
                key,
                head_width,
                rounded,
                ..
            } = step
            else {
                continue;
            };
            let (width, count) = (*head_width as usize, shapes[key.value as usize].rows);
            if *rounded {
                scratch.bytes.resize(set, width, count);
            } else {
                scratch.floats.resize(set, width, count);
            }
        }
        scratch
    }
}

impl Floats {
    fn resize(&mut self, set: &Kernels, width: usize, count: usize) {
        let padded = count.next_multiple_of(COLUMNS);
        self.queries.resize(set.rows * width, 0.0);
        self.keys.resize(padded * width, 0.0);
        self.scores.resize(set.rows * padded, 0.0);
        self.shares.resize(set.rows * count, 0.0);
    }
}

impl Bytes {
    fn resize(&mut self, set: &Kernels, width: usize, count: usize) {
        let bytes = |inputs: usize| set.block_bytes(set.rows, inputs.div_ceil(GROUP));
        self.queries.resize(bytes(width), 0);
        self.means.resize(width, 0.0);
        self.ones.resize(width, 1.0);
        self.keys.resize(count, width);
        self.values.resize(width, count);
        let padded = count.next_multiple_of(COLUMNS);
        self.scores.resize(set.rows * padded, 0.0);
        for shares in &mut self.shares {
            shares.resize(bytes(count), 0);
        }
    }
}

/// In floats; `put` takes row, block of columns, and its values.
fn in_floats(
    set: &Kernels,
    scale: f32,
    scratch: &mut Scratch,
    [queries, keys, values]: [Head<'_>; 3],
    mut put: impl FnMut(usize, usize, &Lanes),
) {
    let (width, count) = (keys.shape.width, keys.shape.rows);
    scratch.floats.resize(set, width, count);
    let Floats {
        queries: packed,
        keys: turned,
        scores,
        shares,
        tile,
    } = &mut scratch.floats;
    let padded = count.next_multiple_of(COLUMNS);
    // Keys turned, so that 16 of them are the columns of a product.
    for (b, turned) in turned.chunks_exact_mut(width * COLUMNS).enumerate() {
        let first = b * COLUMNS;
        for d in 0..width {
            let column = keys.block(d / COLUMNS);
            let to = &mut turned[d * COLUMNS..][..COLUMNS];
            for (i, to) in to.iter_mut().enumerate() {
                let key = first + i;
                *to = if key < count {
                    column[key * COLUMNS + d % COLUMNS]
                } else {
                    0.0
                };
            }
        }
    }
    let mut first = 0;
    while first < queries.shape.rows {
        let rows = set.rows.min(queries.shape.rows - first);
        for b in 0..width / COLUMNS {
            let block = queries.block(b)[first * COLUMNS..].chunks_exact(COLUMNS);
            for (r, row) in block.take(rows).enumerate() {
                packed[r * width + b * COLUMNS..][..COLUMNS].copy_from_slice(row);
            }
        }
        for (b, turned) in turned.chunks_exact(width * COLUMNS).enumerate() {
            set.float_tile(width, packed, turned, tile);
            for (r, sums) in tile.iter().enumerate().take(rows) {
                scores[r * padded + b * COLUMNS..][..COLUMNS].copy_from_slice(sums);
            }
        }
        let lines = scores
            .chunks_exact_mut(padded)
            .zip(shares.chunks_exact_mut(count));
        for (line, shares) in lines.take(rows) {
            set.loops().softmax(line, count, scale);
            shares.copy_from_slice(&line[..count]);
        }
        for b in 0..width / COLUMNS {
            set.float_tile(count, shares, values.block(b), tile);
            for (r, sums) in tile.iter().enumerate().take(rows) {
                put(first + r, b, sums);
            }
        }
        first += rows;
    }
}

/// In 8 bits: queries and keys by row, values by column, shares in two bytes: small ones add up beside a great one.
/// `put` takes the first of some rows, the block of columns, and their values.
fn in_bytes(
    set: &Kernels,
    scale: f32,
    scratch: &mut Scratch,
    [queries, keys, values]: [Head<'_>; 3],
    mut put: impl FnMut(usize, usize, &[Lanes]),
) {
    let loops = set.loops();
    let (width, count) = (keys.shape.width, keys.shape.rows);
    let bytes = &mut scratch.bytes;
    bytes.resize(set, width, count);
    pack_keys(set, bytes, keys);
    let Bytes {
        queries: packed_queries,
        keys: packed_keys,
        values: packed_values,
        scores,
        shares,
        ..
    } = bytes;
    let groups = count.div_ceil(GROUP);
    let blocks = width / COLUMNS;
    for b in 0..blocks {
        let size = groups * GROUP * COLUMNS;
        loops.pack_columns(
            lanes(values.block(b)),
            &mut packed_values.packed[b * size..][..size],
            &mut packed_values.scales.as_chunks_mut().0[b],
            &mut packed_values.sums.as_chunks_mut().0[b],
        );
    }
    let total = queries.shape.rows;
    let mut out = [[0.0; COLUMNS]; MOST_ROWS];
    for at in 0..total.div_ceil(set.rows) {
        let (first, rows) = set.block(at, total);
        let wanted = rows.min(total - first);
        let some = queries.rows(first..first + wanted);
        let mut extents = [(0.0, 0.0); MOST];
        loops.extents(some, None, &mut extents);
        let mut scales = extents.map(scale_of);
        let size = set.block_bytes(rows, width / GROUP);
        let query = &mut packed_queries[..size];
        loops.quantize(some, None, &mut scales, (0, 255), set.packed(query, rows));
        scales.iter_mut().for_each(|s| s.zero -= set.offset);
        let blocks_of_keys = count.div_ceil(COLUMNS);
        let parts = scores.chunks_exact_mut(rows * COLUMNS);
        for (b, scores) in parts.take(blocks_of_keys).enumerate() {
            let (weights, columns) = packed_keys.block(b, width);
            let of = Operands {
                rows,
                groups: width / GROUP,
                activations: &packed_queries[..size],
                step: set.block_step(rows),
                weights,
                ahead: &[],
            };
            let to = ToFloats {
                rows: &scales,
                columns,
                activation: Activation::None,
                residual: None,
            };
            set.tile_of_floats(of, to, &mut scores.as_chunks_mut().0[..wanted]);
        }
        let scores = Rows {
            values: scores,
            step: rows * COLUMNS,
            width: count,
            count: wanted,
        };
        let size = set.block_bytes(rows, groups);
        let parts = shares.each_mut().map(|s| set.packed(&mut s[..size], rows));
        loops.shares(scores, scale, &mut scales, parts);
        scales.iter_mut().for_each(|s| s.zero = -set.offset);
        let finer = scales.map(|s| Scale {
            scale: s.scale / 255.0,
            ..s
        });
        for b in 0..blocks {
            let (weights, columns) = packed_values.block(b, count);
            let mut before = None;
            for (shares, scales) in shares.iter().zip([&scales, &finer]) {
                let of = Operands {
                    rows,
                    groups,
                    activations: &shares[..size],
                    step: set.block_step(rows),
                    weights,
                    ahead: &[],
                };
                let to = ToFloats {
                    rows: scales,
                    columns,
                    activation: Activation::None,
                    residual: before.as_ref().map(|b: &FloatTile| &b[..]),
                };
                set.tile_of_floats(of, to, &mut out[..wanted]);
                before = Some(out);
            }
            put(first, b, &out[..wanted]);
        }
    }
}

/// Keys as the columns of a product, each rounded by its greatest. Their mean is taken off all: it adds the same to
/// every score of a query, and without it the rest is rounded finer (Zhang et al. 2025, SageAttention, section 4.2).
fn pack_keys(set: &Kernels, scratch: &mut Bytes, keys: Head<'_>) {
    let loops = set.loops();
    let (width, count) = (keys.shape.width, keys.shape.rows);
    let Bytes {
        means,
        ones,
        keys: to,
        ..
    } = scratch;
    for (b, means) in means.as_chunks_mut().0.iter_mut().enumerate() {
        loops.column_sums(lanes(keys.block(b)), means);
        means.iter_mut().for_each(|m| *m /= -(count as f32));
    }
    let moments = [Moments {
        mean: 0.0,
        factor: 1.0,
    }; MOST];
    let norm = Normed {
        moments: &moments,
        gain: ones,
        bias: means,
    };
    for (b, bytes) in to.packed.chunks_exact_mut(width * COLUMNS).enumerate() {
        let rows = b * COLUMNS..count.min((b + 1) * COLUMNS);
        if rows.is_empty() {
            break;
        }
        let some = keys.rows(rows);
        let mut extents = [(0.0, 0.0); MOST];
        loops.extents(some, Some(&norm), &mut extents);
        let mut scales = extents.map(|(low, high): (f32, f32)| Scale {
            scale: high.max(-low) / 127.0,
            zero: 0,
            sum: 0,
        });
        // Weights lie as the activations of sixteen rows do, in bytes.
        let packed = Packed {
            bytes,
            rows: COLUMNS,
            layout: Layout::Groups,
            offset: 0,
        };
        loops.quantize(some, Some(&norm), &mut scales, (-127, 127), packed);
        for (c, scale) in scales.iter().enumerate() {
            to.scales[b * COLUMNS + c] = scale.scale;
            to.sums[b * COLUMNS + c] = scale.sum;
        }
    }
}

impl Machine {
    pub(super) fn attend(
        &mut self,
        program: &Program,
        parts: [Part; 3],
        heads: Heads,
        count: usize,
        out: &mut [f32],
    ) {
        let set = self.kernels;
        let [queries, keys, values] = parts.map(|part| {
            let shape = program.shapes[part.value as usize];
            let first = part.first as usize * shape.rows * count * COLUMNS;
            View {
                values: &self.slots[program.slots[part.value as usize]][first..],
                shape: Shape {
                    width: heads.width,
                    ..shape
                },
                count,
            }
        });
        let rows = queries.shape.rows * count;
        let size = rows * heads.width;
        self.pool
            .chunks(&mut self.scratches, out, size, |scratch, head, out| {
                for picture in 0..count {
                    let parts = [queries, keys, values].map(|v| v.of(head, picture));
                    let first = picture * queries.shape.rows;
                    let mut put = |row: usize, block: usize, sums: &[Lanes]| {
                        let at = block * rows * COLUMNS + (first + row) * COLUMNS;
                        let sums = sums.as_flattened();
                        out[at..at + sums.len()].copy_from_slice(sums);
                    };
                    if heads.rounded {
                        in_bytes(&set, heads.scale, &mut scratch.attention, parts, put);
                    } else {
                        let put_one =
                            |row, block, sums: &Lanes| put(row, block, std::slice::from_ref(sums));
                        in_floats(&set, heads.scale, &mut scratch.attention, parts, put_one);
                    }
                }
            });
    }
}

#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) width: usize,
    pub(super) scale: f32,
    pub(super) rounded: bool,
}
