//! Half floats to f32: the file keeps them, the machine computes in f32.
//!
//! tract runs halves ten times slower than floats on a CPU without half arithmetic, and refuses some
//! graphs that mix both; a half widened to f32 is the same number.

use std::collections::{HashMap, HashSet};

use half::{bf16, f16};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

use super::tensor::{BF16, F16, F32};

/// Makes every half in `graph` an f32: weights, constants, casts, inputs and outputs.
pub(crate) fn halves(graph: &mut GraphProto) {
    graph.initializer.iter_mut().for_each(tensor);
    for node in &mut graph.node {
        let casts = node.op_type == "Cast";
        for attribute in &mut node.attribute {
            let AttributeProto { t, g, tensors, .. } = attribute;
            t.iter_mut().chain(tensors).for_each(tensor);
            g.iter_mut().for_each(halves);
            if casts && attribute.name == "to" && is_half(attribute.i as i32) {
                attribute.i = F32.into();
            }
        }
    }
    drop_idle_casts(graph);
    let infos = graph.input.iter_mut().chain(&mut graph.output);
    infos.for_each(info);
}

/// A cast to f32 of a weight that is f32 by now is the weight itself, which rewrites then see.
fn drop_idle_casts(graph: &mut GraphProto) {
    let floats: HashSet<&str> = graph
        .initializer
        .iter()
        .filter(|t| t.data_type == F32)
        .map(|t| t.name.as_str())
        .collect();
    let given = |name: &str| graph.output.iter().any(|o| o.name == name);
    let idle = |n: &NodeProto| {
        let to_f32 = n
            .attribute
            .iter()
            .any(|a| a.name == "to" && a.i == i64::from(F32));
        n.op_type == "Cast"
            && to_f32
            && floats.contains(n.input[0].as_str())
            && !given(&n.output[0])
    };
    let renamed: HashMap<String, String> = graph
        .node
        .iter()
        .filter(|n| n.input.len() == 1 && n.output.len() == 1 && idle(n))
        .map(|n| (n.output[0].clone(), n.input[0].clone()))
        .collect();
    graph
        .node
        .retain(|n| n.output.len() != 1 || !renamed.contains_key(&n.output[0]));
    for input in graph.node.iter_mut().flat_map(|n| &mut n.input) {
        if let Some(weight) = renamed.get(input) {
            input.clone_from(weight);
        }
    }
}

fn is_half(kind: i32) -> bool {
    kind == F16 || kind == BF16
}

fn info(info: &mut ValueInfoProto) {
    let kind = info.r#type.as_mut().and_then(|t| t.value.as_mut());
    if let Some(type_proto::Value::TensorType(t)) = kind
        && is_half(t.elem_type)
    {
        t.elem_type = F32;
    }
}

fn tensor(t: &mut TensorProto) {
    let widen = match t.data_type {
        F16 => |bits| f16::from_bits(bits).to_f32(),
        BF16 => |bits| bf16::from_bits(bits).to_f32(),
        _ => return,
    };
    // Without raw bytes, halves lie as bits in the low end of 32-bit integers.
    let bits: Box<dyn Iterator<Item = u16>> = if t.raw_data.is_empty() {
        Box::new(t.int32_data.iter().map(|v| *v as u16))
    } else {
        let (pairs, _) = t.raw_data.as_chunks::<2>();
        Box::new(pairs.iter().map(|b| u16::from_le_bytes(*b)))
    };
    t.raw_data = bits.flat_map(|b| widen(b).to_le_bytes()).collect();
    t.int32_data.clear();
    t.data_type = F32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::onnx::tensor::floats;

    #[test]
    fn both_kinds_of_halves_in_both_places_become_the_same_floats() {
        let values = [1.5_f32, -0.0078125, 240.0];
        let bits16 = values.map(|v| f16::from_f32(v).to_bits());
        let bits_b = values.map(|v| bf16::from_f32(v).to_bits());
        for (data_type, bits) in [(F16, bits16), (BF16, bits_b)] {
            let raw = TensorProto {
                dims: vec![3],
                data_type,
                raw_data: bits.iter().flat_map(|b| b.to_le_bytes()).collect(),
                ..Default::default()
            };
            let listed = TensorProto {
                raw_data: Vec::new(),
                int32_data: bits.iter().map(|b| i32::from(*b)).collect(),
                ..raw.clone()
            };
            for mut t in [raw, listed] {
                tensor(&mut t);
                assert_eq!(floats(&t).unwrap(), values);
            }
        }
    }
}
