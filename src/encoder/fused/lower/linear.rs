//! Products with constants, and what is done to them before the next one.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::sync::Arc;

use tract_core::internal::*;

use super::draft::{Matrix, Step};
use super::look::{Look, node_words};
use super::{Lowering, Made};
use crate::encoder::fused::graph::Rounding;
use crate::encoder::kernels::rows::Activation;
use crate::encoder::onnx::fake_quantize::Range;

impl Lowering<'_> {
    /// A product with its bias and activation.
    pub(super) fn linear(&mut self, outlet: OutletId) -> Made {
        let (inner, activation) = activated(&self.look, outlet);
        let (product, bias) = match self.look.with_constant(inner, "Add") {
            Some((product, bias)) if self.look.letters(product).is_some() => (product, Some(bias)),
            _ => (self.look.through(inner), None),
        };
        let Some(([rows, weights], order)) = product_of(&self.look, product) else {
            return Ok(None);
        };
        let (from, range) = self.look.unrounded(rows);
        let Some((inputs, columns, weights)) = columns_of(&self.look, weights, order) else {
            return Ok(None);
        };
        // A mean of pixels is a row only behind its axes of length 1.
        let matrix = self.look.matrix(from).or(self.look.matrix(rows));
        if matrix.is_none_or(|(_, width)| width != inputs) {
            return Ok(None);
        }
        let bias = match bias {
            None => vec![0.0; columns],
            Some(bias) => match self.look.floats(bias) {
                Some((_, values)) if values.len() == columns => values.to_vec(),
                Some((_, [one])) => vec![*one; columns],
                _ => return Ok(None),
            },
        };
        let rounding = range.map(rounding).transpose();
        let rounding =
            rounding.map_err(|e| format!("{}: {e}", node_words(self.look.node(product))))?;
        let rows = self.value(from)?;
        let matrix = Matrix {
            inputs,
            columns,
            weights: Arc::new(weights),
            bias,
            rounding,
        };
        Ok(Some(Step::linear(rows, matrix, activation)))
    }

    /// A product whose input is added to it again.
    pub(super) fn residual(&mut self, outlet: OutletId) -> Made {
        let Some([a, b]) = self.look.pair(outlet, "Add") else {
            return Ok(None);
        };
        if self.look.is_constant(a) || self.look.is_constant(b) {
            return Ok(None);
        }
        // The deeper one first: the other is then known, and the stack stays short.
        let steps = (self.value(a)?, self.value(b)?);
        let step = |at: usize| self.draft.steps[at].clone();
        for (linear, other) in [(steps.1, steps.0), (steps.0, steps.1)] {
            if let Step::Linear {
                residual: None,
                activation: Activation::None,
                rows,
                norm,
                matrix,
                levels: None,
                ..
            } = step(linear)
            {
                return Ok(Some(Step::Linear {
                    rows,
                    norm,
                    matrix,
                    activation: Activation::None,
                    residual: Some(other),
                    levels: None,
                }));
            }
        }
        Ok(None)
    }
}

/// How a range rounds rows, moved to 0 to 255.
pub(super) fn rounding(range: Range) -> Result<Rounding, String> {
    Ok(match range {
        Range::Row => Rounding::Row,
        Range::Tensor => Rounding::Picture,
        Range::Fixed {
            scale,
            zero,
            low,
            high,
        } => {
            let shift = low.min(0);
            let (zero, low, high) = (zero - shift, low - shift, high - shift);
            if high > 255 {
                return Err(format!(
                    "activations from {low} to {high}, which 8 bits do not hold"
                ));
            }
            Rounding::Fixed {
                scale,
                zero,
                low,
                high,
            }
        }
    })
}

/// Rows and constant of a product, and whether the constant has inputs before columns.
fn product_of(look: &Look<'_>, outlet: OutletId) -> Option<([OutletId; 2], bool)> {
    let [a, b, out] = look.letters(outlet)?;
    let [first, second] = look.inputs(outlet) else {
        return None;
    };
    let (rows, constant, a, b) = match look.is_constant(*second) {
        true => (*first, *second, a, b),
        false => (*second, *first, b, a),
    };
    look.is_constant(constant).then_some(())?;
    let inputs = *a.last()?;
    let columns = *out.last()?;
    // Everything but the last axis of the rows goes through unchanged.
    let same = a[..a.len() - 1] == out[..out.len() - 1] && inputs != columns;
    let long: Vec<char> = b.into_iter().collect();
    let order = match &long[..] {
        [k, n] if (*k, *n) == (inputs, columns) => true,
        [n, k] if (*k, *n) == (inputs, columns) => false,
        _ => return None,
    };
    same.then_some(([rows, constant], order))
}

/// A constant's columns one after the other.
fn columns_of(
    look: &Look<'_>,
    outlet: OutletId,
    inputs_first: bool,
) -> Option<(usize, usize, Vec<f32>)> {
    let (shape, values) = look.floats(outlet)?;
    let [a, b] = shape[..] else {
        return None;
    };
    if !inputs_first {
        return Some((b, a, values.to_vec()));
    }
    let mut turned = vec![0.0; values.len()];
    for (k, row) in values.chunks_exact(b.max(1)).enumerate() {
        for (n, v) in row.iter().enumerate() {
            turned[n * a + k] = *v;
        }
    }
    Some((a, b, turned))
}

fn near(value: Option<f32>, expected: f32) -> bool {
    value.is_some_and(|v| (v / expected - 1.0).abs() < 1e-3)
}

/// What is activated, and how.
fn activated(look: &Look<'_>, outlet: OutletId) -> (OutletId, Activation) {
    let found = quick_gelu(look, outlet)
        .map(|x| (x, Activation::QuickGelu))
        .or_else(|| gelu(look, outlet).map(|x| (x, Activation::Gelu)));
    found.unwrap_or((look.through(outlet), Activation::None))
}

/// x·σ(1.702 x).
fn quick_gelu(look: &Look<'_>, outlet: OutletId) -> Option<OutletId> {
    let [a, b] = look.pair(outlet, "Mul")?;
    let gate = |gate: OutletId, x: OutletId| {
        let (inner, factor) = look.with_constant(look.only(gate, "Sigmoid")?, "Mul")?;
        (inner == x && near(look.scalar(factor), 1.702)).then_some(x)
    };
    gate(a, b).or_else(|| gate(b, a))
}

/// x/2·(1 + erf(x/√2)), whatever is multiplied first.
fn gelu(look: &Look<'_>, outlet: OutletId) -> Option<OutletId> {
    let gate = |o: OutletId| {
        let (error, one) = look.with_constant(o, "Add")?;
        let inner = look.only(error, "Erf")?;
        let by = |name: &str, by: f32| {
            let (x, factor) = look.with_constant(inner, name)?;
            near(look.scalar(factor), by).then_some(x)
        };
        let x = by("Div", SQRT_2).or_else(|| by("Mul", FRAC_1_SQRT_2))?;
        near(look.scalar(one), 1.0).then_some(x)
    };
    let half = |o: OutletId| {
        let by = |name: &str, by: f32| {
            let (x, factor) = look.with_constant(o, name)?;
            near(look.scalar(factor), by).then_some(x)
        };
        by("Mul", 0.5).or_else(|| by("Div", 2.0))
    };
    let both = |o: OutletId| {
        let [a, b] = look.pair(o, "Mul")?;
        [(a, b), (b, a)]
            .into_iter()
            .find_map(|(x, g)| (gate(g)? == x).then_some(x))
    };
    // 0.5·(x·g), (0.5·x)·g, x·(0.5·g).
    if let Some(x) = half(outlet).and_then(both) {
        return Some(x);
    }
    let [a, b] = look.pair(outlet, "Mul")?;
    [(a, b), (b, a)]
        .into_iter()
        .find_map(|(x, g)| match half(x) {
            Some(x) => (gate(g)? == x).then_some(x),
            None => (gate(half(g)?)? == x).then_some(x),
        })
}
