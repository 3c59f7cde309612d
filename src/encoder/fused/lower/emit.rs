//! The graph as it is kept: weights rounded, packed and laid out.

use super::draft::{Draft, Matrix, Norm, Part, Step};
use crate::encoder::fused::graph::{self, Form, Graph, Place, Rounding, Value};
use crate::encoder::kernels::{COLUMNS, pack};

/// Weights begin at multiples of this many bytes.
const ALIGNMENT: usize = 64;

pub(super) fn emit(input: [u32; 3], draft: Draft) -> Result<(Graph, Vec<u8>), String> {
    let mut store = Store::default();
    let mut rows = Vec::new();
    let mut steps = Vec::with_capacity(draft.steps.len());
    for step in draft.steps {
        let (made, count) = store.step(step, &steps, &rows, input)?;
        steps.push(made);
        rows.push(count);
    }
    Ok((Graph { input, steps }, store.bytes))
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

    fn matrix(&mut self, m: &Matrix) -> graph::Matrix {
        let bias = self.columns(&m.bias);
        let form = match m.rounding {
            None => {
                let blocks = m.columns.div_ceil(COLUMNS);
                let at = |b: usize, k: usize, c: usize| {
                    let column = b * COLUMNS + c;
                    if column < m.columns {
                        m.weights[column * m.inputs + k]
                    } else {
                        0.0
                    }
                };
                let all = (0..blocks).flat_map(|b| {
                    (0..m.inputs).flat_map(move |k| (0..COLUMNS).map(move |c| at(b, k, c)))
                });
                Form::Floats {
                    weights: self.floats(all),
                }
            }
            Some(rounding) => {
                let mut whole = Vec::with_capacity(m.weights.len());
                let mut scales = Vec::with_capacity(m.columns);
                let mut sums = Vec::with_capacity(m.columns);
                let mut zeros = Vec::with_capacity(m.columns);
                for column in m.weights.chunks_exact(m.inputs) {
                    let (scale, zero) = grid_of(column);
                    let first = whole.len();
                    let round = |w: &f32| {
                        if scale > 0.0 {
                            ((w / scale).round() + zero as f32) as i8
                        } else {
                            0
                        }
                    };
                    whole.extend(column.iter().map(round));
                    sums.push(whole[first..].iter().map(|w| i32::from(*w)).sum::<i32>());
                    scales.push(scale);
                    zeros.push(zero);
                }
                sums.resize(m.columns.next_multiple_of(COLUMNS), 0);
                zeros.resize(sums.len(), 0);
                let has_zeros = zeros.iter().any(|z| *z != 0);
                let packed = pack(&whole, m.columns, m.inputs);
                Form::Int8 {
                    weights: self.put(packed.into_iter().map(|w| w as u8)),
                    scales: self.columns(&scales),
                    sums: self.put(sums.into_iter().flat_map(i32::to_le_bytes)),
                    zeros: has_zeros
                        .then(|| self.put(zeros.into_iter().flat_map(i32::to_le_bytes))),
                    rounding,
                }
            }
        };
        graph::Matrix {
            inputs: m.inputs as u32,
            columns: m.columns as u32,
            form,
            bias,
        }
    }

    /// The step, and how many rows it makes.
    fn step(
        &mut self,
        step: Step,
        made: &[graph::Step],
        rows_of: &[usize],
        input: [u32; 3],
    ) -> Result<(graph::Step, usize), String> {
        let value = |at: usize| at as Value;
        Ok(match step {
            Step::Patches { side } => {
                let count = (input[1] as usize / side) * (input[2] as usize / side);
                (graph::Step::Patches { side: side as u32 }, count)
            }
            Step::Embed { rows, first, table } => {
                let count = rows_of[rows] + usize::from(first);
                let width = table.len() / count.max(1);
                let blocks = width.div_ceil(COLUMNS);
                let at = |b: usize, r: usize, c: usize| {
                    let column = b * COLUMNS + c;
                    if column < width {
                        table[r * width + column]
                    } else {
                        0.0
                    }
                };
                let all = (0..blocks).flat_map(|b| {
                    (0..count).flat_map(move |r| (0..COLUMNS).map(move |c| at(b, r, c)))
                });
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
            } => {
                let norm = norm.map(|n| self.norm(&n));
                let linear = graph::Step::Linear {
                    rows: value(rows),
                    norm,
                    matrix: self.matrix(&matrix),
                    activation,
                    residual: residual.map(value),
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
                    rounded: parts.iter().all(|p| rounded_by_row(made, p.step)),
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
        })
    }
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
        let is_whole = |w: &f32| (w / scale - (w / scale).round()).abs() < 2e-3;
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
    let found = (2..=255)
        .rev()
        .find_map(|steps| Some((most / steps as f32, zero(steps)?)));
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
