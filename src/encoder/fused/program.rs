//! A graph that was checked, with its weights and the places of its values.

use super::graph::{Form, Graph, Matrix, Norm, Place, Shape, Step};
use crate::encoder::kernels::Kernels;
use crate::encoder::kernels::rows::{Moments, Normed, Rows};
use crate::error::{Error, Result};
use crate::store::{self, SectionRef};

/// Most floats that all values of a picture may take at once: far beyond any CLIP.
const MOST_VALUES: u64 = 1 << 28;

/// A graph that was checked, with its weights: what machines share.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) graph: Graph,
    pub(super) shapes: Vec<Shape>,
    weights: SectionRef,
    /// Where each value is kept; values that are never needed together share a place.
    pub(super) slots: Vec<usize>,
    /// Floats that each place must hold.
    pub(super) slot_values: Vec<usize>,
}

impl Program {
    /// Checks `graph` against its weights.
    ///
    /// # Errors
    /// They do not fit each other.
    pub(crate) fn new(graph: Graph, weights: SectionRef) -> Result<Self> {
        let shapes = graph.shapes(weights.len())?;
        let (slots, slot_values) = places(&graph, &shapes);
        let values: u64 = slot_values.iter().map(|n| *n as u64).sum();
        if values > MOST_VALUES {
            let found = format!("values of {} MB at once", (values * 4) >> 20);
            return Err(Error::invalid("fused encoder", found, "1 GB at most"));
        }
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

    pub(super) fn part(&self, place: Place) -> &[u8] {
        // Checked when the program was made.
        &self.weights[place.first as usize..][..place.bytes as usize]
    }

    pub(super) fn floats(&self, place: Place) -> &[f32] {
        store::f32s(self.part(place)).expect("checked: aligned and whole")
    }

    pub(super) fn whole(&self, place: Place) -> &[i32] {
        store::i32s(self.part(place)).expect("checked: aligned and whole")
    }

    /// How some rows are normed; `moments` are filled in.
    pub(super) fn normed<'a>(
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
    pub(super) fn next_weights(&self, at: usize) -> &[i8] {
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
