//! The towers of a model brought to the stored form, with what their files say of them.

use std::path::{Path, PathBuf};

use prost::Message;
use serde_json::Value;

use super::folder::Files;
use super::onnx::{ImageEnds, Model, TextEnds};
use super::options::{Options, projection};
use super::preprocessor::json;
use super::towers;
use crate::error::{Error, Result};

/// Towers in the stored form, with what their files say.
pub(super) struct Parts {
    pub(super) origin: PathBuf,
    /// The files of weights.
    pub(super) taken: Vec<PathBuf>,
    pub(super) image: Vec<u8>,
    pub(super) text: Option<Text>,
    /// What identifies the image weights.
    pub(super) source: String,
    pub(super) picture: Option<(u32, u32)>,
    pub(super) logit_scale: Option<f32>,
    pub(super) logit_bias: Option<f32>,
    /// Whether it is SigLIP, which squashes pictures instead of cutting them and fills texts up.
    pub(super) siglip: bool,
    pub(super) notes: Vec<String>,
}

pub(super) struct Text {
    pub(super) tower: Vec<u8>,
    /// Tokens that the graph insists on.
    pub(super) length: Option<usize>,
    /// Rows of its table of tokens.
    pub(super) tokens: Option<usize>,
    /// Tokens of the longest text that it was made for.
    pub(super) most_tokens: Option<usize>,
    /// The token at which it pools, where it is a certain one.
    pub(super) end: Option<u32>,
    /// Whether it comes from an exporter, so that nobody has run it here yet.
    pub(super) unproven: bool,
}

impl Parts {
    pub(super) fn read(files: &Files, options: &Options) -> Result<Self> {
        match &files.weights {
            Some(place) => Self::of_weights(place, options),
            None => Self::of_onnx(files, options),
        }
    }

    fn of_weights(place: &Path, options: &Options) -> Result<Self> {
        options.check_for_safetensors().map_err(|e| e.at(place))?;
        let made = towers::read(place, options.needs_text())?;
        let text = made.text.map(|tower| Text {
            tower,
            length: None,
            tokens: Some(made.vocabulary),
            most_tokens: Some(made.max_tokens),
            end: made.end,
            unproven: false,
        });
        Ok(Self {
            origin: place.to_owned(),
            taken: vec![made.file],
            image: made.image,
            text,
            source: format!("safetensors sha256 {}", made.fingerprint),
            picture: Some((made.side_px, made.side_px)),
            logit_scale: made.logit_scale,
            logit_bias: made.logit_bias,
            siglip: made.is_siglip,
            notes: Vec::new(),
        })
    }

    fn of_onnx(files: &Files, options: &Options) -> Result<Self> {
        let config = files
            .config
            .as_deref()
            .map(json)
            .transpose()?
            .unwrap_or(Value::Null);
        let pooled_is_feature = config["model_type"]
            .as_str()
            .is_some_and(|t| t.starts_with("siglip"));
        let most_tokens = config["text_config"]["max_position_embeddings"]
            .as_u64()
            .map(|n| n as usize);
        let image_ends = ImageEnds {
            output: options.image_output.clone(),
            pool: options.pool,
            projection: options.projection.as_deref().map(projection).transpose()?,
            layout: options.layout,
            pooled_is_feature,
        };
        let text_ends = TextEnds {
            output: options.text_output.clone(),
            projection: options
                .text_projection
                .as_deref()
                .map(projection)
                .transpose()?,
            pooled_is_feature,
        };
        let (mut image, mut text) = (None, None);
        let (mut source, mut picture, mut logit_scale) = (String::new(), None, None);
        let (mut origin, mut taken) = (PathBuf::new(), Vec::new());
        for path in &files.onnx {
            super::sniff::model_file(path)?;
            let model = Model::read(path)?;
            logit_scale = logit_scale.or(model.logit_scale());
            let (pictures, tokens) = model.towers();
            let tokens = tokens && options.needs_text();
            if pictures && image.is_some() || tokens && text.is_some() {
                let expected = "one image model, and maybe one text model";
                return Err(
                    Error::invalid("files to import", "two models of one kind", expected).at(path),
                );
            }
            let second = (pictures && tokens).then(|| model.clone());
            let (of_image, of_text) = match (pictures, tokens) {
                (true, true) => (Some(model), second),
                (true, false) => (Some(model), None),
                (false, true) => (None, Some(model)),
                (false, false) if !options.needs_text() => continue,
                // The words for what it takes instead are the image tower's.
                (false, false) => (Some(model), None),
            };
            taken.push(path.clone());
            if let Some(model) = of_text {
                let rows = model.token_count();
                let length = model.text_length();
                let tower = model.text_tower(&text_ends)?.encode_to_vec();
                text = Some(Text {
                    tower,
                    length,
                    tokens: rows,
                    most_tokens,
                    end: None,
                    unproven: true,
                });
            }
            if let Some(model) = of_image {
                origin = path.clone();
                source = format!("onnx sha256 {}", model.sha256());
                picture = model.picture_size();
                image = Some(model.image_tower(&image_ends)?.encode_to_vec());
            }
        }
        let beside = towers::scores_beside(&files.places);
        let Some(image) = image else {
            let found = "a text model alone";
            let expected = "an image model too: `vision_model.onnx`, or `model.onnx` with both";
            return Err(Error::invalid("files to import", found, expected).at(&files.onnx[0]));
        };
        Ok(Self {
            origin,
            taken,
            image,
            text,
            source,
            picture,
            logit_scale: logit_scale.or(beside.0),
            logit_bias: beside.1,
            siglip: pooled_is_feature,
            notes: Vec::new(),
        })
    }
}
