//! What a bundle says of itself: the small facts beside the weights.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::preprocess::Preprocess;

/// Widest feature that we believe in; CLIP's own are 512 to 1,024.
const MAX_DIM: u32 = 4096;

/// Identity of a feature space: bundles with the same id give the same features up to
/// quantization, so a classifier made with one serves with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FeatureSpace([u8; 16]);

impl FeatureSpace {
    /// The id of the space that `source` (its weights and projection, in words that identify
    /// them) spans after `preprocess`, `dim` floats wide.
    #[must_use]
    pub fn of(source: &str, preprocess: &Preprocess, dim: u32) -> Self {
        let facts = serde_bytes(&(source, preprocess, dim));
        let digest = Sha256::digest(facts);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

fn serde_bytes(facts: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(facts).expect("plain values always serialise")
}

impl std::fmt::Display for FeatureSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// How cosines become scores, and scores probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Softmax over the classes, or a sigmoid for each.
    pub form: ScoreForm,
    /// Factor on the cosine: exp(logit scale); 100 for CLIP.
    pub scale: f32,
    /// Added after the factor; 0 but for SigLIP.
    pub bias: f32,
}

/// The function that turns scores into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreForm {
    /// Classes compete; probabilities sum to one (CLIP).
    Softmax,
    /// Each class stands alone (SigLIP).
    Sigmoid,
}

/// In which form a bundle keeps its image encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderForm {
    /// An ONNX file, as imported.
    Onnx,
    /// Steps and packed weights of the fused encoder.
    Graph,
}

/// What goes with a text encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextCard {
    /// Most tokens that the encoder takes; longer texts are cut.
    pub max_tokens: u32,
    /// Whether this is the encoder that spans the space, not a small stand-in for it.
    pub exact: bool,
}

/// One licence that covers part of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Licence {
    /// Short name: `Apache-2.0`.
    pub name: String,
    /// The parts that it covers, with their origin.
    pub covers: String,
    /// Its full text.
    pub text: String,
}

/// All that a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Short name: `starter`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Width D of features and text weights.
    pub dim: u32,
    /// What the space was made from, in words that identify the weights.
    pub source: String,
    /// How a photo becomes the encoder's input.
    pub preprocess: Preprocess,
    /// How cosines become scores.
    pub score: Score,
    /// Prompt templates that the space was designed with; `{}` stands for the name.
    pub templates: Vec<String>,
    /// Form of the image encoder, where there is one.
    pub image: Option<EncoderForm>,
    /// The text encoder, where there is one.
    pub text: Option<TextCard>,
    /// Licences of everything inside.
    pub licences: Vec<Licence>,
}

impl Card {
    /// Refuses what no honest bundle says.
    ///
    /// # Errors
    /// The first fact out of its bounds.
    pub fn check(&self) -> Result<()> {
        let named = !self.name.is_empty() && self.name.len() <= 64;
        if !named || self.name.chars().any(|c| c.is_control() || c == '/') {
            return Err(Error::invalid(
                "bundle name",
                format!("{:?}", self.name),
                "1 to 64 printable bytes, no slash",
            ));
        }
        if self.dim == 0 || self.dim > MAX_DIM {
            return Err(Error::invalid(
                "feature width",
                self.dim.to_string(),
                format!("1 to {MAX_DIM}"),
            ));
        }
        let Score { scale, bias, .. } = self.score;
        if !(scale.is_finite() && scale > 0.0 && bias.is_finite()) {
            return Err(Error::invalid(
                "score",
                format!("scale {scale}, bias {bias}"),
                "a positive scale, finite bias",
            ));
        }
        if let Some(t) = self.templates.iter().find(|t| !t.contains("{}")) {
            return Err(Error::invalid(
                "prompt template",
                format!("{t:?}"),
                "{} where the name goes",
            ));
        }
        self.preprocess.check()
    }

    /// The id of this bundle's feature space.
    #[must_use]
    pub fn feature_space(&self) -> FeatureSpace {
        FeatureSpace::of(&self.source, &self.preprocess, self.dim)
    }
}
