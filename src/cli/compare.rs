//! `model verify --against`: a bundle beside the model that it was made of, on the same photos and
//! names. Each side goes its own way from pixels to answers, as its own files tell it.

mod answers;
mod names;
mod pixels;
mod report;

use std::path::{Path, PathBuf};

use super::output::Output;
use super::settings::Settings;
use super::{Done, Stop, photos};
use crate::bundle::{Bundle, Score};
use crate::encoder::{Encoder, Feature, likeness};
use crate::error::{Error, Result};
use crate::frame::Decode;
use crate::import::{PixelsFrom, Reference};
use answers::{Answers, same_neighbour};
use names::{Texts, Wanted};

/// What is compared on what.
pub(super) struct Asked<'a> {
    pub(super) bundle: &'a Path,
    pub(super) against: &'a Path,
    pub(super) photos: &'a Path,
    pub(super) labels_file: Option<&'a Path>,
}

/// How like two sides are.
struct Comparison {
    photos: usize,
    pixels: PixelsFrom,
    /// Where the preprocessing of the reference is another.
    differences: Vec<String>,
    /// Mean and least cosine of image features.
    images: (f64, f64),
    same_nearest: usize,
    texts: Texts,
    text_likeness: Option<(f64, f64)>,
    textless: Option<Error>,
    answers: Option<Answers>,
    score: Score,
    their_score: Score,
    stated_scale: Option<f32>,
}

pub(super) fn run(asked: &Asked<'_>, settings: &Settings, out: &mut Output) -> Result<Done, Stop> {
    let ours = Bundle::open(asked.bundle)?;
    let wanted = Wanted::find(asked.labels_file, asked.photos)?;
    let paths = photos::gather(&[asked.photos.to_owned()])?;
    let reference = Reference::open(asked.against, ours.preprocess())?;
    let theirs = &reference.bundle;
    if ours.dim() != theirs.dim() {
        let found = format!("{} floats", theirs.dim());
        let expected = format!("{}, the width of {}", ours.dim(), asked.bundle.display());
        let wrong = Error::invalid("features to compare with", found, expected);
        return Err(wrong.at(asked.against).into());
    }
    let seen = Seen::by_both(&ours, theirs, &paths, settings, out.quiet)?;
    if seen.photos.is_empty() {
        let none = Error::invalid("photos", "none that can be read", "some");
        return Err(none.at(asked.photos).into());
    }
    let texts = Texts::of(&ours, theirs, wanted)?;
    let both = (&seen.ours[..], &seen.theirs[..]);
    let comparison = Comparison {
        photos: seen.photos.len(),
        differences: pixels::differences(ours.preprocess(), theirs.preprocess()),
        images: likeness(both.0, both.1),
        same_nearest: same_neighbour(both.0, both.1),
        text_likeness: texts.likeness()?,
        answers: Answers::of(&seen.photos, both, &texts, ours.score()),
        texts,
        score: ours.score(),
        their_score: theirs.score(),
        pixels: reference.pixels,
        textless: reference.textless,
        stated_scale: reference.logit_scale,
    };
    comparison.show(asked, out)?;
    comparison.verdict(asked)?;
    Ok(super::classify::report(
        paths.len() - seen.photos.len(),
        paths.len(),
    ))
}

/// The photos that both sides can see, and what each sees.
#[derive(Default)]
struct Seen {
    photos: Vec<PathBuf>,
    ours: Vec<Feature>,
    theirs: Vec<Feature>,
}

impl Seen {
    fn by_both(
        ours: &Bundle,
        theirs: &Bundle,
        paths: &[PathBuf],
        settings: &Settings,
        quiet: bool,
    ) -> Result<Self, Stop> {
        let ours = features(ours, paths, settings, quiet)?;
        let theirs = features(theirs, paths, settings, quiet)?;
        let mut seen = Self::default();
        for ((path, own), other) in paths.iter().zip(ours).zip(theirs) {
            match (own, other) {
                (Ok(own), Ok(other)) => {
                    seen.photos.push(path.clone());
                    seen.ours.push(own);
                    seen.theirs.push(other);
                }
                (Err(e), _) | (_, Err(e)) => log::error!("{e}; skipped"),
            }
        }
        Ok(seen)
    }
}

fn features(
    bundle: &Bundle,
    paths: &[PathBuf],
    settings: &Settings,
    quiet: bool,
) -> Result<Vec<Result<Feature>>, Stop> {
    let encoder = photos::open_encoder(bundle, paths.len(), &settings.threads)?;
    let mut features = Vec::with_capacity(paths.len());
    let encode = |encoder: &mut Encoder, path: &Path| -> Result<Result<Feature>> {
        let frame = Decode::default().load(path);
        Ok(frame.and_then(|frame| encoder.encode(&frame).map_err(|e| e.at(path))))
    };
    let threads = settings.threads.value;
    photos::work_through(&encoder, paths, threads, quiet, encode, |_, result| {
        features.push(result?);
        Ok::<(), Stop>(())
    })?;
    Ok(features)
}
