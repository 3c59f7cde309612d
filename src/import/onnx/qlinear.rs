//! QLinearConv and its kin, which take and give integers, as dequantized inputs, the float operator
//! and a quantized output: the form that [`super::integers`] goes on from.
//!
//! Operators and the order of their inputs: ONNX (QLinearConv, QLinearMatMul) and ONNX Runtime's
//! contributed operators of the domain `com.microsoft`.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::encoder::onnx::proto::{int, producers};
use crate::encoder::onnx::tensor::{F32, float_tensor, floats, integers};
use crate::error::{Error, Result};

/// Operators that move integers without counting with them.
const MOVES: [&str; 8] = [
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Identity",
    "Slice",
    "MaxPool",
];

/// How an operator on integers lists what it takes: each value with its scale and zero point.
struct Form {
    float: &'static str,
    values: &'static [usize],
    /// Where the scale of the output stands, its zero point next to it.
    output: usize,
    /// Where a bias of 32-bit integers stands, scaled by both inputs' scales.
    bias: Option<usize>,
    /// Axis of the channels of the second value.
    channels: Option<i64>,
}

const fn form(float: &'static str, values: &'static [usize], output: usize) -> Form {
    Form {
        float,
        values,
        output,
        bias: None,
        channels: None,
    }
}

fn form_of(op: &str) -> Option<Form> {
    Some(match op {
        "QLinearConv" => Form {
            bias: Some(8),
            channels: Some(0),
            ..form("Conv", &[0, 3], 6)
        },
        "QLinearMatMul" => Form {
            channels: Some(-1),
            ..form("MatMul", &[0, 3], 6)
        },
        "QLinearAdd" => form("Add", &[0, 3], 6),
        "QLinearMul" => form("Mul", &[0, 3], 6),
        "QLinearSigmoid" => form("Sigmoid", &[0], 3),
        "QLinearLeakyRelu" => form("LeakyRelu", &[0], 3),
        "QLinearAveragePool" => form("AveragePool", &[0], 3),
        "QLinearGlobalAveragePool" => form("GlobalAveragePool", &[0], 3),
        _ => return None,
    })
}

/// Rewrites `graph` in place.
///
/// # Errors
/// An operator of that kind that is not known here, or one that lacks an input.
pub(super) fn unfold(graph: &mut GraphProto) -> Result<()> {
    let held: HashMap<String, TensorProto> = graph
        .initializer
        .iter()
        .filter(|t| t.dims.iter().product::<i64>() <= MOST_CONSTANTS)
        .map(|t| (t.name.clone(), t.clone()))
        .collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let on_integers = node.op_type.starts_with("QLinear") || node.op_type == "QGemm";
        match form_of(&node.op_type) {
            Some(form) => nodes.extend(form.unfold(&node, &held, &mut graph.initializer)?),
            None if on_integers => return Err(unknown(&node)),
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    dequantize_before_moves(graph);
    Ok(())
}

/// Scales, zero points and biases are no longer than a layer is wide.
const MOST_CONSTANTS: i64 = 1 << 16;

fn unknown(node: &NodeProto) -> Error {
    let found = format!("{} at node `{}`", node.op_type, node.name);
    let expected =
        "QuantizeLinear and DequantizeLinear around it (quant_format QDQ), dynamic int8, or floats";
    Error::invalid("quantized operator", found, expected)
}

impl Form {
    fn unfold(
        &self,
        node: &NodeProto,
        held: &HashMap<String, TensorProto>,
        constants: &mut Vec<TensorProto>,
    ) -> Result<Vec<NodeProto>> {
        let input = |i: usize| node.input.get(i).filter(|n| !n.is_empty());
        let three = |i: usize| -> Result<Vec<String>> {
            let taken = [input(i), input(i + 1), input(i + 2)];
            let [Some(value), Some(scale), zero] = taken else {
                return Err(unknown(node));
            };
            Ok([Some(value), Some(scale), zero]
                .into_iter()
                .flatten()
                .cloned()
                .collect())
        };
        let name = node.output.first().ok_or_else(|| unknown(node))?;
        let mut nodes = Vec::new();
        let mut inputs = Vec::new();
        for (at, value) in self.values.iter().enumerate() {
            let float = format!("{name}_input_{at}");
            let mut dequantize = linear("DequantizeLinear", three(*value)?, &float);
            if let Some(axis) = self.channels.filter(|_| at == 1) {
                dequantize.attribute.push(int("axis", axis));
            }
            nodes.push(dequantize);
            inputs.push(float);
        }
        if let Some(bias) = self.bias.and_then(input) {
            let of = |i: usize| held.get(node.input.get(i)?);
            let scales = of(1).zip(of(4)).zip(held.get(bias));
            let ((a, b), bias) = scales.ok_or_else(|| unknown(node))?;
            let tensor = float_bias(&format!("{name}_bias"), bias, a, b)?;
            inputs.push(tensor.name.clone());
            constants.push(tensor);
        }
        let product = format!("{name}_product");
        nodes.push(NodeProto {
            op_type: self.float.into(),
            name: node.name.clone(),
            input: inputs,
            output: vec![product.clone()],
            attribute: node.attribute.clone(),
            ..Default::default()
        });
        let mut out = vec![product];
        out.extend(input(self.output).cloned());
        out.extend(input(self.output + 1).cloned());
        nodes.push(linear("QuantizeLinear", out, name));
        Ok(nodes)
    }
}

fn linear(op: &str, input: Vec<String>, output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input,
        output: vec![output.into()],
        ..Default::default()
    }
}

/// A bias in units of the product of both scales, as floats.
fn float_bias(
    name: &str,
    bias: &TensorProto,
    a: &TensorProto,
    b: &TensorProto,
) -> Result<TensorProto> {
    let (a, b) = (floats(a)?, floats(b)?);
    let bias_values = integers(bias)?;
    let (&[a], true) = (&a[..], b.len() == 1 || b.len() == bias_values.len()) else {
        let found = format!("{} and {} scales for `{}`", a.len(), b.len(), bias.name);
        return Err(Error::invalid(
            "quantized bias",
            found,
            "one scale, or one a channel",
        ));
    };
    let values = bias_values.iter().enumerate();
    let values = values.map(|(i, v)| *v as f32 * a * b[i % b.len()]);
    Ok(float_tensor(name, bias.dims.clone(), values))
}

/// Moves DequantizeLinear before what only moves integers, so that it meets its QuantizeLinear.
fn dequantize_before_moves(graph: &mut GraphProto) {
    loop {
        let made = producers(graph);
        let found = graph.node.iter().enumerate().find_map(|(at, node)| {
            let one_scale = node.op_type == "DequantizeLinear" && !per_channel(graph, node);
            let mover = one_scale.then(|| made.get(node.input[0].as_str()))??;
            let op = graph.node[*mover].op_type.as_str();
            MOVES.contains(&op).then_some((at, *mover))
        });
        let Some((at, mover)) = found else {
            return;
        };
        let float = format!("{}_floats", graph.node[at].output[0]);
        let mut moved = graph.node[mover].clone();
        let mut dequantize = graph.node[at].clone();
        let source = std::mem::replace(&mut moved.input[0], float.clone());
        moved.output.clone_from(&dequantize.output);
        moved.name = format!("{float}_moved");
        dequantize.input[0] = source;
        dequantize.output = vec![float];
        graph.node.splice(at..=at, [dequantize, moved]);
    }
}

fn per_channel(graph: &GraphProto, node: &NodeProto) -> bool {
    let scale = node.input.get(1);
    let scale = graph.initializer.iter().find(|t| Some(&t.name) == scale);
    scale.is_none_or(|s| s.data_type != F32 || s.dims.iter().product::<i64>() != 1)
}
