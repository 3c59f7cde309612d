//! Preprocessing from the JSON files that come with models: Hugging Face's `preprocessor_config.json`
//! (Transformers and Transformers.js) and open_clip's `open_clip_config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::folder::Files;
use crate::error::{Error, Result};
use crate::preprocess::{Filter, Preprocess, Resize};
use crate::store;

/// Largest JSON file that is read, but for tokenizers.
pub(super) const MAX_JSON: u64 = 4 << 20;

/// Mean and spread of CLIP's own training photos.
pub(crate) const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// See [`CLIP_MEAN`].
pub(crate) const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// CLIP's own: shortest side and centre of `side` pixels, bicubic.
pub(super) fn clip((width, height): (u32, u32)) -> Preprocess {
    Preprocess {
        resize: Resize::Shortest(width.max(height)),
        filter: Filter::Bicubic,
        crop: Some((width, height)),
        mean: CLIP_MEAN,
        std: CLIP_STD,
    }
}

/// SigLIP's own: both sides at once, values from −1 to 1.
pub(super) fn siglip((width, height): (u32, u32)) -> Preprocess {
    Preprocess {
        resize: Resize::Exact { width, height },
        crop: None,
        mean: [0.5; 3],
        std: [0.5; 3],
        ..clip((width, height))
    }
}

/// The file beside a model that tells its preprocessing, and what it tells.
pub(super) fn published(files: &Files) -> Option<(&Path, Result<Preprocess>)> {
    match (files.preprocessor.as_deref(), files.open_clip.as_deref()) {
        (Some(path), _) => Some((path, hugging_face(path))),
        (None, Some(path)) => Some((path, open_clip(path))),
        (None, None) => None,
    }
}

/// The JSON object at `path`.
pub(super) fn json(path: &Path) -> Result<Value> {
    let text = store::read_text_bounded(path, "bytes of a JSON file", MAX_JSON)?;
    serde_json::from_str(&text)
        .map_err(|e| Error::invalid("JSON file", e.to_string(), "a JSON object").at(path))
}

#[derive(Deserialize)]
struct HuggingFace {
    #[serde(default = "yes")]
    do_resize: bool,
    size: Option<Size>,
    #[serde(default)]
    do_center_crop: bool,
    crop_size: Option<Size>,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f64>,
    #[serde(default = "yes")]
    do_normalize: bool,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    resample: Option<i64>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Both { height: u32, width: u32 },
    Shortest { shortest_edge: u32 },
}

/// What `preprocessor_config.json` asks for.
///
/// # Errors
/// The file cannot be read, or asks for what is not done here: other filters, pictures of no fixed size.
pub(super) fn hugging_face(path: &Path) -> Result<Preprocess> {
    let wrong =
        |found: String, expected: &str| Error::invalid("preprocessing", found, expected).at(path);
    let asked: HuggingFace = serde_json::from_value(json(path)?).map_err(|e| {
        wrong(
            e.to_string(),
            "the keys of Hugging Face's preprocessor_config.json",
        )
    })?;
    let size = asked.size.filter(|_| asked.do_resize);
    let size = size.ok_or_else(|| {
        wrong(
            "no size".into(),
            "`size`, and `do_resize` not switched off; else give --size",
        )
    })?;
    let resize = match size {
        // A lone number is the shorter side where a crop follows, else both sides.
        Size::Side(side) if asked.do_center_crop => Resize::Shortest(side),
        Size::Side(side) => Resize::Exact {
            width: side,
            height: side,
        },
        Size::Both { height, width } => Resize::Exact { width, height },
        Size::Shortest { shortest_edge } => Resize::Shortest(shortest_edge),
    };
    let crop = match asked.crop_size.filter(|_| asked.do_center_crop) {
        Some(
            Size::Side(side)
            | Size::Shortest {
                shortest_edge: side,
            },
        ) => Some((side, side)),
        Some(Size::Both { height, width }) => Some((width, height)),
        None => None,
    };
    let filter = match asked.resample {
        Some(3) | None => Filter::Bicubic,
        Some(2) => Filter::Bilinear,
        Some(other) => {
            return Err(wrong(
                format!("resample {other}"),
                "2 (bilinear) or 3 (bicubic); else give --filter",
            ));
        }
    };
    // Ours works on values from 0 to 1: a factor other than 1/255 moves into mean and spread.
    let factor = if asked.do_rescale {
        asked.rescale_factor.unwrap_or(1.0 / 255.0)
    } else {
        1.0
    };
    let stretch = 255.0 * factor;
    let stretch = if (stretch - 1.0).abs() < 1e-6 {
        1.0
    } else {
        stretch
    };
    let (mean, std) = if asked.do_normalize {
        (
            asked.image_mean.unwrap_or(CLIP_MEAN.map(f64::from)),
            asked.image_std.unwrap_or(CLIP_STD.map(f64::from)),
        )
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let found = Preprocess {
        resize,
        filter,
        crop,
        mean: mean.map(|v| (v / stretch) as f32),
        std: std.map(|v| (v / stretch) as f32),
    };
    found.check().map_err(|e| e.at(path))?;
    Ok(found)
}

#[derive(Default, Deserialize)]
struct OpenClip {
    #[serde(default)]
    preprocess_cfg: OpenClipPixels,
    #[serde(default)]
    model_cfg: Value,
}

#[derive(Default, Deserialize)]
struct OpenClipPixels {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
}

/// What `open_clip_config.json` asks for.
///
/// # Errors
/// As [`hugging_face`].
pub(super) fn open_clip(path: &Path) -> Result<Preprocess> {
    let wrong =
        |found: String, expected: &str| Error::invalid("preprocessing", found, expected).at(path);
    let asked: OpenClip = serde_json::from_value(json(path)?)
        .map_err(|e| wrong(e.to_string(), "the keys of open_clip's configuration"))?;
    let side = match &asked.model_cfg["vision_cfg"]["image_size"] {
        Value::Array(sides) => sides.first().and_then(Value::as_u64),
        other => other.as_u64(),
    };
    let side = side.and_then(|s| u32::try_from(s).ok());
    let side =
        side.ok_or_else(|| wrong("no image size".into(), "model_cfg.vision_cfg.image_size"))?;
    let pixels = asked.preprocess_cfg;
    let plain = clip((side, side));
    let (resize, crop) = match pixels.resize_mode.as_deref() {
        None | Some("shortest") => (plain.resize, plain.crop),
        Some("squash") => (
            Resize::Exact {
                width: side,
                height: side,
            },
            None,
        ),
        Some(other) => {
            return Err(wrong(
                format!("resize_mode {other}"),
                "shortest or squash; else give --resize",
            ));
        }
    };
    let filter = match pixels.interpolation.as_deref() {
        None | Some("bicubic" | "random") => Filter::Bicubic,
        Some("bilinear") => Filter::Bilinear,
        Some(other) => {
            return Err(wrong(
                format!("interpolation {other}"),
                "bicubic or bilinear; else give --filter",
            ));
        }
    };
    let found = Preprocess {
        resize,
        filter,
        crop,
        mean: pixels.mean.unwrap_or(plain.mean),
        std: pixels.std.unwrap_or(plain.std),
    };
    found.check().map_err(|e| e.at(path))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, how: fn(&Path) -> Result<Preprocess>) -> Result<Preprocess> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        how(&path)
    }

    #[test]
    fn openai_clip_in_both_of_its_spellings() {
        let numbers = r#""do_center_crop":true,"do_normalize":true,"do_resize":true,
            "image_mean":[0.48145466,0.4578275,0.40821073],"image_std":[0.26862954,0.26130258,0.27577711],"resample":3"#;
        let old = format!(r#"{{"crop_size":224,"size":224,{numbers}}}"#);
        let new = format!(
            r#"{{"crop_size":{{"height":224,"width":224}},"size":{{"shortest_edge":224}},"do_rescale":true,"rescale_factor":0.00392156862745098,{numbers}}}"#
        );
        for text in [old, new] {
            assert_eq!(read(&text, hugging_face).unwrap(), clip((224, 224)));
        }
    }

    #[test]
    fn siglip_squashes_and_mobileclip_does_not_normalise() {
        let siglip = read(
            r#"{"do_resize":true,"do_rescale":true,"do_normalize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],
            "resample":3,"rescale_factor":0.00392156862745098,"size":{"height":224,"width":224}}"#,
            hugging_face,
        )
        .unwrap();
        assert_eq!(
            siglip.resize,
            Resize::Exact {
                width: 224,
                height: 224
            }
        );
        assert_eq!(
            (siglip.crop, siglip.mean[0], siglip.std[0]),
            (None, 0.5, 0.5)
        );
        let mobile = read(
            r#"{"size":{"shortest_edge":256},"do_center_crop":true,"crop_size":{"height":256,"width":256},"do_normalize":false,"resample":2}"#,
            hugging_face,
        )
        .unwrap();
        assert_eq!(
            (mobile.filter, mobile.mean, mobile.std),
            (Filter::Bilinear, [0.0; 3], [1.0; 3])
        );
    }

    #[test]
    fn another_rescale_factor_moves_into_mean_and_spread() {
        let text = r#"{"size":32,"rescale_factor":0.00784313725490196,"image_mean":[1,1,1],"image_std":[1,1,1]}"#;
        let found = read(text, hugging_face).unwrap();
        // 2·v/255 − 1 = (v/255 − 0.5) / 0.5
        assert_eq!((found.mean, found.std), ([0.5; 3], [0.5; 3]));
    }

    #[test]
    fn open_clip_squashes_where_it_says_so() {
        let text = r#"{"model_cfg":{"vision_cfg":{"image_size":256}},"preprocess_cfg":{"mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"interpolation":"bicubic","resize_mode":"squash"}}"#;
        let found = read(text, open_clip).unwrap();
        assert_eq!(
            found.resize,
            Resize::Exact {
                width: 256,
                height: 256
            }
        );
        assert_eq!(
            read(
                r#"{"model_cfg":{"vision_cfg":{"image_size":224}}}"#,
                open_clip
            )
            .unwrap(),
            clip((224, 224))
        );
    }

    #[test]
    fn what_is_not_done_here_is_refused_with_the_flag_that_helps() {
        for (text, word) in [
            (r#"{"size":224,"resample":1}"#, "--filter"),
            (r#"{"do_resize":false,"size":224}"#, "--size"),
            (r#"{"size":"big"}"#, "keys"),
            (r#"{"size":{"shortest_edge":224}}"#, "crop"),
            ("[", "JSON"),
        ] {
            let error = read(text, hugging_face).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
