//! The manifest `bundle.toml` of an import folder, and the vocabulary's list of names.

use std::path::Path;

use serde::Deserialize;

use crate::bundle::{Card, EncoderForm, Licence, Score, ScoreForm, VocabularyName};
use crate::error::{Error, Result};
use crate::preprocess::{Filter, Preprocess, Resize};
use crate::store;

const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    name: String,
    about: String,
    dim: u32,
    source: String,
    preprocess: Pixels,
    score: ScoreTable,
    pub(super) image: Option<Image>,
    pub(super) text: Option<Text>,
    pub(super) vocabulary: Option<Vocabulary>,
    #[serde(default)]
    templates: Vec<String>,
    #[serde(default)]
    licence: Vec<LicenceFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pixels {
    resize: ResizeRule,
    size: Vec<u32>,
    filter: FilterName,
    crop: Option<(u32, u32)>,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResizeRule {
    Shortest,
    Exact,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FilterName {
    Bicubic,
    Bilinear,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreTable {
    form: ScoreForm,
    scale: f32,
    #[serde(default)]
    bias: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    pub(super) file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) file: String,
    pub(super) tokenizer: String,
    pub(super) max_tokens: u32,
    pub(super) exact: bool,
    #[serde(default)]
    templates: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vocabulary {
    pub(super) names: String,
    pub(super) vectors: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceFile {
    name: String,
    file: String,
    covers: String,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = store::read_text_bounded(path, "bytes of a manifest", MAX_BYTES)?;
        toml::from_str(&text).map_err(|e| {
            let found = e.to_string().trim_end().replace('\n', "\n  ");
            Error::invalid("manifest", found, "the keys of docs/formats.md").at(path)
        })
    }

    /// The bundle's card; licence texts are read from `dir`.
    pub(super) fn card(&self, dir: &Path) -> Result<Card> {
        let licence = |l: &LicenceFile| {
            let text = String::from_utf8_lossy(&super::read_part(dir, &l.file)?).into_owned();
            Ok(Licence {
                name: l.name.clone(),
                covers: l.covers.clone(),
                text,
            })
        };
        let own = self.text.as_ref().map_or(&[][..], |t| &t.templates);
        Ok(Card {
            name: self.name.clone(),
            about: self.about.clone(),
            dim: self.dim,
            source: self.source.clone(),
            preprocess: self.preprocess()?,
            score: Score {
                form: self.score.form,
                scale: self.score.scale,
                bias: self.score.bias,
            },
            templates: if self.templates.is_empty() {
                own.to_vec()
            } else {
                self.templates.clone()
            },
            image: self.image.as_ref().map(|_| EncoderForm::Onnx),
            text: self.text.as_ref().map(Text::card),
            licences: self.licence.iter().map(licence).collect::<Result<_>>()?,
        })
    }

    fn preprocess(&self) -> Result<Preprocess> {
        let p = &self.preprocess;
        let resize = match (&p.resize, &p.size[..]) {
            (ResizeRule::Shortest, [side]) => Resize::Shortest(*side),
            (ResizeRule::Exact, [width, height]) => Resize::Exact {
                width: *width,
                height: *height,
            },
            _ => {
                let expected = "`size = [side]` with shortest, `size = [width, height]` with exact";
                return Err(Error::invalid(
                    "manifest size",
                    format!("{:?}", p.size),
                    expected,
                ));
            }
        };
        let filter = match p.filter {
            FilterName::Bicubic => Filter::Bicubic,
            FilterName::Bilinear => Filter::Bilinear,
        };
        Ok(Preprocess {
            resize,
            filter,
            crop: p.crop,
            mean: p.mean,
            std: p.std,
        })
    }
}

/// Names from lines of `name | alias | alias`.
pub(super) fn vocabulary_names(bytes: &[u8]) -> Result<Vec<VocabularyName>> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Error::invalid(
            "vocabulary names",
            format!("no UTF-8 at byte {}", e.valid_up_to()),
            "UTF-8",
        )
    })?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let names = lines.map(|line| {
        let mut parts = line
            .split('|')
            .map(|p| p.trim().to_owned())
            .filter(|p| !p.is_empty());
        let name = parts
            .next()
            .ok_or_else(|| Error::invalid("vocabulary names", "a line of bars", "a name"))?;
        Ok(VocabularyName {
            name,
            aliases: parts.collect(),
        })
    });
    names.collect()
}
