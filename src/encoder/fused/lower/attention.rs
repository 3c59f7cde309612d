//! Attention: whatever way exporters bring heads to the front and back.

use tract_core::internal::*;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::nn::Softmax;

use super::draft::{Part, Step};
use super::look::Look;
use super::{Lowering, Made};

/// What one axis of a tensor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Of length 1.
    One,
    /// Tokens.
    Rows(usize),
    /// Lines of patches, and patches of a line.
    Line(usize),
    Step(usize),
    /// Columns from the first one, so many.
    Columns(usize, usize),
    /// Heads, and the columns of each.
    Heads(usize),
    Head(usize),
    /// Tokens that are attended to.
    Keys(usize),
}

impl Axis {
    fn length(self) -> usize {
        match self {
            Self::One => 1,
            Self::Rows(n)
            | Self::Line(n)
            | Self::Step(n)
            | Self::Columns(_, n)
            | Self::Heads(n)
            | Self::Head(n)
            | Self::Keys(n) => n,
        }
    }

    /// Whether `axes` are these, but for axes of length 1.
    pub(super) fn are(axes: &[Self], expected: &[Self]) -> bool {
        let long = |a: &&Self| a.length() != 1;
        axes.iter().filter(long).eq(expected.iter().filter(long))
    }
}

/// A way through operators that move axes about and scale, from `base` on.
pub(super) struct Chain {
    pub(super) base: OutletId,
    /// Back from the end.
    nodes: Vec<OutletId>,
}

impl Chain {
    /// The way from the first node for which `is_base` holds to `outlet`.
    pub(super) fn back(
        look: &Look<'_>,
        outlet: OutletId,
        is_base: impl Fn(OutletId) -> bool,
    ) -> Option<Self> {
        let mut nodes = Vec::new();
        let mut at = outlet;
        while !is_base(at) {
            nodes.push(at);
            let node = look.node(at);
            let is_move = node.op_is::<AxisOp>() || look.through(at) != at;
            at = match is_move {
                true => node.inputs[0],
                false => {
                    let (from, factor) = look
                        .with_constant(at, "Mul")
                        .or_else(|| look.with_constant(at, "Div"))?;
                    look.scalar(factor)?;
                    from
                }
            };
            if nodes.len() > 30 {
                return None;
            }
        }
        Some(Self { base: at, nodes })
    }

    /// What the axes are at the end, where they are `axes` at the base, and the factor on the way.
    pub(super) fn forward(&self, look: &Look<'_>, mut axes: Vec<Axis>) -> Option<(Vec<Axis>, f32)> {
        let mut factor = 1.0;
        for at in self.nodes.iter().rev() {
            let node = look.node(*at);
            match node.op_as::<AxisOp>() {
                Some(AxisOp::Add(axis)) => axes.insert(*axis, Axis::One),
                Some(AxisOp::Rm(axis)) => {
                    (axes.remove(*axis) == Axis::One).then_some(())?;
                }
                Some(AxisOp::Move(from, to)) => {
                    let axis = axes.remove(*from);
                    axes.insert(*to, axis);
                }
                Some(AxisOp::Reshape(first, from, to)) => {
                    let sizes = |dims: &TVec<TDim>| {
                        dims.iter()
                            .map(|d| d.to_usize().ok())
                            .collect::<Option<Vec<_>>>()
                    };
                    let (from, to) = (sizes(from)?, sizes(to)?);
                    let old = axes.get(*first..first + from.len())?.to_vec();
                    let new = reshaped(&old, &to)?;
                    axes.splice(*first..first + from.len(), new);
                }
                None => {
                    let by = |name: &str| {
                        look.with_constant(*at, name)
                            .and_then(|(_, f)| look.scalar(f))
                    };
                    match (by("Mul"), by("Div")) {
                        (Some(f), _) => factor *= f,
                        (None, Some(f)) => factor /= f,
                        // A cast.
                        (None, None) => {}
                    }
                }
            }
        }
        Some((axes, factor))
    }
}

/// Axes after a reshape to lengths `to`: columns split into heads, and put together again.
fn reshaped(old: &[Axis], to: &[usize]) -> Option<Vec<Axis>> {
    let mut old = old
        .iter()
        .copied()
        .filter(|a| *a != Axis::One)
        .collect::<Vec<_>>();
    old.reverse();
    let mut new = Vec::new();
    let mut left = 1;
    for length in to {
        if *length == 1 {
            new.push(Axis::One);
            continue;
        }
        if left > 1 {
            // The second part of columns that were split.
            (left == *length).then_some(())?;
            new.push(Axis::Head(*length));
            left = 1;
            continue;
        }
        let axis = old.pop()?;
        if axis.length() == *length {
            new.push(axis);
            continue;
        }
        match (axis, old.last().copied()) {
            (Axis::Columns(0, width), _) if width % length == 0 && width > *length => {
                left = width / length;
                new.push(Axis::Heads(*length));
            }
            (Axis::Heads(heads), Some(Axis::Head(width))) if heads * width == *length => {
                old.pop();
                new.push(Axis::Columns(0, *length));
            }
            (Axis::Line(lines), Some(Axis::Step(steps))) if lines * steps == *length => {
                old.pop();
                new.push(Axis::Rows(*length));
            }
            _ => return None,
        }
    }
    (left == 1 && old.is_empty()).then_some(new)
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let is_product = |o: OutletId| look.letters(o).is_some();
        let Some(end) = Chain::back(&look, outlet, is_product) else {
            return Ok(None);
        };
        let Some(found) = attention(&look, &end) else {
            return Ok(None);
        };
        let [query, key, value] = found.parts;
        let (query, key, value) = (self.value(query)?, self.value(key)?, self.value(value)?);
        Ok(Some(Step::Attention {
            parts: [query, key, value].map(|step| Part { step, first: 0 }),
            heads: found.heads,
            head_width: found.head_width,
            scale: found.scale,
        }))
    }
}

struct Found {
    parts: [OutletId; 3],
    heads: usize,
    head_width: usize,
    scale: f32,
}

/// Axes that rows with their columns have as a tensor of this rank.
fn matrix_axes(look: &Look<'_>, outlet: OutletId) -> Option<Vec<Axis>> {
    let (rows, width) = look.matrix(outlet)?;
    let rank = look.shape(outlet)?.len();
    let mut axes = vec![Axis::One; rank - 2];
    axes.extend([Axis::Rows(rows), Axis::Columns(0, width)]);
    Some(axes)
}

/// Rows of a product's factor: where they come from, their axes there, and the factor on them.
fn factor(look: &Look<'_>, outlet: OutletId) -> Option<(OutletId, Vec<Axis>, f32)> {
    let is_matrix = |o: OutletId| {
        let name = look.name(o);
        look.matrix(o).is_some() && (name == "Add" || look.letters(o).is_some())
    };
    let chain = Chain::back(look, outlet, is_matrix)?;
    let (axes, factor) = chain.forward(look, matrix_axes(look, chain.base)?)?;
    Some((chain.base, axes, factor))
}

fn attention(look: &Look<'_>, end: &Chain) -> Option<Found> {
    // Shares of keys times values.
    let [a, b, out] = look.letters(end.base)?;
    let [shares, values] = look.inputs(end.base) else {
        return None;
    };
    let softmax = Chain::back(look, *shares, |o| look.op::<Softmax>(o).is_some())?;
    let axis = match look.op::<Softmax>(softmax.base)?.axes[..] {
        [axis] => axis,
        _ => return None,
    };
    let scores = Chain::back(look, look.inputs(softmax.base)[0], |o| {
        look.letters(o).is_some()
    })?;
    let [qa, ka, scored] = look.letters(scores.base)?;
    let [queries, keys] = look.inputs(scores.base) else {
        return None;
    };
    let (query, query_axes, query_factor) = factor(look, *queries)?;
    let (key, key_axes, key_factor) = factor(look, *keys)?;
    let (value, value_axes, value_factor) = factor(look, *values)?;
    (value_factor == 1.0).then_some(())?;
    let keyed = |axes: Vec<Axis>| {
        let turn = |a| match a {
            Axis::Rows(n) => Axis::Keys(n),
            other => other,
        };
        axes.into_iter().map(turn).collect::<Vec<_>>()
    };
    let score_axes = product(&[qa, ka, scored], &query_axes, &keyed(key_axes))?;
    let (score_axes, score_factor) = scores.forward(look, score_axes)?;
    matches!(score_axes.get(axis)?, Axis::Keys(_)).then_some(())?;
    let (share_axes, one) = softmax.forward(look, score_axes)?;
    (one == 1.0).then_some(())?;
    let mixed = product(&[a, b, out], &share_axes, &keyed(value_axes))?;
    let (axes, one) = end.forward(look, mixed)?;
    let heads = query_axes.iter().find_map(|a| {
        if let Axis::Heads(n) = a {
            Some(*n)
        } else {
            None
        }
    });
    let head_width = query_axes.iter().find_map(|a| {
        if let Axis::Head(n) = a {
            Some(*n)
        } else {
            None
        }
    })?;
    let heads = heads.unwrap_or(1);
    let (rows, width) = look.matrix(query)?;
    let whole = [Axis::Rows(rows), Axis::Columns(0, width)];
    (one == 1.0 && Axis::are(&axes, &whole)).then_some(Found {
        parts: [query, key, value],
        heads,
        head_width,
        scale: query_factor * key_factor * score_factor,
    })
}

/// Axes of a product of two tensors: those that both have must be the same thing.
fn product([a, b, out]: &[Vec<char>; 3], left: &[Axis], right: &[Axis]) -> Option<Vec<Axis>> {
    if a.len() != left.len() || b.len() != right.len() {
        return None;
    }
    let find = |letters: &[char], axes: &[Axis], letter: char| {
        letters.iter().position(|l| *l == letter).map(|at| axes[at])
    };
    for letter in a.iter().chain(b) {
        let both = (find(a, left, *letter), find(b, right, *letter));
        match both {
            (Some(x), Some(y)) => {
                let is_summed = !out.contains(letter);
                let may_be = if is_summed {
                    matches!(x, Axis::Head(_) | Axis::Keys(_))
                } else {
                    matches!(x, Axis::One | Axis::Heads(_))
                };
                (x == y && may_be).then_some(())?;
            }
            (one, other) => {
                let axis = one.or(other)?;
                out.contains(letter).then_some(())?;
                (!matches!(axis, Axis::Heads(_))).then_some(())?;
            }
        }
    }
    out.iter()
        .map(|l| find(a, left, *l).or_else(|| find(b, right, *l)))
        .collect()
}
