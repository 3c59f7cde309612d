//! Names to text weights: the part of CLIP that says what a photo could be called.
//!
//! It runs once, when classes are named; the weights then live in the classifier, and a
//! board that only looks needs nothing from here. A name that the bundle's vocabulary holds
//! costs a lookup; any other goes through a text encoder, exact or a small stand-in.

#[cfg(feature = "import")]
mod encoder;
mod labels;
#[cfg(feature = "import")]
mod prompts;
#[cfg(any(feature = "cli", feature = "camera"))]
mod shown;
#[cfg(feature = "import")]
mod tokens;
mod vocabulary;

use ndarray::{Array2, Axis};

#[cfg(feature = "import")]
pub use encoder::TextEncoder;
pub use labels::{
    Label, MAX_LABELS, MAX_NAME_BYTES, MAX_PROMPTS, check, parse_labels, read_labels,
};
#[cfg(feature = "import")]
pub use prompts::{Prompts, fill};
#[cfg(any(feature = "cli", feature = "camera"))]
pub use shown::{cut, printable};
#[cfg(feature = "import")]
pub(crate) use tokens::Tokenizer;
pub use vocabulary::Vocabulary;
#[cfg(feature = "import")]
pub(crate) use vocabulary::key;

use crate::bundle::{Bundle, FeatureSpace};
use crate::error::{Error, Result};

/// Where the weight of a name came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A ready vector, known under this name.
    Vocabulary(String),
    /// The exact text encoder.
    Encoded,
    /// The small stand-in for it, which understood the name as something near these.
    Estimated(Vec<String>),
}

/// Text weights of K labels: unit rows, in the order of the labels.
#[derive(Clone, Debug)]
pub struct TextWeights {
    /// The labels.
    pub labels: Vec<Label>,
    /// K×D, unit rows.
    pub weights: Array2<f32>,
    /// Where each row came from.
    pub origins: Vec<Origin>,
    /// The space that the rows belong to.
    pub feature_space: FeatureSpace,
}

impl TextWeights {
    /// Those of the labels that `keep` says yes to.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Label) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.labels.len())
            .filter(|at| keep(&self.labels[*at]))
            .collect();
        Self {
            labels: kept.iter().map(|at| self.labels[*at].clone()).collect(),
            weights: self.weights.select(Axis(0), &kept),
            origins: kept.iter().map(|at| self.origins[*at].clone()).collect(),
            feature_space: self.feature_space,
        }
    }
}

/// Everything that can turn names into weights of one feature space.
#[derive(Debug)]
pub struct TextTower {
    vocabulary: Option<Vocabulary>,
    #[cfg(feature = "import")]
    encoder: Option<TextEncoder>,
    templates: Vec<String>,
    feature_space: FeatureSpace,
    dim: usize,
}

impl TextTower {
    /// The vocabulary of `bundle`, and the text encoder of `text` or else of `bundle`.
    ///
    /// # Errors
    /// `text` is of another feature space, or a section cannot be read.
    pub fn open(bundle: &Bundle, text: Option<&Bundle>) -> Result<Self> {
        if let Some(other) = text.filter(|t| t.feature_space() != bundle.feature_space()) {
            let found = format!("space {} ({})", other.feature_space(), other.card().name);
            let expected = format!(
                "space {} of {}",
                bundle.feature_space(),
                bundle.path().display()
            );
            return Err(Error::invalid("text encoder", found, expected).at(other.path()));
        }
        let sections = bundle.vocabulary().map_err(|e| e.at(bundle.path()))?;
        Ok(Self {
            vocabulary: sections.map(|s| Vocabulary::new(s, bundle.dim())),
            #[cfg(feature = "import")]
            encoder: match text {
                Some(text) => TextEncoder::open(text)?,
                None => TextEncoder::open(bundle)?,
            },
            templates: bundle.card().templates.clone(),
            feature_space: bundle.feature_space(),
            dim: bundle.dim(),
        })
    }

    /// The names known by heart.
    #[must_use]
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.vocabulary.as_ref()
    }

    /// Text weights of `labels` in the templates that the bundle was made with.
    ///
    /// `progress` hears how many of how many texts are encoded.
    ///
    /// # Errors
    /// A name that neither the vocabulary nor a text encoder can serve; the words list the
    /// nearest known names.
    pub fn weights(
        &self,
        labels: &[Label],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<TextWeights> {
        self.weights_in(labels, None, progress)
    }

    /// The same in `templates` of the caller's choice; these need a text encoder.
    ///
    /// # Errors
    /// As [`weights`](Self::weights).
    pub fn weights_in(
        &self,
        labels: &[Label],
        templates: Option<&[String]>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<TextWeights> {
        let own = templates.is_none_or(|t| t == self.templates);
        let mut rows: Vec<Option<(Vec<f32>, Origin)>> = Vec::with_capacity(labels.len());
        for label in labels {
            rows.push(if own && label.prompts().is_empty() {
                self.look_up(label.name())?
            } else {
                None
            });
        }
        let missing: Vec<&Label> = labels
            .iter()
            .zip(&rows)
            .filter(|(_, r)| r.is_none())
            .map(|(l, _)| l)
            .collect();
        let mut encoded = self
            .encode(&missing, templates.unwrap_or(&self.templates), progress)?
            .into_iter();
        let mut weights = Array2::zeros((labels.len(), self.dim));
        let mut origins = Vec::with_capacity(labels.len());
        for (mut row, found) in weights.rows_mut().into_iter().zip(rows) {
            let (vector, origin) = found
                .or_else(|| encoded.next())
                .expect("every label was found or encoded");
            row.assign(&ndarray::aview1(&vector));
            origins.push(origin);
        }
        Ok(TextWeights {
            labels: labels.to_vec(),
            weights,
            origins,
            feature_space: self.feature_space,
        })
    }

    /// Whether there is anything here that can turn a label into a weight.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn understands(&self, label: &Label) -> Result<bool> {
        let by_heart = label.prompts().is_empty()
            && self
                .vocabulary
                .as_ref()
                .is_some_and(|v| v.find(label.name()).is_some());
        if by_heart {
            return Ok(true);
        }
        #[cfg(feature = "import")]
        if let Some(encoder) = &self.encoder {
            let given = encoder.is_exact() || !label.prompts().is_empty();
            return Ok(given || encoder.knows(label.name())?);
        }
        Ok(false)
    }

    fn look_up(&self, name: &str) -> Result<Option<(Vec<f32>, Origin)>> {
        let Some(vocabulary) = &self.vocabulary else {
            return Ok(None);
        };
        let Some(at) = vocabulary.find(name) else {
            return Ok(None);
        };
        let known = vocabulary.names()[at].name.clone();
        Ok(Some((vocabulary.vector(at)?, Origin::Vocabulary(known))))
    }

    #[cfg(not(feature = "import"))]
    fn encode(
        &self,
        labels: &[&Label],
        _: &[String],
        _: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<(Vec<f32>, Origin)>> {
        labels
            .first()
            .map_or(Ok(Vec::new()), |label| Err(self.unknown(label.name())))
    }

    #[cfg(feature = "import")]
    fn encode(
        &self,
        labels: &[&Label],
        templates: &[String],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<(Vec<f32>, Origin)>> {
        let Some(first) = labels.first() else {
            return Ok(Vec::new());
        };
        let encoder = self
            .encoder
            .as_ref()
            .ok_or_else(|| self.unknown(first.name()))?;
        for label in labels {
            if !encoder.is_exact() && label.prompts().is_empty() && !encoder.knows(label.name())? {
                return Err(self.unknown(label.name()));
            }
        }
        let vectors = encoder.weights(labels, templates, progress)?;
        let origin = |vector: &[f32]| {
            if encoder.is_exact() {
                Origin::Encoded
            } else {
                self.estimated(vector)
            }
        };
        Ok(vectors
            .into_iter()
            .map(|v| {
                let from = origin(&v);
                (v, from)
            })
            .collect())
    }

    #[cfg(feature = "import")]
    fn estimated(&self, vector: &[f32]) -> Origin {
        let nearest = self
            .vocabulary
            .as_ref()
            .map_or_else(Vec::new, |v| v.nearest_by_meaning(vector, 3));
        Origin::Estimated(nearest.into_iter().map(str::to_owned).collect())
    }

    fn unknown(&self, name: &str) -> Error {
        match &self.vocabulary {
            Some(v) => v.unknown(name),
            None => {
                let expected = "a bundle with a text encoder or a vocabulary: `edgeclip model inspect` lists its parts";
                Error::invalid("label", format!("`{name}`, and no text encoder"), expected)
            }
        }
    }
}
