//! `open_clip_config.json`: open_clip's own ViTs. What changes the graph and is not built here
//! is refused by its key, so that no model comes out slightly wrong.
//!
//! Source: open_clip, model.py (`CLIPVisionCfg`, `CLIPTextCfg`) and transformer.py.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::hub::Described;
use super::names::Naming;
use super::shape::{Activation, Blocks, ImagePool, ImageTower, Shape, TextPool, TextTower};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct File {
    model_cfg: Model,
}

#[derive(Deserialize)]
struct Model {
    embed_dim: usize,
    vision_cfg: Vision,
    text_cfg: Text,
    #[serde(default)]
    quick_gelu: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct Vision {
    image_size: Value,
    layers: Value,
    width: usize,
    patch_size: Value,
    head_width: usize,
    mlp_ratio: f64,
    norm_kwargs: Option<Norm>,
    act_kwargs: Option<Act>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Text {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
    norm_kwargs: Option<Norm>,
    act_kwargs: Option<Act>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Norm {
    eps: f32,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    approximate: String,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            image_size: 224.into(),
            layers: 12.into(),
            width: 768,
            patch_size: 16.into(),
            head_width: 64,
            mlp_ratio: 4.0,
            norm_kwargs: None,
            act_kwargs: None,
            rest: Map::new(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self {
            context_length: 77,
            vocab_size: 49408,
            width: 512,
            heads: 8,
            layers: 12,
            mlp_ratio: 4.0,
            norm_kwargs: None,
            act_kwargs: None,
            rest: Map::new(),
        }
    }
}

/// Keys that leave the graph as it is, whatever they say.
const NO_MATTER: [&str; 7] = [
    "pad_id",
    "patch_dropout",
    "output_tokens",
    "tokenizer_kwargs",
    "hf_tokenizer_name",
    "hf_model_pretrained",
    "timm_model_pretrained",
];
/// Keys that may say only what is the default.
const AS_USUAL: [(&str, &str); 5] = [
    ("pool_type", "tok"),
    ("pool_type", "argmax"),
    ("pos_embed_type", "learnable"),
    ("proj_type", "linear"),
    ("block_type", "default"),
];

/// Reads `open_clip_config.json` of weights whose text tower's names begin with `text`.
///
/// # Errors
/// No JSON, a tower of another program, or a part that is not built here.
pub(super) fn read(json: &Value, text: &'static str) -> Result<Described> {
    let File { model_cfg: model } = File::deserialize(json).map_err(|e| {
        wrong(
            e.to_string(),
            "`model_cfg` with `vision_cfg` and `text_cfg`",
        )
    })?;
    refuse_other_parts("vision_cfg", &model.vision_cfg.rest)?;
    refuse_other_parts("text_cfg", &model.text_cfg.rest)?;
    let image = model.vision_cfg.tower(model.quick_gelu)?;
    let text_tower = model.text_cfg.tower(model.quick_gelu)?;
    Ok(Described {
        shape: Shape {
            dim: model.embed_dim,
            image,
            text: Some(text_tower),
        },
        naming: Naming::OpenClip { text },
    })
}

fn wrong(found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::invalid("open_clip_config.json", found, expected)
}

fn refuse_other_parts(table: &str, rest: &Map<String, Value>) -> Result<()> {
    let strange = rest.iter().find(|(key, value)| {
        let unset = matches!(value, Value::Null | Value::Bool(false));
        let usual = |(k, v): &(&str, &str)| k == key && Some(*v) == value.as_str();
        !unset && !NO_MATTER.contains(&key.as_str()) && !AS_USUAL.iter().any(usual)
    });
    let Some((key, value)) = strange else {
        return Ok(());
    };
    let expected = match key.as_str() {
        "timm_model_name" | "hf_model_name" => {
            "towers of open_clip itself: take the repository of transformers' format, or export to ONNX"
        }
        _ => "a plain ViT and text transformer: export this one to ONNX and import that",
    };
    Err(wrong(format!("{table}.{key} = {value}"), expected))
}

/// A length, or two equal ones.
fn square(key: &str, value: &Value) -> Result<usize> {
    let number = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let sides = match value {
        Value::Array(sides) => sides.iter().map(number).collect(),
        one => vec![number(one)],
    };
    match sides[..] {
        [Some(side)] => Ok(side),
        [Some(a), Some(b)] if a == b => Ok(a),
        _ => Err(wrong(format!("{key} = {value}"), "one length in pixels")),
    }
}

fn activation(quick: bool, act: Option<&Act>) -> Result<Activation> {
    match act.map(|a| a.approximate.as_str()) {
        _ if quick => Ok(Activation::QuickGelu),
        None | Some("none") => Ok(Activation::Gelu),
        Some("tanh") => Ok(Activation::GeluTanh),
        Some(other) => Err(wrong(
            format!("act_kwargs.approximate = {other:?}"),
            "none or tanh",
        )),
    }
}

impl Vision {
    fn tower(&self, quick_gelu: bool) -> Result<ImageTower> {
        let Some(layers) = self.layers.as_u64() else {
            let found = format!("vision_cfg.layers = {}", self.layers);
            let expected =
                "a ViT, whose layers are a number: export a ResNet to ONNX and import that";
            return Err(wrong(found, expected));
        };
        Ok(ImageTower {
            blocks: Blocks {
                layers: usize::try_from(layers).unwrap_or(usize::MAX),
                width: self.width,
                heads: self.width.checked_div(self.head_width).unwrap_or(0),
                inner: (self.width as f64 * self.mlp_ratio) as usize,
                activation: activation(quick_gelu, self.act_kwargs.as_ref())?,
                eps: self.norm_kwargs.map_or(1e-5, |n| n.eps),
            },
            side_px: square("vision_cfg.image_size", &self.image_size)?,
            patch_px: square("vision_cfg.patch_size", &self.patch_size)?,
            pool: ImagePool::ClassToken,
        })
    }
}

impl Text {
    fn tower(&self, quick_gelu: bool) -> Result<TextTower> {
        Ok(TextTower {
            blocks: Blocks {
                layers: self.layers,
                width: self.width,
                heads: self.heads,
                inner: (self.width as f64 * self.mlp_ratio) as usize,
                activation: activation(quick_gelu, self.act_kwargs.as_ref())?,
                eps: self.norm_kwargs.map_or(1e-5, |n| n.eps),
            },
            vocabulary: self.vocab_size,
            max_tokens: self.context_length,
            causal: true,
            pool: TextPool::Largest,
            projection_bias: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(json: &str) -> Result<Described> {
        read(&serde_json::from_str(json).unwrap(), "")
    }

    fn config(vision: &str, text: &str) -> String {
        format!(
            r#"{{"model_cfg": {{"embed_dim": 64, "vision_cfg": {{{vision}}}, "text_cfg": {{{text}}}}}}}"#
        )
    }

    #[test]
    fn a_published_configuration_is_understood() {
        let vision =
            r#""image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14"#;
        let text = r#""context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24"#;
        let shape = read_text(&config(vision, text)).unwrap().shape;
        assert_eq!(shape.image.blocks.heads, 16);
        assert_eq!(shape.image.blocks.inner, 5120);
        assert_eq!(shape.image.blocks.activation, Activation::Gelu);
        assert_eq!(shape.text.unwrap().pool, TextPool::Largest);
    }

    #[test]
    fn parts_that_are_not_built_are_refused_by_their_key() {
        for (vision, text, word) in [
            (r#""timm_model_name": "x""#, "", "timm_model_name"),
            ("", r#""hf_model_name": "x""#, "hf_model_name"),
            (r#""attentional_pool": true"#, "", "attentional_pool"),
            (r#""pool_type": "avg""#, "", "pool_type"),
            (r#""layers": [3, 4, 6, 3]"#, "", "ResNet"),
            (r#""image_size": [224, 112]"#, "", "image_size"),
            ("", r#""no_causal_mask": true"#, "no_causal_mask"),
        ] {
            let words = read_text(&config(vision, text)).unwrap_err().to_string();
            assert!(words.contains(word), "{words}");
        }
        let harmless = config(
            r#""patch_dropout": 0.5, "pool_type": "tok""#,
            r#""embed_cls": false"#,
        );
        assert!(read_text(&harmless).is_ok());
    }
}
