//! Weights that an ONNX file keeps in files beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};
use tract_onnx::pb::{GraphProto, TensorProto};

use crate::encoder::onnx::tensor::len_bytes;
use crate::error::{Error, Result};

/// Most bytes of weights beside one file.
const MAX_BYTES: u64 = 8 << 30;

/// Brings all weights of `graph` inside and feeds them to `hash`.
pub(super) fn gather(graph: &mut GraphProto, onnx: &Path, hash: &mut Sha256) -> Result<()> {
    let mut files = HashMap::new();
    let mut total = 0;
    let inner = graph
        .node
        .iter_mut()
        .flat_map(|n| &mut n.attribute)
        .flat_map(|a| &mut a.t);
    for tensor in graph.initializer.iter_mut().chain(inner) {
        if tensor.data_location != Some(1) && tensor.external_data.is_empty() {
            continue;
        }
        let bytes = read(tensor, onnx, &mut files)?;
        total += bytes.len() as u64;
        if total > MAX_BYTES {
            let what = "bytes of weights";
            return Err(Error::Limit {
                what,
                found: total,
                limit: MAX_BYTES,
            }
            .at(onnx));
        }
        hash.update(&bytes);
        tensor.raw_data = bytes;
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(())
}

fn read(tensor: &TensorProto, onnx: &Path, files: &mut HashMap<String, File>) -> Result<Vec<u8>> {
    let fact = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let wrong = |found: String, expected: &str| {
        Error::invalid("weights beside the ONNX file", found, expected).at(onnx)
    };
    let name = fact("location").unwrap_or_default();
    let inside = Path::new(name)
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if name.is_empty() || !inside {
        return Err(wrong(
            format!("`{}` at `{name}`", tensor.name),
            "a file in the same folder",
        ));
    }
    let number = |key: &str, other: u64| fact(key).map_or(Ok(other), str::parse::<u64>);
    let needed = len_bytes(tensor).ok_or_else(|| {
        wrong(
            format!("`{}` of unknown length", tensor.name),
            "a shape and type",
        )
    })?;
    let offset = number("offset", 0);
    let length = number("length", needed);
    let (Ok(offset), Ok(length)) = (offset, length) else {
        return Err(wrong(
            format!("`{}` at no number", tensor.name),
            "an offset and a length",
        ));
    };
    if length != needed {
        let found = format!(
            "{length} bytes for `{}` of shape {:?}",
            tensor.name, tensor.dims
        );
        return Err(wrong(found, &format!("{needed}")));
    }
    let path = onnx.parent().unwrap_or(Path::new("")).join(name);
    let file = match files.entry(name.to_owned()) {
        std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
        std::collections::hash_map::Entry::Vacant(e) => {
            let file = File::open(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => wrong(
                    format!("no `{name}`"),
                    "that file in the same folder: it holds the weights",
                ),
                _ => Error::io(&path, "open", e),
            })?;
            e.insert(file)
        }
    };
    let held = file
        .metadata()
        .map_err(|e| Error::io(&path, "read", e))?
        .len();
    if offset.checked_add(length).is_none_or(|end| end > held) {
        let found = format!(
            "{held} bytes, {length} wanted at {offset} for `{}`",
            tensor.name
        );
        return Err(Error::invalid(
            "weights beside the ONNX file",
            found,
            "the whole file: was the download complete?",
        )
        .at(&path));
    }
    let mut bytes = vec![0; usize::try_from(length).expect("held against the file")];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|e| Error::io(&path, "read", e))?;
    Ok(bytes)
}
