//! Configurations of transformers and open_clip to one plain description.
//!
//! What a configuration leaves out has the default of the program that wrote it: transformers'
//! `CLIPConfig` and `SiglipConfig`, open_clip's `CLIPVisionCfg` and `CLIPTextCfg`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::super::preprocessor::json;
use super::names::Naming;
use super::shape::{Activation, Blocks, ImagePool, ImageTower, Shape, TextPool, TextTower};
use super::weights::Weights;
use crate::error::{Error, Result};

/// The end token that transformers' first CLIP configurations state wrongly; such models pool at
/// the largest id.
const LEGACY_END: u64 = 2;

/// The description of the model in `dir`, and whose names its weights have.
pub(super) fn read(dir: &Path, weights: &Weights) -> Result<(Shape, Naming)> {
    let open_clip_names = weights.has_any("visual.") || weights.has_any("text.transformer.");
    let open_clip_config = dir.join("open_clip_config.json");
    if open_clip_names && open_clip_config.is_file() {
        return open_clip(&json(&open_clip_config)?, weights).map_err(|e| e.at(&open_clip_config));
    }
    let path = dir.join("config.json");
    if !path.is_file() {
        let expected = "config.json of transformers, or open_clip_config.json, beside the weights";
        return Err(Error::invalid("model configuration", "none", expected).at(dir));
    }
    transformers(&json(&path)?).map_err(|e| e.at(&path))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Side {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    eos_token_id: Option<u64>,
    projection_size: Option<usize>,
}

/// Defaults of one side: width, MLP width, heads, activation, eps.
type Defaults = (usize, usize, usize, &'static str, f32);

impl Side {
    fn of(config: &Value, key: &str) -> Result<Self> {
        let table = match &config[key] {
            Value::Null => return Ok(Self::default()),
            table => table.clone(),
        };
        serde_json::from_value(table)
            .map_err(|e| wrong(format!("{key}: {e}"), "numbers of layers and widths"))
    }

    fn blocks(&self, (width, inner, heads, activation, eps): Defaults) -> Result<Blocks> {
        Ok(Blocks {
            layers: self.num_hidden_layers.unwrap_or(12),
            width: self.hidden_size.unwrap_or(width),
            heads: self.num_attention_heads.unwrap_or(heads),
            inner: self.intermediate_size.unwrap_or(inner),
            activation: match self.hidden_act.as_deref().unwrap_or(activation) {
                "quick_gelu" => Activation::QuickGelu,
                "gelu" => Activation::Gelu,
                "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Activation::GeluTanh,
                other => {
                    return Err(wrong(
                        format!("activation {other}"),
                        "quick_gelu, gelu or gelu_pytorch_tanh",
                    ));
                }
            },
            eps: self.layer_norm_eps.unwrap_or(eps),
        })
    }
}

fn wrong(found: impl Into<String>, expected: &str) -> Error {
    Error::invalid("model configuration", found, expected)
}

fn transformers(config: &Value) -> Result<(Shape, Naming)> {
    let (vision, text) = (
        Side::of(config, "vision_config")?,
        Side::of(config, "text_config")?,
    );
    match config["model_type"].as_str() {
        Some("clip") => {
            let dim = config["projection_dim"]
                .as_u64()
                .map_or(512, |d| d as usize);
            let end = text.eos_token_id.unwrap_or(49_407);
            let shape = Shape {
                dim,
                image: ImageTower {
                    blocks: vision.blocks((768, 3072, 12, "quick_gelu", 1e-5))?,
                    side_px: vision.image_size.unwrap_or(224),
                    patch_px: vision.patch_size.unwrap_or(32),
                    pool: ImagePool::ClassToken,
                },
                text: Some(TextTower {
                    blocks: text.blocks((512, 2048, 8, "quick_gelu", 1e-5))?,
                    vocabulary: text.vocab_size.unwrap_or(49_408),
                    max_tokens: text.max_position_embeddings.unwrap_or(77),
                    causal: true,
                    pool: match u32::try_from(end) {
                        Ok(end) if u64::from(end) != LEGACY_END => TextPool::First(end),
                        _ => TextPool::Largest,
                    },
                    projection_bias: false,
                }),
            };
            Ok((shape, Naming::Clip))
        }
        Some("siglip") => {
            let image = vision.blocks((768, 3072, 12, "gelu_pytorch_tanh", 1e-6))?;
            let dim = text.projection_size.unwrap_or(image.width);
            if dim != image.width {
                return Err(wrong(
                    format!("image width {} and text projection {dim}", image.width),
                    "one width",
                ));
            }
            let shape = Shape {
                dim,
                image: ImageTower {
                    blocks: image,
                    side_px: vision.image_size.unwrap_or(224),
                    patch_px: vision.patch_size.unwrap_or(16),
                    pool: ImagePool::AttentionHead,
                },
                text: Some(TextTower {
                    blocks: text.blocks((768, 3072, 12, "gelu_pytorch_tanh", 1e-6))?,
                    vocabulary: text.vocab_size.unwrap_or(32_000),
                    max_tokens: text.max_position_embeddings.unwrap_or(64),
                    causal: false,
                    pool: TextPool::Last,
                    projection_bias: true,
                }),
            };
            Ok((shape, Naming::Siglip))
        }
        other => {
            let found = format!("model_type {}", other.unwrap_or("missing"));
            Err(wrong(
                found,
                "clip or siglip; another two-tower model can come as ONNX",
            ))
        }
    }
}

#[derive(Deserialize)]
struct OpenClip {
    model_cfg: ModelCfg,
}

#[derive(Deserialize)]
struct ModelCfg {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: VisionCfg,
    text_cfg: TextCfg,
}

#[derive(Deserialize)]
struct VisionCfg {
    image_size: Option<Value>,
    layers: Option<Value>,
    width: Option<usize>,
    patch_size: Option<usize>,
    head_width: Option<usize>,
    mlp_ratio: Option<f32>,
    timm_model_name: Option<String>,
}

#[derive(Deserialize)]
struct TextCfg {
    context_length: Option<usize>,
    vocab_size: Option<usize>,
    width: Option<usize>,
    heads: Option<usize>,
    layers: Option<usize>,
    mlp_ratio: Option<f32>,
    hf_model_name: Option<String>,
}

fn open_clip(config: &Value, weights: &Weights) -> Result<(Shape, Naming)> {
    let asked: OpenClip = serde_json::from_value(config.clone()).map_err(|e| {
        wrong(
            e.to_string(),
            "`model_cfg` with embed_dim, vision_cfg and text_cfg",
        )
    })?;
    let ModelCfg {
        embed_dim,
        quick_gelu,
        vision_cfg: v,
        text_cfg: t,
    } = asked.model_cfg;
    let whole = |value: &Option<Value>, other: usize| match value {
        None => Some(other),
        Some(Value::Array(sides)) if sides.len() == 2 && sides[0] == sides[1] => {
            sides[0].as_u64().map(|n| n as usize)
        }
        Some(value) => value.as_u64().map(|n| n as usize),
    };
    let (Some(layers), None) = (whole(&v.layers, 12), &v.timm_model_name) else {
        let name = v.timm_model_name.unwrap_or_else(|| "a ResNet".into());
        return Err(wrong(
            format!("image tower {name}"),
            "a vision transformer; others can come as ONNX",
        ));
    };
    if let Some(name) = t.hf_model_name {
        return Err(wrong(
            format!("text tower {name}"),
            "CLIP's own; others can come as ONNX",
        ));
    }
    let side_px = whole(&v.image_size, 224)
        .ok_or_else(|| wrong("an image size that is no number", "pixels a side"))?;
    let activation = if quick_gelu {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    let inner = |width: usize, ratio: Option<f32>| {
        (width as f64 * f64::from(ratio.unwrap_or(4.0))) as usize
    };
    let blocks = |layers: usize, width: usize, heads: usize, ratio: Option<f32>| Blocks {
        layers,
        width,
        heads,
        inner: inner(width, ratio),
        activation,
        eps: 1e-5,
    };
    let (width, text_width) = (v.width.unwrap_or(768), t.width.unwrap_or(512));
    let shape = Shape {
        dim: embed_dim,
        image: ImageTower {
            blocks: blocks(
                layers,
                width,
                width / v.head_width.unwrap_or(64).max(1),
                v.mlp_ratio,
            ),
            side_px,
            patch_px: v.patch_size.unwrap_or(16),
            pool: ImagePool::ClassToken,
        },
        text: Some(TextTower {
            blocks: blocks(
                t.layers.unwrap_or(12),
                text_width,
                t.heads.unwrap_or(8),
                t.mlp_ratio,
            ),
            vocabulary: t.vocab_size.unwrap_or(49_408),
            max_tokens: t.context_length.unwrap_or(77),
            causal: true,
            pool: TextPool::Largest,
            projection_bias: false,
        }),
    };
    let text = if weights.has("text.token_embedding.weight") {
        "text."
    } else {
        ""
    };
    Ok((shape, Naming::OpenClip { text }))
}
