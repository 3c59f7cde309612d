//! What a file is by its first bytes, and words for what is no model.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// What may be a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Onnx,
    Safetensors,
}

/// Bytes that tell every kind apart.
const HEAD: u64 = 512;

const EXPORT: &str =
    "an ONNX export or a safetensors file; `docs/models.md` shows how to make either";
const UNPICKLED: &str = "safetensors: a pickle can run code when it is opened, so it never is here; where you trust it, convert it \
    with `python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('FILE', weights_only=True), 'model.safetensors')\"`";

/// The kind of the model file at `path`.
///
/// # Errors
/// The file cannot be read, or is something else; the words say what, and what to do.
pub(super) fn model_file(path: &Path) -> Result<Kind> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let length = file
        .metadata()
        .map_err(|e| Error::io(path, "read", e))?
        .len();
    let mut head = Vec::new();
    file.take(HEAD)
        .read_to_end(&mut head)
        .map_err(|e| Error::io(path, "read", e))?;
    kind(&head, length).map_err(|e| e.at(path))
}

/// Whether a file of edgeclip itself is at `path`.
pub(super) fn is_our_own(path: &Path) -> bool {
    let mut head = [0; OUR_HEAD.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *OUR_HEAD
}

const OUR_HEAD: &[u8; 6] = b"\x89ECLIP";

fn kind(head: &[u8], length: u64) -> Result<Kind> {
    let no_model = |found: &str, expected: &str| Err(Error::invalid("model file", found, expected));
    let text = head.trim_ascii_start();
    let lower = text[..text.len().min(64)].to_ascii_lowercase();
    match head {
        [] => no_model("an empty file", EXPORT),
        _ if head.starts_with(OUR_HEAD) => no_model(
            "a file of edgeclip itself beside others",
            "what a bundle is made of: an ONNX export or a safetensors file; a bundle alone is brought up to date",
        ),
        [0xff, 0xd8, 0xff, ..] | [0x89, b'P', b'N', b'G', ..] => no_model("a picture", EXPORT),
        _ if head.starts_with(b"version https://git-lfs.github.com/spec/") => no_model(
            "a Git LFS pointer, which stands for the weights",
            "the weights themselves: run `git lfs pull` in that folder, or `edgeclip model pull`",
        ),
        _ if lower.starts_with(b"<!doctype")
            || lower.starts_with(b"<html")
            || lower.starts_with(b"<?xml") =>
        {
            no_model(
                "a web page: the download answered with an error or a login",
                EXPORT,
            )
        }
        // PyTorch's own files are zips with a pickle inside.
        _ if head.starts_with(b"PK\x03\x04") && contains(head, b"data.pkl") => {
            no_model("a PyTorch pickle", UNPICKLED)
        }
        _ if head.starts_with(b"PK\x03\x04") => {
            no_model("a zip archive", "the model inside it: unpack it first")
        }
        [0x80, 2..=5, ..] => no_model("a Python pickle", UNPICKLED),
        [0x1f, 0x8b, ..] => no_model("a gzip archive", "the model inside it: unpack it first"),
        _ if is_safetensors(head, length) => Ok(Kind::Safetensors),
        _ if contains(&head[..head.len().min(16)], b"TFL3") => {
            no_model("a TensorFlow Lite model", EXPORT)
        }
        // A ModelProto begins with ir_version (field 1, varint) in every exporter; others may come first.
        [0x08 | 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => Ok(Kind::Onnx),
        _ => no_model("bytes of no known format", EXPORT),
    }
}

/// Eight bytes of length, then a JSON object.
fn is_safetensors(head: &[u8], length: u64) -> bool {
    let Some((first, rest)) = head.split_first_chunk::<8>() else {
        return false;
    };
    rest.trim_ascii_start().starts_with(b"{\"") && u64::from_le_bytes(*first) <= length.max(1 << 40)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stranger_is_called_by_its_name() {
        let said = |bytes: &[u8]| kind(bytes, 1000).unwrap_err().to_string();
        assert!(said(b"").contains("empty"));
        assert!(
            said(b"version https://git-lfs.github.com/spec/v1\noid sha256:")
                .contains("git lfs pull")
        );
        assert!(said(b"\n<!DOCTYPE html><html>").contains("web page"));
        assert!(said(b"PK\x03\x04....archive/data.pklFB").contains("pickle"));
        assert!(said(b"PK\x03\x04....readme.txt").contains("zip"));
        assert!(said(b"\x80\x02}q\x00.").contains("pickle"));
        assert!(said(b"\x1f\x8b\x08").contains("gzip"));
        assert!(said(b"\x1c\0\0\0TFL3").contains("TensorFlow"));
        assert!(said(b"\xff\xd8\xff\xe0").contains("a picture"));
        assert!(said(b"\x89ECLIP\r\n").contains("edgeclip itself"));
        assert!(said(b"\xfe\xed").contains("no known format"));
    }

    #[test]
    fn models_are_told_apart() {
        assert_eq!(kind(b"\x08\x08\x12\x07pytorch", 900).unwrap(), Kind::Onnx);
        assert_eq!(
            kind(b"\x10\0\0\0\0\0\0\0{\"a\":{}}", 900).unwrap(),
            Kind::Safetensors
        );
    }
}
