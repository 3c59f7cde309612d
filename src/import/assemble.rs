//! From the files of a model to a bundle.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::folder::Files;
use super::onnx;
use super::options::Options;
use super::output::check_output;
use super::parts::Parts;
use super::preprocessor;
use super::quantize::{self, Quantized};
use super::sniff;
use super::tokenizer::{self, Fitted, Need};
use super::vocabulary;
use super::{MANIFEST, import_folder, prove};
use crate::bundle::{
    Bundle, Card, Contents, EncoderForm, ImageEncoder, Licence, Score, ScoreForm, TextCard,
};
use crate::encoder::feature_width;
use crate::error::{Error, Result};
use crate::preprocess::{Preprocess, Preprocessor};
use crate::store;
use crate::text::TextEncoder;

/// CLIP's logit scale, where nothing says another: training stops it at 100.
const CLIP_SCALE: f32 = 100.0;
/// Side of the pictures, where nothing says another.
const CLIP_SIDE: u32 = 224;
/// Tokens of every SigLIP text, where nothing says another number.
const SIGLIP_TOKENS: usize = 64;
/// Licence files that are taken along, by the names that they have.
const LICENCES: [&str; 4] = ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"];
const MAX_LICENCE: u64 = 1 << 20;

/// A finished import.
#[derive(Debug)]
pub struct Imported {
    /// The new bundle.
    pub bundle: Bundle,
    /// What was taken from where, and which defaults were, in words.
    pub notes: Vec<String>,
    /// What quantizing did, where it was asked for.
    pub quantized: Option<Quantized>,
}

/// Makes the bundle `out` of `paths`: one folder as model hubs have it or with a `bundle.toml`, or
/// the files of a model. `progress` hears how many of how many texts of a vocabulary are encoded.
///
/// # Errors
/// Nothing that can be imported is there, a part does not fit the others or does not run, or `out`
/// cannot be written; what stood at `out` before is then still there.
pub fn import(
    paths: &[PathBuf],
    options: &Options,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported> {
    check_output(out)?;
    if let [folder] = paths
        && folder.join(MANIFEST).is_file()
    {
        return Ok(Imported {
            bundle: import_folder(folder, out)?,
            notes: Vec::new(),
            quantized: None,
        });
    }
    if let [file] = paths
        && sniff::is_our_own(file)
    {
        options.check_for_bundle()?;
        return brought_up_to_date(file, out);
    }
    let made = prepare(paths, options, progress)?;
    store::replace(out, &made.bytes)?;
    Ok(Imported {
        bundle: Bundle::open(out)?,
        notes: made.notes,
        quantized: made.quantized,
    })
}

/// The bundle of another version with its image encoder as this one runs it best, everything else as it is.
fn brought_up_to_date(file: &Path, out: &Path) -> Result<Imported> {
    let bundle = Bundle::open(file)?;
    let mut contents = Contents::of(&bundle).map_err(|e| e.at(file))?;
    let before = contents.card.image;
    fuse(&mut contents).map_err(|e| e.at(file))?;
    let note = if before.is_none() {
        "nothing is to be done: the bundle has no image encoder"
    } else if contents.card.image == before {
        "the image encoder stays as it is"
    } else {
        "the image encoder is fused now: its features differ from before by rounding alone"
    };
    let bytes = contents.to_bytes().map_err(|e| e.at(file))?;
    prove(&bytes).map_err(|e| e.at(file))?;
    store::replace(out, &bytes)?;
    Ok(Imported {
        bundle: Bundle::open(out)?,
        notes: vec![note.into()],
        quantized: None,
    })
}

/// A bundle that was opened and run.
pub(super) struct Prepared {
    pub(super) bytes: Vec<u8>,
    pub(super) notes: Vec<String>,
    quantized: Option<Quantized>,
    /// exp(logit scale), where the files state it.
    pub(super) logit_scale: Option<f32>,
}

pub(super) fn prepare(
    paths: &[PathBuf],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prepared> {
    let files = Files::find(paths, options.variant.as_deref())?;
    let mut parts = Parts::read(&files, options)?;
    if let [folder] = paths
        && folder.is_dir()
    {
        parts.notes.insert(0, taken_of(folder, &parts.taken));
    }
    let name = options.name.clone().unwrap_or_else(|| name_of(&paths[0]));
    let mut contents = parts.contents(&files, options, name)?;
    if let Some(list) = &options.vocabulary {
        let bytes = contents.to_bytes()?;
        bake(&mut contents, &bytes, list, progress).map_err(|e| e.at(list))?;
    }
    let quantized = if options.int8 {
        Some(
            quantize(&mut contents, options, &mut parts.notes, progress)
                .map_err(|e| e.at(&parts.origin))?,
        )
    } else {
        None
    };
    if options.no_text {
        contents.text = None;
        contents.card.text = None;
    }
    fuse(&mut contents).map_err(|e| e.at(&parts.origin))?;
    let bytes = contents.to_bytes()?;
    drop(contents);
    prove(&bytes).map_err(|e| e.at(&parts.origin))?;
    Ok(Prepared {
        bytes,
        notes: parts.notes,
        quantized,
        logit_scale: parts.logit_scale,
    })
}

/// Keeps the image encoder in the fused form, where it is known to it: it opens without work.
pub(super) fn fuse(contents: &mut Contents) -> Result<()> {
    let Some(ImageEncoder::Onnx(onnx)) = &contents.image else {
        return Ok(());
    };
    let dim = contents.card.dim as usize;
    match crate::encoder::fuse(onnx, &contents.card.preprocess, dim)? {
        Ok(fused) => {
            contents.image = Some(fused);
            contents.card.image = Some(EncoderForm::Graph);
        }
        Err(why) => log::info!("the image encoder stays as imported: {why}"),
    }
    Ok(())
}

/// Which files of a folder were taken, where others lie beside them.
fn taken_of(folder: &Path, taken: &[PathBuf]) -> String {
    let below = |path: &PathBuf| {
        let name = path.strip_prefix(folder).unwrap_or(path);
        name.display().to_string()
    };
    let names: Vec<String> = taken.iter().map(below).collect();
    format!("model: {}", names.join(", "))
}

/// Least photos that ranges are fixed by.
const LEAST_CALIBRATION: usize = 8;
/// Pictures that an int8 encoder is judged on where no photos are given.
const PATTERNS: usize = 16;

fn quantize(
    contents: &mut Contents,
    options: &Options,
    notes: &mut Vec<String>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Quantized> {
    if let Some((onnx, _)) = &mut contents.text {
        *onnx = quantize::halve(onnx)?;
    }
    let Some(ImageEncoder::Onnx(original)) = contents.image.take() else {
        return Err(Error::invalid(
            "bundle",
            "no image encoder",
            "one to quantize",
        ));
    };
    // A range fixed by few photos cuts what the next one shows, and the same few would judge it good.
    let enough = options.calibrate.len() >= LEAST_CALIBRATION;
    let mut frames = Cow::from(&options.calibrate);
    if !enough {
        frames.to_mut().extend(quantize::test_patterns(PATTERNS)?);
        if !options.calibrate.is_empty() {
            notes.push(format!(
                "photos to calibrate by: {}, too few to fix ranges, so made-up pictures judge too; {LEAST_CALIBRATION} or more, of what the camera will see, do better",
                options.calibrate.len()
            ));
        }
    }
    let space = (&contents.card.preprocess, contents.card.dim as usize);
    let (image, quantized) = quantize::int8(&original, space, (&frames, enough), progress)?;
    contents.image = Some(ImageEncoder::Onnx(image));
    Ok(quantized)
}

/// Text vectors of the names in the file `list`, for boards that have no text encoder.
fn bake(
    contents: &mut Contents,
    bytes: &[u8],
    list: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let labels = vocabulary::read_labels(list)?;
    let bundle = Bundle::from_bytes(bytes)?;
    let encoder = TextEncoder::open(&bundle)?.ok_or_else(|| {
        let expected = "a text model with its tokenizer, to encode the names with";
        Error::invalid("vocabulary", "no text encoder in these files", expected)
    })?;
    let rows = vocabulary::bake(&labels, &contents.card.templates, &encoder, progress)?;
    contents.vocabulary = Some((vocabulary::names(&labels)?, rows));
    Ok(())
}

fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if whole.is_dir() {
        whole.file_name()
    } else {
        whole.file_stem()
    };
    let name: String = stem
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .take(60)
        .collect();
    if name.is_empty() {
        "model".into()
    } else {
        name
    }
}

impl Parts {
    fn contents(&mut self, files: &Files, options: &Options, name: String) -> Result<Contents> {
        let preprocess = self.preprocess(files, options)?;
        let image = std::mem::take(&mut self.image);
        let dim = feature_width(&image, &preprocess).map_err(|e| e.at(&self.origin))?;
        let score = self.score(options);
        let text = self.text(files, dim)?;
        let text_card = text.as_ref().map(|(_, tokenizer)| text_card(tokenizer));
        let card = Card {
            about: format!(
                "imported from {}",
                self.origin
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
            ),
            name,
            dim: u32::try_from(dim).unwrap_or(u32::MAX),
            source: self.source.clone(),
            preprocess,
            score,
            templates: crate::text::Prompts::shipped().set("general")?.to_vec(),
            image: Some(EncoderForm::Onnx),
            text: text_card,
            licences: licences(files)?,
        };
        Ok(Contents {
            card,
            image: Some(ImageEncoder::Onnx(image)),
            text: text.map(|(onnx, tokenizer)| (onnx, tokenizer.json)),
            vocabulary: None,
        })
    }

    fn preprocess(&mut self, files: &Files, options: &Options) -> Result<Preprocess> {
        let (place, known) = preprocessor::published(files).unzip();
        // A file that asks for what is not done here does no harm where flags say all that it would.
        let p = &options.pixels;
        let all_given =
            p.resize.is_some() && p.mean.is_some() && p.std.is_some() && p.filter.is_some();
        let known = match known.transpose() {
            Err(_) if all_given => None,
            other => other?,
        };
        let side = self.picture.unwrap_or((CLIP_SIDE, CLIP_SIDE));
        let usual = if self.siglip {
            preprocessor::siglip(side)
        } else {
            preprocessor::clip(side)
        };
        let found = p.over(known.clone().unwrap_or(usual));
        found.check()?;
        let input = Preprocessor::new(found.clone())?.input_size();
        match (place, known) {
            (Some(path), Some(_)) => self
                .notes
                .push(format!("preprocessing from {}", path.display())),
            _ if all_given => {}
            _ => self.notes.push(format!(
                "no preprocessor_config.json: {}'s own preprocessing is taken, {} pixels, bicubic; \
                 --size, --mean, --std and --filter say otherwise",
                if self.siglip { "SigLIP" } else { "CLIP" },
                input.0.max(input.1)
            )),
        }
        if let Some(fixed) = self.picture.filter(|fixed| *fixed != input) {
            let found = format!("{}×{}", input.0, input.1);
            let expected = format!(
                "{}×{}, which the model insists on: --size, --crop",
                fixed.0, fixed.1
            );
            return Err(
                Error::invalid("size of the preprocessed picture", found, expected)
                    .at(&self.origin),
            );
        }
        Ok(found)
    }

    /// The text encoder with its tokenizer; without one it is left out, with a word.
    fn text(&mut self, files: &Files, dim: usize) -> Result<Option<(Vec<u8>, Fitted)>> {
        let Some(text) = self.text.take() else {
            return Ok(None);
        };
        let count = |n: Option<usize>| n.and_then(|n| u32::try_from(n).ok());
        // SigLIP was trained on texts of one length, filled with token 1, and answers otherwise to others.
        let usual = || text.most_tokens.unwrap_or(SIGLIP_TOKENS);
        let length = text.length.or_else(|| self.siglip.then(usual));
        let need = Need {
            max_tokens: count(length.or(text.most_tokens)),
            pad_to: count(length),
            pad_id: self.siglip.then_some(1),
            vocabulary: count(text.tokens),
            end: text.end,
            lowercase: false,
        };
        for place in files.places.iter().filter(|p| p.is_dir()) {
            let found = tokenizer::Files::of_folder(place)?;
            if !found.any() {
                continue;
            }
            let fit = |need: &Need| tokenizer::read(&found, need).map_err(|e| e.at(place));
            let mut fitted = fit(&need)?;
            let mut tower = text.tower;
            let runs =
                |tower: &[u8], t: &Fitted| TextEncoder::of(tower, &t.json, &text_card(t), dim);
            if text.unproven
                && need.pad_to.is_none()
                && let Err(e) = runs(&tower, &fitted)
            {
                log::info!("texts of free lengths: {e}; padding all of them instead");
                let padded = Need {
                    pad_to: Some(fitted.max_tokens),
                    ..need
                };
                fitted = fit(&padded)?;
                tower = onnx::one_text(&tower, fitted.max_tokens)?;
                self.notes.push(format!(
                    "tract follows this text model for one length only: each text is padded to {} tokens, which takes longer",
                    fitted.max_tokens
                ));
            }
            self.notes.push(format!("tokenizer: {}", fitted.about));
            return Ok(Some((tower, fitted)));
        }
        self.notes.push(
            "no tokenizer beside the text model (tokenizer.json, or vocab.json and merges.txt): the bundle gets no text encoder".into(),
        );
        Ok(None)
    }

    fn score(&mut self, options: &Options) -> Score {
        let bias = options.logit_bias.or(self.logit_bias);
        let scale = options.logit_scale.or(self.logit_scale);
        if self.siglip && bias.is_none() {
            self.notes.push(
                "a SigLIP without its scale and bias, which ONNX files do not hold: its probabilities are not SigLIP's. \
                 Put its model.safetensors beside, or give --logit-scale and --logit-bias"
                    .into(),
            );
        } else if scale.is_none() {
            self.notes.push(format!(
                "no logit scale in these files: {CLIP_SCALE} is taken, as CLIP ends its training with; --logit-scale (and --logit-bias for SigLIP) say otherwise"
            ));
        }
        Score {
            form: if bias.is_some() {
                ScoreForm::Sigmoid
            } else {
                ScoreForm::Softmax
            },
            scale: scale.unwrap_or(CLIP_SCALE),
            bias: bias.unwrap_or(0.0),
        }
    }
}

fn text_card(tokenizer: &Fitted) -> TextCard {
    TextCard {
        max_tokens: tokenizer.max_tokens,
        exact: true,
    }
}

/// Licence files beside the model.
fn licences(files: &Files) -> Result<Vec<Licence>> {
    let places = files
        .places
        .iter()
        .flat_map(|p| LICENCES.iter().map(|n| p.join(n)));
    let Some(path) = places.into_iter().find(|p| p.is_file()) else {
        return Ok(Vec::new());
    };
    let text = store::read_bounded(&path, "bytes of a licence", MAX_LICENCE)?;
    Ok(vec![Licence {
        name: "as published".into(),
        covers: "the model".into(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }])
}
