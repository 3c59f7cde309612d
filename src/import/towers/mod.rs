//! Models in safetensors, as model hubs have them, to the two ONNX towers that a bundle keeps: without
//! Python, from the weights themselves.
//!
//! A configuration becomes a plain description ([`shape`]), names become parts ([`names`]), and one
//! builder ([`build`]) writes both families: transformers' `CLIPModel` and `SiglipModel`, and
//! open_clip's models.

mod build;
mod config;
mod graph;
mod names;
mod shape;
mod weights;

use std::path::Path;

use crate::error::{Error, Result};
use names::Naming;
use shape::{Shape, TextPool};
use weights::Weights;

/// A model's towers in ONNX, and what its files say of it.
pub(super) struct Towers {
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
    /// Bytes of the weights.
    pub(super) len_bytes: u64,
}

/// Stems of the files that weights are published in.
const STEMS: [&str; 3] = ["model", "open_clip_model", "open_clip_pytorch_model"];

/// Reads the model in `dir`.
///
/// # Errors
/// The configuration is missing or of another kind of model, or a weight is missing, damaged or
/// of another shape than it says.
pub(super) fn read(dir: &Path, with_text: bool) -> Result<Towers> {
    let mut found = None;
    for stem in STEMS {
        if let Some(weights) = Weights::find(dir, stem)? {
            found = Some(weights);
            break;
        }
    }
    let weights =
        found.ok_or_else(|| Error::invalid("weights", "none", "model.safetensors").at(dir))?;
    let (shape, naming) = config::read(dir, &weights)?;
    shape.check().map_err(|e| e.at(dir))?;
    towers(&shape, naming, &weights, with_text).map_err(|e| e.at(dir))
}

fn towers(shape: &Shape, naming: Naming, weights: &Weights, with_text: bool) -> Result<Towers> {
    let text = shape.text.as_ref();
    let finite = |name: &str| Ok(weights.scalar(name)?.filter(|v| v.is_finite()));
    Ok(Towers {
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
        len_bytes: weights.len_bytes(),
    })
}
