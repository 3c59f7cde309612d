//! A model in memory, to hold a bundle beside: the same import, nothing written.

use std::path::{Path, PathBuf};

use super::assemble::{Prepared, prepare};
use super::folder::Files;
use super::options::{Options, Pixels};
use super::preprocessor;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::preprocess::Preprocess;

/// A published model, as its own files describe it.
#[derive(Debug)]
pub struct Reference {
    /// The model, in memory.
    pub bundle: Bundle,
    /// Where its preprocessing is from.
    pub pixels: PixelsFrom,
    /// exp(logit scale), where its files state it.
    pub logit_scale: Option<f32>,
    /// Why its texts are left out, where its pictures serve and they do not.
    pub textless: Option<Error>,
}

/// Where the preprocessing of a reference is from.
#[derive(Debug)]
pub enum PixelsFrom {
    /// The file beside it.
    Own(PathBuf),
    /// No file lies beside it: what the caller gave.
    Given,
    /// The file asks for what cannot be done, and why: what the caller gave.
    Unfit(PathBuf, Error),
}

impl Reference {
    /// Opens the model at `place`, a folder or a file as [`import`](super::import) takes it, with the
    /// preprocessing that its own files tell, else with `given`. Texts that do not work are left out.
    ///
    /// # Errors
    /// Nothing that can be imported is there, or its image model does not work.
    pub fn open(place: &Path, given: &Preprocess) -> Result<Self> {
        let paths = [place.to_owned()];
        let files = Files::find(&paths, None)?;
        let given = || with_texts_if_they_work(&paths, Pixels::all_of(given));
        let ((made, textless), pixels) = match preprocessor::published(&files) {
            None => (given()?, PixelsFrom::Given),
            Some((file, told)) => {
                let own = told.and_then(|_| with_texts_if_they_work(&paths, Pixels::default()));
                match own {
                    Ok(own) => (own, PixelsFrom::Own(file.to_owned())),
                    Err(why) => (given()?, PixelsFrom::Unfit(file.to_owned(), why)),
                }
            }
        };
        for note in &made.notes {
            log::info!("reference: {note}");
        }
        Ok(Self {
            bundle: Bundle::from_bytes(&made.bytes)?,
            pixels,
            logit_scale: made.logit_scale,
            textless,
        })
    }
}

/// The model with its texts, else without them and why.
fn with_texts_if_they_work(paths: &[PathBuf], pixels: Pixels) -> Result<(Prepared, Option<Error>)> {
    let mut options = Options {
        pixels,
        ..Options::default()
    };
    match prepare(paths, &options, &mut |_, _| {}) {
        Ok(made) => Ok((made, None)),
        Err(why) => {
            options.no_text = true;
            let pictures = prepare(paths, &options, &mut |_, _| {})?;
            Ok((pictures, Some(why)))
        }
    }
}
