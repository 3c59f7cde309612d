//! Weights in safetensors files, one or several: mapped, checked, found by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::store::{self, Mapped};

/// Largest file of weights, in bytes.
const MAX_FILE_BYTES: u64 = 8 << 30;
/// Largest table of contents; that of the largest CLIP takes a fiftieth.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Files that one model may be spread over.
const MAX_SHARDS: usize = 256;
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// What the name of an index has after that of the whole file.
pub(in crate::import) const INDEX: &str = ".index.json";

/// All tensors of a model.
#[derive(Debug)]
pub(super) struct Weights {
    /// The file that they were opened by: one of weights, or an index.
    pub(super) file: PathBuf,
    shards: Vec<Shard>,
    /// Which shard holds a tensor; sorted, as the fingerprint needs it.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    bytes: Mapped,
    /// Where the tensors begin.
    start: usize,
    contents: Metadata,
}

/// Element types that weights are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F16,
    Bf16,
}

/// One tensor as it lies in its file, row-major and little-endian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) float: Float,
    pub(super) bytes: &'a [u8],
}

impl Float {
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl Stored<'_> {
    /// Every value, exactly.
    pub(super) fn f32s(&self) -> impl Iterator<Item = f32> + '_ {
        self.bytes
            .chunks_exact(self.float.size())
            .map(|b| match self.float {
                Float::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
                Float::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
                Float::Bf16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            })
    }
}

impl Weights {
    /// The weights called `name` in `dir`: `NAME.safetensors`, or the index of several files.
    pub(super) fn called(name: &str, dir: &Path) -> Option<PathBuf> {
        let ends = ["", INDEX];
        let files = ends.map(|end| dir.join(format!("{name}.safetensors{end}")));
        files.into_iter().find(|file| file.exists())
    }

    /// Opens one safetensors file, or all that an index lists.
    ///
    /// # Errors
    /// A file is missing, cut short, no safetensors file, or holds what another holds too.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let is_index = file.extension().is_some_and(|e| e == "json");
        if !is_index {
            return Self::of(file, &[file.to_owned()]);
        }
        let (files, names) = read_index(file)?;
        let paths: Vec<PathBuf> = files.iter().map(|f| file.with_file_name(f)).collect();
        let weights = Self::of(file, &paths)?;
        match names.iter().find(|n| !weights.places.contains_key(*n)) {
            Some(missing) => {
                let found = format!("no tensor `{missing}` in the files that it lists");
                let expected = "files of one model: copy all of them again";
                Err(Error::invalid("index of weights", found, expected).at(file))
            }
            None => Ok(weights),
        }
    }

    fn of(file: &Path, paths: &[PathBuf]) -> Result<Self> {
        let mut weights = Self {
            file: file.to_owned(),
            shards: Vec::new(),
            places: BTreeMap::new(),
        };
        for path in paths {
            let shard = Shard::open(path).map_err(|e| e.at(path))?;
            for name in shard.contents.offset_keys() {
                if weights.places.contains_key(&name) {
                    let found = format!("tensor `{name}` in two files");
                    let expected = "each tensor once: keep the files of one model alone";
                    return Err(Error::invalid("weights", found, expected).at(path));
                }
                weights.places.insert(name, weights.shards.len());
            }
            weights.shards.push(shard);
        }
        Ok(weights)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether any tensor's name begins so.
    pub(super) fn has_any(&self, prefix: &str) -> bool {
        let from = self.places.range(prefix.to_owned()..).next();
        from.is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// The tensor `name`, which must have the given shape.
    ///
    /// # Errors
    /// It is missing, of another shape, or not of floats.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>> {
        let (found, stored) = self.any_shape(name)?;
        if found != shape {
            let found = format!("`{name}` of shape {found:?}");
            let expected = format!("{shape:?}, as the configuration says: are both of one model?");
            return Err(Error::invalid("weights", found, expected));
        }
        Ok(stored)
    }

    /// The one value of the tensor `name`, if there is such a tensor.
    ///
    /// # Errors
    /// It holds more or less than one float.
    pub(super) fn scalar(&self, name: &str) -> Result<Option<f32>> {
        if !self.has(name) {
            return Ok(None);
        }
        let (shape, stored) = self.any_shape(name)?;
        match &stored.f32s().take(2).collect::<Vec<_>>()[..] {
            [one] => Ok(Some(*one)),
            _ => {
                let found = format!("`{name}` of shape {shape:?}");
                Err(Error::invalid("weights", found, "one number"))
            }
        }
    }

    fn any_shape(&self, name: &str) -> Result<(&[usize], Stored<'_>)> {
        let missing = || {
            let found = format!("no tensor `{name}` among {}", self.places.len());
            let expected = "all weights that the configuration asks for: are both of one model?";
            Error::invalid("weights", found, expected)
        };
        let shard = &self.shards[*self.places.get(name).ok_or_else(missing)?];
        let about = shard.contents.info(name).ok_or_else(missing)?;
        let float = match about.dtype {
            Dtype::F32 => Float::F32,
            Dtype::F16 => Float::F16,
            Dtype::BF16 => Float::Bf16,
            other => {
                let found = format!("`{name}` of {other:?}");
                return Err(Error::invalid("weights", found, "F32, F16 or BF16"));
            }
        };
        let bytes = shard.data(about.data_offsets).ok_or_else(missing)?;
        // The crate checks this too; what is built on it should not depend on that.
        let count = about
            .shape
            .iter()
            .try_fold(1_usize, |n, d| n.checked_mul(*d));
        if count.and_then(|n| n.checked_mul(float.size())) != Some(bytes.len()) {
            return Err(missing());
        }
        Ok((&about.shape, Stored { float, bytes }))
    }

    /// A hash of all names, types, shapes and values, the same however they are spread over files.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, shard) in &self.places {
            let shard = &self.shards[*shard];
            let Some(about) = shard.contents.info(name) else {
                continue;
            };
            hash.update(format!("{name} {:?} {:?}\n", about.dtype, about.shape));
            hash.update(shard.data(about.data_offsets).unwrap_or_default());
        }
        store::hex(&hash.finalize())
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let bytes = store::map_bounded(path, "bytes of weights", MAX_FILE_BYTES)?;
        let wrong = |found: String| {
            let expected = "a whole safetensors file: download it again";
            Error::invalid("weights", found, expected)
        };
        if bytes.starts_with(b"version https://git-lfs") {
            let found = "a Git LFS pointer, which stands for the weights";
            let expected = "the weights themselves: run `git lfs pull` in the folder";
            return Err(Error::invalid("weights", found, expected));
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
            let found = "a pickle of PyTorch under the name of safetensors";
            let expected = "a safetensors file; pickles are programs and are never run";
            return Err(Error::invalid("weights", found, expected));
        }
        let header = bytes.first_chunk().map(|n| u64::from_le_bytes(*n));
        let header = header.ok_or_else(|| wrong(format!("{} bytes", bytes.len())))?;
        if header > MAX_HEADER_BYTES {
            return Err(wrong(format!("a table of contents of {header} bytes")));
        }
        let (length, contents) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| wrong(format!("{} bytes: {e}", bytes.len())))?;
        Ok(Self {
            bytes,
            start: length.saturating_add(8),
            contents,
        })
    }

    fn data(&self, (from, to): (usize, usize)) -> Option<&[u8]> {
        self.bytes.get(self.start..)?.get(from..to)
    }
}

/// File names in order, and the tensors that they should hold.
pub(super) fn read_index(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = store::read_text_bounded(path, "bytes of an index", MAX_INDEX_BYTES)?;
    let index: Index = serde_json::from_str(&text).map_err(|e| {
        let expected = "`weight_map`, from tensor to file";
        Error::invalid("index of weights", e.to_string(), expected).at(path)
    })?;
    let (names, mut files): (Vec<String>, Vec<String>) = index.weight_map.into_iter().unzip();
    files.sort();
    files.dedup();
    let plain = |f: &String| Path::new(f).file_name().is_some_and(|n| n == f.as_str());
    if files.is_empty() || files.len() > MAX_SHARDS || !files.iter().all(plain) {
        let found = match files.iter().find(|f| !plain(f)) {
            Some(outside) => format!("`{outside}`"),
            None => format!("{} files", files.len()),
        };
        let expected = format!("1 to {MAX_SHARDS} files beside it");
        return Err(Error::invalid("index of weights", found, expected).at(path));
    }
    Ok((files, names))
}
