//! `config.json` of transformers: `CLIPModel`, `SiglipModel`, and their image towers alone.
//!
//! Published files leave out what is the default of their class, so the defaults stand here.
//! Source: transformers, configuration_clip.py and configuration_siglip.py.

use serde::Deserialize;
use serde_json::Value;

use super::names::Naming;
use super::shape::{Activation, Blocks, ImagePool, ImageTower, Shape, TextPool, TextTower};
use crate::error::{Error, Result};

/// A described model and the names of its weights.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) shape: Shape,
    pub(super) naming: Naming,
}

#[derive(Deserialize)]
struct Config {
    model_type: Option<String>,
    projection_dim: Option<u32>,
    #[serde(default)]
    text_config: Value,
    #[serde(default)]
    vision_config: Value,
    #[serde(default)]
    text_config_dict: Value,
    #[serde(default)]
    vision_config_dict: Value,
}

/// One tower, as far as it is stated.
#[derive(Default, Deserialize)]
struct Side {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    num_channels: Option<usize>,
    vision_use_head: Option<bool>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    eos_token_id: Option<u32>,
    projection_dim: Option<usize>,
    projection_size: Option<usize>,
}

/// What a tower has where nothing is stated: layers, width, heads and width of the MLP.
type Usual = [usize; 4];

const CLIP_TEXT: Usual = [12, 512, 8, 2048];
const VIT_BASE: Usual = [12, 768, 12, 3072];

/// The end token of configurations from before the end token was stated rightly.
const LEGACY_END: u32 = 2;

/// Reads `config.json`.
///
/// # Errors
/// No JSON, another kind of model, or a part that is not built here.
pub(super) fn read(json: &Value) -> Result<Described> {
    let config: Config = parse(json)?;
    match config.model_type.as_deref() {
        Some("clip") => clip(&config),
        Some("clip_vision_model") => clip_image(&parse(json)?),
        Some("siglip") => siglip(&config),
        Some("siglip_vision_model") => siglip_image(&parse(json)?),
        other => Err(refused(other)),
    }
}

fn refused(model_type: Option<&str>) -> Error {
    let found = match model_type {
        Some(named) => format!("`{named}`"),
        None => "none".into(),
    };
    let expected = match model_type {
        Some("clip_text_model" | "clip_text_model_with_projection" | "siglip_text_model") => {
            "a model with an image tower: this one reads text alone"
        }
        Some("siglip2") => "`clip` or `siglip`: siglip2 of a fixed size is published as `siglip`",
        _ => "`clip` or `siglip`; export other models to ONNX and import that",
    };
    Error::invalid("model_type in config.json", found, expected)
}

fn parse<T: serde::de::DeserializeOwned>(json: &Value) -> Result<T> {
    T::deserialize(json).map_err(|e| not_understood(&e))
}

fn not_understood(e: &serde_json::Error) -> Error {
    let expected = "the configuration of a model of transformers";
    Error::invalid("config.json", e.to_string(), expected)
}

/// A tower's table. Where the older `…_dict` stands beside it, that alone counts, as there.
fn side(table: &Value, older: &Value) -> Result<Side> {
    let chosen = if older.is_object() { older } else { table };
    match chosen {
        Value::Null => Ok(Side::default()),
        table => Side::deserialize(table).map_err(|e| not_understood(&e)),
    }
}

fn clip(config: &Config) -> Result<Described> {
    let image = side(&config.vision_config, &config.vision_config_dict)?;
    let text = side(&config.text_config, &config.text_config_dict)?;
    let end = text.eos_token_id.unwrap_or(49407);
    let text_tower = TextTower {
        blocks: text.blocks(CLIP_TEXT, "quick_gelu", 1e-5)?,
        vocabulary: text.vocab_size.unwrap_or(49408),
        max_tokens: text.max_position_embeddings.unwrap_or(77),
        causal: true,
        pool: match end {
            LEGACY_END => TextPool::Largest,
            end => TextPool::First(end),
        },
        projection_bias: false,
    };
    Ok(Described {
        shape: Shape {
            dim: config.projection_dim.unwrap_or(512) as usize,
            image: clip_tower(&image)?,
            text: Some(text_tower),
        },
        naming: Naming::Clip,
    })
}

fn clip_image(image: &Side) -> Result<Described> {
    Ok(Described {
        shape: Shape {
            dim: image.projection_dim.unwrap_or(512),
            image: clip_tower(image)?,
            text: None,
        },
        naming: Naming::Clip,
    })
}

fn clip_tower(image: &Side) -> Result<ImageTower> {
    let blocks = image.blocks(VIT_BASE, "quick_gelu", 1e-5)?;
    image.tower(blocks, 32, ImagePool::ClassToken)
}

fn siglip(config: &Config) -> Result<Described> {
    let image = side(&config.vision_config, &config.vision_config_dict)?;
    let text = side(&config.text_config, &config.text_config_dict)?;
    let mut described = siglip_image(&image)?;
    let blocks = text.blocks(VIT_BASE, "gelu_pytorch_tanh", 1e-6)?;
    let [met, dim] = [
        text.projection_size.unwrap_or(blocks.width),
        described.shape.dim,
    ];
    if met != dim {
        let found = format!("{met}-wide text features beside {dim}-wide image features");
        let expected = "one width";
        return Err(Error::invalid("config.json", found, expected));
    }
    described.shape.text = Some(TextTower {
        blocks,
        vocabulary: text.vocab_size.unwrap_or(32000),
        max_tokens: text.max_position_embeddings.unwrap_or(64),
        causal: false,
        pool: TextPool::Last,
        projection_bias: true,
    });
    Ok(described)
}

fn siglip_image(image: &Side) -> Result<Described> {
    if image.vision_use_head == Some(false) {
        let expected = "the attention head that makes one feature of the patches";
        let found = "vision_use_head = false";
        return Err(Error::invalid("config.json", found, expected));
    }
    let blocks = image.blocks(VIT_BASE, "gelu_pytorch_tanh", 1e-6)?;
    Ok(Described {
        shape: Shape {
            dim: blocks.width,
            image: image.tower(blocks, 16, ImagePool::AttentionHead)?,
            text: None,
        },
        naming: Naming::Siglip,
    })
}

impl Side {
    fn blocks(&self, usual: Usual, activation: &str, eps: f32) -> Result<Blocks> {
        let [layers, width, heads, inner] = usual;
        let named = self.hidden_act.as_deref().unwrap_or(activation);
        let activation = match named {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Activation::GeluTanh,
            other => {
                let expected = "quick_gelu, gelu or gelu_pytorch_tanh";
                return Err(Error::invalid("hidden_act", format!("`{other}`"), expected));
            }
        };
        Ok(Blocks {
            layers: self.num_hidden_layers.unwrap_or(layers),
            width: self.hidden_size.unwrap_or(width),
            heads: self.num_attention_heads.unwrap_or(heads),
            inner: self.intermediate_size.unwrap_or(inner),
            activation,
            eps: self.layer_norm_eps.unwrap_or(eps),
        })
    }

    fn tower(&self, blocks: Blocks, patch_px: usize, pool: ImagePool) -> Result<ImageTower> {
        match self.num_channels {
            None | Some(3) => Ok(ImageTower {
                blocks,
                side_px: self.image_size.unwrap_or(224),
                patch_px: self.patch_size.unwrap_or(patch_px),
                pool,
            }),
            Some(n) => {
                let found = format!("num_channels = {n}");
                Err(Error::invalid("config.json", found, "3: red, green, blue"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(json: &str) -> Result<Described> {
        read(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_not_stated_is_the_default_of_the_class() {
        let clip = read_text(r#"{"model_type": "clip"}"#).unwrap().shape;
        assert_eq!((clip.dim, clip.image.tokens()), (512, 50));
        let text = clip.text.unwrap();
        assert_eq!(text.pool, TextPool::First(49407));
        assert_eq!((text.blocks.heads, text.max_tokens), (8, 77));
        let siglip =
            read_text(r#"{"model_type": "siglip", "text_config": {"vocab_size": 7}}"#).unwrap();
        assert_eq!((siglip.shape.dim, siglip.shape.image.tokens()), (768, 196));
        assert_eq!(siglip.shape.text.unwrap().vocabulary, 7);
    }

    #[test]
    fn an_older_table_beside_counts_alone() {
        let json = r#"{"model_type": "clip", "projection_dim": 1024,
            "text_config": {"hidden_size": 9, "eos_token_id": 5},
            "text_config_dict": {"hidden_size": 1024, "hidden_act": "gelu", "eos_token_id": 2}}"#;
        let text = read_text(json).unwrap().shape.text.unwrap();
        assert_eq!(text.blocks.width, 1024);
        assert_eq!(text.blocks.activation, Activation::Gelu);
        assert_eq!(text.pool, TextPool::Largest);
    }

    #[test]
    fn other_models_are_refused_by_name() {
        for (json, word) in [
            (r#"{"model_type": "detr"}"#, "`detr`"),
            (r#"{"model_type": "clip_text_model"}"#, "text alone"),
            (r#"{"model_type": "siglip2"}"#, "fixed size"),
            (r"{}", "none"),
            ("[]", "config.json"),
            (
                r#"{"model_type": "clip", "vision_config": {"hidden_act": "relu"}}"#,
                "`relu`",
            ),
            (
                r#"{"model_type": "clip", "vision_config": {"hidden_size": -1}}"#,
                "config.json",
            ),
            (
                r#"{"model_type": "clip", "vision_config": {"num_channels": 4}}"#,
                "channels = 4",
            ),
        ] {
            let words = read_text(json).unwrap_err().to_string();
            assert!(words.contains(word), "{words}");
        }
    }
}
