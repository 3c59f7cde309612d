//! Picture files as frames: once through, or over and over at a steady rate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::listing;
use super::pace::{Pace, gap_of};
use super::{Captured, Fault, Source, Wish};
use crate::error::Result;
use crate::frame::Decode;

/// Picture files, one after the other.
#[derive(Debug)]
pub(super) struct Pictures {
    about: String,
    /// Each with the time to the next.
    list: Vec<(PathBuf, Duration)>,
    again: bool,
    pace: Pace,
    at: usize,
    sequence: u64,
    rules: Decode,
}

impl Pictures {
    /// Once, at the wished rate, else as fast as they are asked for.
    ///
    /// # Errors
    /// There is no picture, or the rate is none.
    pub(super) fn once(path: &Path, wish: &Wish) -> Result<Self> {
        let gap = wish.fps.map(gap_of).transpose()?.unwrap_or_default();
        let list = steady(path, gap)?;
        let rate = match wish.fps {
            Some(fps) => format!("{fps} a second"),
            None => "as fast as they are asked for".into(),
        };
        let about = format!("{}: {}, {rate}", path.display(), count(list.len()));
        Ok(Self::new(list, false, about))
    }

    /// For ever, at the wished rate; else at that of `times.txt` in the folder, else `fps` a second.
    ///
    /// # Errors
    /// There is no picture, the rate is none, or `times.txt` cannot be read.
    pub(super) fn again(path: &Path, wish: &Wish, fps: f32) -> Result<Self> {
        let own = match wish.fps {
            None => listing::times(path)?,
            Some(_) => None,
        };
        let (list, rate) = match own {
            Some(list) => (list, format!("at the times of {}", listing::TIMES)),
            None => {
                let fps = wish.fps.unwrap_or(fps);
                (steady(path, gap_of(fps)?)?, format!("{fps} a second"))
            }
        };
        let pictures = count(list.len());
        let about = format!("{}: {pictures}, {rate}, over and over", path.display());
        Ok(Self::new(list, true, about))
    }

    fn new(list: Vec<(PathBuf, Duration)>, again: bool, about: String) -> Self {
        Self {
            about,
            list,
            again,
            pace: Pace::default(),
            at: 0,
            sequence: 0,
            rules: Decode::default(),
        }
    }
}

fn steady(path: &Path, gap: Duration) -> Result<Vec<(PathBuf, Duration)>> {
    let list = listing::pictures(path)?.into_iter();
    Ok(list.map(|p| (p, gap)).collect())
}

fn count(n: usize) -> String {
    let noun = if n == 1 { "picture" } else { "pictures" };
    format!("{n} {noun}")
}

impl Source for Pictures {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn next(&mut self, _buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        if self.at == self.list.len() {
            if !self.again {
                return Err(Fault::End);
            }
            self.at = 0;
        }
        let (path, gap) = &self.list[self.at];
        let taken = self.pace.wait(*gap, patience)?;
        self.at += 1;
        let frame = self.rules.load(path).map_err(Fault::Damaged)?;
        let sequence = self.sequence;
        self.sequence += 1;
        Ok(Captured {
            frame,
            taken,
            sequence,
        })
    }
}
