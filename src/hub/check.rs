//! What a hub says of a file, and whether what came is that file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::HeaderMap;

use super::is_commit;
use crate::error::{Error, Result};
use crate::store;

/// What the hub says of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    hash: Option<Hash>,
    pub(super) bytes: Option<u64>,
    /// The commit that the file is of.
    pub(super) commit: Option<String>,
}

/// The hash that a hub states, in hex: of large files SHA-256, of files in git that of the blob.
#[derive(Clone, Debug)]
enum Hash {
    Sha256(String),
    Git(String),
}

impl Facts {
    /// Takes from an answer of the hub what was not said before.
    pub(super) fn hear(&mut self, headers: &HeaderMap) {
        let mark = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let hex = |m: &String| m.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = mark.filter(hex).and_then(|mark| match mark.len() {
            64 => Some(Hash::Sha256(mark)),
            40 => Some(Hash::Git(mark)),
            _ => None,
        });
        let size = text(headers, "x-linked-size").and_then(|s| s.parse().ok());
        // It becomes the name of a folder.
        let commit = text(headers, "x-repo-commit").filter(|c| is_commit(c));
        self.hash = self.hash.take().or(hash);
        self.bytes = self.bytes.or(size);
        self.commit = self.commit.take().or(commit.map(|c| c.to_lowercase()));
    }

    /// Whether `part` is the file that they are said of.
    ///
    /// # Errors
    /// Another length or hash.
    pub(super) fn check(&self, part: &Path) -> Result<()> {
        let found = length(part);
        if let Some(stated) = self.bytes.filter(|n| *n != found) {
            let expected = format!("{stated} bytes");
            return Err(Error::invalid(
                "download",
                format!("{found} bytes"),
                expected,
            ));
        }
        let (kind, found, stated) = match &self.hash {
            None => return Ok(()),
            Some(Hash::Sha256(stated)) => ("SHA-256", sha256(part)?, stated),
            Some(Hash::Git(stated)) => {
                // Mirrors state the hash of the bytes alone.
                if hash::<Sha1>(part, b"")?.eq_ignore_ascii_case(stated) {
                    return Ok(());
                }
                let start = format!("blob {found}\0");
                ("git hash", hash::<Sha1>(part, start.as_bytes())?, stated)
            }
        };
        if found.eq_ignore_ascii_case(stated) {
            return Ok(());
        }
        let expected = format!("{stated}, which the hub states: pull again");
        Err(Error::invalid(
            "download",
            format!("{kind} {found}"),
            expected,
        ))
    }
}

/// A header without the marks of weak and quoted values.
pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
}

pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Refuses a web page: networks that want a login answer every question with one.
pub(super) fn no_page(part: &Path) -> Result<()> {
    let mut head = [0; 64];
    let mut file = File::open(part).map_err(|e| Error::io(part, "open", e))?;
    let count = file
        .read(&mut head)
        .map_err(|e| Error::io(part, "read", e))?;
    let head = head[..count].trim_ascii_start().to_ascii_lowercase();
    if head.starts_with(b"<!doctype") || head.starts_with(b"<html") {
        let expected = "the file: does this network want a login first?";
        return Err(Error::invalid("download", "a web page", expected));
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> Result<String> {
    hash::<Sha256>(path, b"")
}

/// Hash of some bytes and then a file, in hex.
fn hash<H: Digest>(path: &Path, before: &[u8]) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let (mut hash, mut buffer) = (H::new_with_prefix(before), vec![0; 1 << 20]);
    loop {
        match file
            .read(&mut buffer)
            .map_err(|e| Error::io(path, "read", e))?
        {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(store::hex(&hash.finalize()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hash_that_git_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "what is up, doc?").unwrap();
        let check = |mark: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("etag", format!("W/\"{mark}\"").parse().unwrap());
            let mut facts = Facts::default();
            facts.hear(&headers);
            facts.check(&path)
        };
        // The example of the book "Pro Git"; the last is of the bytes alone.
        check("bd9dbf5aae1a3862dd1526723246b20206e5fc37").unwrap();
        check("BD9DBF5AAE1A3862DD1526723246B20206E5FC37").unwrap();
        check("7fc501a77d07085fcc6f47b5dc26249441691d24").unwrap();
        let words = check(&"0".repeat(40)).unwrap_err().to_string();
        assert!(words.contains("git hash bd9dbf5a"), "{words}");
        check("no-hash").unwrap();
    }
}
