//! Numbers inside ONNX's tensors, which lie in one of several places.

use tract_onnx::pb::TensorProto;

use crate::error::{Error, Result};

/// Element types by the numbers that ONNX gives them.
pub(crate) const F32: i32 = 1;
pub(crate) const U8: i32 = 2;
pub(crate) const I8: i32 = 3;
const U16: i32 = 4;
const I16: i32 = 5;
pub(crate) const I32: i32 = 6;
pub(crate) const I64: i32 = 7;
const BOOL: i32 = 9;
pub(crate) const F16: i32 = 10;
const F64: i32 = 11;
const U32: i32 = 12;
const U64: i32 = 13;
pub(crate) const BF16: i32 = 16;

pub(crate) fn floats(t: &TensorProto) -> Result<Vec<f32>> {
    if t.data_type != F32 {
        let found = format!("`{}` of element type {}", t.name, t.data_type);
        return Err(Error::invalid("quantization scale", found, "f32"));
    }
    Ok(if t.raw_data.is_empty() {
        t.float_data.clone()
    } else {
        t.raw_data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    })
}

pub(crate) fn integers(t: &TensorProto) -> Result<Vec<i64>> {
    let raw = &t.raw_data;
    let values: Vec<i64> = match t.data_type {
        _ if raw.is_empty() => t.int32_data.iter().map(|v| i64::from(*v)).collect(),
        U8 => raw.iter().map(|v| i64::from(*v)).collect(),
        I8 => raw.iter().map(|v| i64::from(v.cast_signed())).collect(),
        I32 => raw
            .chunks_exact(4)
            .map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect(),
        other => {
            let found = format!("`{}` of element type {other}", t.name);
            return Err(Error::invalid(
                "quantized tensor",
                found,
                "int8, uint8 or int32",
            ));
        }
    };
    let expected = t.dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d));
    if expected != i64::try_from(values.len()).ok() {
        let found = format!(
            "{} values in `{}` of shape {:?}",
            values.len(),
            t.name,
            t.dims
        );
        return Err(Error::invalid(
            "quantized tensor",
            found,
            "as many values as the shape says",
        ));
    }
    Ok(values)
}

/// What people call an element type.
pub(crate) fn kind_name(kind: i32) -> &'static str {
    match kind {
        F32 => "f32",
        F16 => "f16",
        BF16 => "bf16",
        F64 => "f64",
        U8 => "u8",
        I8 => "i8",
        I32 => "i32",
        I64 => "i64",
        BOOL => "bool",
        _ => "of an unknown type",
    }
}

/// Whether [`integers`] reads the type.
pub(crate) fn is_integer(kind: i32) -> bool {
    [U8, I8, I32].contains(&kind)
}

/// Bytes that the raw form of `t` takes; none for types without one.
pub(crate) fn len_bytes(t: &TensorProto) -> Option<u64> {
    let width = match t.data_type {
        U8 | I8 | BOOL => 1,
        U16 | I16 | F16 | BF16 => 2,
        F32 | I32 | U32 => 4,
        I64 | F64 | U64 => 8,
        _ => return None,
    };
    let count = t
        .dims
        .iter()
        .try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    count?.checked_mul(width)
}

pub(crate) fn float_tensor(
    name: &str,
    dims: Vec<i64>,
    values: impl Iterator<Item = f32>,
) -> TensorProto {
    let raw_data = values.flat_map(f32::to_le_bytes).collect();
    TensorProto {
        name: name.into(),
        dims,
        data_type: F32,
        raw_data,
        ..Default::default()
    }
}

pub(crate) fn scalar(name: &str, value: f32) -> TensorProto {
    float_tensor(name, Vec::new(), [value].into_iter())
}
