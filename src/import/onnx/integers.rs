//! Integer arithmetic of quantized ONNX files spelled out as rounding and f32 products.
//!
//! tract runs integer graphs slowly and some of them wrongly. An integer product equals the f32
//! product of what the integers stand for, so `DynamicQuantizeLinear → MatMulInteger → Cast → Mul`
//! becomes `FakeQuantize → MatMul` of the dequantized weight, and `QuantizeLinear →
//! DequantizeLinear` on an activation becomes `FakeQuantize`. Weights stay integers in the file,
//! behind a DequantizeLinear that unfolds them when the model is opened. Operators that take and give
//! integers (QLinearConv and its kin) are brought to that form first.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::encoder::onnx::fake_quantize::Range;
use crate::encoder::onnx::proto::{int, integer_of, producers};
use crate::encoder::onnx::tensor::{F32, I8, U8, floats, integers, is_integer};
use crate::error::Result;

/// Rewrites `graph` in place; what it does not know stays tract's.
///
/// # Errors
/// Operators on integers that tract answers wrongly and that are not known here.
pub(super) fn spell_out(graph: &mut GraphProto) -> Result<()> {
    super::qlinear::unfold(graph)?;
    fold_quantized_constants(graph)?;
    pairs(graph)?;
    dynamic(graph)
}

fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    graph
        .initializer
        .iter()
        .map(|t| (t.name.as_str(), t))
        .collect()
}

/// QuantizeLinear of a float weight, as training with rounding leaves it: the integers themselves.
fn fold_quantized_constants(graph: &mut GraphProto) -> Result<()> {
    let held = constants(graph);
    let mut folded = Vec::new();
    for node in graph.node.iter().filter(|n| n.op_type == "QuantizeLinear") {
        let get = |i: usize| node.input.get(i).and_then(|n| held.get(n.as_str()));
        let (Some(weight), Some(scale)) = (get(0), get(1)) else {
            continue;
        };
        if weight.data_type != F32 || scale.data_type != F32 {
            continue;
        }
        let kind = get(2).map_or(U8, |z| z.data_type);
        let Some((low, high)) = bounds(kind).filter(|_| kind == U8 || kind == I8) else {
            continue;
        };
        let zero = get(2).map_or(Ok(vec![0]), |z| integers(z))?;
        let scale = floats(scale)?;
        let axis = integer_of(node, "axis").unwrap_or(1);
        let rank = weight.dims.len() as i64;
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(0);
        let inner: i64 = weight.dims.get(axis + 1..).unwrap_or(&[]).iter().product();
        let inner = usize::try_from(inner.max(1)).unwrap_or(1);
        let (Some(channels), false) = (std::num::NonZero::new(scale.len()), zero.is_empty()) else {
            continue;
        };
        let q = floats(weight)?.into_iter().enumerate().map(|(i, v)| {
            let c = if scale.len() == 1 {
                0
            } else {
                i / inner % channels
            };
            let q = (v / scale[c]).round_ties_even() as i64 + zero[c % zero.len()];
            q.clamp(low.into(), high.into()) as u8
        });
        folded.push(TensorProto {
            name: node.output[0].clone(),
            dims: weight.dims.clone(),
            data_type: kind,
            raw_data: q.collect(),
            ..Default::default()
        });
    }
    let names: Vec<&str> = folded.iter().map(|t| t.name.as_str()).collect();
    graph
        .node
        .retain(|n| n.op_type != "QuantizeLinear" || !names.contains(&n.output[0].as_str()));
    graph.initializer.extend(folded);
    Ok(())
}

/// QuantizeLinear → DequantizeLinear with one constant scale.
fn pairs(graph: &mut GraphProto) -> Result<()> {
    let held = constants(graph);
    let made = producers(graph);
    let mut rounded = Vec::new();
    for (at, node) in graph.node.iter().enumerate() {
        if node.op_type != "DequantizeLinear" || node.input.len() < 2 {
            continue;
        }
        let Some(quantize) = made.get(node.input[0].as_str()).map(|i| &graph.node[*i]) else {
            continue;
        };
        if quantize.op_type != "QuantizeLinear" || quantize.input.is_empty() {
            continue;
        }
        if let Some(range) = fixed_range(node, &held)? {
            rounded.push((at, range.node(&quantize.input[0], &node.output[0])));
        }
    }
    for (at, node) in rounded {
        graph.node[at] = node;
    }
    Ok(())
}

/// The range of a DequantizeLinear with one constant scale.
fn fixed_range(node: &NodeProto, held: &HashMap<&str, &TensorProto>) -> Result<Option<Range>> {
    let get = |i: usize| node.input.get(i).and_then(|n| held.get(n.as_str()));
    let Some(scale) = get(1).filter(|s| s.data_type == F32) else {
        return Ok(None);
    };
    let (kind, zero) = match get(2) {
        Some(z) if is_integer(z.data_type) => (z.data_type, integers(z)?),
        Some(_) => return Ok(None),
        None => (U8, vec![0]),
    };
    Ok(match (&floats(scale)?[..], &zero[..], bounds(kind)) {
        (&[scale], &[zero], Some((low, high))) => Some(Range::Fixed {
            scale,
            zero: zero as i32,
            low,
            high,
        }),
        _ => None,
    })
}

fn bounds(kind: i32) -> Option<(i32, i32)> {
    match kind {
        U8 => Some((0, 255)),
        I8 => Some((-128, 127)),
        _ => None,
    }
}

/// What one side of an integer product stands for, in f32.
enum Side<'a> {
    /// A picture-dependent value that DynamicQuantizeLinear rounds.
    Rounded {
        value: &'a str,
        scale: &'a str,
    },
    Weight(&'a TensorProto),
}

/// MatMulInteger and ConvInteger of what DynamicQuantizeLinear gave.
fn dynamic(graph: &mut GraphProto) -> Result<()> {
    let held = constants(graph);
    let made = producers(graph);
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, n) in graph.node.iter().enumerate() {
        n.input
            .iter()
            .for_each(|name| readers.entry(name).or_default().push(i));
    }
    let only_reader = |name: &str, op: &str| match readers.get(name).map(Vec::as_slice) {
        Some([one]) if graph.node[*one].op_type == op => Some(*one),
        _ => None,
    };
    let side = |node: &'_ NodeProto, value: usize, zero: usize| {
        let name = node.input.get(value)?;
        if let Some(weight) = held.get(name.as_str()) {
            return Some(Side::Weight(weight));
        }
        let quantizer = &graph.node[*made.get(name.as_str())?];
        let same = quantizer.op_type == "DynamicQuantizeLinear"
            && quantizer.output.len() == 3
            && Some(&quantizer.output[2]) == node.input.get(zero);
        same.then(|| Side::Rounded {
            value: quantizer.input[0].as_str(),
            scale: quantizer.output[1].as_str(),
        })
    };
    let mut gone = vec![false; graph.node.len()];
    let mut new: Vec<(usize, Vec<NodeProto>)> = Vec::new();
    let mut rounded: HashMap<String, String> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        let op = match node.op_type.as_str() {
            "MatMulInteger" => "MatMul",
            "ConvInteger" => "Conv",
            _ => continue,
        };
        let (Some(left), Some(right)) = (side(node, 0, 2), side(node, 1, 3)) else {
            continue;
        };
        let Some(cast) = only_reader(&node.output[0], "Cast") else {
            continue;
        };
        let Some(scaled) = only_reader(&graph.node[cast].output[0], "Mul") else {
            continue;
        };
        let Some(factor) = graph.node[scaled]
            .input
            .iter()
            .find(|n| **n != graph.node[cast].output[0])
        else {
            continue;
        };
        // The factor is the product of both scales.
        let scales = match made.get(factor.as_str()).map(|i| &graph.node[*i]) {
            Some(n) if n.op_type == "Mul" => &n.input[..],
            _ => continue,
        };
        let other = |own: &str| scales.iter().find(|s| *s != own);
        let mut nodes = Vec::new();
        let mut round = |value: &str| {
            let name = format!("{value}_rounded");
            rounded.entry(value.to_owned()).or_insert_with(|| {
                nodes.push(Range::Tensor.node(value, &name));
                name.clone()
            });
            name
        };
        let (a, b) = match (&left, &right) {
            (Side::Rounded { value, scale }, Side::Weight(weight)) => {
                let Some(weight_scale) = other(scale).filter(|s| held.contains_key(s.as_str()))
                else {
                    continue;
                };
                let a = round(value);
                let mut inputs = vec![weight.name.clone(), weight_scale.clone()];
                inputs.extend(node.input.get(3).filter(|n| !n.is_empty()).cloned());
                let axis = if op == "Conv" {
                    0
                } else {
                    weight.dims.len() as i64 - 1
                };
                let name = format!("{}_unfolded", node.output[0]);
                nodes.push(NodeProto {
                    op_type: "DequantizeLinear".into(),
                    name: name.clone(),
                    input: inputs,
                    output: vec![name.clone()],
                    attribute: vec![int("axis", axis)],
                    ..Default::default()
                });
                (a, name)
            }
            (
                Side::Rounded { value: a, scale },
                Side::Rounded {
                    value: b,
                    scale: of_b,
                },
            ) if other(scale).is_some_and(|s| s == of_b) => (round(a), round(b)),
            _ => continue,
        };
        nodes.push(NodeProto {
            op_type: op.into(),
            name: node.name.clone(),
            input: vec![a, b],
            output: vec![graph.node[scaled].output[0].clone()],
            attribute: node.attribute.clone(),
            ..Default::default()
        });
        gone[at] = true;
        gone[cast] = true;
        gone[scaled] = true;
        new.push((at, nodes));
    }
    let mut new = new.into_iter().peekable();
    let old = std::mem::take(&mut graph.node);
    for (at, (node, gone)) in old.into_iter().zip(gone).enumerate() {
        while let Some((_, nodes)) = new.next_if(|(place, _)| *place == at) {
            graph.node.extend(nodes);
        }
        if !gone {
            graph.node.push(node);
        }
    }
    Ok(())
}
