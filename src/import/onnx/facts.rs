//! What an ONNX file says of its model beside its ends: sizes, lengths, the logit scale.

use tract_onnx::pb::{GraphProto, TensorProto};

use super::super::options::Layout;
use super::ends::{ids_input, image_input, layout_of};
use super::inputs;
use crate::encoder::onnx::Declared;
use crate::encoder::onnx::tensor::floats;

/// (width, height) where the declared input fixes both, or a table of positions does.
pub(super) fn picture_size(graph: &GraphProto) -> Option<(u32, u32)> {
    let fed = inputs(graph);
    let input = image_input(&fed)?;
    let side = |at: usize| {
        input
            .shape
            .get(at)
            .copied()
            .flatten()
            .and_then(|n| u32::try_from(n).ok())
    };
    let at = if layout_of(input) == Layout::Nhwc {
        1
    } else {
        2
    };
    let declared = side(at + 1).zip(side(at));
    declared.or_else(|| side_by_positions(graph, &input.name))
}

/// A vision transformer has a position for each patch, and maybe one for a class token; they say how large
/// its pictures are, unless the graph fits them to any size.
fn side_by_positions(graph: &GraphProto, pixels: &str) -> Option<(u32, u32)> {
    let held = |name: &str| graph.initializer.iter().find(|t| t.name == name);
    if graph.node.iter().any(|n| n.op_type == "Resize") {
        return None;
    }
    let patches = graph.node.iter().find(|n| {
        n.op_type == "Conv" && n.input.len() > 1 && n.input.first().is_some_and(|i| i == pixels)
    })?;
    let &[width, _, patch, across] = &held(&patches.input[1])?.dims[..] else {
        return None;
    };
    let stride = patches.attribute.iter().find(|a| a.name == "strides")?;
    if patch != across || stride.ints != [patch, patch] {
        return None;
    }
    let rows = |t: &TensorProto| match t.dims[..] {
        [rows, w] | [1, rows, w] if w == width && t.name.contains("pos") => Some(rows),
        _ => None,
    };
    let square = |rows: i64| {
        let grid = rows.isqrt();
        let whole = [grid * grid, grid * grid + 1].contains(&rows);
        (whole && grid > 1).then_some(grid)
    };
    let mut grids = graph.initializer.iter().filter_map(|t| square(rows(t)?));
    let (grid, other) = (grids.next()?, grids.next());
    let side = u32::try_from(grid.checked_mul(patch)?).ok()?;
    other.is_none().then_some((side, side))
}

/// Tokens of each text, where the declared input fixes them.
pub(super) fn text_length(inputs: &[Declared]) -> Option<usize> {
    ids_input(inputs)?.shape.get(1).copied().flatten()
}

/// Rows of the table that token ids pick from: the largest that a Gather of ids reads.
pub(super) fn token_count(graph: &GraphProto) -> Option<usize> {
    let fed = inputs(graph);
    let ids = &ids_input(&fed)?.name;
    let tables = graph
        .node
        .iter()
        .filter(|n| n.op_type == "Gather" && n.input.get(1) == Some(ids));
    let rows = tables.filter_map(|n| {
        let table = graph
            .initializer
            .iter()
            .find(|t| Some(&t.name) == n.input.first())?;
        usize::try_from(*table.dims.first()?).ok()
    });
    rows.max()
}

/// exp(logit scale): from a weight of that name, or from the factor next to the logits of a file with both towers.
pub(super) fn logit_scale(graph: &GraphProto) -> Option<f32> {
    let scalar = |name: &str| {
        let t = graph.initializer.iter().find(|t| t.name == name)?;
        match floats(t).ok()?[..] {
            [v] if v.is_finite() => Some(v),
            _ => None,
        }
    };
    if let Some(v) = graph
        .initializer
        .iter()
        .find(|t| t.name.ends_with("logit_scale"))
        .and_then(|t| scalar(&t.name))
    {
        // CLIP keeps the logarithm, at most ln 100.
        return Some(if v <= 5.0 { v.exp() } else { v });
    }
    let mut name = graph
        .output
        .iter()
        .find(|o| o.name.starts_with("logits_per_"))?
        .name
        .clone();
    for _ in 0..4 {
        let node = graph.node.iter().find(|n| n.output.contains(&name))?;
        if node.op_type == "Mul"
            && let Some(v) = node.input.iter().find_map(|i| scalar(i))
        {
            return (1.0..=1000.0).contains(&v).then_some(v);
        }
        name.clone_from(node.input.first()?);
    }
    None
}
