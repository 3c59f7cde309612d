//! The graph while it is being put together, with weights as the file has them, and what makes it
//! shorter: norms that go into the products behind them, rows that nobody reads left out, products of the
//! same rows made one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::encoder::fused::graph::{Levels, Rounding, Window};
use crate::encoder::kernels::rows::Activation;

/// Gain and bias by column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

/// Weights column by column.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) inputs: usize,
    pub(super) columns: usize,
    pub(super) weights: Arc<Vec<f32>>,
    pub(super) bias: Vec<f32>,
    /// How rows are rounded, where the product is one of 8 bits.
    pub(super) rounding: Option<Rounding>,
}

impl Matrix {
    /// Whether each row's answer hangs on all others: they are rounded by the range of all.
    fn needs_every_row(&self) -> bool {
        self.rounding == Some(Rounding::Picture)
    }
}

/// Weights of channels that are convolved alone, channel by channel, `taps` for each.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    pub(super) weights: Vec<f32>,
    pub(super) taps: usize,
    pub(super) bias: Vec<f32>,
}

/// Columns of a step, from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) step: usize,
    pub(super) first: usize,
}

/// As the graph's steps, which say more.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Patches {
        side: usize,
    },
    Embed {
        rows: usize,
        first: bool,
        table: Arc<Vec<f32>>,
    },
    Norm {
        rows: usize,
        norm: Arc<Norm>,
    },
    Linear {
        rows: usize,
        norm: Option<Arc<Norm>>,
        matrix: Arc<Matrix>,
        activation: Activation,
        residual: Option<usize>,
        levels: Option<Levels>,
    },
    Attention {
        parts: [Part; 3],
        heads: usize,
        head_width: usize,
        scale: f32,
    },
    Pick {
        rows: usize,
        row: usize,
    },
    Mean {
        rows: usize,
    },
    Stem {
        window: Window,
        levels: Levels,
    },
    Windows {
        rows: usize,
        window: Window,
    },
    Depthwise {
        rows: usize,
        window: Window,
        channels: Arc<Channels>,
        levels: Levels,
    },
    Sum {
        values: [usize; 2],
        levels: Levels,
    },
    Softmax {
        rows: usize,
    },
    Unit {
        rows: usize,
        scale: f32,
    },
    Join {
        values: Vec<usize>,
    },
}

impl Step {
    /// A product of rows that are not normed, with nothing added.
    pub(super) fn linear(rows: usize, matrix: Matrix, activation: Activation) -> Self {
        Self::Linear {
            rows,
            norm: None,
            matrix: Arc::new(matrix),
            activation,
            residual: None,
            levels: None,
        }
    }

    /// A product of bytes that stay bytes.
    pub(super) fn of_bytes(rows: usize, matrix: Matrix, levels: Levels) -> Self {
        Self::Linear {
            rows,
            norm: None,
            matrix: Arc::new(matrix),
            activation: Activation::None,
            residual: None,
            levels: Some(levels),
        }
    }

    /// Hands on every step that this one reads.
    fn reads(&self, each: impl FnMut(usize)) {
        self.clone()
            .reads_mut()
            .into_iter()
            .map(|at| *at)
            .for_each(each);
    }

    /// Every step that this one reads.
    fn reads_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Patches { .. } | Self::Stem { .. } => Vec::new(),
            Self::Embed { rows, .. }
            | Self::Norm { rows, .. }
            | Self::Pick { rows, .. }
            | Self::Windows { rows, .. }
            | Self::Depthwise { rows, .. }
            | Self::Softmax { rows }
            | Self::Unit { rows, .. }
            | Self::Mean { rows } => vec![rows],
            Self::Linear { rows, residual, .. } => [rows].into_iter().chain(residual).collect(),
            Self::Attention { parts, .. } => parts.iter_mut().map(|p| &mut p.step).collect(),
            Self::Sum { values, .. } => values.iter_mut().collect(),
            Self::Join { values } => values.iter_mut().collect(),
        }
    }
}

/// Steps so far, each behind those that it reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) steps: Vec<Step>,
}

impl Draft {
    /// Adds a step that a pattern found; a norm goes into the product behind it.
    pub(super) fn add(&mut self, mut step: Step) -> usize {
        if let Step::Linear {
            rows,
            norm: norm @ None,
            ..
        } = &mut step
            && let Step::Norm {
                rows: from,
                norm: before,
            } = &self.steps[*rows]
        {
            (*rows, *norm) = (*from, Some(Arc::clone(before)));
        }
        self.push(step)
    }

    /// The grid of a step's bytes, if it makes any.
    pub(super) fn levels(&self, at: usize) -> Option<Levels> {
        match &self.steps[at] {
            Step::Linear { levels, .. } => *levels,
            Step::Stem { levels, .. }
            | Step::Depthwise { levels, .. }
            | Step::Sum { levels, .. } => Some(*levels),
            Step::Windows { rows, .. } => self.levels(*rows),
            _ => None,
        }
    }

    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The same graph with nothing that `output` does not need.
    pub(super) fn tidied(mut self, output: usize) -> Self {
        let output = self.early(output);
        self.merge();
        let mut kept = Self::default();
        self.keep(output, &mut kept, &mut HashMap::new());
        kept
    }

    /// Picks a row as early as it can be: of what goes into the steps that treat each row alike.
    fn early(&mut self, output: usize) -> usize {
        let mut chain = vec![output];
        // What stands behind the pick has one row already.
        while let Some(rows) = match &self.steps[chain[chain.len() - 1]] {
            Step::Linear {
                rows,
                residual: None,
                ..
            }
            | Step::Norm { rows, .. } => Some(*rows),
            _ => None,
        } {
            chain.push(rows);
        }
        let last = chain[chain.len() - 1];
        let Step::Pick { rows, row } = self.steps[last] else {
            return output;
        };
        // What keys and values need is there in full, and is picked from.
        let mut made = HashMap::new();
        self.full_below(rows, row, &mut made);
        let mut picked = self.picked(rows, row, &mut made);
        for at in chain.iter().rev().skip(1) {
            let mut step = self.steps[*at].clone();
            match &mut step {
                Step::Linear { rows, .. } | Step::Norm { rows, .. } => *rows = picked,
                _ => {}
            }
            picked = self.push(step);
        }
        picked
    }

    /// Notes a pick of each step that a picked `at` needs in full.
    fn full_below(&mut self, at: usize, row: usize, made: &mut HashMap<usize, usize>) {
        let (mut full, mut seen) = (HashSet::new(), HashSet::new());
        let (mut rows, mut wholes) = (vec![at], Vec::new());
        while let Some(at) = rows.pop() {
            if !seen.insert(at) {
                continue;
            }
            match &self.steps[at] {
                Step::Linear { matrix, .. } if matrix.needs_every_row() => wholes.push(at),
                Step::Linear {
                    rows: from,
                    residual,
                    ..
                } => {
                    rows.push(*from);
                    rows.extend(residual);
                }
                Step::Norm { rows: from, .. } => rows.push(*from),
                Step::Attention {
                    parts: [query, key, value],
                    ..
                } => {
                    rows.push(query.step);
                    wholes.extend([key.step, value.step]);
                }
                _ => wholes.push(at),
            }
        }
        while let Some(at) = wholes.pop() {
            if full.insert(at) {
                self.steps[at].reads(|step| wholes.push(step));
            }
        }
        for at in full {
            let pick = self.push(Step::Pick { rows: at, row });
            made.insert(at, pick);
        }
    }

    fn picked(&mut self, at: usize, row: usize, made: &mut HashMap<usize, usize>) -> usize {
        if let Some(known) = made.get(&at) {
            return *known;
        }
        let step = match self.steps[at].clone() {
            Step::Linear { matrix, .. } if matrix.needs_every_row() => Step::Pick { rows: at, row },
            Step::Linear {
                rows,
                norm,
                matrix,
                activation,
                residual,
                levels,
            } => {
                let rows = self.picked(rows, row, made);
                let residual = residual.map(|r| self.picked(r, row, made));
                Step::Linear {
                    rows,
                    norm,
                    matrix,
                    activation,
                    residual,
                    levels,
                }
            }
            Step::Norm { rows, norm } => {
                let rows = self.picked(rows, row, made);
                Step::Norm { rows, norm }
            }
            // The queries alone: keys and values are asked for by every row.
            Step::Attention {
                parts: [query, key, value],
                heads,
                head_width,
                scale,
            } => {
                let step = self.picked(query.step, row, made);
                let query = Part { step, ..query };
                Step::Attention {
                    parts: [query, key, value],
                    heads,
                    head_width,
                    scale,
                }
            }
            _ => Step::Pick { rows: at, row },
        };
        let step = self.push(step);
        made.insert(at, step);
        step
    }

    /// Products of the same rows that only an attention reads become one.
    fn merge(&mut self) {
        for at in 0..self.steps.len() {
            let Step::Attention { parts, .. } = &self.steps[at] else {
                continue;
            };
            let mut parts = *parts;
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for i in 0..3 {
                let group = groups
                    .iter_mut()
                    .find(|g| self.are_alike(parts[g[0]], parts[i]));
                match group {
                    Some(group) => group.push(i),
                    None => groups.push(vec![i]),
                }
            }
            for group in groups.iter().filter(|g| g.len() > 1) {
                let steps: Vec<usize> = group.iter().map(|i| parts[*i].step).collect();
                let Some((step, firsts)) = self.merged(&steps) else {
                    continue;
                };
                for (i, first) in group.iter().zip(firsts) {
                    parts[*i] = Part { step, first };
                }
            }
            if let Step::Attention { parts: of, .. } = &mut self.steps[at] {
                *of = parts;
            }
        }
    }

    fn are_alike(&self, a: Part, b: Part) -> bool {
        let facts = |part: Part| match &self.steps[part.step] {
            Step::Linear {
                rows,
                norm,
                matrix,
                activation: Activation::None,
                residual: None,
                levels: None,
            } if part.first == 0 => Some((*rows, norm.clone(), matrix.rounding)),
            _ => None,
        };
        let (Some(a_facts), Some(b_facts)) = (facts(a), facts(b)) else {
            return false;
        };
        a.step != b.step && a_facts == b_facts
    }

    fn merged(&mut self, steps: &[usize]) -> Option<(usize, Vec<usize>)> {
        let matrices: Vec<Arc<Matrix>> = steps
            .iter()
            .filter_map(|s| match &self.steps[*s] {
                Step::Linear { matrix, .. } => Some(Arc::clone(matrix)),
                _ => None,
            })
            .collect();
        let Step::Linear { rows, norm, .. } = self.steps[steps[0]].clone() else {
            return None;
        };
        let mut firsts = Vec::new();
        let (mut columns, mut weights, mut bias) = (0, Vec::new(), Vec::new());
        for m in &matrices {
            firsts.push(columns);
            columns += m.columns;
            weights.extend_from_slice(&m.weights);
            bias.extend_from_slice(&m.bias);
        }
        let matrix = Matrix {
            inputs: matrices[0].inputs,
            columns,
            weights: Arc::new(weights),
            bias,
            rounding: matrices[0].rounding,
        };
        let step = self.push(Step::Linear {
            rows,
            norm,
            matrix: Arc::new(matrix),
            activation: Activation::None,
            residual: None,
            levels: None,
        });
        Some((step, firsts))
    }

    /// Copies `at` with all that it reads behind what `kept` has.
    fn keep(&self, at: usize, kept: &mut Self, made: &mut HashMap<usize, usize>) -> usize {
        if let Some(known) = made.get(&at) {
            return *known;
        }
        let mut step = self.steps[at].clone();
        for read in step.reads_mut() {
            *read = self.keep(*read, kept, made);
        }
        let step = kept.push(step);
        made.insert(at, step);
        step
    }
}
