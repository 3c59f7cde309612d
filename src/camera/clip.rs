//! JPEGs one after the other in a file: once through, or over and over.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mjpeg::{Piece, Splitter};
use super::pace::{Pace, gap_of};
use super::{Captured, Fault, Source, Wish};
use crate::error::{Error, Result};
use crate::frame::Decode;

/// Such a file.
#[derive(Debug)]
pub(super) struct Clip {
    about: String,
    path: PathBuf,
    splitter: Splitter<File>,
    gap: Duration,
    again: bool,
    pace: Pace,
    picture: Vec<u8>,
    sequence: u64,
    rules: Decode,
}

impl Clip {
    /// At the wished rate; else at `fps`, or as fast as it is asked for.
    ///
    /// # Errors
    /// It is no file, holds no picture, or the rate is none.
    pub(super) fn open(path: &Path, wish: &Wish, fps: Option<f32>, again: bool) -> Result<Self> {
        let open = |e| Error::io(path, "open", e);
        if !path.metadata().map_err(open)?.is_file() {
            let expected = "a file; a pipe is read from standard input, `-`";
            return Err(Error::invalid("stream", "no file", expected).at(path));
        }
        let fps = wish.fps.or(fps);
        let rate = match fps {
            Some(fps) => format!("{fps} a second"),
            None => "as fast as they are asked for".into(),
        };
        let turn = if again { ", over and over" } else { "" };
        let mut clip = Self {
            about: format!("{}: JPEGs in a row, {rate}{turn}", path.display()),
            path: path.to_owned(),
            splitter: Splitter::new(File::open(path).map_err(open)?),
            gap: fps.map(gap_of).transpose()?.unwrap_or_default(),
            again,
            pace: Pace::default(),
            picture: Vec::new(),
            sequence: 0,
            rules: Decode::default(),
        };
        clip.check()?;
        clip.rewind()?;
        Ok(clip)
    }

    /// A file without any picture would be gone through for ever.
    fn check(&mut self) -> Result<()> {
        loop {
            match self.piece()? {
                Piece::Whole => return Ok(()),
                Piece::Damaged(_) => {}
                Piece::End => {
                    let expected = "JPEGs one after the other (MJPEG)";
                    let none = Error::invalid("stream", "no whole picture", expected);
                    return Err(none.at(&self.path));
                }
            }
        }
    }

    fn piece(&mut self) -> Result<Piece> {
        let piece = self.splitter.next(&mut self.picture);
        piece.map_err(|e| Error::io(&self.path, "read", e))
    }

    fn rewind(&mut self) -> Result<()> {
        let back = self.splitter.restart(|file| file.seek(SeekFrom::Start(0)));
        back.map_err(|e| Error::io(&self.path, "read", e))?;
        Ok(())
    }
}

impl Source for Clip {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        let taken = self.pace.wait(self.gap, patience)?;
        loop {
            match self.piece().map_err(Fault::Lost)? {
                Piece::Whole => break,
                Piece::Damaged(why) => return Err(Fault::Damaged(why.at(&self.path))),
                Piece::End if self.again => self.rewind().map_err(Fault::Lost)?,
                Piece::End => return Err(Fault::End),
            }
        }
        let frame = self.rules.decode_into(&self.picture, buffer);
        let frame = frame.map_err(|e| Fault::Damaged(e.at(&self.path)))?;
        let sequence = self.sequence;
        self.sequence += 1;
        Ok(Captured {
            frame,
            taken,
            sequence,
        })
    }
}
