//! A classifier's file: the record of its classes and shots, and their floats as they lie.
//!
//! Sections that only learning needs are missing where there are no shots; a file of names alone may
//! have none of them.

use std::path::Path;

use half::f16;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::shot::Shot;
use super::{Class, Classifier};
use crate::bundle::{FeatureSpace, Score};
use crate::error::{Error, Result};
use crate::head::{Learned, Settings};
use crate::store::{self, Builder, Envelope, Kind, Saver};
use crate::text::{self, Label};

const RECORD: &str = "classes";
const TEXT: &str = "text";
const LESSONS: &str = "lessons";
const FEATURES: &str = "shots";
const THUMBNAILS: &str = "thumbnails";
const LEARNED: &str = "learned";

/// Everything of the classes but their weights.
#[derive(Serialize, Deserialize)]
struct Record {
    feature_space: FeatureSpace,
    model: String,
    dim: u32,
    score: Score,
    next_id: u32,
    classes: Vec<Class>,
}

/// Everything of the shots but their features.
#[derive(Default, Serialize, Deserialize)]
struct Lessons {
    settings: Settings,
    next_shot: u32,
    note: String,
    shots: Vec<Shot>,
    /// Lengths of the pictures in the section of that name, in bytes, one a shot.
    thumbnails: Vec<u32>,
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
        let mut builder = Envelope::builder(Kind::Classifier)
            .section(RECORD, record)
            .section(TEXT, text);
        let lessons = Lessons {
            settings: self.settings,
            next_shot: self.next_shot,
            note: self.note.clone(),
            shots: self.shots.clone(),
            thumbnails: self.thumbnails.iter().map(|t| t.len() as u32).collect(),
        };
        builder = builder.section(LESSONS, store::encode_postcard(&lessons, "lessons")?);
        if !self.shots.is_empty() {
            let features: Vec<u8> = self.halves.iter().flat_map(|h| h.to_le_bytes()).collect();
            builder = builder.section(FEATURES, features);
        }
        if self.thumbnails.iter().any(|t| !t.is_empty()) {
            builder = builder.section(THUMBNAILS, self.thumbnails.concat());
        }
        if let Some(learned) = &self.learned {
            builder = builder.section(LEARNED, store::encode_postcard(learned, "learned head")?);
        }
        Ok(builder)
    }

    fn from_envelope(envelope: &Envelope) -> Result<Self> {
        let record: Record =
            store::decode_postcard(envelope.section(RECORD)?, "classifier record")?;
        let dim = record.dim as usize;
        let text = weights(envelope.section(TEXT)?, record.classes.len(), dim)?;
        record.check()?;
        let lessons: Lessons = match envelope.has(LESSONS) {
            true => store::decode_postcard(envelope.section(LESSONS)?, "lessons")?,
            false => Lessons::default(),
        };
        lessons.check(&record.classes)?;
        let halves = match lessons.shots.len() {
            0 => Vec::new(),
            n => halves(envelope.section(FEATURES)?, n, dim)?,
        };
        let thumbnails = match envelope.has(THUMBNAILS) {
            true => cut(envelope.section(THUMBNAILS)?, &lessons.thumbnails)?,
            false => vec![Vec::new(); lessons.shots.len()],
        };
        let learned: Option<Learned> = match envelope.has(LEARNED) {
            true => Some(store::decode_postcard(
                envelope.section(LEARNED)?,
                "learned head",
            )?),
            false => None,
        };
        let made = Self {
            feature_space: record.feature_space,
            model: record.model,
            score: record.score,
            classes: record.classes,
            next_id: record.next_id,
            text,
            shots: lessons.shots,
            next_shot: lessons.next_shot,
            halves,
            thumbnails,
            settings: lessons.settings,
            note: lessons.note,
            learned,
            stamp: Some(envelope.stamp()),
        };
        made.rows()?;
        if let Some(learned) = &made.learned {
            learned.check(made.kinds(), dim, made.shots.len())?;
        } else if !made.shots.is_empty() {
            return Err(Error::invalid(
                "classifier",
                "shots and no head learned from them",
                "both",
            ));
        }
        Ok(made)
    }
}

impl Record {
    fn check(&self) -> Result<()> {
        let labels = self
            .classes
            .iter()
            .map(|c| Label::new(&c.name, &c.prompts))
            .collect::<Result<_>>()?;
        text::check(labels)?;
        let mut ids: Vec<u32> = self.classes.iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != self.classes.len() || ids.last().is_some_and(|last| *last >= self.next_id) {
            return Err(Error::invalid(
                "class ids",
                "a repeated one, or one not given yet",
                "each once",
            ));
        }
        if !(self.score.scale.is_finite() && self.score.scale > 0.0 && self.score.bias.is_finite())
        {
            return Err(Error::invalid(
                "score",
                format!("{:?}", self.score),
                "finite numbers, a positive scale",
            ));
        }
        Ok(())
    }
}

impl Lessons {
    fn check(&self, classes: &[Class]) -> Result<()> {
        if self.shots.len() > super::draft::MAX_SHOTS {
            return Err(Error::Limit {
                what: "shots",
                found: self.shots.len() as u64,
                limit: super::draft::MAX_SHOTS as u64,
            });
        }
        let rising = self.shots.is_sorted_by(|a, b| a.id() < b.id());
        if !rising || self.shots.last().is_some_and(|s| s.id() >= self.next_shot) {
            return Err(Error::invalid(
                "shot ids",
                "a repeated one, or one not given yet",
                "rising ones",
            ));
        }
        let ids: std::collections::BTreeSet<u32> = classes.iter().map(Class::id).collect();
        let known = |s: &Shot| s.class().is_none_or(|id| ids.contains(&id));
        if !self.shots.iter().all(known) {
            return Err(Error::invalid(
                "shots",
                "one of a class that is not there",
                "shots of the classes listed",
            ));
        }
        if self.thumbnails.len() != self.shots.len() {
            let found = format!("{} pictures", self.thumbnails.len());
            return Err(Error::invalid(
                "shots",
                found,
                format!("{}, one a shot", self.shots.len()),
            ));
        }
        self.settings.check()
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
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
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

fn halves(bytes: &[u8], shots: usize, dim: usize) -> Result<Vec<f16>> {
    if dim == 0 || shots.checked_mul(dim).and_then(|n| n.checked_mul(2)) != Some(bytes.len()) {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::invalid(
            "shots",
            found,
            format!("{shots} rows of {dim} half floats"),
        ));
    }
    Ok(bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| f16::from_le_bytes(*b))
        .collect())
}

fn cut(mut bytes: &[u8], lengths: &[u32]) -> Result<Vec<Vec<u8>>> {
    let whole = lengths.iter().map(|l| u64::from(*l)).sum::<u64>();
    if whole != bytes.len() as u64 {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::invalid(
            "pictures of shots",
            found,
            format!("{whole} bytes"),
        ));
    }
    let take = |length: &u32| {
        let (picture, rest) = bytes.split_at(*length as usize);
        bytes = rest;
        picture.to_vec()
    };
    Ok(lengths.iter().map(take).collect())
}
