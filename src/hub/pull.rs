//! All files of a model, into a cache that later pulls and boards without a network use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fetch::{Hub, sha256};
use super::{BESIDE, WEIGHTS, Wanted};
use crate::error::{Error, Result};
use crate::store;

/// The list of a whole pull: files and their SHA-256. A folder without it is not whole.
const LIST: &str = "pulled.json";
const MAX_LIST: u64 = 1 << 20;

/// Hears of each file: its name, the bytes held, and all of them where known.
pub type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

fn folder_of(cache: &Path, wanted: &Wanted) -> PathBuf {
    let name = wanted.repository.replace('/', "--");
    cache.join(name).join(&wanted.revision)
}

/// The folder of a model that was pulled before, every file as it was then; none where it was not.
///
/// # Errors
/// A file is missing or changed since.
pub fn cached(cache: &Path, wanted: &Wanted) -> Result<Option<PathBuf>> {
    let folder = folder_of(cache, wanted);
    let list = folder.join(LIST);
    if !list.is_file() {
        return Ok(None);
    }
    let text = store::read_text_bounded(&list, "bytes of a list of files", MAX_LIST)?;
    let files: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|e| {
        Error::invalid(
            "list of files",
            e.to_string(),
            "names and hashes: delete the folder",
        )
        .at(&list)
    })?;
    for (file, stated) in files {
        let path = folder.join(&file);
        let known = WEIGHTS.contains(&file.as_str()) || BESIDE.contains(&file.as_str());
        if !known || sha256(&path)? != stated {
            let expected = "the file as it was pulled: delete the folder and pull again";
            return Err(Error::invalid("cached file", "other bytes", expected).at(&path));
        }
    }
    Ok(Some(folder))
}

/// Fetches a model into `cache` and returns its folder; what a pull before has left is gone on with.
///
/// # Errors
/// The hub refuses or fails, the repository has no model, or the cache cannot be written.
pub fn pull(
    hub: &Hub,
    cache: &Path,
    wanted: &Wanted,
    progress: &mut Progress<'_>,
) -> Result<PathBuf> {
    if let Some(folder) = cached(cache, wanted)? {
        return Ok(folder);
    }
    let folder = folder_of(cache, wanted);
    fs::create_dir_all(folder.join("onnx")).map_err(|e| Error::io(&folder, "create", e))?;
    // Two pulls of one model would write one file.
    let lock = fs::File::create(folder.join(".lock")).map_err(|e| Error::io(&folder, "lock", e))?;
    lock.lock().map_err(|e| Error::io(&folder, "lock", e))?;
    if let Some(folder) = cached(cache, wanted)? {
        return Ok(folder);
    }
    let mut files = BTreeMap::new();
    let mut one = |file: &str| {
        let to = folder.join(file);
        let there = to.is_file()
            || hub.fetch(
                &wanted.repository,
                &wanted.revision,
                file,
                &to,
                &mut |at, all| progress(file, at, all),
            )?;
        if there {
            files.insert(file.to_owned(), sha256(&to)?);
        }
        Ok::<bool, Error>(there)
    };
    let mut weights = None;
    for file in WEIGHTS {
        if one(file)? {
            weights = Some(file);
            break;
        }
    }
    let Some(weights) = weights else {
        let found = format!(
            "none of {} in {} at {}",
            WEIGHTS.join(", "),
            wanted.repository,
            wanted.revision
        );
        let expected = "a repository of CLIP or SigLIP: is the name right? A private or gated one needs HF_TOKEN";
        return Err(Error::invalid("model", found, expected));
    };
    for file in BESIDE
        .into_iter()
        .filter(|f| !f.starts_with("onnx/") || weights == "onnx/vision_model.onnx")
    {
        one(file)?;
    }
    let list = serde_json::to_vec_pretty(&files).expect("names and hashes always serialise");
    store::replace(&folder.join(LIST), &list)?;
    Ok(folder)
}
