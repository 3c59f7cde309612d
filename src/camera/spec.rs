//! What a person writes for a source, and opening it.

use std::path::{Path, PathBuf};

use super::{Source, Wish};
use crate::error::{Error, Result};

/// A source as it is named, not yet open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// A camera of V4L2: `/dev/video0`, `/dev/v4l/by-id/…`, or its number.
    Device(PathBuf),
    /// Pictures of a folder or a pattern (`shots/*.jpg`), in the order of their names, once.
    Pictures(PathBuf),
    /// The same over and over, at a steady rate: `replay:FOLDER`.
    Replay(PathBuf),
    /// JPEGs one after the other on standard input: `-`.
    Stdin,
    /// The same over HTTP: `http://HOST/PATH`, as cameras and streamers serve it.
    Http(String),
    /// The same from a program that is started again when it ends: `exec:PROGRAM ARGUMENT…`.
    Exec(Vec<String>),
    /// A moving test pattern: `test`.
    Pattern,
}

impl Spec {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// It names no source; the words list the forms.
    pub fn parse(text: &str) -> Result<Self> {
        let _ = (text, Path::new(""));
        Err(Error::invalid("camera", text, "a source"))
    }

    /// Opens the source.
    ///
    /// # Errors
    /// It is not there, busy, not permitted, or cannot run as wished; the words say what to do.
    pub fn open(&self, wish: &Wish) -> Result<Box<dyn Source>> {
        let _ = wish;
        Err(Error::invalid(
            "camera",
            format!("{self:?}"),
            "a source that opens",
        ))
    }
}
