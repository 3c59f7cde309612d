//! Models as the hub has them, tiny and seeded, of odd sizes so that no mix-up goes unseen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::weights::Float;
use super::oracle::Tensors;

pub(super) const SIDE_PX: usize = 20;
/// Two columns of pixels are left over at the edge.
pub(super) const PATCH_PX: usize = 6;
const WIDTH: usize = 24;
const TEXT_WIDTH: usize = 16;
const DIM: usize = 10;
const VOCABULARY: usize = 60;
const MAX_TOKENS: usize = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Clip,
    Siglip,
    OpenClip,
}

pub(super) struct Made {
    pub(super) dir: TempDir,
    pub(super) kind: Kind,
    /// By transformers' names, as the oracle needs them.
    pub(super) tensors: Tensors,
    pub(super) act: &'static str,
    pub(super) end: i64,
    pub(super) legacy: bool,
    float: Float,
    text_prefix: &'static str,
}

struct Seeded {
    state: u64,
    float: Float,
    tensors: Tensors,
}

impl Seeded {
    fn value(&mut self) -> f64 {
        // Knuth's generator; its upper half is random enough for weights.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    /// Values around `middle`, as the file's precision can say them.
    fn tensor(&mut self, name: &str, shape: &[usize], middle: f64, spread: f64) {
        let len = shape.iter().product();
        let float = self.float;
        let values = (0..len)
            .map(|_| rounded((middle + spread * self.value()) as f32, float))
            .collect();
        self.tensors.insert(name.into(), (shape.to_vec(), values));
    }

    fn linear(&mut self, at: &str, k: usize, n: usize) {
        let spread = 2.0 / (k as f64).sqrt();
        self.tensor(&format!("{at}.weight"), &[n, k], 0.0, spread);
        self.tensor(&format!("{at}.bias"), &[n], 0.0, 0.3);
    }

    fn norm(&mut self, at: &str, n: usize) {
        self.tensor(&format!("{at}.weight"), &[n], 1.0, 0.4);
        self.tensor(&format!("{at}.bias"), &[n], 0.0, 0.3);
    }

    fn layers(&mut self, tower: &str, width: usize, inner: usize) {
        for layer in 0..2 {
            let at = format!("{tower}.encoder.layers.{layer}");
            for norm in ["layer_norm1", "layer_norm2"] {
                self.norm(&format!("{at}.{norm}"), width);
            }
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{at}.self_attn.{part}"), width, width);
            }
            self.linear(&format!("{at}.mlp.fc1"), width, inner);
            self.linear(&format!("{at}.mlp.fc2"), inner, width);
        }
    }

    fn embeddings(&mut self, tokens: usize) {
        let at = "vision_model.embeddings";
        let kernel = [WIDTH, 3, PATCH_PX, PATCH_PX];
        self.tensor(&format!("{at}.patch_embedding.weight"), &kernel, 0.0, 0.2);
        self.tensor(
            &format!("{at}.position_embedding.weight"),
            &[tokens, WIDTH],
            0.0,
            0.5,
        );
        let at = "text_model.embeddings";
        let table = [VOCABULARY, TEXT_WIDTH];
        self.tensor(&format!("{at}.token_embedding.weight"), &table, 0.0, 1.0);
        let positions = [MAX_TOKENS, TEXT_WIDTH];
        self.tensor(
            &format!("{at}.position_embedding.weight"),
            &positions,
            0.0,
            0.5,
        );
        self.norm("text_model.final_layer_norm", TEXT_WIDTH);
        self.norm("vision_model.post_layernorm", WIDTH);
    }
}

fn rounded(value: f32, float: Float) -> f64 {
    f64::from(match float {
        Float::F32 => value,
        Float::F16 => half::f16::from_f32(value).to_f32(),
        Float::Bf16 => half::bf16::from_f32(value).to_f32(),
    })
}

fn clip_tensors(float: Float) -> Tensors {
    let mut s = Seeded {
        state: 7,
        float,
        tensors: BTreeMap::new(),
    };
    s.embeddings(10);
    s.tensor(
        "vision_model.embeddings.class_embedding",
        &[WIDTH],
        0.0,
        1.0,
    );
    s.norm("vision_model.pre_layrnorm", WIDTH);
    s.layers("vision_model", WIDTH, 40);
    s.layers("text_model", TEXT_WIDTH, 28);
    s.tensor("visual_projection.weight", &[DIM, WIDTH], 0.0, 0.4);
    s.tensor("text_projection.weight", &[DIM, TEXT_WIDTH], 0.0, 0.4);
    s.tensor("logit_scale", &[], 2.674, 0.0);
    s.tensors
}

pub(super) fn clip(act: &'static str, float: Float, legacy: bool) -> Made {
    let made = Made {
        dir: tempfile::tempdir().unwrap(),
        kind: Kind::Clip,
        tensors: clip_tensors(float),
        act,
        end: VOCABULARY as i64 - 1,
        legacy,
        float,
        text_prefix: "",
    };
    made.write();
    made
}

pub(super) fn siglip(float: Float) -> Made {
    let mut s = Seeded {
        state: 9,
        float,
        tensors: BTreeMap::new(),
    };
    s.embeddings(9);
    s.tensor(
        "vision_model.embeddings.patch_embedding.bias",
        &[WIDTH],
        0.0,
        0.3,
    );
    s.layers("vision_model", WIDTH, 40);
    s.layers("text_model", TEXT_WIDTH, 28);
    s.linear("text_model.head", TEXT_WIDTH, WIDTH);
    let head = "vision_model.head";
    s.tensor(&format!("{head}.probe"), &[1, 1, WIDTH], 0.0, 1.0);
    s.tensor(
        &format!("{head}.attention.in_proj_weight"),
        &[3 * WIDTH, WIDTH],
        0.0,
        0.4,
    );
    s.tensor(
        &format!("{head}.attention.in_proj_bias"),
        &[3 * WIDTH],
        0.0,
        0.3,
    );
    s.linear(&format!("{head}.attention.out_proj"), WIDTH, WIDTH);
    s.norm(&format!("{head}.layernorm"), WIDTH);
    s.linear(&format!("{head}.mlp.fc1"), WIDTH, 40);
    s.linear(&format!("{head}.mlp.fc2"), 40, WIDTH);
    s.tensor("logit_scale", &[1], 2.25, 0.0);
    s.tensor("logit_bias", &[1], -2.5, 0.0);
    let made = Made {
        dir: tempfile::tempdir().unwrap(),
        kind: Kind::Siglip,
        tensors: s.tensors,
        act: "gelu_pytorch_tanh",
        end: 1,
        legacy: false,
        float,
        text_prefix: "",
    };
    made.write();
    made
}

pub(super) fn open_clip(act: &'static str, float: Float, text_prefix: &'static str) -> Made {
    let made = Made {
        dir: tempfile::tempdir().unwrap(),
        kind: Kind::OpenClip,
        tensors: clip_tensors(float),
        act,
        end: VOCABULARY as i64 - 1,
        legacy: true,
        float,
        text_prefix,
    };
    made.write();
    made
}

impl Made {
    /// The folder anew: configuration and weights.
    pub(super) fn write(&self) {
        let (config, weights) = match self.kind {
            Kind::OpenClip => ("open_clip_config.json", "open_clip_model.safetensors"),
            _ => ("config.json", "model.safetensors"),
        };
        self.put(config, self.config().to_string().as_bytes());
        self.put(weights, &self.packed(&self.named()));
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(name)
    }

    /// The same weights in several files.
    pub(super) fn write_shards(&self, count: usize) {
        let mut map = serde_json::Map::new();
        for shard in 0..count {
            let name = format!("model-{shard}.safetensors");
            let all = self.named().into_iter().enumerate();
            let part: Tensors = all
                .filter(|(i, _)| i % count == shard)
                .map(|(_, t)| t)
                .collect();
            map.extend(part.keys().map(|k| (k.clone(), Value::from(name.clone()))));
            self.put(&name, &self.packed(&part));
        }
        let index = json!({"metadata": {}, "weight_map": map});
        self.put("model.safetensors.index.json", index.to_string().as_bytes());
        fs::remove_file(self.path("model.safetensors")).unwrap();
    }

    /// As `CLIPVisionModelWithProjection` is saved.
    pub(super) fn keep_image_alone(&self) {
        let mut tensors = self.tensors.clone();
        tensors.retain(|name, _| name.starts_with("vis"));
        self.put("model.safetensors", &self.packed(&tensors));
        let mut config = self.config()["vision_config"].clone();
        config["model_type"] = "clip_vision_model".into();
        config["projection_dim"] = DIM.into();
        self.put("config.json", config.to_string().as_bytes());
    }

    /// What a file holds that lacks or changes what `change` says.
    pub(super) fn write_changed(&self, change: impl FnOnce(&mut Tensors)) {
        let mut tensors = self.named();
        change(&mut tensors);
        self.put("model.safetensors", &self.packed(&tensors));
    }

    pub(super) fn config(&self) -> Value {
        let side = |width: usize, heads: usize, inner: usize| {
            json!({"hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner,
                "num_hidden_layers": 2, "hidden_act": self.act})
        };
        let mut vision = side(WIDTH, 3, 40);
        vision["image_size"] = SIDE_PX.into();
        vision["patch_size"] = PATCH_PX.into();
        let mut text = side(TEXT_WIDTH, 2, 28);
        text["vocab_size"] = VOCABULARY.into();
        text["max_position_embeddings"] = MAX_TOKENS.into();
        text["eos_token_id"] = if self.legacy {
            2.into()
        } else {
            self.end.into()
        };
        match self.kind {
            Kind::Clip => json!({"model_type": "clip", "projection_dim": DIM,
                "vision_config": vision, "text_config": text}),
            Kind::Siglip => {
                text["projection_size"] = WIDTH.into();
                json!({"model_type": "siglip", "vision_config": vision, "text_config": text})
            }
            Kind::OpenClip => json!({"model_cfg": {
                "embed_dim": DIM,
                "quick_gelu": self.act == "quick_gelu",
                "vision_cfg": {"image_size": SIDE_PX, "patch_size": PATCH_PX, "layers": 2,
                    "width": WIDTH, "head_width": 8, "mlp_ratio": 40.0 / 24.0 + 1e-9},
                "text_cfg": {"context_length": MAX_TOKENS, "vocab_size": VOCABULARY, "layers": 2,
                    "width": TEXT_WIDTH, "heads": 2, "mlp_ratio": 1.75}}}),
        }
    }

    /// The tensors by the names of this kind of file.
    fn named(&self) -> Tensors {
        match self.kind {
            Kind::OpenClip => self.by_open_clip_names(),
            _ => self.tensors.clone(),
        }
    }

    /// Said once more and the other way round than the reader says it.
    fn by_open_clip_names(&self) -> Tensors {
        let mut named = Tensors::new();
        let turned = |(shape, values): &(Vec<usize>, Vec<f64>)| {
            let (n, k) = (shape[0], shape[1]);
            let values = (0..k * n).map(|i| values[i % n * k + i / n]).collect();
            (vec![k, n], values)
        };
        for (name, tensor) in &self.tensors {
            let text = self.text_prefix;
            let (prefix, part) = match name.split_once('.') {
                Some(("vision_model", part)) => ("visual.", part),
                Some(("text_model", part)) => (text, part),
                Some(("visual_projection", _)) => {
                    named.insert("visual.proj".into(), turned(tensor));
                    continue;
                }
                Some(("text_projection", _)) => {
                    named.insert(format!("{text}text_projection"), turned(tensor));
                    continue;
                }
                _ => ("", name.as_str()),
            };
            if part.contains(".self_attn.k_proj") || part.contains(".self_attn.v_proj") {
                continue;
            }
            let mut tensor = tensor.clone();
            if part.contains(".self_attn.q_proj") {
                for other in ["k_proj", "v_proj"] {
                    let (shape, values) = &self.tensors[&name.replace("q_proj", other)];
                    tensor.0[0] += shape[0];
                    tensor.1.extend(values);
                }
            }
            let part = [
                ("encoder.layers", "transformer.resblocks"),
                ("self_attn.q_proj.", "attn.in_proj_"),
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
                ("embeddings.patch_embedding", "conv1"),
                ("embeddings.class_embedding", "class_embedding"),
                (
                    "embeddings.position_embedding.weight",
                    "positional_embedding",
                ),
                ("embeddings.token_embedding", "token_embedding"),
                ("pre_layrnorm", "ln_pre"),
                ("post_layernorm", "ln_post"),
                ("final_layer_norm", "ln_final"),
            ]
            .iter()
            .fold(part.to_owned(), |part, (from, to)| part.replace(from, to));
            named.insert(format!("{prefix}{part}"), tensor);
        }
        named
    }

    /// A safetensors file in the precision of this model.
    fn packed(&self, tensors: &Tensors) -> Vec<u8> {
        let (kind, float) = match self.float {
            Float::F32 => (Dtype::F32, Float::F32),
            Float::F16 => (Dtype::F16, Float::F16),
            Float::Bf16 => (Dtype::BF16, Float::Bf16),
        };
        let bytes = |values: &[f64]| -> Vec<u8> {
            let each = values.iter().map(|v| *v as f32);
            match float {
                Float::F32 => each.flat_map(f32::to_le_bytes).collect(),
                Float::F16 => each
                    .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
                    .collect(),
                Float::Bf16 => each
                    .flat_map(|v| half::bf16::from_f32(v).to_le_bytes())
                    .collect(),
            }
        };
        let all: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, (shape, values))| (name.clone(), shape.clone(), bytes(values)))
            .collect();
        let views = all.iter().map(|(name, shape, bytes)| {
            (
                name.clone(),
                TensorView::new(kind, shape.clone(), bytes).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }
}
