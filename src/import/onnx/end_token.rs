//! CLIP's end token, picked so that tract can follow it for texts of any number and length.
//!
//! Exports of opset 17 and earlier number the rows of all texts through and pick
//! `Gather(Reshape(x, [-1, width]), text · tokens + ArgMax(ids))`. tract multiplies no free lengths;
//! GatherND by pairs of text and token picks the same rows without a product.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::encoder::onnx::proto::{int, integer_of, producers, whole_numbers};

/// Operators that hand on the same whole numbers, in another shape or type.
const SAME: [&str; 6] = [
    "Cast",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Expand",
];

/// Rewrites the pick where there is one of that form; anything else stays.
pub(super) fn pick_by_pairs(graph: &mut GraphProto) {
    let Some((at, pick)) = find(graph) else {
        return;
    };
    let old = graph.node.remove(at);
    let column = "edgeclip_column".to_owned();
    graph
        .initializer
        .push(whole_numbers(&column, &[2], &[-1, 1]));
    let node = |op: &str, end: &str, input: Vec<String>| {
        let name = format!("{}_{end}", old.output[0]);
        NodeProto {
            op_type: op.into(),
            name: name.clone(),
            input,
            output: vec![name],
            ..Default::default()
        }
    };
    let text = node("Reshape", "text", vec![pick.text, column.clone()]);
    let token = node("Reshape", "token", vec![pick.token, column]);
    let (a, b) = (text.output[0].clone(), token.output[0].clone());
    let mut pairs = node("Concat", "pairs", vec![a, b]);
    pairs.attribute.push(int("axis", 1));
    let mut gather = node("GatherND", "picked", vec![pick.x, pairs.output[0].clone()]);
    gather.output.clone_from(&old.output);
    graph.node.splice(at..at, [text, token, pairs, gather]);
}

/// What is picked, by which text and which token of it.
struct Pick {
    x: String,
    text: String,
    token: String,
}

fn find(graph: &GraphProto) -> Option<(usize, Pick)> {
    let graph = Read::of(graph);
    let gathers = graph.nodes.iter().enumerate();
    let mut gathers = gathers.filter(|(_, n)| n.op_type == "Gather" && n.input.len() == 2);
    gathers.find_map(|(at, n)| Some((at, graph.pick(n)?)))
}

/// A graph with its values by their names.
struct Read<'a> {
    nodes: &'a [NodeProto],
    initializers: &'a [TensorProto],
    made: std::collections::HashMap<&'a str, usize>,
}

impl<'a> Read<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        Self {
            nodes: &graph.node,
            initializers: &graph.initializer,
            made: producers(graph),
        }
    }

    fn maker(&self, value: &str) -> Option<&'a NodeProto> {
        self.made.get(value).map(|at| &self.nodes[*at])
    }

    fn pick(&self, gather: &NodeProto) -> Option<Pick> {
        if integer_of(gather, "axis").unwrap_or(0) != 0 {
            return None;
        }
        let rows = self.maker(&gather.input[0])?;
        let flat = match &*rows.op_type {
            "Flatten" => integer_of(rows, "axis") == Some(2),
            "Reshape" => self.numbers(rows.input.get(1)?).is_none_or(|to| {
                // -1 and the width, so that a text's tokens follow each other.
                to.len() == 2 && to[0] == -1
            }),
            _ => false,
        };
        let sum = self.through(&gather.input[1], "Add")?;
        let token = |i: usize| self.through(&sum.input[i], "ArgMax");
        let (at, end) = token(0).map(|n| (1, n)).or(token(1).map(|n| (0, n)))?;
        let product = self.through(&sum.input[at], "Mul")?;
        let text = product
            .input
            .iter()
            .find_map(|i| self.through(i, "Range"))?;
        flat.then(|| Pick {
            x: rows.input[0].clone(),
            text: text.output[0].clone(),
            token: end.output[0].clone(),
        })
    }

    /// The node of kind `op` that makes `value`, beyond nodes that only hand it on.
    fn through(&self, value: &str, op: &str) -> Option<&'a NodeProto> {
        let mut node = self.maker(value)?;
        while node.op_type != op {
            if !SAME.contains(&&*node.op_type) {
                return None;
            }
            node = self.maker(node.input.first()?)?;
        }
        Some(node)
    }

    /// Whole numbers that stand in the file.
    fn numbers(&self, value: &str) -> Option<Vec<i64>> {
        let stored = self.initializers.iter().find(|t| t.name == value);
        let tensor = stored.or_else(|| {
            let node = self.maker(value).filter(|n| n.op_type == "Constant")?;
            node.attribute.iter().find_map(|a| a.t.as_ref())
        })?;
        Some(if tensor.raw_data.is_empty() {
            tensor.int64_data.clone()
        } else {
            let (numbers, _) = tensor.raw_data.as_chunks::<8>();
            numbers.iter().map(|b| i64::from_le_bytes(*b)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: input.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn picking(indices: &[NodeProto], axis: i64) -> GraphProto {
        let mut flatten = node("Flatten", &["x"], "rows");
        flatten.attribute.push(int("axis", axis));
        let mut nodes = vec![
            node("ArgMax", &["ids"], "end"),
            node("Range", &["zero", "texts", "one"], "text"),
            node("Mul", &["text", "tokens"], "start"),
        ];
        nodes.extend_from_slice(indices);
        nodes.extend([flatten, node("Gather", &["rows", "at"], "y")]);
        GraphProto {
            node: nodes,
            ..Default::default()
        }
    }

    fn ops(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|n| &*n.op_type).collect()
    }

    #[test]
    fn rows_numbered_through_are_picked_by_pairs() {
        let plain = vec![node("Add", &["start", "end"], "at")];
        let handed_on = vec![
            node("Cast", &["end"], "wide"),
            node("Add", &["wide", "start"], "sum"),
            node("Reshape", &["sum", "shape"], "at"),
        ];
        for indices in [plain, handed_on] {
            let mut graph = picking(&indices, 2);
            pick_by_pairs(&mut graph);
            let gather = graph.node.last().unwrap();
            assert_eq!(gather.op_type, "GatherND");
            assert_eq!((&*gather.input[0], &*gather.output[0]), ("x", "y"));
            assert!(!ops(&graph).contains(&"Gather"));
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        let add = |a, b| vec![node("Add", &[a, b], "at")];
        for (indices, axis) in [(add("start", "end"), 1), (add("start", "start"), 2)] {
            let mut graph = picking(&indices, axis);
            let before = graph.clone();
            pick_by_pairs(&mut graph);
            assert_eq!(graph, before);
        }
    }
}
