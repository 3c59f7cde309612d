//! Runs a fused graph: one step after the other, each shared among the threads of a pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attend;
use super::convolve::{self, Plane, Planes};
use super::graph::{
    Form, Graph, Levels, Matrix, Norm, Part, Place, Rounding, Shape, Step, Value, Window,
};
use super::view::{View, lanes};
use crate::encoder::kernels::bytes::{ByteRows, Piece, ToBytes};
use crate::encoder::kernels::rows::{
    Activation, Columns, Grid, Lanes, MOST, Moments, Normed, Packed, Rows, Scale, ToFloats,
    scale_of,
};
use crate::encoder::kernels::{
    COLUMNS, FloatTile, GROUP, Kernels, Layout, Operands, Pool, pieces, pieces_mut,
};
use crate::error::Result;
use crate::store::{self, SectionRef};

/// Bytes that a cache takes at once.
const LINE: usize = 64;

/// A graph that was checked, with its weights: what machines share.
#[derive(Debug)]
pub(crate) struct Program {
    graph: Graph,
    shapes: Vec<Shape>,
    weights: SectionRef,
    /// Where each value is kept; values that are never needed together share a place.
    slots: Vec<usize>,
    slot_values: Vec<usize>,
}

impl Program {
    /// Checks `graph` against its weights.
    ///
    /// # Errors
    /// They do not fit each other.
    pub(crate) fn new(graph: Graph, weights: SectionRef) -> Result<Self> {
        let shapes = graph.shapes(weights.len())?;
        let (slots, slot_values) = places(&graph, &shapes);
        Ok(Self {
            graph,
            shapes,
            weights,
            slots,
            slot_values,
        })
    }

    /// Width of what comes out.
    pub(crate) fn dim(&self) -> usize {
        self.shapes.last().map_or(0, |s| s.width)
    }

    /// Channels × height × width of what goes in.
    pub(crate) fn input(&self) -> [usize; 3] {
        self.graph.input.map(|n| n as usize)
    }

    #[cfg(feature = "import")]
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    #[cfg(test)]
    pub(crate) fn weights_len(&self) -> usize {
        self.weights.len()
    }

    fn part(&self, place: Place) -> &[u8] {
        // Checked when the program was made.
        &self.weights[place.first as usize..][..place.bytes as usize]
    }

    fn floats(&self, place: Place) -> &[f32] {
        store::f32s(self.part(place)).expect("checked: aligned and whole")
    }

    fn whole(&self, place: Place) -> &[i32] {
        store::i32s(self.part(place)).expect("checked: aligned and whole")
    }

    /// How some rows are normed; `moments` are filled in.
    fn normed<'a>(
        &'a self,
        norm: Option<&Norm>,
        rows: Rows<'_>,
        set: &Kernels,
        moments: &'a mut [Moments],
    ) -> Option<Normed<'a>> {
        let norm = norm?;
        set.loops().moments(rows, norm.epsilon, moments);
        Some(Normed {
            moments,
            gain: self.floats(norm.gain),
            bias: self.floats(norm.bias),
        })
    }

    /// Weights of the first product of 8 bits behind step `at`.
    fn next_weights(&self, at: usize) -> &[i8] {
        let behind = &self.graph.steps[at + 1..];
        let weights = behind.iter().find_map(|step| match step {
            Step::Linear {
                matrix:
                    Matrix {
                        form: Form::Int8 { weights, .. },
                        ..
                    },
                ..
            } => Some(*weights),
            _ => None,
        });
        weights.map_or(&[], |place| store::i8s(self.part(place)))
    }

    /// Products of 8 bits and of floats of one picture.
    pub(crate) fn products(&self) -> (u64, u64) {
        let mut all = (0, 0);
        for (step, shape) in self.graph.steps.iter().zip(&self.shapes) {
            match step {
                Step::Linear { matrix, .. } => {
                    let count =
                        shape.rows as u64 * u64::from(matrix.inputs) * u64::from(matrix.columns);
                    match matrix.form {
                        Form::Floats { .. } | Form::Mixed { .. } => all.1 += count,
                        Form::Int8 { .. } => all.0 += count,
                    }
                }
                Step::Depthwise { window, .. } => {
                    all.0 += (shape.rows * shape.width) as u64 * u64::from(window.side).pow(2);
                }
                Step::Attention { key, rounded, .. } => {
                    let rows = self.shapes[key.value as usize].rows;
                    let count = 2 * (shape.rows * rows * shape.width) as u64;
                    if *rounded {
                        all.0 += count;
                    } else {
                        all.1 += count;
                    }
                }
                _ => {}
            }
        }
        all
    }
}

/// A place for each value, reused after its last reader, and the floats that each place must hold.
fn places(graph: &Graph, shapes: &[Shape]) -> (Vec<usize>, Vec<usize>) {
    let mut last: Vec<usize> = (0..graph.steps.len()).collect();
    for (at, step) in graph.steps.iter().enumerate() {
        step.reads(|value| last[value as usize] = at);
    }
    let (mut slots, mut sizes, mut free): (Vec<usize>, Vec<usize>, Vec<usize>) = Default::default();
    for (at, shape) in shapes.iter().enumerate() {
        // The smallest that is large enough, else the largest, which then grows.
        let fits = |slot: &&usize| sizes[**slot] >= shape.values();
        let best = free.iter().filter(fits).min_by_key(|slot| sizes[**slot]);
        let best = best
            .or_else(|| free.iter().max_by_key(|slot| sizes[**slot]))
            .copied();
        let slot = best.unwrap_or_else(|| {
            sizes.push(0);
            sizes.len() - 1
        });
        free.retain(|s| *s != slot);
        sizes[slot] = sizes[slot].max(shape.values());
        slots.push(slot);
        let ended = (0..=at).filter(|v| last[*v] == at && *v + 1 < shapes.len());
        free.extend(
            ended
                .map(|v| slots[v])
                .filter(|s| !free.contains(s))
                .collect::<Vec<_>>(),
        );
    }
    (slots, sizes)
}

/// A block of rows, packed for a product.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    floats: Vec<f32>,
    scales: [Scale; MOST],
}

/// What one thread needs of its own.
#[derive(Default)]
struct Scratch {
    attention: attend::Scratch,
    lines: convolve::Scratch,
}

impl Scratch {
    /// With room for every step: a thread may have its first one of a kind in any frame.
    fn of(program: &Program, set: &Kernels) -> Self {
        let mut lines = convolve::Scratch::default();
        for step in &program.graph.steps {
            if let Step::Depthwise { rows, window, .. } = step
                && let Some(pixels) = program.shapes[*rows as usize].pixels
            {
                lines.reserve(*window, pixels.across);
            }
        }
        Self {
            attention: attend::Scratch::of(&program.graph, &program.shapes, set),
            lines,
        }
    }
}

/// A program with its working memory.
pub(crate) struct Machine {
    program: Arc<Program>,
    kernels: Kernels,
    pool: Pool,
    slots: Vec<Vec<f32>>,
    blocks: Vec<Block>,
    scratches: Vec<Scratch>,
    /// Pictures in bytes.
    planes: Vec<u8>,
    /// A single row, side by side.
    row: Vec<f32>,
    /// Ranges of the pictures of a batch, where rows are rounded by them.
    extents: Vec<(f32, f32)>,
    pictures: usize,
    /// Time that each step took, where that is asked for.
    clock: Option<Vec<Duration>>,
}

impl Machine {
    /// Memory for one picture at a time, on `threads` threads.
    pub(crate) fn new(program: Arc<Program>, kernels: Kernels, threads: usize) -> Self {
        let pool = Pool::new(threads);
        let scratch = |_| Scratch::of(&program, &kernels);
        let scratches = (0..pool.threads()).map(scratch).collect();
        let slots = program.slot_values.iter().map(|n| vec![0.0; *n]).collect();
        Self {
            program,
            kernels,
            pool,
            slots,
            blocks: Vec::new(),
            scratches,
            planes: Vec::new(),
            row: Vec::new(),
            extents: Vec::new(),
            pictures: 1,
            clock: None,
        }
    }

    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    pub(crate) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// What each step does, and the time that it took over `runs` runs on `picture`.
    pub(crate) fn profile(&mut self, picture: &[f32], runs: usize) -> Vec<(String, Duration)> {
        let program = Arc::clone(&self.program);
        let steps = &program.graph.steps;
        self.clock = Some(vec![Duration::ZERO; steps.len()]);
        for _ in 0..runs {
            self.run(picture, &mut Vec::new());
        }
        let times = self.clock.take().unwrap_or_default();
        let words = steps.iter().zip(&program.shapes);
        let words =
            words.map(|(step, shape)| format!("{} → {}×{}", step.words(), shape.rows, shape.width));
        words.zip(times).collect()
    }

    /// Runs on `pictures`, one after the other channels × height × width; the features come in the
    /// same order.
    pub(crate) fn run(&mut self, pictures: &[f32], features: &mut Vec<f32>) {
        let program = Arc::clone(&self.program);
        let count = pictures.len() / program.input().iter().product::<usize>().max(1);
        if count > self.pictures {
            for (slot, values) in self.slots.iter_mut().zip(&program.slot_values) {
                slot.resize(values * count, 0.0);
            }
            self.pictures = count;
        }
        for at in 0..program.graph.steps.len() {
            let began = self.clock.is_some().then(Instant::now);
            // Taken out, so that the others can be read meanwhile.
            let slot = program.slots[at];
            let mut out = std::mem::take(&mut self.slots[slot]);
            let length = program.shapes[at].values() * count;
            self.step(&program, at, pictures, count, &mut out[..length]);
            self.slots[slot] = out;
            if let (Some(clock), Some(began)) = (&mut self.clock, began) {
                clock[at] += began.elapsed();
            }
        }
        let dim = program.dim();
        let last = &self.slots[program.slots[program.slots.len() - 1]];
        features.clear();
        for picture in 0..count {
            // Rows of several pictures lie side by side in each block.
            let blocks = (0..dim).step_by(COLUMNS);
            for (b, first) in blocks.enumerate() {
                let from = (b * count + picture) * COLUMNS;
                let width = COLUMNS.min(dim - first);
                features.extend_from_slice(&last[from..from + width]);
            }
        }
    }

    fn step(
        &mut self,
        program: &Program,
        at: usize,
        pictures: &[f32],
        count: usize,
        out: &mut [f32],
    ) {
        let shape = program.shapes[at];
        match &program.graph.steps[at] {
            Step::Patches { side } => {
                patches(program.input(), *side as usize, pictures, shape, out);
            }
            Step::Embed { rows, first, table } => {
                let from = self.view(program, *rows, count);
                embed(
                    from,
                    usize::from(*first),
                    program.floats(*table),
                    shape,
                    out,
                );
            }
            Step::Norm { rows, norm } => {
                let from = self.view(program, *rows, count);
                for rows in from.blocks() {
                    let to = &mut out[rows.start * COLUMNS..];
                    let rows = from.rows(rows);
                    let mut moments = [Moments::default(); MOST];
                    if let Some(norm) =
                        program.normed(Some(norm), rows, &self.kernels, &mut moments)
                    {
                        self.kernels.loops().norm(rows, &norm, to, from.step());
                    }
                }
            }
            Step::Linear {
                rows,
                matrix,
                levels: Some(levels),
                ..
            } => self.multiply_bytes((program, at), *rows, matrix, *levels, count, out),
            Step::Linear {
                rows,
                matrix:
                    Matrix {
                        form: Form::Mixed { weights, scales },
                        bias,
                        ..
                    },
                ..
            } => self.multiply_row(program, *rows, [*weights, *scales, *bias], count, out),
            Step::Linear {
                rows,
                norm,
                matrix,
                activation,
                residual,
                levels: None,
            } => {
                self.pack(program, *rows, norm.as_ref(), matrix, count);
                self.multiply(
                    (program, at),
                    matrix,
                    (*activation, *residual),
                    shape.rows * count,
                    out,
                );
            }
            Step::Attention {
                query,
                key,
                value,
                head_width,
                scale,
                rounded,
                ..
            } => {
                let heads = Heads {
                    width: *head_width as usize,
                    scale: *scale,
                    rounded: *rounded,
                };
                self.attend(program, [*query, *key, *value], heads, count, out);
            }
            Step::Pick { rows, row } => {
                let from = self.view(program, *rows, count);
                let first = *row as usize * COLUMNS;
                from.gather(out, |from, to| {
                    to.copy_from_slice(&from[first..][..COLUMNS])
                });
            }
            Step::Mean { rows, first } => {
                let from = self.view(program, *rows, count);
                let (first, tokens) = (*first as usize, from.shape.rows);
                if let Some(pixels) = from.shape.pixels {
                    let planes = pieces(from.values).chunks_exact(tokens);
                    for (plane, to) in planes.zip(out.as_chunks_mut::<COLUMNS>().0) {
                        let mut sums = [0; COLUMNS];
                        self.kernels.loops().sum_bytes(plane, &mut sums);
                        let zero = f32::from(pixels.zero);
                        *to = sums.map(|s| (s as f32 / tokens as f32 - zero) * pixels.scale);
                    }
                    return;
                }
                from.gather(out, |from, to| {
                    to.fill(0.0);
                    for row in from.chunks_exact(COLUMNS).skip(first) {
                        to.iter_mut().zip(row).for_each(|(to, v)| *to += v);
                    }
                    to.iter_mut().for_each(|to| *to /= (tokens - first) as f32);
                });
            }
            Step::Stem { window, levels } => self.stem(program, pictures, *window, *levels, out),
            Step::Windows { rows, window } => {
                let from = self.slots[program.slots[*rows as usize]].as_slice();
                let shape_of = program.shapes[*rows as usize];
                let Some(pixels) = shape_of.pixels else {
                    return;
                };
                let size = shape_of.rows * count;
                let out = pieces_mut(out);
                let side = window.side as usize;
                let take = |_: &mut Scratch, unit: usize, out: &mut [Piece]| {
                    let (tap, block) = (unit / shape_of.blocks(), unit % shape_of.blocks());
                    let planes = pieces(from)[block * size..][..size].chunks_exact(shape_of.rows);
                    for (plane, out) in planes.zip(out.chunks_exact_mut(shape.rows)) {
                        let plane = Plane {
                            pixels: plane,
                            across: pixels.across,
                            zero: pixels.zero,
                        };
                        convolve::taps(plane, *window, (tap / side, tap % side), out);
                    }
                };
                self.pool
                    .chunks(&mut self.scratches, out, shape.rows * count, take);
            }
            Step::Depthwise {
                rows,
                window,
                weights,
                scales,
                bias,
                levels,
            } => {
                let from = self.slots[program.slots[*rows as usize]].as_slice();
                let shape_of = program.shapes[*rows as usize];
                let Some(pixels) = shape_of.pixels else {
                    return;
                };
                let loops = self.kernels.loops();
                let size = shape_of.rows * count;
                let taps = (window.side * window.side) as usize * COLUMNS;
                let weights = store::i8s(program.part(*weights));
                let (scales, bias) = (program.floats(*scales), program.floats(*bias));
                let out = pieces_mut(out);
                let convolve = |scratch: &mut Scratch, b: usize, out: &mut [Piece]| {
                    let block = convolve::Block {
                        weights: &weights[b * taps..][..taps],
                        scale: &scales.as_chunks().0[b],
                        bias: &bias.as_chunks().0[b],
                        levels: *levels,
                    };
                    let planes = pieces(from)[b * size..][..size].chunks_exact(shape_of.rows);
                    for (plane, out) in planes.zip(out.chunks_exact_mut(shape.rows)) {
                        let plane = Plane {
                            pixels: plane,
                            across: pixels.across,
                            zero: pixels.zero,
                        };
                        convolve::depthwise(loops, &mut scratch.lines, plane, *window, block, out);
                    }
                };
                self.pool
                    .chunks(&mut self.scratches, out, shape.rows * count, convolve);
            }
            Step::Sum {
                values,
                factors,
                levels,
            } => {
                let loops = self.kernels.loops();
                let size = shape.rows * count;
                let [a, b] = values.map(|v| pieces(&self.slots[program.slots[v as usize]]));
                let bounds = (levels.low, levels.high);
                let add = |_: &mut Scratch, n: usize, out: &mut [Piece]| {
                    let [a, b] = [a, b].map(|v| &v[n * size..][..size]);
                    loops.add_bytes([a, b], *factors, bounds, out);
                };
                self.pool
                    .chunks(&mut self.scratches, pieces_mut(out), size, add);
            }
            Step::Softmax { rows } => {
                let set = self.kernels;
                let loops = set.loops();
                self.each_row(program, *rows, count, out, |row, width| {
                    loops.softmax(row, width, 1.0);
                });
            }
            Step::Unit { rows, scale } => {
                self.each_row(program, *rows, count, out, |row, width| {
                    let squares: f32 = row[..width].iter().map(|v| v * v).sum();
                    let factor = scale / squares.sqrt();
                    row.iter_mut().for_each(|v| *v *= factor);
                });
            }
            Step::Join { values } => {
                let mut first = 0;
                for value in values {
                    let from = self.view(program, *value, count);
                    let length = from.shape.blocks() * count * COLUMNS;
                    out[first..first + length].copy_from_slice(&from.values[..length]);
                    first += length;
                }
            }
        }
    }

    /// Each picture's single row of a value, made anew side by side.
    fn each_row(
        &mut self,
        program: &Program,
        rows: Value,
        count: usize,
        out: &mut [f32],
        make: impl Fn(&mut [f32], usize),
    ) {
        let width = program.shapes[rows as usize].width;
        for picture in 0..count {
            self.single_row(program, rows, count, picture);
            make(&mut self.row, width);
            for (b, piece) in self.row.chunks_exact(COLUMNS).enumerate() {
                out[(b * count + picture) * COLUMNS..][..COLUMNS].copy_from_slice(piece);
            }
        }
    }

    /// Lays a picture's single row of a value side by side in `row`, in whole blocks.
    fn single_row(&mut self, program: &Program, rows: Value, count: usize, picture: usize) {
        let blocks = program.shapes[rows as usize].blocks();
        let values = &self.slots[program.slots[rows as usize]];
        self.row.resize(blocks * COLUMNS, 0.0);
        for (b, piece) in self.row.chunks_exact_mut(COLUMNS).enumerate() {
            piece.copy_from_slice(&values[(b * count + picture) * COLUMNS..][..COLUMNS]);
        }
    }

    /// A single row of floats with weights of 8 bits.
    fn multiply_row(
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

    /// The pictures in bytes, and of them each window's pixels.
    fn stem(
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
                loops.bytes_from_floats(values, levels.scale, levels.zero, out);
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
    fn multiply_bytes(
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
                let to = Packed {
                    bytes: &mut block[0].bytes[..size],
                    first: 0,
                    rows,
                    layout: set.layout,
                    offset: set.offset,
                };
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
                columns: Columns {
                    scale: &scales.as_chunks().0[c],
                    sum: &sums.as_chunks().0[c],
                    zero: None,
                    bias: &bias.as_chunks().0[c],
                },
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

    fn view(&self, program: &Program, value: Value, count: usize) -> View<'_> {
        View {
            values: &self.slots[program.slots[value as usize]],
            shape: program.shapes[value as usize],
            count,
        }
    }

    /// Rounds and packs the rows of a value for `matrix`, block by block.
    fn pack(
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
            let (scales, bounds) = match (rounding.grid(), rounding) {
                (
                    Grid::Fixed {
                        scale,
                        zero,
                        low,
                        high,
                    },
                    _,
                ) => {
                    let sum = 0;
                    ([Scale { scale, zero, sum }; MOST], (low, high))
                }
                (Grid::Own, Rounding::Picture) => {
                    let of = |r: usize| extents[(first + r).min(total - 1) / from.shape.rows];
                    (std::array::from_fn(|r| scale_of(of(r))), (0, 255))
                }
                _ => (extents_of(some, norm.as_ref()).map(scale_of), (0, 255)),
            };
            block.scales = scales;
            let to = Packed {
                bytes: &mut block.bytes[..width],
                first: 0,
                rows,
                layout: set.layout,
                offset: set.offset,
            };
            loops.quantize(some, norm.as_ref(), &mut block.scales, bounds, to);
            for scale in &mut block.scales {
                scale.zero -= set.offset;
            }
        };
        self.pool
            .chunks(&mut self.scratches, &mut self.blocks[..blocks], 1, prepare);
    }

    /// Products of the packed rows with `matrix`, block of columns by block of columns.
    fn multiply(
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
                        let of = |all: &'_ [f32]| -> Lanes {
                            *all[c * COLUMNS..].first_chunk().expect("checked")
                        };
                        let (scale, bias) = (of(scales), of(bias));
                        let sum = sums[c * COLUMNS..].first_chunk().expect("checked");
                        let columns = Columns {
                            scale: &scale,
                            sum,
                            zero: zeros.and_then(|z| z[c * COLUMNS..].first_chunk()),
                            bias: &bias,
                        };
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

    fn attend(
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
                        attend::in_bytes(&set, heads.scale, &mut scratch.attention, parts, put);
                    } else {
                        let put_one =
                            |row, block, sums: &Lanes| put(row, block, std::slice::from_ref(sums));
                        attend::in_floats(
                            &set,
                            heads.scale,
                            &mut scratch.attention,
                            parts,
                            put_one,
                        );
                    }
                }
            });
    }
}

/// Weights that are needed next, which come nearer part by part while a block of columns is multiplied.
struct Ahead<'a>(std::slice::Chunks<'a, i8>);

impl<'a> Ahead<'a> {
    /// Of the block of columns that begins at `first`, `width` long, in `parts`; behind the last one those of the
    /// `next` product.
    fn of(weights: &'a [i8], first: usize, width: usize, parts: usize, next: &'a [i8]) -> Self {
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

    fn next(&mut self) -> &'a [i8] {
        self.0.next().unwrap_or_default()
    }
}

/// Bytes of the next product that are fetched before it begins.
const MOST_NEXT: usize = 1 << 16;

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

#[derive(Clone, Copy)]
struct Heads {
    width: usize,
    scale: f32,
    rounded: bool,
}

/// Squares of each picture as rows: channel by channel, line by line.
fn patches(
    [channels, height, width]: [usize; 3],
    side: usize,
    pictures: &[f32],
    shape: Shape,
    out: &mut [f32],
) {
    let across = width / side;
    let count = pictures.len() / (channels * height * width);
    let step = shape.rows * count * COLUMNS;
    for (n, line) in pictures.chunks_exact(width).enumerate() {
        // Line n of all: of which picture, channel and row of pixels.
        let (picture, channel, y) = (n / height / channels, n / height % channels, n % height);
        for (x, pixels) in line.chunks_exact(side).enumerate() {
            let row = picture * shape.rows + y / side * across + x;
            // As many at once as stay within a block.
            let mut column = (channel * side + y % side) * side;
            let mut pixels = pixels;
            while !pixels.is_empty() {
                let within = column % COLUMNS;
                let (now, later) = pixels.split_at(pixels.len().min(COLUMNS - within));
                let to = &mut out[column / COLUMNS * step + row * COLUMNS + within..];
                to[..now.len()].copy_from_slice(now);
                column += now.len();
                pixels = later;
            }
        }
    }
}

/// The rows of `from` behind `first` others, with the constants of `table` added.
fn embed(from: View<'_>, first: usize, table: &[f32], shape: Shape, out: &mut [f32]) {
    let rows = shape.rows * COLUMNS;
    let pictures = out.chunks_exact_mut(rows).enumerate();
    for (n, out) in pictures {
        let (block, picture) = (n / from.count, n % from.count);
        let table = &table[block * rows..][..rows];
        let tokens = from.shape.rows * COLUMNS;
        let tokens = &from.values[(block * from.count + picture) * tokens..][..tokens];
        out.copy_from_slice(table);
        let behind = &mut out[first * COLUMNS..];
        behind.iter_mut().zip(tokens).for_each(|(o, t)| *o += t);
    }
}
