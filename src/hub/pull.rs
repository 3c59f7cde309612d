//! All files of a model, of one commit, into a cache that later pulls and boards without a network use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::cache::{self, Pulled};
use super::check::sha256;
use super::fetch::Hub;
use super::{BESIDE, INDEX, WEIGHTS, Wanted, is_shard};
use crate::error::{Error, Result};
use crate::import;

/// They tell what kind of model it is, and are small.
const CONFIGURATIONS: [&str; 2] = ["config.json", "open_clip_config.json"];

/// Hears of each file: its name, the bytes held, and all of them where known.
pub type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

/// Fetches a model into `cache`; what a pull before has left is gone on with. A branch or tag is asked for
/// its commit first, and then everything is of that commit; what is there of it is not fetched again.
///
/// # Errors
/// The hub refuses or fails, the repository has no model, or the cache cannot be written.
pub fn pull(
    hub: &Hub,
    cache: &Path,
    wanted: &Wanted,
    progress: &mut Progress<'_>,
) -> Result<Pulled> {
    let commit = if wanted.is_commit() {
        Some(wanted.revision.clone())
    } else {
        hub.commit(wanted)?
    };
    let pinned = Wanted {
        repository: wanted.repository.clone(),
        revision: commit.clone().unwrap_or(wanted.revision.clone()),
    };
    let folder = cache::folder(cache, &pinned);
    if commit.is_none() && cache::whole(&folder)?.is_some() {
        log::warn!(
            "the hub tells no commit of {}: taken as pulled before; to pull it again, delete {}",
            wanted.revision,
            folder.display()
        );
    }
    let pulled = fetch(hub, &pinned, &folder, commit, progress)?;
    if let Some(commit) = pulled.commit.as_ref().filter(|_| !wanted.is_commit()) {
        cache::remember(cache, wanted, commit)?;
    }
    Ok(pulled)
}

/// Makes a folder whole.
fn fetch(
    hub: &Hub,
    pinned: &Wanted,
    folder: &Path,
    commit: Option<String>,
    progress: &mut Progress<'_>,
) -> Result<Pulled> {
    if let Some(pulled) = cache::whole(folder)? {
        return Ok(pulled);
    }
    fs::create_dir_all(folder.join("onnx")).map_err(|e| Error::io(folder, "create", e))?;
    // Two pulls of one model would write one file.
    let lock = fs::File::create(folder.join(".lock")).map_err(|e| Error::io(folder, "lock", e))?;
    lock.lock().map_err(|e| Error::io(folder, "lock", e))?;
    if let Some(pulled) = cache::whole(folder)? {
        return Ok(pulled);
    }
    let mut files = BTreeMap::new();
    let mut one = |file: &str| {
        let to = folder.join(file);
        let there =
            to.is_file() || hub.fetch(pinned, file, &to, &mut |at, all| progress(file, at, all))?;
        if there {
            files.insert(file.to_owned(), sha256(&to)?);
        }
        Ok(there)
    };
    for config in CONFIGURATIONS {
        if one(config)? {
            import::check_kind(&folder.join(config))?;
        }
    }
    let weights = weights(pinned, folder, &mut one)?;
    for file in BESIDE {
        if !file.starts_with("onnx/") || weights == "onnx/vision_model.onnx" {
            one(file)?;
        }
    }
    cache::finish(folder, commit.as_deref(), files)?;
    let folder = folder.to_owned();
    Ok(Pulled { folder, commit })
}

/// The first kind of weights that the repository has, fetched by `one`.
fn weights(
    pinned: &Wanted,
    folder: &Path,
    one: &mut dyn FnMut(&str) -> Result<bool>,
) -> Result<&'static str> {
    for file in WEIGHTS {
        if one(file)? {
            if file == INDEX {
                shards(&folder.join(INDEX), one)?;
            }
            return Ok(file);
        }
    }
    let found = format!(
        "none of {} in {} at {}",
        WEIGHTS.join(", "),
        pinned.repository,
        pinned.revision
    );
    let expected = "a repository of CLIP or SigLIP with safetensors or ONNX files (pickles are never fetched): is the name right? \
         A private or gated one needs HF_TOKEN";
    Err(Error::invalid("model", found, expected))
}

/// Every file that an index of weights names, fetched by `one`.
fn shards(index: &Path, one: &mut dyn FnMut(&str) -> Result<bool>) -> Result<()> {
    let wrong = |found, expected| Error::invalid("index of weights", found, expected).at(index);
    let named = import::shards(index)?;
    // All are looked at first: nothing is asked of the hub for an index that lies.
    if let Some(other) = named.iter().find(|name| !is_shard(name)) {
        let expected = "names of files beside it that end in .safetensors";
        return Err(wrong(format!("`{other}`"), expected));
    }
    for name in &named {
        if !one(name)? {
            let found = format!("`{name}`, which the repository lacks");
            return Err(wrong(found, "all of its files there"));
        }
    }
    Ok(())
}
