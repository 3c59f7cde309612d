//! Model bundles, `NAME.ecmodel`: all that is fixed, in one file that is mapped, not read.
//!
//! A bundle holds an image encoder, a text encoder, a vocabulary of ready text vectors, or
//! several of them, all of one feature space, and a card that says what they are. This
//! module knows the sections; what runs them stands in `encoder` and `text`.

mod card;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use card::{Card, EncoderForm, FeatureSpace, Licence, Score, ScoreForm, TextCard};

use crate::error::{Error, Result};
use crate::preprocess::Preprocess;
use crate::store::{self, Envelope, Kind, SectionRef};

const CARD: &str = "card";
const IMAGE_ONNX: &str = "image/onnx";
const IMAGE_GRAPH: &str = "image/graph";
const IMAGE_WEIGHTS: &str = "image/weights";
const TEXT_ONNX: &str = "text/onnx";
const TEXT_TOKENIZER: &str = "text/tokenizer";
const VOCABULARY_NAMES: &str = "vocabulary/names";
const VOCABULARY_ROWS: &str = "vocabulary/rows";
const VOCABULARY_SCALES: &str = "vocabulary/scales";

/// An opened model bundle; cheap to clone, its weights stay in the map.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    envelope: Envelope,
    card: Card,
}

/// The sections of an image encoder.
#[derive(Clone, Debug)]
pub enum ImageSections {
    /// An ONNX file, as imported.
    Onnx(SectionRef),
    /// The fused form.
    Graph {
        /// What is done, step by step.
        graph: SectionRef,
        /// Packed weights, used where they lie.
        weights: SectionRef,
    },
}

/// The sections of a text encoder.
#[derive(Clone, Debug)]
pub struct TextSections {
    /// The encoder's ONNX file.
    pub onnx: SectionRef,
    /// The tokenizer, as `tokenizer.json` of the `tokenizers` library.
    pub tokenizer: SectionRef,
    /// What goes with them.
    pub card: TextCard,
}

/// A name of the vocabulary with the other words for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VocabularyName {
    /// The name that answers use.
    pub name: String,
    /// Synonyms, spellings and irregular plurals that mean the same.
    pub aliases: Vec<String>,
}

/// The sections of a vocabulary: N names, and N rows of D int8 values with a scale each.
#[derive(Clone, Debug)]
pub struct VocabularySections {
    /// The names, in the order of the rows.
    pub names: Vec<VocabularyName>,
    /// N×D int8 values.
    pub rows: SectionRef,
    /// N little-endian f32 factors.
    pub scales: SectionRef,
}

impl Bundle {
    /// Maps the bundle at `path` and reads its card.
    ///
    /// # Errors
    /// The file cannot be read, is no model bundle, is damaged, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let envelope = Envelope::open(path, Kind::ModelBundle)?;
        Self::from_envelope(envelope, path).map_err(|e| e.at(path))
    }

    /// A bundle from the bytes of its file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_envelope(
            Envelope::from_bytes(bytes, Kind::ModelBundle)?,
            Path::new("(memory)"),
        )
    }

    fn from_envelope(envelope: Envelope, path: &Path) -> Result<Self> {
        let card: Card = store::decode_postcard(envelope.section(CARD)?, "bundle card")?;
        card.check()?;
        Ok(Self {
            path: path.to_owned(),
            envelope,
            card,
        })
    }

    /// Where the bundle was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the bundle says of itself.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Width D of features and text weights.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.card.dim as usize
    }

    /// The id of its feature space.
    #[must_use]
    pub fn feature_space(&self) -> FeatureSpace {
        self.card.feature_space()
    }

    /// How a photo becomes the encoder's input.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.card.preprocess
    }

    /// How cosines become scores.
    #[must_use]
    pub fn score(&self) -> Score {
        self.card.score
    }

    /// The image encoder in the form that it is in.
    ///
    /// # Errors
    /// Its sections are damaged or missing.
    pub fn image_encoder(&self) -> Result<Option<ImageSections>> {
        let section = |name| self.envelope.section_ref(name);
        Ok(match self.card.image {
            None => None,
            Some(EncoderForm::Onnx) => Some(ImageSections::Onnx(section(IMAGE_ONNX)?)),
            Some(EncoderForm::Graph) => Some(ImageSections::Graph {
                graph: section(IMAGE_GRAPH)?,
                weights: section(IMAGE_WEIGHTS)?,
            }),
        })
    }

    /// The text encoder.
    ///
    /// # Errors
    /// Its sections are damaged or missing.
    pub fn text_encoder(&self) -> Result<Option<TextSections>> {
        let Some(card) = self.card.text.clone() else {
            return Ok(None);
        };
        let onnx = self.envelope.section_ref(TEXT_ONNX)?;
        let tokenizer = self.envelope.section_ref(TEXT_TOKENIZER)?;
        Ok(Some(TextSections {
            onnx,
            tokenizer,
            card,
        }))
    }

    /// The vocabulary of ready text vectors.
    ///
    /// # Errors
    /// Its sections are damaged, missing, or disagree in length.
    pub fn vocabulary(&self) -> Result<Option<VocabularySections>> {
        if !self.envelope.has(VOCABULARY_NAMES) {
            return Ok(None);
        }
        let names: Vec<VocabularyName> =
            store::decode_postcard(self.envelope.section(VOCABULARY_NAMES)?, "vocabulary names")?;
        let rows = self.envelope.section_ref(VOCABULARY_ROWS)?;
        let scales = self.envelope.section_ref(VOCABULARY_SCALES)?;
        if Some(rows.len()) != names.len().checked_mul(self.dim())
            || Some(scales.len()) != names.len().checked_mul(4)
        {
            let found = format!(
                "{} names, {} bytes of rows, {} of scales",
                names.len(),
                rows.len(),
                scales.len()
            );
            return Err(Error::invalid(
                "vocabulary",
                found,
                format!("{} bytes and a scale a name", self.dim()),
            ));
        }
        Ok(Some(VocabularySections {
            names,
            rows,
            scales,
        }))
    }

    /// The file itself: sections, checksums, hash.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// The image encoder of a new bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageEncoder {
    /// An ONNX file.
    Onnx(Vec<u8>),
    /// The fused form, as [`fuse`](crate::encoder) makes it.
    Graph {
        /// What is done, step by step.
        graph: Vec<u8>,
        /// Packed weights.
        weights: Vec<u8>,
    },
}

impl ImageEncoder {
    fn form(&self) -> EncoderForm {
        match self {
            Self::Onnx(_) => EncoderForm::Onnx,
            Self::Graph { .. } => EncoderForm::Graph,
        }
    }
}

/// What a new bundle is made of.
#[derive(Debug)]
pub struct Contents {
    /// What it says of itself.
    pub card: Card,
    /// The image encoder in the form that `card.image` says.
    pub image: Option<ImageEncoder>,
    /// The text encoder's ONNX file and `tokenizer.json`, where `card.text` says so.
    pub text: Option<(Vec<u8>, Vec<u8>)>,
    /// Names and their vectors, N×D, unit rows.
    pub vocabulary: Option<(Vec<VocabularyName>, ndarray::Array2<f32>)>,
}

impl Contents {
    /// What `bundle` is made of.
    ///
    /// # Errors
    /// Its sections are damaged or missing.
    #[cfg(feature = "import")]
    pub(crate) fn of(bundle: &Bundle) -> Result<Self> {
        let image = bundle.image_encoder()?.map(|image| match image {
            ImageSections::Onnx(onnx) => ImageEncoder::Onnx(onnx.to_vec()),
            ImageSections::Graph { graph, weights } => ImageEncoder::Graph {
                graph: graph.to_vec(),
                weights: weights.to_vec(),
            },
        });
        let text = bundle.text_encoder()?;
        let vocabulary = bundle.vocabulary()?.map(|v| {
            let mut vectors = ndarray::Array2::zeros((v.names.len(), bundle.dim()));
            let scales = v
                .scales
                .as_chunks()
                .0
                .iter()
                .map(|s| f32::from_le_bytes(*s));
            let rows = vectors
                .outer_iter_mut()
                .zip(v.rows.chunks_exact(bundle.dim()));
            for ((mut to, row), scale) in rows.zip(scales) {
                let values = row.iter().map(|q| scale * f32::from(q.cast_signed()));
                to.iter_mut().zip(values).for_each(|(to, v)| *to = v);
            }
            (v.names, vectors)
        });
        Ok(Self {
            card: bundle.card().clone(),
            image,
            text: text.map(|t| (t.onnx.to_vec(), t.tokenizer.to_vec())),
            vocabulary,
        })
    }

    /// Writes the bundle to `path`, replacing what stands there in one step.
    ///
    /// # Errors
    /// The card is out of bounds, lengths disagree, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        store::replace(path, &self.to_bytes()?)
    }

    /// The bytes of the bundle's file.
    ///
    /// # Errors
    /// The card is out of bounds or lengths disagree.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.card.check()?;
        if self.card.image != self.image.as_ref().map(ImageEncoder::form)
            || self.card.text.is_some() != self.text.is_some()
        {
            return Err(Error::invalid(
                "bundle contents",
                "a card at odds with the parts",
                "parts as the card says",
            ));
        }
        let mut builder = Envelope::builder(Kind::ModelBundle)
            .section(CARD, store::encode_postcard(&self.card, "bundle card")?);
        builder = match &self.image {
            None => builder,
            Some(ImageEncoder::Onnx(onnx)) => builder.section(IMAGE_ONNX, &onnx[..]),
            Some(ImageEncoder::Graph { graph, weights }) => builder
                .section(IMAGE_GRAPH, &graph[..])
                .section(IMAGE_WEIGHTS, &weights[..]),
        };
        if let Some((onnx, tokenizer)) = &self.text {
            builder = builder
                .section(TEXT_ONNX, &onnx[..])
                .section(TEXT_TOKENIZER, &tokenizer[..]);
        }
        if let Some((names, vectors)) = &self.vocabulary {
            if vectors.dim() != (names.len(), self.card.dim as usize) {
                let found = format!(
                    "{} names and vectors of shape {:?}",
                    names.len(),
                    vectors.dim()
                );
                return Err(Error::invalid(
                    "vocabulary",
                    found,
                    format!("a row of {} a name", self.card.dim),
                ));
            }
            let (rows, scales) = quantize_rows(vectors);
            builder = builder
                .section(
                    VOCABULARY_NAMES,
                    store::encode_postcard(names, "vocabulary names")?,
                )
                .section(VOCABULARY_ROWS, rows)
                .section(VOCABULARY_SCALES, scales);
        }
        builder.to_bytes()
    }
}

/// Each row as int8 with one factor: a quarter of the size, and cosines to four digits.
fn quantize_rows(vectors: &ndarray::Array2<f32>) -> (Vec<u8>, Vec<u8>) {
    let mut rows = Vec::with_capacity(vectors.len());
    let mut scales = Vec::with_capacity(vectors.nrows() * 4);
    for row in vectors.rows() {
        let peak = row.iter().fold(1e-12_f32, |m, v| m.max(v.abs()));
        let scale = peak / 127.0;
        rows.extend(
            row.iter()
                .map(|v| ((v / scale).round() as i8).cast_unsigned()),
        );
        scales.extend(scale.to_le_bytes());
    }
    (rows, scales)
}
