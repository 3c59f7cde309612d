//! Where a bundle may be written: told before the work, which may take minutes.

use std::path::Path;

use crate::bundle::Bundle;
use crate::error::{Error, Result};

/// Refuses an `out` that cannot become a bundle: a folder, a name in no folder, a device, or the
/// very weights that are imported.
///
/// # Errors
/// As said; the words tell what to give instead.
pub fn check_output(out: &Path) -> Result<()> {
    let wrong = |found: &str, expected: String| Error::invalid("output", found, expected);
    if out.is_dir() {
        let name = out.join("NAME.ecmodel");
        let expected = format!("a file to write, such as {}", name.display());
        return Err(wrong("a folder", expected).at(out));
    }
    let folder = if out.as_os_str().as_encoded_bytes().ends_with(b"/") {
        out
    } else {
        out.parent().unwrap_or(Path::new(""))
    };
    let named = !folder.as_os_str().is_empty();
    if named && folder.exists() && !folder.is_dir() {
        return Err(wrong("a file", "a folder to write into".into()).at(folder));
    }
    if named && !folder.exists() {
        let expected = format!("one that is there: `mkdir -p {}`", folder.display());
        return Err(wrong("no such folder", expected).at(folder));
    }
    if out.exists() && !(out.is_file() && Bundle::open(out).is_ok()) {
        let expected = "a new name, or a model bundle to replace".into();
        return Err(wrong("something else that is there already", expected).at(out));
    }
    Ok(())
}
