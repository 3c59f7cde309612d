//! An ONNX file under construction: nodes, and constants that stay where they lie until written.
//!
//! Weights are turned and copied once, from the mapped file into the bytes of the ONNX file.
//! A `ModelProto` with all of them inside would hold them a second time.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension,
};

use super::weights::{Float, Stored};
use crate::encoder::onnx::proto;
use crate::error::{Error, Result};

/// The operators used are those of this version.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// No protobuf message may be longer, so no other program would read it.
const MAX_BYTES: usize = (1 << 31) - 1;
/// Side of the squares in which matrices are turned: two of them fit the nearest cache.
const TILE: usize = 32;

/// Keys of length-delimited fields: number × 8 + 2.
const MODEL_GRAPH: u8 = 7 << 3 | 2;
const GRAPH_INITIALIZER: u8 = 5 << 3 | 2;
const TENSOR_RAW_DATA: u8 = 9 << 3 | 2;

/// Why encoding cannot fail.
const GROWS: &str = "a vector grows as needed";

/// The name under which a value is known in the file.
pub(super) type Value = String;

#[derive(Default)]
pub(super) struct Graph<'a> {
    nodes: Vec<NodeProto>,
    constants: Vec<Constant<'a>>,
}

struct Constant<'a> {
    /// Name, shape and type; no data.
    about: TensorProto,
    data: Data<'a>,
}

enum Data<'a> {
    Made(Vec<u8>),
    Stored { from: Stored<'a>, layout: Layout },
}

/// In which order a tensor is written.
#[derive(Clone, Copy)]
enum Layout {
    AsItLies,
    /// A matrix of so many rows and columns, columns first.
    Turned(usize, usize),
}

/// One axis of an input or output.
pub(super) enum Axis {
    Fixed(usize),
    Free(&'static str),
}

/// An attribute of a node.
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
}

impl<'a> Graph<'a> {
    /// Adds a node called `name` and gives its output, which has the same name.
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> Value {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|i| (*i).clone()).collect(),
            output: vec![name.into()],
            attribute: attributes.iter().map(|(n, a)| a.proto(n)).collect(),
            ..Default::default()
        });
        name.into()
    }

    pub(super) fn ints(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Int64, Data::Made(bytes))
    }

    pub(super) fn floats(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl Iterator<Item = f32>,
    ) -> Value {
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        self.constant(name, shape, DataType::Float, Data::Made(bytes))
    }

    /// A tensor of `shape` in the precision of its file, cast to f32 where it is used. There
    /// is no bf16 in tract, so that becomes f32 here.
    pub(super) fn weight(&mut self, name: &str, shape: &[usize], from: Stored<'a>) -> Value {
        let half = self.stored(name, shape, from, Layout::AsItLies);
        self.as_f32(half, from)
    }

    /// As [`weight`](Self::weight), of a matrix stored as [n, k] and written as [k, n].
    pub(super) fn turned_weight(
        &mut self,
        name: &str,
        [k, n]: [usize; 2],
        from: Stored<'a>,
    ) -> Value {
        let half = self.stored(name, &[k, n], from, Layout::Turned(n, k));
        self.as_f32(half, from)
    }

    /// A table of which rows are looked up: given as it is stored, and whether it is f16.
    pub(super) fn table(&mut self, name: &str, shape: &[usize], from: Stored<'a>) -> (Value, bool) {
        let table = self.stored(name, shape, from, Layout::AsItLies);
        (table, from.float == Float::F16)
    }

    pub(super) fn cast_to_f32(&mut self, value: &Value) -> Value {
        let to = Attribute::Int(DataType::Float as i64);
        self.node("Cast", &format!("{value}/f32"), &[value], &[("to", to)])
    }

    fn as_f32(&mut self, value: Value, from: Stored<'a>) -> Value {
        match from.float {
            Float::F16 => self.cast_to_f32(&value),
            Float::F32 | Float::Bf16 => value,
        }
    }

    fn stored(&mut self, name: &str, shape: &[usize], from: Stored<'a>, layout: Layout) -> Value {
        let kind = match from.float {
            Float::F16 => DataType::Float16,
            Float::F32 | Float::Bf16 => DataType::Float,
        };
        self.constant(name, shape, kind, Data::Stored { from, layout })
    }

    fn constant(&mut self, name: &str, shape: &[usize], kind: DataType, data: Data<'a>) -> Value {
        let about = TensorProto {
            name: name.into(),
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: kind as i32,
            ..Default::default()
        };
        self.constants.push(Constant { about, data });
        name.into()
    }

    /// The bytes of the ONNX file.
    ///
    /// # Errors
    /// They would be more than a protobuf message can hold.
    pub(super) fn encode(self, input: ValueInfoProto, output: ValueInfoProto) -> Result<Vec<u8>> {
        let graph = GraphProto {
            name: output.name.clone(),
            node: self.nodes,
            input: vec![input],
            output: vec![output],
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "edgeclip".into(),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            ..Default::default()
        };
        let constants: usize = self.constants.iter().map(|c| field_len(c.len())).sum();
        let graph_len = graph.encoded_len() + constants;
        let total = model.encoded_len() + field_len(graph_len);
        if total > MAX_BYTES {
            return Err(Error::Limit {
                what: "bytes of one tower (weights in half precision take half)",
                found: total as u64,
                limit: MAX_BYTES as u64,
            });
        }
        let mut out = Vec::with_capacity(total);
        model.encode(&mut out).expect(GROWS);
        field(MODEL_GRAPH, graph_len, &mut out);
        graph.encode(&mut out).expect(GROWS);
        for constant in &self.constants {
            field(GRAPH_INITIALIZER, constant.len(), &mut out);
            constant.write(&mut out);
        }
        debug_assert_eq!(out.len(), total);
        Ok(out)
    }
}

fn field(key: u8, len: usize, out: &mut Vec<u8>) {
    out.push(key);
    prost::encode_length_delimiter(len, out).expect(GROWS);
}

fn field_len(len: usize) -> usize {
    1 + prost::length_delimiter_len(len) + len
}

impl Constant<'_> {
    fn len(&self) -> usize {
        self.about.encoded_len() + field_len(self.data.len())
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.about.encode(out).expect(GROWS);
        field(TENSOR_RAW_DATA, self.data.len(), out);
        self.data.write(out);
    }
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Made(bytes) => bytes.len(),
            Self::Stored { from, .. } if from.float == Float::Bf16 => 2 * from.bytes.len(),
            Self::Stored { from, .. } => from.bytes.len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Made(bytes) => out.extend_from_slice(bytes),
            Self::Stored { from, layout } => match (layout, from.float) {
                (Layout::AsItLies, Float::Bf16) => {
                    out.extend(from.f32s().flat_map(f32::to_le_bytes))
                }
                (Layout::AsItLies, _) => out.extend_from_slice(from.bytes),
                (Layout::Turned(rows, columns), float) => {
                    out.resize(start + self.len(), 0);
                    let (to, size) = (&mut out[start..], (*rows, *columns));
                    match float {
                        Float::F32 => turn(from.bytes, to, size, |v: [u8; 4]| v),
                        Float::F16 => turn(from.bytes, to, size, |v: [u8; 2]| v),
                        // A bf16 is the upper half of an f32.
                        Float::Bf16 => turn(from.bytes, to, size, |[low, high]| [0, 0, low, high]),
                    }
                }
            },
        }
    }
}

/// Writes the matrix `from` of (rows, columns) into `to` by columns.
fn turn<const FROM: usize, const TO: usize>(
    from: &[u8],
    to: &mut [u8],
    (rows, columns): (usize, usize),
    element: impl Fn([u8; FROM]) -> [u8; TO],
) {
    let (from, _) = from.as_chunks::<FROM>();
    let (to, _) = to.as_chunks_mut::<TO>();
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for column in left..(left + TILE).min(columns) {
                for row in top..(top + TILE).min(rows) {
                    to[column * rows + row] = element(from[row * columns + column]);
                }
            }
        }
    }
}

impl Attribute<'_> {
    fn proto(&self, name: &str) -> AttributeProto {
        match self {
            Self::Int(value) => proto::int(name, *value),
            Self::Ints(values) => proto::ints(name, values),
            Self::Float(value) => proto::float(name, *value),
        }
    }
}

/// A declared input or output.
pub(super) fn declared(name: &str, kind: DataType, shape: &[Axis]) -> ValueInfoProto {
    let dim = |axis: &Axis| match axis {
        Axis::Fixed(n) => dimension::Value::DimValue(*n as i64),
        Axis::Free(symbol) => dimension::Value::DimParam((*symbol).into()),
    };
    proto::declared(name, kind as i32, Some(shape.iter().map(dim).collect()))
}
