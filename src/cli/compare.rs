//! `model verify --against`: a bundle beside the model that it was made of, on the same photos.

use std::path::Path;

use super::output::Output;
use super::{Done, Stop, photos};
use crate::bundle::Bundle;
use crate::encoder::{Encoder, Feature, likeness};
use crate::error::{Error, Result};
use crate::frame::Decode;
use crate::import::{self, Options, Pixels};

/// Least cosine that counts as the same features: what int8 is allowed to turn them by.
const SAME: f64 = 0.999;

pub(super) fn run(
    bundle: &Path,
    against: &Path,
    folder: &Path,
    out: &mut Output,
) -> Result<Done, Stop> {
    let ours = Bundle::open(bundle)?;
    let p = ours.preprocess();
    let options = Options {
        pixels: Pixels {
            resize: Some(p.resize),
            crop: p.crop,
            mean: Some(p.mean),
            std: Some(p.std),
            filter: Some(p.filter),
        },
        no_text: true,
        ..Options::default()
    };
    let theirs = import::import_in_memory(&[against.to_owned()], &options)?;
    if ours.dim() != theirs.dim() {
        let found = format!("{} floats", theirs.dim());
        let expected = format!("{}, the width of {}", ours.dim(), bundle.display());
        return Err(Error::invalid("features to compare with", found, expected)
            .at(against)
            .into());
    }
    let paths = photos::gather(&[folder.to_owned()])?;
    let mut encoders = [Encoder::open(&ours, 1)?, Encoder::open(&theirs, 1)?];
    let mut features: [Vec<Feature>; 2] = Default::default();
    let decode = Decode::default();
    let mut unreadable = 0;
    let bar = photos::progress_bar(paths.len(), "photos", out.quiet);
    for path in &paths {
        match decode.load(path) {
            Ok(frame) => {
                for (encoder, features) in encoders.iter_mut().zip(&mut features) {
                    features.push(encoder.encode(&frame).map_err(|e| e.at(path))?);
                }
            }
            Err(e) => {
                unreadable += 1;
                log::error!("{e}; skipped");
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [ours, theirs] = features;
    if ours.is_empty() {
        return Err(Error::invalid("photos", "none that can be read", "some")
            .at(folder)
            .into());
    }
    let (mean, least) = likeness(&ours, &theirs);
    let agree = same_neighbour(&ours, &theirs);
    let same = mean >= SAME;
    if out.json {
        out.object(&serde_json::json!({
            "path": bundle, "against": against, "photos": ours.len(), "cosine_mean": mean, "cosine_min": least,
            "same_nearest": agree, "same": same,
        }))?;
    } else {
        out.line(&format!(
            "{} photos: cosine {mean:.6} in the mean, {least:.6} at least; nearest other photo the same for {agree}: {}",
            ours.len(),
            if same { "the same features" } else { "other features" }
        ))?;
    }
    if !same {
        let found = format!("features that differ, cosine {mean:.4} in the mean");
        let expected = format!("{SAME} or more: is it another model, or other preprocessing?");
        return Err(Error::invalid("bundle", found, expected).at(bundle).into());
    }
    Ok(super::classify::report(unreadable, paths.len()))
}

/// Photos whose likest other photo is the same by both features: answers that need no names.
fn same_neighbour(ours: &[Feature], theirs: &[Feature]) -> usize {
    let nearest = |all: &[Feature], i: usize| {
        let others = (0..all.len()).filter(|j| *j != i);
        others.max_by(|a, b| {
            let of = |j: &usize| all[i].cosine(all[*j].values());
            of(a).total_cmp(&of(b))
        })
    };
    (0..ours.len())
        .filter(|i| nearest(ours, *i) == nearest(theirs, *i))
        .count()
}
