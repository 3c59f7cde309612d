//! Which of the files that a model comes in are taken.
//!
//! Folders from model hubs hold one model in many forms: `onnx/vision_model.onnx`,
//! `onnx/vision_model_fp16.onnx`, `model.safetensors` and so on.

use std::path::{Path, PathBuf};

use super::sniff::{self, Kind};
use super::towers::INDEX;
use crate::error::{Error, Result};

/// The files of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Files {
    /// ONNX files, one or two.
    pub(super) onnx: Vec<PathBuf>,
    /// A model in safetensors: its folder, or the one file or index that was named.
    pub(super) weights: Option<PathBuf>,
    /// `config.json`, `preprocessor_config.json` and `open_clip_config.json`.
    pub(super) config: Option<PathBuf>,
    pub(super) preprocessor: Option<PathBuf>,
    pub(super) open_clip: Option<PathBuf>,
    /// Folders that may hold a tokenizer, the likeliest first.
    pub(super) places: Vec<PathBuf>,
}

/// Suffixes of variants, the first of each being what it is asked for by; from the most exact on.
const VARIANTS: [&[&str]; 5] = [
    &["fp32", ""],
    &["fp16"],
    &["int8"],
    &["quantized"],
    &["uint8"],
];

impl Files {
    /// Finds the model in `paths`: one folder, or single files with what lies beside them.
    ///
    /// # Errors
    /// Nothing that can be imported, a file that is no model, or a variant that is not there.
    pub(super) fn find(paths: &[PathBuf], variant: Option<&str>) -> Result<Self> {
        match paths {
            [folder] if folder.is_dir() => Self::in_folder(folder, variant),
            files => Self::of_files(files),
        }
    }

    fn in_folder(folder: &Path, variant: Option<&str>) -> Result<Self> {
        let places = vec![folder.to_owned(), folder.join("onnx")];
        let mut exports = Vec::new();
        for place in places.iter().filter(|p| p.is_dir()) {
            exports.extend(onnx_files(place)?);
        }
        exports.sort();
        let weights = safetensors_in(folder)?;
        let taken = best_variant(&exports, variant);
        let exact = taken.as_ref().is_some_and(|(name, _)| name.is_empty());
        let mut files = Self::beside(places);
        files.weights = weights.filter(|_| variant.is_none() && !exact);
        match taken {
            _ if files.weights.is_some() => {}
            Some((_, onnx)) => files.onnx = onnx,
            None => return Err(nothing_in(folder, &exports, variant)),
        }
        Ok(files)
    }

    fn of_files(paths: &[PathBuf]) -> Result<Self> {
        let Some(first) = paths.first() else {
            return Err(Error::invalid(
                "files to import",
                "none",
                "a folder, or the files of a model",
            ));
        };
        let home = first.parent().unwrap_or(Path::new("")).to_owned();
        let above = home
            .parent()
            .map(Path::to_owned)
            .filter(|_| home.ends_with("onnx"));
        let mut files = Self::beside(std::iter::once(home.clone()).chain(above).collect());
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match &*name {
                "config.json" => files.config = Some(path.clone()),
                "preprocessor_config.json" => files.preprocessor = Some(path.clone()),
                "open_clip_config.json" => files.open_clip = Some(path.clone()),
                "tokenizer.json"
                | "vocab.json"
                | "merges.txt"
                | "vocab.txt"
                | "tokenizer_config.json" => {
                    files
                        .places
                        .insert(0, path.parent().unwrap_or(Path::new("")).to_owned());
                }
                _ if path.is_dir() => {
                    return Err(Error::invalid(
                        "files to import",
                        "a folder among files",
                        "one folder alone, or files",
                    )
                    .at(path));
                }
                _ => match sniff::model_file(path)? {
                    Kind::Onnx => files.onnx.push(path.clone()),
                    Kind::Safetensors => {
                        let named = index_of(path).unwrap_or_else(|| path.clone());
                        if files
                            .weights
                            .replace(named.clone())
                            .is_some_and(|w| w != named)
                        {
                            let expected = "one, or the files that an index beside them lists";
                            let found = "two files of safetensors";
                            return Err(Error::invalid("files to import", found, expected).at(path));
                        }
                    }
                },
            }
        }
        if files.onnx.len() > 2 || (files.weights.is_some() && !files.onnx.is_empty()) {
            let found = format!("{} ONNX files", files.onnx.len());
            return Err(Error::invalid(
                "files to import",
                found,
                "an image model and maybe a text model, in one form",
            ));
        }
        if files.onnx.is_empty() && files.weights.is_none() {
            return Err(Error::invalid(
                "files to import",
                "no model among them",
                "an ONNX file or model.safetensors",
            ));
        }
        Ok(files)
    }

    fn beside(places: Vec<PathBuf>) -> Self {
        let find = |name: &str| places.iter().map(|p| p.join(name)).find(|p| p.is_file());
        Self {
            config: find("config.json"),
            preprocessor: find("preprocessor_config.json"),
            open_clip: find("open_clip_config.json"),
            places,
            ..Self::default()
        }
    }
}

/// The index of the parts that `path`, such as `model-00001-of-00002.safetensors`, is one of.
fn index_of(path: &Path) -> Option<PathBuf> {
    let stem = path.file_stem()?.to_str()?;
    let (before, of) = stem.rsplit_once("-of-")?;
    let (name, at) = before.rsplit_once('-')?;
    let counts = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let index = path.with_file_name(format!("{name}.safetensors{INDEX}"));
    Some(index).filter(|index| counts(at) && counts(of) && index.is_file())
}

fn onnx_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, "read", e))?.path();
        if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// `folder`, if it holds a model in safetensors.
fn safetensors_in(folder: &Path) -> Result<Option<PathBuf>> {
    let names = [
        "model.safetensors",
        "model.safetensors.index.json",
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
    ];
    for path in names.iter().map(|n| folder.join(n)).filter(|p| p.is_file()) {
        if path.extension().is_some_and(|e| e == "json")
            || sniff::model_file(&path)? == Kind::Safetensors
        {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

/// Variant and tower that a file name states: `vision_model_fp16.onnx`, `model.onnx`.
fn parse(path: &Path) -> (&str, &str) {
    let stem = path
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or_default();
    let ends = VARIANTS
        .iter()
        .flat_map(|v| v.iter())
        .filter(|v| !v.is_empty());
    let end = ends.copied().find(|v| {
        stem.strip_suffix(*v)
            .is_some_and(|s| s.ends_with(['_', '-', '.']))
    });
    match end {
        Some(end) => (&stem[..stem.len() - end.len() - 1], end),
        None => (stem, ""),
    }
}

/// The files of the variant that is asked for, or of the most exact one that is there.
fn best_variant(exports: &[PathBuf], asked: Option<&str>) -> Option<(String, Vec<PathBuf>)> {
    let wanted: Vec<&str> = match asked {
        Some("fp32") => vec!["fp32", ""],
        Some(name) => vec![name],
        None => VARIANTS.iter().flat_map(|v| v.iter().copied()).collect(),
    };
    for variant in wanted {
        let of_it: Vec<&PathBuf> = exports.iter().filter(|p| parse(p).1 == variant).collect();
        let with = |words: &[&str]| {
            of_it
                .iter()
                .find(|p| words.iter().any(|w| parse(p).0.to_lowercase().contains(w)))
        };
        let image = with(&["vision", "visual", "image"]);
        let text = with(&["text"]);
        let files = match (image, text, &of_it[..]) {
            (Some(image), Some(text), _) => vec![(*image).clone(), (*text).clone()],
            (Some(image), None, _) => vec![(*image).clone()],
            // One file with both towers, under whatever name.
            (None, _, all) => match all
                .iter()
                .find(|p| parse(p).0 == "model")
                .or(all.first().filter(|_| all.len() == 1))
            {
                Some(one) => vec![(*one).clone()],
                None => continue,
            },
        };
        let exact = if variant == "fp32" { "" } else { variant };
        return Some((exact.to_owned(), files));
    }
    None
}

/// A file of PyTorch's own in `folder`.
fn pickle_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|e| Some(e.ok()?.path()));
    let mut pickles: Vec<PathBuf> = paths
        .filter(|p| {
            let end = p.extension().and_then(|e| e.to_str());
            matches!(end, Some("bin" | "pt" | "pth" | "ckpt"))
        })
        .collect();
    pickles.sort();
    pickles.into_iter().next()
}

fn nothing_in(folder: &Path, exports: &[PathBuf], variant: Option<&str>) -> Error {
    let names: Vec<_> = exports
        .iter()
        .filter_map(|p| p.file_name())
        .map(|n| n.to_string_lossy())
        .collect();
    if let Some(variant) = variant.filter(|_| !names.is_empty()) {
        let expected = format!("one of variant {variant}");
        return Error::invalid("ONNX files", names.join(", "), expected).at(folder);
    }
    if variant.is_some() && matches!(safetensors_in(folder), Ok(Some(_))) {
        let expected =
            "no `--variant`, which chooses among ONNX files; `--quantize int8` makes one of floats";
        return Error::invalid("folder to import", "safetensors", expected).at(folder);
    }
    if let Some(pickle) = pickle_in(folder) {
        // The words for pickles are the sniffer's.
        return match sniff::model_file(&pickle) {
            Err(e) => e,
            Ok(_) => {
                Error::invalid("model file", "no safetensors", "model.safetensors").at(&pickle)
            }
        };
    }
    let found = if names.is_empty() {
        "no model".into()
    } else {
        names.join(", ")
    };
    let expected = "bundle.toml, model.safetensors with config.json, or ONNX files (vision_model.onnx and text_model.onnx, or model.onnx), here or in onnx/";
    Error::invalid("folder to import", found, expected).at(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_most_exact_variant_is_taken_or_the_one_asked_for() {
        let all = paths(&[
            "onnx/model.onnx",
            "onnx/text_model.onnx",
            "onnx/text_model_fp16.onnx",
            "onnx/text_model_quantized.onnx",
            "onnx/vision_model.onnx",
            "onnx/vision_model_fp16.onnx",
            "onnx/vision_model_quantized.onnx",
        ]);
        let taken = |asked| best_variant(&all, asked).map(|(_, files)| files);
        assert_eq!(
            taken(None),
            Some(paths(&["onnx/vision_model.onnx", "onnx/text_model.onnx"]))
        );
        let half = paths(&["onnx/vision_model_fp16.onnx", "onnx/text_model_fp16.onnx"]);
        assert_eq!(taken(Some("fp16")), Some(half));
        assert_eq!(taken(Some("uint8")), None);
    }

    #[test]
    fn one_file_serves_under_any_name() {
        let taken = |names: &[&str]| best_variant(&paths(names), None).map(|(_, files)| files);
        assert_eq!(taken(&["clip.onnx"]), Some(paths(&["clip.onnx"])));
        assert_eq!(
            taken(&["model_int8.onnx"]),
            Some(paths(&["model_int8.onnx"]))
        );
        assert_eq!(taken(&["a.onnx", "b.onnx"]), None);
    }
}
