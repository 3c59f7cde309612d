//! LayerNorm, as exporters spell it out.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::nn::{Reduce, Reducer};

use super::draft::{Norm, Step};
use super::look::Look;
use super::{Lowering, Made};

impl Lowering<'_> {
    pub(super) fn norm(&mut self, outlet: OutletId) -> Made {
        let Some((from, norm)) = norm(&self.look, outlet) else {
            return Ok(None);
        };
        let rows = self.value(from)?;
        let norm = Arc::new(norm);
        Ok(Some(Step::Norm { rows, norm }))
    }
}

/// `(x − mean)/√(variance + ε)·gain + bias`.
fn norm(look: &Look<'_>, outlet: OutletId) -> Option<(OutletId, Norm)> {
    let (scaled, bias) = look.with_constant(outlet, "Add")?;
    let (even, gain) = look.with_constant(scaled, "Mul")?;
    let (centred, spread) = match look.pair(even, "Div") {
        Some([centred, root]) => (centred, look.only(root, "Sqrt")?),
        None => {
            let [a, b] = look.pair(even, "Mul")?;
            let root = |o: OutletId| look.only(o, "Rsqrt");
            match (root(a), root(b)) {
                (None, Some(spread)) => (a, spread),
                (Some(spread), None) => (b, spread),
                _ => return None,
            }
        }
    };
    let (variance, epsilon) = look.with_constant(spread, "Add")?;
    let squared = mean(look, variance)?;
    let is_square = look.only(squared, "Square") == Some(centred)
        || look.pair(squared, "Mul") == Some([centred, centred])
        || look
            .pair(squared, "Pow")
            .is_some_and(|[x, power]| x == centred && look.scalar(power) == Some(2.0));
    let [from, middle] = look.pair(centred, "Sub")?;
    if !is_square || mean(look, middle)? != from {
        return None;
    }
    let (_, width) = look.matrix(from)?;
    let row = |outlet: OutletId| {
        let (_, values) = look.floats(outlet)?;
        match values.len() {
            1 => Some(vec![values[0]; width]),
            n => (n == width).then(|| values.to_vec()),
        }
    };
    let norm = Norm {
        gain: row(gain)?,
        bias: row(bias)?,
        epsilon: look.scalar(epsilon)?,
    };
    Some((from, norm))
}

/// What `outlet` is the mean of over the last axis.
fn mean(look: &Look<'_>, outlet: OutletId) -> Option<OutletId> {
    let (sum, count) = look.with_constant(outlet, "Div")?;
    let reduce = look.op::<Reduce>(sum)?;
    let from = look.through(look.inputs(sum)[0]);
    let shape = look.shape(look.inputs(sum)[0])?;
    let is_last = reduce.reducer == Reducer::Sum && reduce.axes[..] == [shape.len() - 1];
    (is_last && look.scalar(count)? == *shape.last()? as f32).then_some(from)
}
