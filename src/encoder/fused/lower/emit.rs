//! The graph as it is kept: weights rounded, packed and laid out.

use super::draft::{Channels, Draft, Matrix, Norm, Part, Step};
use crate::encoder::fused::graph::{self, Form, Graph, Levels, Place, Rounding, Value};
use crate::encoder::kernels::rows::Activation;
use crate::encoder::kernels::{COLUMNS, pack};

/// Weights begin at multiples of this many bytes.
const ALIGNMENT: usize = 64;

pub(super) fn emit(input: [u32; 3], draft: Draft) -> Result<(Graph, Vec<u8>), String> {
    let mut store = Store::default();
    let mut rows = Vec::new();
    let mut steps = Vec::with_capacity(draft.steps.len());
    let levels: Vec<_> = (0..draft.steps.len()).map(|at| draft.levels(at)).collect();
    for step in draft.steps {
        let before = Before {
            steps: &steps,
            rows: &rows,
            levels: &levels,
        };
        let (made, count) = store.step(step, before, input)?;
        steps.push(made);
        rows.push(count);
    }
    Ok((Graph { input, steps }, store.bytes))
}

/// Steps that were emitted, how many rows each makes, and the grids of their bytes.
#[derive(Clone, Copy)]
struct Before<'a> {
    steps: &'a [graph::Step],
    rows: &'a [usize],
    levels: &'a [Option<Levels>],
}

/// Weights of 8 bits, column by column, each with its scale, its sum and what stands for zero.
#[derive(Default)]
struct Whole {
    weights: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    zeros: Vec<i32>,
}

impl Whole {
    fn of(weights: &[f32], inputs: usize) -> Self {
        let mut all = Self::default();
        for column in weights.chunks_exact(inputs) {
            let (scale, zero) = grid_of(column);
            let first = all.weights.len();
            let round = |w: &f32| {
                if scale > 0.0 {
                    ((w / scale).round() + zero as f32) as i8
                } else {
                    0
                }
            };
            all.weights.extend(column.iter().map(round));
            let sum = all.weights[first..].iter().map(|w| i32::from(*w)).sum();
            all.sums.push(sum);
            all.scales.push(scale);
            all.zeros.push(zero);
        }
        all
    }

    /// Whether these are all that the floats say.
    fn is_exactly(&self, weights: &[f32], inputs: usize) -> bool {
        let columns = weights
            .chunks_exact(inputs)
            .zip(self.weights.chunks_exact(inputs));
        columns.zip(&self.scales).all(|((column, whole), scale)| {
            let near = |(w, q): (&f32, &i8)| (w - f32::from(*q) * scale).abs() <= 2e-3 * scale;
            column.iter().zip(whole).all(near)
        })
    }

    fn is_centred(&self) -> bool {
        self.zeros.iter().all(|z| *z == 0)
    }

    /// Puts the steps and zeros of the bytes that go in and come out into scales and `bias`: a byte is then
    /// `Σqw · scale + bias`.
    fn between(&mut self, from: Levels, to: Levels, bias: &[f32]) -> Result<Vec<f32>, String> {
        if !self.is_centred() {
            return Err("weights whose zero is not 0".into());
        }
        let columns = self.scales.iter_mut().zip(&self.sums).zip(bias);
        let bias = columns.map(|((scale, sum), bias)| {
            let step = f64::from(from.scale) * f64::from(*scale) / f64::from(to.scale);
            *scale = step as f32;
            let bias = f64::from(*bias) / f64::from(to.scale) + f64::from(to.zero);
            (bias - f64::from(from.zero) * f64::from(*sum) * step) as f32
        });
        Ok(bias.collect())
    }
}

#[derive(Default)]
struct Store {
    bytes: Vec<u8>,
}

impl Store {
    fn put(&mut self, bytes: impl IntoIterator<Item = u8>) -> Place {
        let first = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(first, 0);
        self.bytes.extend(bytes);
        Place {
            first: first as u64,
            bytes: (self.bytes.len() - first) as u64,
        }
    }

    fn floats(&mut self, values: impl IntoIterator<Item = f32>) -> Place {
        self.put(values.into_iter().flat_map(f32::to_le_bytes))
    }

    /// One value a column, in whole blocks.
    fn columns(&mut self, values: &[f32]) -> Place {
        let padded = values.len().next_multiple_of(COLUMNS);
        let all = values.iter().copied().chain(std::iter::repeat(0.0));
        self.floats(all.take(padded))
    }

    fn norm(&mut self, norm: &Norm) -> graph::Norm {
        graph::Norm {
            gain: self.columns(&norm.gain),
            bias: self.columns(&norm.bias),
            epsilon: norm.epsilon,
        }
    }

    /// Whole numbers of 32 bits, one a column, in whole blocks.
    fn numbers(&mut self, values: &[i32]) -> Place {
        let padded = values.len().next_multiple_of(COLUMNS);
        let all = values.iter().copied().chain(std::iter::repeat(0));
        self.put(all.take(padded).flat_map(i32::to_le_bytes))
    }

    fn packed(&mut self, whole: &Whole, m: &Matrix) -> Place {
        let packed = pack(&whole.weights, m.columns, m.inputs);
        self.put(packed.into_iter().map(|w| w as u8))
    }

    /// `single`: of single rows with nothing before or behind, whose weights may stay bytes.
    fn matrix(&mut self, m: &Matrix, single: bool) -> graph::Matrix {
        let form = match m.rounding {
            None => {
                let whole = single.then(|| Whole::of(&m.weights, m.inputs));
                match whole.filter(|w| w.is_centred() && w.is_exactly(&m.weights, m.inputs)) {
                    Some(whole) => Form::Mixed {
                        weights: self.packed(&whole, m),
                        scales: self.columns(&whole.scales),
                    },
                    None => self.float_form(m),
                }
            }
            Some(rounding) => {
                let whole = Whole::of(&m.weights, m.inputs);
                self.int8_form(&whole, m, rounding)
            }
        };
        self.of_form(m, form, &m.bias)
    }

    fn int8_form(&mut self, whole: &Whole, m: &Matrix, rounding: Rounding) -> Form {
        Form::Int8 {
            weights: self.packed(whole, m),
            scales: self.columns(&whole.scales),
            sums: self.numbers(&whole.sums),
            zeros: (!whole.is_centred()).then(|| self.numbers(&whole.zeros)),
            rounding,
        }
    }

    fn of_form(&mut self, m: &Matrix, form: Form, bias: &[f32]) -> graph::Matrix {
        graph::Matrix {
            inputs: m.inputs as u32,
            columns: m.columns as u32,
            form,
            bias: self.columns(bias),
        }
    }

    fn float_form(&mut self, m: &Matrix) -> Form {
        let all = blocked(m.columns, m.inputs, |c, k| m.weights[c * m.inputs + k]);
        Form::Floats {
            weights: self.floats(all),
        }
    }

    /// A product of bytes that stay bytes.
    fn matrix_between(
        &mut self,
        m: &Matrix,
        from: Levels,
        to: Levels,
    ) -> Result<graph::Matrix, String> {
        let mut whole = Whole::of(&m.weights, m.inputs);
        let bias = whole.between(from, to, &m.bias)?;
        let form = self.int8_form(&whole, m, Rounding::Kept);
        Ok(self.of_form(m, form, &bias))
    }

    /// Weights of channels, tap by tap.
    fn depthwise(
        &mut self,
        channels: &Channels,
        from: Levels,
        to: Levels,
    ) -> Result<[Place; 3], String> {
        let taps = channels.taps;
        let mut whole = Whole::of(&channels.weights, taps);
        let bias = whole.between(from, to, &channels.bias)?;
        let at = |c: usize, tap: usize| whole.weights[c * taps + tap] as u8;
        let all = blocked(channels.bias.len(), taps, at);
        Ok([
            self.put(all),
            self.columns(&whole.scales),
            self.columns(&bias),
        ])
    }

    /// The step, and how many rows it makes.
    fn step(
        &mut self,
        step: Step,
        before: Before<'_>,
        input: [u32; 3],
    ) -> Result<(graph::Step, usize), String> {
        let rows_of = before.rows;
        let grid = |at: usize| before.levels[at].ok_or("bytes on no grid");
        let value = |at: usize| at as Value;
        Ok(match step {
            Step::Patches { side } => {
                let count = (input[1] as usize / side) * (input[2] as usize / side);
                (graph::Step::Patches { side: side as u32 }, count)
            }
            Step::Embed { rows, first, table } => {
                let count = rows_of[rows] + usize::from(first);
                let width = table.len() / count.max(1);
                let all = blocked(width, count, |c, r| table[r * width + c]);
                let table = self.floats(all);
                (
                    graph::Step::Embed {
                        rows: value(rows),
                        first,
                        table,
                    },
                    count,
                )
            }
            Step::Norm { rows, norm } => {
                let norm = self.norm(&norm);
                (
                    graph::Step::Norm {
                        rows: value(rows),
                        norm,
                    },
                    rows_of[rows],
                )
            }
            Step::Linear {
                rows,
                norm,
                matrix,
                activation,
                residual,
                levels,
            } => {
                let norm = norm.map(|n| self.norm(&n));
                let matrix = match levels {
                    Some(levels) => self.matrix_between(&matrix, grid(rows)?, levels)?,
                    None => {
                        let is_plain =
                            norm.is_none() && residual.is_none() && activation == Activation::None;
                        self.matrix(&matrix, rows_of[rows] == 1 && is_plain)
                    }
                };
                let linear = graph::Step::Linear {
                    rows: value(rows),
                    norm,
                    matrix,
                    activation,
                    residual: residual.map(value),
                    levels,
                };
                (linear, rows_of[rows])
            }
            Step::Attention {
                parts,
                heads,
                head_width,
                scale,
            } => {
                if head_width % COLUMNS != 0 || parts.iter().any(|p| p.first % COLUMNS != 0) {
                    return Err(format!(
                        "heads of {head_width} columns, which are no multiple of {COLUMNS}"
                    ));
                }
                let part = |p: Part| graph::Part {
                    value: value(p.step),
                    first: (p.first / COLUMNS) as u32,
                };
                let count = rows_of[parts[0].step];
                let [query, key, value] = parts.map(part);
                let made_step = graph::Step::Attention {
                    query,
                    key,
                    value,
                    heads: heads as u32,
                    head_width: head_width as u32,
                    scale,
                    rounded: parts.iter().all(|p| rounded_by_row(before.steps, p.step)),
                };
                (made_step, count)
            }
            Step::Pick { rows, row } => (
                graph::Step::Pick {
                    rows: value(rows),
                    row: row as u32,
                },
                1,
            ),
            Step::Mean { rows } => (
                graph::Step::Mean {
                    rows: value(rows),
                    first: 0,
                },
                1,
            ),
            Step::Stem { window, levels } => {
                (graph::Step::Stem { window, levels }, window.pixels())
            }
            Step::Windows { rows, window } => {
                let rows = value(rows);
                (graph::Step::Windows { rows, window }, window.pixels())
            }
            Step::Depthwise {
                rows,
                window,
                channels,
                levels,
            } => {
                let [weights, scales, bias] = self.depthwise(&channels, grid(rows)?, levels)?;
                let made = graph::Step::Depthwise {
                    rows: value(rows),
                    window,
                    weights,
                    scales,
                    bias,
                    levels,
                };
                (made, window.pixels())
            }
            Step::Sum { values, levels } => {
                let [a, b] = [grid(values[0])?, grid(values[1])?];
                let steps = [a.scale / levels.scale, b.scale / levels.scale];
                let zeros = f32::from(a.zero) * steps[0] + f32::from(b.zero) * steps[1];
                let made = graph::Step::Sum {
                    values: values.map(value),
                    factors: [steps[0], steps[1], f32::from(levels.zero) - zeros],
                    levels,
                };
                (made, rows_of[values[0]])
            }
            Step::Softmax { rows } => (graph::Step::Softmax { rows: value(rows) }, 1),
            Step::Unit { rows, scale } => {
                let rows = value(rows);
                (graph::Step::Unit { rows, scale }, 1)
            }
            Step::Join { values } => {
                let values = values.into_iter().map(value).collect();
                (graph::Step::Join { values }, 1)
            }
        })
    }
}

/// `[block of columns][row][column]` of all that `at` gives of column and row, with nothing where no column is.
fn blocked<T: Copy + Default>(
    columns: usize,
    rows: usize,
    at: impl Fn(usize, usize) -> T,
) -> Vec<T> {
    let mut all = vec![T::default(); columns.next_multiple_of(COLUMNS) * rows];
    for column in 0..columns {
        let first = column / COLUMNS * rows * COLUMNS + column % COLUMNS;
        for row in 0..rows {
            all[first + row * COLUMNS] = at(column, row);
        }
    }
    all
}

/// Whether a step is a product that we rounded ourselves: its attention may be rounded as well. A file that came
/// in 8 bits leaves attention in floats.
fn rounded_by_row(steps: &[graph::Step], at: usize) -> bool {
    let Some(graph::Step::Linear { matrix, .. }) = steps.get(at) else {
        return false;
    };
    let Form::Int8 { rounding, .. } = matrix.form else {
        return false;
    };
    rounding == Rounding::Row
}

/// The step between the values of a column, and what stands for zero: the file's own where they are whole
/// multiples of a step that 8 bits hold, else the step that spans the largest in 127.
fn grid_of(column: &[f32]) -> (f32, i32) {
    let (low, high) = column
        .iter()
        .fold((0.0_f32, 0.0_f32), |m, w| (m.0.min(*w), m.1.max(*w)));
    let most = high.max(-low);
    if most == 0.0 {
        return (0.0, 0);
    }
    let zero = |steps: i32| {
        let scale = most / steps as f32;
        let (low, high) = ((low / scale).round() as i32, (high / scale).round() as i32);
        let is_whole = |w: &f32| (w - (w / scale).round() * scale).abs() < 1e-5 * most;
        let fits = high - low <= 255 && column.iter().all(is_whole);
        // Moved no further than it must be.
        fits.then(|| {
            if low < -128 {
                -128 - low
            } else {
                (127 - high).min(0)
            }
        })
    };
    // The coarsest: any finer one holds the same values.
    let found = (1..=255).find_map(|steps| Some((most / steps as f32, zero(steps)?)));
    found.unwrap_or((most / 127.0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_a_file_are_found_again() {
        for (low, high, zero) in [
            (-127, 127, 0),
            (-128, 100, 0),
            (-40, 215, -88),
            (-200, 55, 72),
            (0, 255, -128),
        ] {
            let whole = [low, 1, 3, high, low / 2];
            let column: Vec<f32> = whole.iter().map(|q| *q as f32 * 0.0123).collect();
            let (scale, found) = grid_of(&column);
            assert_eq!(found, zero, "{low} to {high}");
            for (w, q) in column.iter().zip(whole) {
                let stored = ((w / scale).round() as i32) + found;
                assert!((-128..=127).contains(&stored));
                assert_eq!((scale * (stored - found) as f32 / 0.0123).round() as i32, q);
            }
        }
        assert_eq!(grid_of(&[0.0, 0.0]), (0.0, 0));
        assert_eq!(grid_of(&[0.1, -std::f32::consts::PI, 2.0 / 3.0]).1, 0);
    }
}
