//! Small parts of ONNX files, put together: attributes, declared inputs and outputs, who makes what.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

use super::tensor::I64;

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..Default::default()
    }
}

/// A whole number.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: value,
        ..attribute(name, AttributeType::Int)
    }
}

/// Whole numbers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        ..attribute(name, AttributeType::Ints)
    }
}

/// A float.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: value,
        ..attribute(name, AttributeType::Float)
    }
}

/// A word.
pub(crate) fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: value.into(),
        ..attribute(name, AttributeType::String)
    }
}

/// A whole number that a node states.
pub(crate) fn integer_of(node: &NodeProto, name: &str) -> Option<i64> {
    let found = node.attribute.iter().find(|a| a.name == name);
    found.map(|a| a.i)
}

/// A tensor of 64-bit integers.
pub(crate) fn whole_numbers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: I64,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A declared input or output; without `shape` its rank is open too.
pub(crate) fn declared(name: &str, kind: i32, shape: Option<Vec<Value>>) -> ValueInfoProto {
    let dim = |value| Dimension {
        value: Some(value),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: kind,
        shape: shape.map(|s| TensorShapeProto {
            dim: s.into_iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The node that makes each value.
pub(crate) fn producers(graph: &GraphProto) -> HashMap<&str, usize> {
    graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i)))
        .collect()
}

/// Names that a node reads, those that its inner graphs read from outside among them.
pub(crate) fn read_by<'a>(node: &'a NodeProto, into: &mut Vec<&'a str>) {
    into.extend(
        node.input
            .iter()
            .map(String::as_str)
            .filter(|n| !n.is_empty()),
    );
    for graph in node.attribute.iter().flat_map(|a| &a.g) {
        graph.node.iter().for_each(|n| read_by(n, into));
        into.extend(graph.output.iter().map(|o| o.name.as_str()));
    }
}

/// Every name that is read, outputs of the graph among them.
pub(crate) fn read_names(graph: &GraphProto) -> HashSet<String> {
    let mut read = Vec::new();
    graph.node.iter().for_each(|n| read_by(n, &mut read));
    read.extend(graph.output.iter().map(|o| o.name.as_str()));
    read.into_iter().map(str::to_owned).collect()
}
