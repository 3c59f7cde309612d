//! Quantized ONNX graphs to float ones with the same weights.
//!
//! A QDQ file stores int8 weights and wraps every activation in QuantizeLinear →
//! DequantizeLinear. tract runs the products of such a graph in f32 anyway and pays for the
//! wrapping, so it is taken out: weights are unfolded to f32 once, and each pair on an
//! activation becomes the clamp that it implies. The clamp must stay: quantizers delete a
//! ReLU whose bounds the quantized range already enforces.

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::fake_quantize::Range;
use super::proto::{integer_of, read_names};
use super::tensor::{I8, U8, float_tensor, floats, integers, scalar};
use crate::error::{Error, Result};

/// What becomes of QuantizeLinear and DequantizeLinear around an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// The clamp that they imply.
    Clamped,
    /// One operator that rounds, for encoders that run in 8 bits.
    Rounded,
}

/// Rewrites `graph` in place; a graph without quantization stays as it is.
///
/// # Errors
/// A DequantizeLinear whose scale or zero point is not a constant, or whose lengths disagree.
pub(super) fn activations_to_float(graph: &mut GraphProto, pairs: Pairs) -> Result<()> {
    let constants: HashMap<String, TensorProto> = graph
        .initializer
        .iter()
        .filter(|t| {
            graph
                .node
                .iter()
                .any(|n| is_linear(n) && n.input.contains(&t.name))
        })
        .map(|t| (t.name.clone(), t.clone()))
        .collect();
    let quantizers: HashMap<String, NodeProto> = graph
        .node
        .iter()
        .filter(|n| n.op_type == "QuantizeLinear" && !n.output.is_empty())
        .map(|n| (n.output[0].clone(), n.clone()))
        .collect();
    let mut added = Vec::new();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in graph.node.drain(..) {
        if node.op_type != "DequantizeLinear" {
            nodes.push(node);
            continue;
        }
        let grid = Grid::of(&node, &constants)?;
        let [input, output] = [&node.input[0], &node.output[0]];
        if let Some(weight) = constants.get(input) {
            added.push(grid.unfold(weight, output)?);
        } else if let Some(q) = quantizers.get(input) {
            let range = grid.range(q, &constants)?;
            match pairs {
                Pairs::Rounded => nodes.push(range.node(&q.input[0], output)),
                Pairs::Clamped => {
                    let (low, high) = range.bounds();
                    added.push(scalar(&format!("{output}_low"), low));
                    added.push(scalar(&format!("{output}_high"), high));
                    nodes.push(clamp(&q.input[0], output));
                }
            }
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    graph.initializer.extend(added);
    drop_unused(graph);
    Ok(())
}

fn is_linear(n: &NodeProto) -> bool {
    matches!(n.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear")
}

/// Scale and zero point of one DequantizeLinear: a value q stands for `scale·(q − zero)`.
struct Grid {
    scale: Vec<f32>,
    zero: Vec<i64>,
    axis: i64,
}

impl Grid {
    fn of(node: &NodeProto, constants: &HashMap<String, TensorProto>) -> Result<Self> {
        let constant = |i: usize| {
            node.input
                .get(i)
                .filter(|n| !n.is_empty())
                .map(|n| constants.get(n))
        };
        let unknown = || {
            Error::invalid(
                "DequantizeLinear",
                format!("`{}` with a computed scale", node.name),
                "constant scales",
            )
        };
        if node.input.is_empty() || node.output.is_empty() {
            return Err(unknown());
        }
        let scale = floats(constant(1).flatten().ok_or_else(unknown)?)?;
        let zero = match constant(2) {
            None => vec![0],
            Some(z) => integers(z.ok_or_else(unknown)?)?,
        };
        if scale.is_empty() || (zero.len() != scale.len() && zero.len() != 1) {
            let found = format!("{} scales and {} zero points", scale.len(), zero.len());
            return Err(Error::invalid("DequantizeLinear", found, "as many of both"));
        }
        let axis = integer_of(node, "axis").unwrap_or(1);
        Ok(Self { scale, zero, axis })
    }

    /// The f32 tensor that a stored integer tensor stands for.
    fn unfold(&self, weight: &TensorProto, name: &str) -> Result<TensorProto> {
        let q = integers(weight)?;
        let rank = i64::try_from(weight.dims.len()).unwrap_or(0);
        let axis = usize::try_from(if self.axis < 0 {
            self.axis + rank
        } else {
            self.axis
        })
        .unwrap_or(0);
        let (channels, inner) = if self.scale.len() == 1 {
            (1, q.len().max(1))
        } else {
            let tail = weight.dims.get(axis + 1..).unwrap_or(&[]);
            (
                self.scale.len(),
                tail.iter().product::<i64>().max(1) as usize,
            )
        };
        if self.scale.len() > 1 && weight.dims.get(axis).is_none_or(|d| *d != channels as i64) {
            let found = format!(
                "{channels} scales for `{}` of shape {:?}",
                weight.name, weight.dims
            );
            return Err(Error::invalid(
                "DequantizeLinear",
                found,
                "one scale, or one a channel",
            ));
        }
        let values = q.iter().enumerate().map(|(i, q)| {
            let c = i / inner % channels;
            self.scale[c] * (q - self.zero[c % self.zero.len()]) as f32
        });
        Ok(float_tensor(name, weight.dims.clone(), values))
    }

    /// The values that the quantized form could carry.
    fn range(&self, q: &NodeProto, constants: &HashMap<String, TensorProto>) -> Result<Range> {
        let kind = q
            .input
            .get(2)
            .and_then(|n| constants.get(n))
            .map_or(U8, |t| t.data_type);
        let (low, high) = match kind {
            U8 => (0, 255),
            I8 => (-128, 127),
            other => {
                return Err(Error::invalid(
                    "QuantizeLinear",
                    format!("element type {other}"),
                    "uint8 or int8",
                ));
            }
        };
        if self.scale.len() != 1 {
            return Err(Error::invalid(
                "QuantizeLinear",
                "an activation with a scale a channel",
                "one scale",
            ));
        }
        let (scale, zero) = (self.scale[0], self.zero[0] as i32);
        if !(scale > 0.0 && scale.is_finite() && (low..=high).contains(&zero)) {
            let found = format!("scale {scale} and zero point {zero}");
            return Err(Error::invalid("QuantizeLinear", found, "a grid of bytes"));
        }
        Ok(Range::Fixed {
            scale,
            zero,
            low,
            high,
        })
    }
}

fn clamp(input: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: "Clip".into(),
        name: format!("{output}_clamp"),
        input: vec![
            input.into(),
            format!("{output}_low"),
            format!("{output}_high"),
        ],
        output: vec![output.into()],
        attribute: Vec::<AttributeProto>::new(),
        ..Default::default()
    }
}

/// Removes quantizers that nobody reads any more, and initializers without a reader.
fn drop_unused(graph: &mut GraphProto) {
    let read = read_names(graph);
    graph
        .node
        .retain(|n| n.op_type != "QuantizeLinear" || n.output.iter().any(|o| read.contains(o)));
    let read = read_names(graph);
    graph.initializer.retain(|t| read.contains(&t.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(name: &str, data_type: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto {
            name: name.into(),
            data_type,
            dims: dims.to_vec(),
            raw_data: raw.to_vec(),
            ..Default::default()
        }
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    #[test]
    fn weights_unfold_by_channel_and_pairs_become_clamps() {
        let scales = float_tensor("s", vec![2], [0.5, 2.0].into_iter());
        let mut dq = node("DequantizeLinear", &["w", "s", "z"], "wf");
        dq.attribute.push(AttributeProto {
            name: "axis".into(),
            i: 0,
            ..Default::default()
        });
        let mut graph = GraphProto {
            node: vec![
                node("QuantizeLinear", &["x", "sx", "zx"], "xq"),
                node("DequantizeLinear", &["xq", "sx", "zx"], "xf"),
                dq,
                node("MatMul", &["wf", "xf"], "y"),
            ],
            initializer: vec![
                ints("w", I8, &[2, 2], &[1, 254, 3, 128]),
                scales,
                ints("z", I8, &[2], &[0, 0]),
                scalar("sx", 0.1),
                ints("zx", U8, &[], &[0]),
            ],
            ..Default::default()
        };
        activations_to_float(&mut graph, Pairs::Clamped).unwrap();
        let ops: Vec<_> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(ops, ["Clip", "MatMul"]);
        let by_name =
            |n: &str| floats(graph.initializer.iter().find(|t| t.name == n).unwrap()).unwrap();
        assert_eq!(by_name("wf"), [0.5, -1.0, 6.0, -256.0]);
        assert_eq!(by_name("xf_low"), [0.0]);
        assert_eq!(by_name("xf_high"), [25.5]);
        assert_eq!(graph.initializer.len(), 3);
    }

    #[test]
    fn a_scale_of_the_wrong_length_is_refused() {
        let mut graph = GraphProto {
            node: vec![
                node("DequantizeLinear", &["w", "s"], "wf"),
                node("Relu", &["wf"], "y"),
            ],
            initializer: vec![
                ints("w", I8, &[2, 2], &[1, 2, 3, 4]),
                float_tensor("s", vec![3], [1.0, 1.0, 1.0].into_iter()),
            ],
            ..Default::default()
        };
        let error = activations_to_float(&mut graph, Pairs::Clamped)
            .unwrap_err()
            .to_string();
        assert!(error.contains("3 scales"), "{error}");
    }
}
