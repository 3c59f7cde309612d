//! Pulled models on disk: `OWNER--NAME/COMMIT/` with its files and their list, and `OWNER--NAME/.refs/BRANCH`
//! with the commit that a branch was last seen at. A hub that tells no commit leaves a folder named as the branch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::sha256;
use super::{BESIDE, WEIGHTS, Wanted, is_commit, is_shard};
use crate::error::{Error, Result};
use crate::store;

/// The list of a whole pull. A folder without it is not whole.
const LIST: &str = "pulled.json";
const MAX_LIST: u64 = 1 << 20;

/// A model that lies in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Where its files are.
    pub folder: PathBuf,
    /// The commit that all of them are of, where the hub told.
    pub commit: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    commit: Option<String>,
    /// SHA-256 by file.
    files: BTreeMap<String, String>,
}

/// The folder of a model at a commit, or at a branch of a hub that tells no commits.
pub(super) fn folder(cache: &Path, wanted: &Wanted) -> PathBuf {
    place(cache, wanted).join(&wanted.revision)
}

fn place(cache: &Path, wanted: &Wanted) -> PathBuf {
    cache.join(wanted.repository.replace('/', "--"))
}

/// The model that was pulled before, every file as it was then; none where it was not. No hub is asked: of a
/// branch it is the commit that was seen last.
///
/// # Errors
/// A file is missing or changed since.
pub fn cached(cache: &Path, wanted: &Wanted) -> Result<Option<Pulled>> {
    let seen = place(cache, wanted).join(".refs").join(&wanted.revision);
    if !seen.is_file() {
        return whole(&folder(cache, wanted));
    }
    let text = store::read_text_bounded(&seen, "bytes of a commit", 100)?;
    if !is_commit(&text) {
        let expected = "40 hex digits: delete the file and pull again";
        return Err(Error::invalid("commit of a branch", text, expected).at(&seen));
    }
    whole(&place(cache, wanted).join(text))
}

/// Keeps the commit that a branch was seen at.
pub(super) fn remember(cache: &Path, wanted: &Wanted, commit: &str) -> Result<()> {
    let seen = place(cache, wanted).join(".refs");
    fs::create_dir_all(&seen).map_err(|e| Error::io(&seen, "create", e))?;
    store::replace(&seen.join(&wanted.revision), commit.as_bytes())
}

/// The model in a folder, if its pull came to an end.
pub(super) fn whole(folder: &Path) -> Result<Option<Pulled>> {
    let path = folder.join(LIST);
    if !path.is_file() {
        return Ok(None);
    }
    let text = store::read_text_bounded(&path, "bytes of a list of files", MAX_LIST)?;
    let list: List = serde_json::from_str(&text).map_err(|e| {
        let expected = "a commit, and names and hashes: delete the folder";
        Error::invalid("list of files", e.to_string(), expected).at(&path)
    })?;
    for (file, stated) in list.files {
        let path = folder.join(&file);
        let name = file.as_str();
        let known = WEIGHTS.contains(&name) || BESIDE.contains(&name) || is_shard(name);
        if !known || sha256(&path)? != stated {
            let expected = "the file as it was pulled: delete the folder and pull again";
            return Err(Error::invalid("cached file", "other bytes", expected).at(&path));
        }
    }
    Ok(Some(Pulled {
        folder: folder.to_owned(),
        commit: list.commit,
    }))
}

/// Writes the list that makes a pull whole.
pub(super) fn finish(
    folder: &Path,
    commit: Option<&str>,
    files: BTreeMap<String, String>,
) -> Result<()> {
    let commit = commit.map(str::to_owned);
    let list = serde_json::to_vec_pretty(&List { commit, files })
        .expect("names and hashes always serialise");
    store::replace(&folder.join(LIST), &list)
}
