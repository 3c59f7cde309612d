//! Models in safetensors, as model hubs have them, to the two ONNX towers that a bundle keeps: without
//! Python, from the weights themselves.
//!
//! A configuration ([`hub`], [`open_clip`]) becomes a plain description ([`shape`]), names become
//! parts ([`names`]), and one builder ([`build`]) writes both families: transformers' `CLIPModel`
//! and `SiglipModel`, and open_clip's models.

mod build;
mod graph;
mod hub;
mod names;
mod open_clip;
mod shape;
#[cfg(test)]
mod tests;
mod weights;

use std::path::{Path, PathBuf};

use super::preprocessor::json;
use crate::error::{Error, Result};
use hub::Described;
use names::{Naming, Tower};
use shape::{Shape, TextPool};
use weights::Weights;

pub(super) use weights::INDEX;

/// A model's towers in ONNX, and what its files say of it.
pub(super) struct Towers {
    /// Where the weights were found.
    pub(super) file: PathBuf,
    pub(super) image: Vec<u8>,
    pub(super) text: Option<Vec<u8>>,
    pub(super) side_px: u32,
    /// exp(logit scale).
    pub(super) logit_scale: Option<f32>,
    pub(super) logit_bias: Option<f32>,
    pub(super) max_tokens: usize,
    pub(super) vocabulary: usize,
    /// The token at which the text encoder pools, where it is a certain one.
    pub(super) end: Option<u32>,
    pub(super) is_siglip: bool,
    /// SHA-256 over names and values of all weights.
    pub(super) fingerprint: String,
}

/// Stems of the files that weights are published in.
const STEMS: [&str; 3] = ["model", "open_clip_model", "open_clip_pytorch_model"];

/// Reads the model at `place`: a folder, or a file of weights with its configuration beside it.
///
/// # Errors
/// The configuration is missing or of another kind of model, or a weight is missing, damaged or
/// of another shape than it says.
pub(super) fn read(place: &Path, with_text: bool) -> Result<Towers> {
    let (Described { shape, naming }, weights) = find(place)?;
    shape.check().map_err(|e| e.at(&weights.file))?;
    towers(&shape, naming, &weights, with_text).map_err(|e| e.at(&weights.file))
}

/// The files that an index of weights names.
///
/// # Errors
/// It is unreadable, or names none, too many, or files elsewhere.
#[cfg(feature = "pull")]
pub(crate) fn shards(index: &Path) -> Result<Vec<String>> {
    weights::read_index(index).map(|(files, _)| files)
}

/// The first weights of which the names are known, and what the configuration of that naming says.
fn find(place: &Path) -> Result<(Described, Weights)> {
    let (dir, files) = if place.is_dir() {
        let files = STEMS.iter().filter_map(|stem| Weights::called(stem, place));
        (place, files.collect())
    } else {
        (
            place.parent().unwrap_or(Path::new("")),
            vec![place.to_owned()],
        )
    };
    let [hub_config, open_clip_config] =
        ["config.json", "open_clip_config.json"].map(|name| dir.join(name));
    let mut strange = None;
    for file in files {
        let weights = Weights::open(&file)?;
        let of_open_clip = weights.has_any("visual.") || weights.has_any("text.transformer.");
        if of_open_clip && open_clip_config.is_file() {
            let nested = weights.has("text.token_embedding.weight");
            let described =
                open_clip::read(&json(&open_clip_config)?, if nested { "text." } else { "" });
            let described = described.map_err(|e| e.at(&open_clip_config))?;
            return Ok((described, weights));
        }
        let of_hub = weights.has_any("vision_model.") || weights.has_any("text_model.");
        if of_hub && hub_config.is_file() {
            let described = hub::read(&json(&hub_config)?).map_err(|e| e.at(&hub_config))?;
            return Ok((described, weights));
        }
        // Folders of timm hold its own weights beside open_clip's.
        strange = strange.or(Some(weights));
    }
    let Some(weights) = strange else {
        return Err(Error::invalid("weights", "none", "model.safetensors").at(dir));
    };
    if !hub_config.is_file() {
        let expected = "config.json of transformers, or open_clip_config.json, beside the weights";
        return Err(Error::invalid("model configuration", "none", expected).at(dir));
    }
    // Another kind of model is best told by its kind, and else by the tensor that it lacks.
    let described = hub::read(&json(&hub_config)?).map_err(|e| e.at(&hub_config))?;
    Ok((described, weights))
}

/// exp(logit scale) and logit bias of weights that lie in one of `places`, beside ONNX files that lack them.
pub(super) fn scores_beside(places: &[PathBuf]) -> (Option<f32>, Option<f32>) {
    let files = places
        .iter()
        .filter_map(|p| STEMS.iter().find_map(|s| Weights::called(s, p)));
    // What cannot be read is no loss: the towers come from elsewhere.
    let weights: Vec<Weights> = files.filter_map(|f| Weights::open(&f).ok()).collect();
    let scalar = |name: &str| {
        let found = weights.iter().find_map(|w| w.scalar(name).ok().flatten());
        found.filter(|v| v.is_finite())
    };
    (scalar("logit_scale").map(f32::exp), scalar("logit_bias"))
}

fn towers(shape: &Shape, naming: Naming, weights: &Weights, with_text: bool) -> Result<Towers> {
    check_parts(shape, naming, weights)?;
    let text = shape.text.as_ref();
    let finite = |name: &str| Ok(weights.scalar(name)?.filter(|v| v.is_finite()));
    Ok(Towers {
        file: weights.file.clone(),
        image: build::image(&shape.image, shape.dim, weights, naming)?,
        text: text
            .filter(|_| with_text)
            .map(|t| build::text(t, shape.dim, weights, naming))
            .transpose()?,
        side_px: u32::try_from(shape.image.side_px).unwrap_or(u32::MAX),
        logit_scale: finite("logit_scale")?.map(f32::exp),
        logit_bias: finite("logit_bias")?,
        max_tokens: text.map_or(0, |t| t.max_tokens),
        vocabulary: text.map_or(0, |t| t.vocabulary),
        end: text.and_then(|t| match t.pool {
            TextPool::First(end) => Some(end),
            TextPool::Largest | TextPool::Last => None,
        }),
        is_siglip: naming == Naming::Siglip,
        fingerprint: weights.fingerprint(),
    })
}

/// Tells of a tower or projection that is not there at all, before single tensors are missed.
fn check_parts(shape: &Shape, naming: Naming, weights: &Weights) -> Result<()> {
    let below = |tower| {
        let (name, _) = naming.place(tower, "encoder.layers.0.layer_norm1.weight");
        name.split_once("0.").map_or("", |(b, _)| b).to_owned()
    };
    let (image, text) = (below(Tower::Image), below(Tower::Text));
    let (projection, _) = naming.place(Tower::Image, "projection.weight");
    let (missing, expected) = if !weights.has_any(&image) {
        (
            image,
            "a model with an image tower: is this one of texts alone?",
        )
    } else if shape.text.is_some() && !weights.has_any(&text) {
        (text, "the text tower that the configuration tells of")
    } else if naming != Naming::Siglip && !weights.has(&projection) {
        let expected = "the projection into the space of texts: save the whole CLIPModel, \
            or CLIPVisionModelWithProjection";
        (projection, expected)
    } else {
        return Ok(());
    };
    let found = format!("no tensor `{missing}…` among the weights");
    Err(Error::invalid("weights", found, expected))
}
