//! Files of others, read whole: their length is asked for before memory is.

use std::path::Path;

use crate::error::{Error, Result};

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
