//! Pictures out of a stream of JPEGs, however they are strung together.
//!
//! Back to back, with garbage between them, or as parts of a multipart answer: it is all the same
//! here, since the pictures are found by walking their own segments. A thumbnail within a
//! segment is no picture, a picture that breaks off does not take the next one with it, and no
//! stream makes this hold more than one picture. Boundaries and stated lengths are not trusted.

mod walk;

use std::io::{self, ErrorKind, Read};

use crate::error::Error;
use walk::{Step, Walk};

/// The most bytes of one picture.
pub(super) const MOST_BYTES: usize = 32 << 20;
/// So much in a row that is no picture is worth a word.
const MOST_BETWEEN: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// What comes next in a stream.
#[derive(Debug)]
pub(super) enum Piece {
    /// A whole picture lies in the buffer that was handed in.
    Whole,
    /// A picture broke off, or no picture came for long.
    Damaged(Error),
    /// The stream has ended.
    End,
}

/// Splits what it reads into pictures.
#[derive(Debug)]
pub(super) struct Splitter<R> {
    from: R,
    /// Read and not yet given; its first `at` bytes are done with.
    held: Vec<u8>,
    at: usize,
    /// The walk through the picture that begins at `at`.
    walk: Option<Walk>,
    /// What ends before here, counted from the start of `held`, is a thumbnail of a broken picture.
    guard: usize,
    /// So far a broken picture was followed, and need not be told of again.
    told: usize,
    between: usize,
    most: usize,
    ended: bool,
}

impl<R: Read> Splitter<R> {
    pub(super) fn new(from: R) -> Self {
        Self::with_most(from, MOST_BYTES)
    }

    /// With at most `most` bytes a picture.
    pub(super) fn with_most(from: R, most: usize) -> Self {
        Self {
            from,
            held: Vec::new(),
            at: 0,
            walk: None,
            guard: 0,
            told: 0,
            between: 0,
            most,
            ended: false,
        }
    }

    /// Begins anew with what `turn` does to the stream.
    pub(super) fn restart<T>(
        &mut self,
        turn: impl FnOnce(&mut R) -> io::Result<T>,
    ) -> io::Result<T> {
        self.held.clear();
        self.walk = None;
        (self.at, self.guard, self.told, self.between) = (0, 0, 0, 0);
        self.ended = false;
        turn(&mut self.from)
    }

    /// Whether anything came at all.
    pub(super) fn has_read(&self) -> bool {
        self.at > 0 || !self.held.is_empty()
    }

    /// The next piece; a whole picture is written over `picture`.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, picture: &mut Vec<u8>) -> io::Result<Piece> {
        loop {
            if let Some(piece) = self.step(picture) {
                return Ok(piece);
            }
            if self.ended {
                return Ok(Piece::End);
            }
            self.read()?;
        }
    }

    /// A piece of what is held already.
    fn step(&mut self, picture: &mut Vec<u8>) -> Option<Piece> {
        loop {
            let Some(walk) = &mut self.walk else {
                if self.seek() {
                    self.walk = Some(Walk::default());
                    continue;
                }
                return self.stray();
            };
            let bytes = &self.held[self.at..];
            let step = walk.step(bytes, self.most, self.ended);
            if let Step::More = step {
                return None;
            }
            self.walk = None;
            match step {
                Step::More => return None,
                Step::Whole(length) => {
                    let is_part = self.at + length <= self.guard;
                    if !is_part {
                        self.between = 0;
                        picture.clear();
                        picture.extend_from_slice(&bytes[..length]);
                    }
                    self.at += length;
                    if !is_part {
                        return Some(Piece::Whole);
                    }
                }
                Step::Broken {
                    why,
                    resume,
                    reached,
                    has_thumbnail,
                } => {
                    let end = self.at + reached;
                    let is_part = end <= self.told;
                    self.told = self.told.max(end);
                    if has_thumbnail {
                        self.guard = self.guard.max(end);
                    }
                    self.at += resume;
                    // What lies in a broken picture was told of with it.
                    if !is_part {
                        return Some(Piece::Damaged(why));
                    }
                }
            }
        }
    }

    /// Goes to the next start of a picture; `false` where none is held.
    fn seek(&mut self) -> bool {
        let rest = &self.held[self.at..];
        let start = rest.windows(3).position(|w| w == [0xff, 0xd8, 0xff]);
        // A start may be cut in two by the end of what is held.
        let skipped = start.unwrap_or(rest.len().saturating_sub(2));
        self.at += skipped;
        self.between += skipped;
        start.is_some()
    }

    fn stray(&mut self) -> Option<Piece> {
        if self.between < MOST_BETWEEN {
            return None;
        }
        let found = format!("{} bytes without a picture", self.between);
        self.between = 0;
        let expected = "JPEGs one after the other (MJPEG): other forms must be turned into it";
        Some(Piece::Damaged(Error::invalid("stream", found, expected)))
    }

    fn read(&mut self) -> io::Result<()> {
        self.held.drain(..self.at);
        self.guard = self.guard.saturating_sub(self.at);
        self.told = self.told.saturating_sub(self.at);
        self.at = 0;
        let length = self.held.len();
        self.held.resize(length + CHUNK, 0);
        let read = loop {
            match self.from.read(&mut self.held[length..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let more = *read.as_ref().unwrap_or(&0);
        self.held.truncate(length + more);
        self.ended = read? == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
