//! A classifier's file: the record of its classes, and the text weights as raw floats.

use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{Class, Classifier};
use crate::bundle::{FeatureSpace, Score};
use crate::error::{Error, Result};
use crate::store::{self, Builder, Envelope, Kind, Saver};
use crate::text::{self, Label};

const RECORD: &str = "classes";
const TEXT: &str = "text";

/// Everything but the weights.
#[derive(Serialize, Deserialize)]
struct Record {
    feature_space: FeatureSpace,
    model: String,
    dim: u32,
    score: Score,
    next_id: u32,
    classes: Vec<Class>,
}

impl Classifier {
    /// Reads the classifier at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is no classifier, is damaged, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let envelope = Envelope::read(path, Kind::Classifier)?;
        Self::from_envelope(&envelope).map_err(|e| e.at(path))
    }

    /// A classifier from the bytes of its file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_envelope(&Envelope::from_bytes(bytes, Kind::Classifier)?)
    }

    /// Saves to `path` under its lock; what stood there becomes an older generation.
    ///
    /// # Errors
    /// Somebody else saved since this classifier was opened, or the file cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<()> {
        let builder = self.builder()?;
        self.stamp = Some(Saver::new(path).save(self.stamp, &builder)?);
        Ok(())
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// More classes than a file may hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.builder()?.to_bytes()
    }

    fn builder(&self) -> Result<Builder<'static>> {
        let record = Record {
            feature_space: self.feature_space,
            model: self.model.clone(),
            dim: self.dim() as u32,
            score: self.score,
            next_id: self.next_id,
            classes: self.classes.clone(),
        };
        let text: Vec<u8> = self.text.iter().flat_map(|v| v.to_le_bytes()).collect();
        let record = store::encode_postcard(&record, "classifier record")?;
        Ok(Envelope::builder(Kind::Classifier)
            .section(RECORD, record)
            .section(TEXT, text))
    }

    fn from_envelope(envelope: &Envelope) -> Result<Self> {
        let record: Record =
            store::decode_postcard(envelope.section(RECORD)?, "classifier record")?;
        let text = weights(
            envelope.section(TEXT)?,
            record.classes.len(),
            record.dim as usize,
        )?;
        let labels = record
            .classes
            .iter()
            .map(|c| Label::new(&c.name, &c.prompts))
            .collect::<Result<_>>()?;
        text::check(labels)?;
        let mut ids: Vec<u32> = record.classes.iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != record.classes.len()
            || ids.last().is_some_and(|last| *last >= record.next_id)
        {
            return Err(Error::invalid(
                "class ids",
                "a repeated one, or one not given yet",
                "each once",
            ));
        }
        if !(record.score.scale.is_finite() && record.score.bias.is_finite()) {
            return Err(Error::invalid(
                "score",
                format!("{:?}", record.score),
                "finite numbers",
            ));
        }
        Ok(Self {
            feature_space: record.feature_space,
            model: record.model,
            score: record.score,
            classes: record.classes,
            next_id: record.next_id,
            text,
            stamp: Some(envelope.stamp()),
        })
    }
}

fn weights(bytes: &[u8], classes: usize, dim: usize) -> Result<Array2<f32>> {
    if classes.checked_mul(dim).and_then(|n| n.checked_mul(4)) != Some(bytes.len()) {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::invalid(
            "text weights",
            found,
            format!("{classes} rows of {dim} floats"),
        ));
    }
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::invalid(
            "text weights",
            "a value that is no number",
            "finite floats",
        ));
    }
    Ok(Array2::from_shape_vec((classes, dim), values).expect("the length was checked"))
}
