//! Heads in safetensors files, for NumPy, PyTorch and the like.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::head::{Head, Tensor, Tensors, Values};
use crate::store;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
const KIND: &str = "edgeclip.head";
const CLASSES: &str = "classes";
const SPACE: &str = "edgeclip.feature_space";

/// A head, and what it was learned for.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanged {
    /// The head.
    pub head: Head,
    /// Names of its classes, in the order of its rows.
    pub classes: Vec<String>,
    /// Id of its feature space, where the writer knew one.
    pub feature_space: Option<String>,
}

/// The bytes of a safetensors file with the arrays of a head; the metadata say its kind, the names of
/// the classes in the order of its rows, and its feature space.
///
/// # Errors
/// Another number of names than of rows.
pub fn write_head(of: &Exchanged) -> Result<Vec<u8>> {
    let (head, classes) = (&of.head, &of.classes);
    if classes.len() != head.classes() {
        let found = format!("{} names", classes.len());
        return Err(Error::invalid(
            "head to write",
            found,
            format!("{}, one a row", head.classes()),
        ));
    }
    let Tensors { kind, tensors } = Tensors::from(head);
    let arrays: Vec<(Tensor, Vec<u8>)> = tensors
        .into_iter()
        .map(|tensor| {
            let bytes = match &tensor.values {
                Values::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Values::U32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            (tensor, bytes)
        })
        .collect();
    let refused = |e: safetensors::SafeTensorError| {
        Error::invalid("head to write", e.to_string(), "arrays of a head")
    };
    let mut views = Vec::with_capacity(arrays.len());
    for (tensor, bytes) in &arrays {
        let dtype = match tensor.values {
            Values::F32(_) => Dtype::F32,
            Values::U32(_) => Dtype::U32,
        };
        views.push((
            &*tensor.name,
            TensorView::new(dtype, tensor.shape.clone(), bytes).map_err(refused)?,
        ));
    }
    let names = serde_json::to_string(classes)
        .map_err(|e| Error::invalid("class names", e.to_string(), "text"))?;
    let mut facts = HashMap::from([(KIND.to_owned(), kind), (CLASSES.to_owned(), names)]);
    if let Some(space) = &of.feature_space {
        facts.insert(SPACE.to_owned(), space.clone());
    }
    safetensors::serialize(views, Some(facts)).map_err(refused)
}

/// The head in the safetensors file at `path`.
///
/// # Errors
/// The file cannot be read, is too large, or holds no head; the words name what is missing.
pub fn read_head(path: &Path) -> Result<Exchanged> {
    let bytes = store::read_bounded(path, "bytes of a head", MAX_BYTES)?;
    parse(&bytes).map_err(|e| e.at(path))
}

fn parse(bytes: &[u8]) -> Result<Exchanged> {
    let refused = |e: safetensors::SafeTensorError| {
        Error::invalid(
            "head",
            e.to_string(),
            "a safetensors file that `edgeclip head export` or the like wrote",
        )
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let kind = header
        .metadata()
        .as_ref()
        .and_then(|facts| facts.get(KIND))
        .cloned();
    let kind = kind.ok_or_else(|| {
        Error::invalid(
            "head",
            format!("no `{KIND}` in its metadata"),
            "the kind of head",
        )
    })?;
    let file = SafeTensors::deserialize(bytes).map_err(refused)?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let words = view.data().as_chunks::<4>().0;
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(words.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::U32 => Values::U32(words.iter().map(|b| u32::from_le_bytes(*b)).collect()),
            other => {
                return Err(Error::invalid(
                    "tensor of a head",
                    format!("`{name}` of {other:?}"),
                    "F32 or U32",
                ));
            }
        };
        tensors.push(Tensor {
            name,
            shape: view.shape().to_vec(),
            values,
        });
    }
    let head = Head::try_from(Tensors { kind, tensors })?;
    let facts = header.metadata().clone().unwrap_or_default();
    let list = facts.get(CLASSES).map_or("", String::as_str);
    let classes: Vec<String> = serde_json::from_str(list).map_err(|_| {
        let expected = "the names of its classes as a JSON list under `classes`";
        Error::invalid("head", "no list of classes in its metadata", expected)
    })?;
    Ok(Exchanged {
        head,
        classes,
        feature_space: facts.get(SPACE).cloned(),
    })
}
