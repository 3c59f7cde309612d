//! From tract's typed model of an image encoder to a fused graph.
//!
//! tract has parsed and typed it; with its constants folded the model is read from the output back, before it is
//! decluttered, while exporters' patterns still stand. A vision transformer, or a network of convolutions between
//! grids, is known as a whole, or not at all: what is not known stays tract's, and the reason names the node.

mod attention;
mod draft;
mod emit;
mod ends;
mod head;
mod linear;
mod look;
mod norm;
mod pixels;

use std::collections::HashMap;

use tract_core::internal::*;

use self::draft::{Draft, Step};
use self::look::{Look, node_words};
use super::graph::Graph;
use crate::encoder::onnx::fake_quantize::{FakeQuantize, Range};
use crate::encoder::onnx::folded;

/// The fused form of `model`, a graph and its weights, or why there is none.
pub(crate) fn lower(model: &TypedModel) -> Result<(Graph, Vec<u8>), String> {
    let model = &folded(model).map_err(|e| e.to_string())?;
    let [input] = model.input_outlets().map_err(|e| e.to_string())? else {
        return Err("not one input".into());
    };
    let [output] = model.output_outlets().map_err(|e| e.to_string())? else {
        return Err("not one output".into());
    };
    let shape = Look::new(model)
        .shape(*input)
        .ok_or("a picture of no fixed size")?;
    let [1, channels, height, width] = shape[..] else {
        return Err(format!("a picture of shape {shape:?}"));
    };
    let mut lowering = Lowering {
        look: Look::new(model),
        input: input.node,
        draft: Draft::default(),
        known: HashMap::new(),
        depth: 0,
    };
    let output = lowering.value(*output)?;
    let side = |n: usize| u32::try_from(n).map_err(|e| e.to_string());
    let input = [side(channels)?, side(height)?, side(width)?];
    let (graph, weights) = emit::emit(input, lowering.draft.tidied(output))?;
    // What the graph refuses tract may run.
    graph.shapes(weights.len()).map_err(|e| e.to_string())?;
    Ok((graph, weights))
}

/// Whether the model rounds anything to a grid that the file fixed.
pub(crate) fn has_grids(model: &TypedModel) -> bool {
    let fixed = |n: &TypedNode| {
        let range = n.op_as::<FakeQuantize>().map(|f| f.0);
        matches!(range, Some(Range::Fixed { .. }))
    };
    model.nodes.iter().any(fixed)
}

/// Nodes of one way from input to output are far fewer.
const MOST_DEPTH: usize = 5000;

/// The values made so far.
struct Lowering<'a> {
    look: Look<'a>,
    input: usize,
    draft: Draft,
    known: HashMap<usize, usize>,
    depth: usize,
}

impl Lowering<'_> {
    /// The step that makes what `outlet` carries: one row for each token.
    fn value(&mut self, outlet: OutletId) -> Result<usize, String> {
        let outlet = self.look.through(outlet);
        if let Some(known) = self.known.get(&outlet.node) {
            return Ok(*known);
        }
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("a graph deeper than any encoder".into());
        }
        let step = self.make(outlet)?;
        self.depth -= 1;
        self.known.insert(outlet.node, step);
        Ok(step)
    }

    fn make(&mut self, outlet: OutletId) -> Result<usize, String> {
        let makers: [fn(&mut Self, OutletId) -> Made; 12] = [
            Self::norm,
            Self::linear,
            Self::residual,
            Self::attention,
            Self::patches,
            Self::embed,
            Self::pick,
            Self::pixels,
            Self::pooled,
            Self::softmax,
            Self::unit,
            Self::join,
        ];
        for make in makers {
            if let Some(step) = make(self, outlet)? {
                return Ok(self.draft.add(step));
            }
        }
        Err(format!(
            "{} is none of those that are fused",
            node_words(self.look.node(outlet))
        ))
    }
}

/// A step, or none where the pattern is another.
type Made = Result<Option<Step>, String>;
