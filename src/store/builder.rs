//! Writes envelopes: the sections are laid out first, then written in one pass, so that
//! nothing is held twice and the destination need not seek.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use super::layout::{self, ALIGNMENT, Kind, Stamp};
use super::save;
use crate::error::{Error, Result};

/// An envelope about to be written. Sections may be borrowed; they are copied nowhere.
#[derive(Debug, Clone)]
pub struct Builder<'a> {
    kind: Kind,
    generation: u64,
    sections: Vec<Section<'a>>,
}

#[derive(Debug, Clone)]
struct Section<'a> {
    name: String,
    bytes: Cow<'a, [u8]>,
    crc: u32,
}

impl<'a> Builder<'a> {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            generation: 0,
            sections: Vec::new(),
        }
    }

    /// Adds a section. Its name is 1 to 32 printable ASCII characters and stands once;
    /// writing refuses others.
    #[must_use]
    pub fn section(mut self, name: &str, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        let crc = crc32fast::hash(&bytes);
        let name = name.to_owned();
        self.sections.push(Section { name, bytes, crc });
        self
    }

    /// Sets the number of this save, 0 if never called. [`Saver`](super::Saver) sets it itself.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// The whole envelope in memory.
    ///
    /// # Errors
    /// Section names that are not allowed or stand twice, and too many sections.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, Path::new("memory"))?;
        Ok(bytes)
    }

    /// Writes the envelope; `path` is what errors name.
    ///
    /// # Errors
    /// As [`Builder::to_bytes`], and what the writer reports.
    pub fn write_to(&self, out: &mut dyn Write, path: &Path) -> Result<Stamp> {
        let (head, stamp, _) = self.lay_out()?;
        let written = self.write_parts(out, &head);
        written.map_err(|e| Error::io(path, "write", e))?;
        Ok(stamp)
    }

    /// Puts the envelope at `path` in one step, without generations: for bundles.
    ///
    /// # Errors
    /// As [`Builder::to_bytes`] and [`replace`](super::replace).
    pub fn replace(&self, path: &Path) -> Result<Stamp> {
        save::replace_with(path, |out| self.write_to(out, path))
    }

    fn lay_out(&self) -> Result<(Vec<u8>, Stamp, u64)> {
        let lines = self.sections.iter();
        let lines: Vec<_> = lines
            .map(|s| (s.name.as_str(), s.bytes.len(), s.crc))
            .collect();
        layout::lay_out(self.kind, self.generation, &lines)
    }

    fn write_parts(&self, out: &mut dyn Write, head: &[u8]) -> io::Result<()> {
        out.write_all(head)?;
        let mut end = head.len();
        for section in &self.sections {
            let padding = end.next_multiple_of(ALIGNMENT) - end;
            out.write_all(&[0; ALIGNMENT][..padding])?;
            out.write_all(&section.bytes)?;
            end += padding + section.bytes.len();
        }
        Ok(())
    }
}
