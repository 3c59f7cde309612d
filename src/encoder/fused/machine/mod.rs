//! Runs a fused graph: one step after the other, each shared among the threads of a pool.

mod attend;
pub(super) mod convolve;
mod pixels;
mod products;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::attend::Heads;
use self::products::Block;
use self::view::View;
use super::graph::{Form, Matrix, Shape, Step, Value};
use super::program::Program;
use crate::encoder::kernels::rows::{MOST, Moments};
use crate::encoder::kernels::{COLUMNS, Kernels, Pool, pieces};

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
                let (picture, side) = (program.input(), *side as usize);
                let take = |_: &mut Scratch, block: usize, out: &mut [f32]| {
                    patches(picture, side, pictures, block, out);
                };
                self.pool
                    .chunks(&mut self.scratches, out, shape.rows * count * COLUMNS, take);
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
            Step::Windows { rows, window } => self.windows(program, *rows, *window, count, out),
            Step::Depthwise {
                rows,
                window,
                weights,
                scales,
                bias,
                levels,
            } => {
                let weights = ([*weights, *scales, *bias], *levels);
                self.depthwise(program, (*rows, *window), weights, count, out);
            }
            Step::Sum {
                values,
                factors,
                levels,
            } => self.sum(program, *values, *factors, *levels, out),
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

    fn view(&self, program: &Program, value: Value, count: usize) -> View<'_> {
        View {
            values: &self.slots[program.slots[value as usize]],
            shape: program.shapes[value as usize],
            count,
        }
    }
}

/// A block of columns of the squares of each picture, which are rows: channel by channel, line by line.
fn patches(
    [channels, height, width]: [usize; 3],
    side: usize,
    pictures: &[f32],
    block: usize,
    out: &mut [f32],
) {
    let rows = (height / side) * (width / side);
    let end = ((block + 1) * COLUMNS).min(channels * side * side);
    let mut column = block * COLUMNS;
    while column < end {
        // As many as lie side by side in the picture.
        let (channel, dy, dx) = (column / (side * side), column / side % side, column % side);
        let run = (side - dx).min(end - column);
        let planes = pictures.chunks_exact(height * width);
        let planes = planes.skip(channel).step_by(channels);
        for (plane, out) in planes.zip(out.chunks_exact_mut(rows * COLUMNS)) {
            let lines = plane.chunks_exact(width).skip(dy).step_by(side);
            let squares = lines.flat_map(|line| line.chunks_exact(side));
            for (square, out) in squares.zip(out.chunks_exact_mut(COLUMNS)) {
                out[column % COLUMNS..][..run].copy_from_slice(&square[dx..][..run]);
            }
        }
        column += run;
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
