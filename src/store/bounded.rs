//! Files of others, read whole or mapped: their length is asked for before memory is.

use std::path::Path;

use super::map;
use crate::error::{Error, Result};

/// The bytes of a mapped file; they cost memory only while they are read.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl std::ops::Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps the file at `path`, which must keep its length while the map lives; `what` names its
/// bytes in the refusal of more than `limit`.
///
/// # Errors
/// The file is empty or no file, cannot be mapped, or is longer than `limit` bytes.
pub fn map_bounded(path: &Path, what: &'static str, limit: u64) -> Result<Mapped> {
    check(path, what, limit)?;
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "read", e))?;
    let about = file.metadata().map_err(|e| Error::io(path, "read", e))?;
    if !about.is_file() || about.len() == 0 {
        let found = if about.is_file() {
            "no bytes"
        } else {
            "no file"
        };
        return Err(Error::invalid(what, found, "a file that holds them: copy it again").at(path));
    }
    let map = map::map(&file).map_err(|e| Error::io(path, "map", e))?;
    Ok(Mapped(map))
}

/// The bytes of the file at `path`; `what` names them in the refusal of more than `limit`.
///
/// # Errors
/// The file cannot be read, or is longer than `limit` bytes.
pub fn read_bounded(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>> {
    check(path, what, limit)?;
    std::fs::read(path).map_err(|e| Error::io(path, "read", e))
}

/// As [`read_bounded`], of a file of text.
///
/// # Errors
/// As [`read_bounded`], and bytes that are no UTF-8.
pub fn read_text_bounded(path: &Path, what: &'static str, limit: u64) -> Result<String> {
    check(path, what, limit)?;
    std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))
}

fn check(path: &Path, what: &'static str, limit: u64) -> Result<()> {
    let about = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?;
    let found = about.len();
    if found > limit {
        return Err(Error::Limit { what, found, limit }.at(path));
    }
    Ok(())
}
