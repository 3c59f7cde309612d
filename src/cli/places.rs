//! Where models and classifiers lie when nobody says.

use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::bundle::Bundle;
use crate::error::{Error, Result};

const MODEL: &str = "starter.ecmodel";
const CLASSIFIER: &str = "default.ecclass";

/// `edgeclip` below the folder that `variable` names, or below `fallback` in the home folder.
pub(super) fn user_folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |v: std::ffi::OsString| Some(PathBuf::from(v)).filter(|p| p.is_absolute());
    std::env::var_os(variable)
        .and_then(absolute)
        .or_else(|| {
            std::env::var_os("HOME")
                .and_then(absolute)
                .map(|h| h.join(fallback))
        })
        .map(|d| d.join("edgeclip"))
}

fn user_data() -> Option<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share")
}

/// Folder of the user's own model bundles.
pub(super) fn user_models() -> Option<PathBuf> {
    user_data().map(|d| d.join("models"))
}

/// Folders that may hold model bundles: the user's, the service's, the package's, the checkout's.
pub(super) fn model_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = user_models().into_iter().collect();
    folders.push("/var/lib/edgeclip/models".into());
    folders.push("/usr/share/edgeclip/models".into());
    if let Some(dir) = std::env::current_exe()
        .ok()
        .as_deref()
        .and_then(Path::parent)
    {
        folders.push(dir.join("../share/edgeclip/models"));
        // `cargo build` leaves the program in target/release of the checkout.
        folders.push(dir.join("../../models"));
    }
    folders
}

/// The model bundle in force.
///
/// # Errors
/// None was named and none lies in the usual places, or it cannot be opened.
pub(super) fn open_model(settings: &Settings) -> Result<Bundle> {
    let bundle = Bundle::open(&model_path(settings)?)?;
    log::info!(
        "model {} from {} ({})",
        bundle.card().name,
        bundle.path().display(),
        settings.model.source
    );
    Ok(bundle)
}

/// Where the model bundle in force lies.
pub(super) fn model_path(settings: &Settings) -> Result<PathBuf> {
    let folders = model_folders();
    if let Some(path) = &settings.model.value {
        return Ok(installed(path, &folders).unwrap_or_else(|| path.clone()));
    }
    let found = folders.iter().map(|f| f.join(MODEL)).find(|p| p.is_file());
    found.map(|p| p.canonicalize().unwrap_or(p)).ok_or_else(|| {
        let looked: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        Error::invalid(
            "model",
            format!("no {MODEL} in {}", looked.join(", ")),
            "a bundle: name it with --model",
        )
    })
}

/// The bundle called `name` in one of `folders`, where it is a bare name and no file.
fn installed(name: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let bare = name.components().count() == 1 && name.extension().is_none() && !name.exists();
    let file = name.with_extension("ecmodel");
    let mut places = folders.iter().map(|f| f.join(&file));
    places.find(|p| bare && p.is_file())
}

/// The bundle with the text encoder that goes with `model`, if one is named or installed.
///
/// # Errors
/// It was named and cannot be opened.
pub(super) fn open_text_model(settings: &Settings, model: &Bundle) -> Result<Option<Bundle>> {
    if let Some(path) = &settings.text_model.value {
        return Bundle::open(path).map(Some);
    }
    let name = format!("{}-text.ecmodel", model.card().name);
    let beside = model.path().parent().map(Path::to_owned).into_iter();
    for path in beside
        .chain(model_folders())
        .map(|f| f.join(&name))
        .filter(|p| p.is_file())
    {
        match Bundle::open(&path) {
            Ok(text) if text.feature_space() == model.feature_space() => {
                log::info!("text encoder from {}", path.display());
                return Ok(Some(text));
            }
            Ok(_) => log::info!("{}: of another feature space, passed over", path.display()),
            Err(e) => log::warn!("{e}; passed over"),
        }
    }
    Ok(None)
}

/// Where the classifier in force lies, whether or not it is there yet.
///
/// # Errors
/// None was named and there is no user's data folder.
pub(super) fn classifier_path(settings: &Settings) -> Result<PathBuf> {
    if let Some(path) = &settings.classifier.value {
        return Ok(path.clone());
    }
    let user = user_data().map(|d| d.join(CLASSIFIER));
    let service = PathBuf::from("/var/lib/edgeclip").join(CLASSIFIER);
    match user {
        Some(path) if path.is_file() || !service.is_file() => Ok(path),
        None if !service.is_file() => {
            let expected = "a home folder, or a file named with --classifier";
            Err(Error::invalid("classifier", "no place to look", expected))
        }
        _ => Ok(service),
    }
}
