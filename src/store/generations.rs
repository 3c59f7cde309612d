//! The earlier saves of a file, as files beside it: `NAME.1` is the newest, `NAME.undone.1`
//! the one that the last undo took away.
//!
//! Both rows tolerate gaps, repeats and strangers, for a crash may leave them so. Their
//! numbers only say where to look; which save comes before which is read from the
//! generation in each header: the way back is the files of `NAME.1` … whose generations
//! fall, the way forward those of `NAME.undone.1` … whose generations rise.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::envelope::{self, Envelope};
use super::fs::{FileSystem, Target};
use super::layout::Stamp;
use super::save;
use crate::error::{Error, Result};

/// Where a saved state lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the file itself.
    Current,
    /// In `NAME.n`.
    Earlier(usize),
    /// In `NAME.undone.n`.
    Undone(usize),
}

/// One saved state, as [`Saver::history`](super::Saver::history) lists it.
#[derive(Debug)]
pub struct Generation {
    /// Where it lies.
    pub place: Place,
    /// Its file.
    pub path: PathBuf,
    /// When it was saved, by the clock of that moment.
    pub modified: Option<SystemTime>,
    /// The length of its file.
    pub len_bytes: u64,
    /// Its stamp if it is whole, else what is wrong with it.
    pub stamp: Result<Stamp>,
    /// How many steps of undo (earlier) or redo (undone) lead to it, if any do.
    pub steps: Option<usize>,
}

/// A row of saved states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Earlier,
    Undone,
}

impl Row {
    fn suffix(self) -> &'static str {
        match self {
            Self::Earlier => ".",
            Self::Undone => ".undone.",
        }
    }

    fn place(self, number: usize) -> Place {
        match self {
            Self::Earlier => Place::Earlier(number),
            Self::Undone => Place::Undone(number),
        }
    }

    /// Whether a save of generation `next` lies beyond one of generation `last` on this way.
    fn leads(self, last: u64, next: u64) -> bool {
        match self {
            Self::Earlier => next < last,
            Self::Undone => next > last,
        }
    }

    /// Stands in for the generation of a current file that is gone or unreadable.
    fn origin(self) -> u64 {
        match self {
            Self::Earlier => u64::MAX,
            Self::Undone => 0,
        }
    }
}

/// The files beside a target.
pub(super) struct Shelf<'a> {
    pub(super) fs: &'a dyn FileSystem,
    pub(super) target: &'a Target,
}

impl Shelf<'_> {
    /// The stamp of the current file, `None` if there is no file.
    pub(super) fn current(&self) -> Result<Option<Stamp>> {
        match self.peek(&self.target.path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    pub(super) fn slot(&self, row: Row, number: usize) -> PathBuf {
        self.target.beside("", &format!("{}{number}", row.suffix()))
    }

    /// The numbers that are taken in a row, rising.
    pub(super) fn numbers(&self, row: Row) -> Result<Vec<usize>> {
        let mut start = self.target.name.clone();
        start.push(row.suffix());
        let names = self.fs.names(&self.target.folder);
        let names = names.map_err(|e| Error::io(&self.target.folder, "list", e))?;
        let numbers = names.iter().filter_map(|name| {
            let rest = name
                .as_encoded_bytes()
                .strip_prefix(start.as_encoded_bytes())?;
            let number = std::str::from_utf8(rest).ok()?.parse::<usize>().ok()?;
            // One spelling each: `07` and `+7` are not ours.
            (number > 0 && number.to_string().as_bytes() == rest).then_some(number)
        });
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// One above every generation that lies here.
    pub(super) fn next_generation(&self, current: Option<Stamp>) -> Result<u64> {
        let mut highest = current.map_or(0, |stamp| stamp.generation);
        for row in [Row::Earlier, Row::Undone] {
            for number in self.numbers(row)? {
                let stamp = self.peek(&self.slot(row, number));
                highest = highest.max(stamp.map_or(0, |stamp| stamp.generation));
            }
        }
        Ok(highest.saturating_add(1))
    }

    /// The first `steps` whole saves on the way along a row, by number.
    pub(super) fn way(
        &self,
        row: Row,
        current: Option<Stamp>,
        steps: usize,
    ) -> Result<Vec<(usize, Stamp)>> {
        let mut last = current.map_or(row.origin(), |stamp| stamp.generation);
        let mut way = Vec::new();
        for number in self.numbers(row)? {
            if way.len() == steps {
                break;
            }
            let path = self.slot(row, number);
            match self.check(&path) {
                Ok((stamp, _)) if row.leads(last, stamp.generation) => {
                    last = stamp.generation;
                    way.push((number, stamp));
                }
                Ok(_) => {}
                Err(e) => log::warn!("passed over: {e}"),
            }
        }
        Ok(way)
    }

    /// Everything that lies here: the current file, the earlier ones, the undone ones.
    pub(super) fn history(&self) -> Result<Vec<Generation>> {
        let mut list = Vec::new();
        let current = self.current();
        if !matches!(current, Ok(None)) {
            list.push(self.describe(Place::Current, self.target.path.clone()));
        }
        let current = current.ok().flatten();
        for row in [Row::Earlier, Row::Undone] {
            let mut last = current.map_or(row.origin(), |stamp| stamp.generation);
            let mut steps = 0;
            for number in self.numbers(row)? {
                let mut entry = self.describe(row.place(number), self.slot(row, number));
                if let Some(next) = entry
                    .stamp
                    .as_ref()
                    .ok()
                    .filter(|s| row.leads(last, s.generation))
                {
                    last = next.generation;
                    steps += 1;
                    entry.steps = Some(steps);
                }
                list.push(entry);
            }
        }
        Ok(list)
    }

    fn describe(&self, place: Place, path: PathBuf) -> Generation {
        let checked = self.check(&path);
        let len_bytes = match &checked {
            Ok((_, len)) => *len,
            Err(_) => self.fs.open(&path).map_or(0, |(_, len)| len),
        };
        Generation {
            place,
            modified: self.fs.modified(&path),
            len_bytes,
            stamp: checked.map(|(stamp, _)| stamp),
            steps: None,
            path,
        }
    }

    /// Puts `file` first in a row and pushes the others one further, up to a gap or `keep`.
    pub(super) fn push(&self, row: Row, file: &Path, keep: usize) -> Result<()> {
        let stamp = self.peek(file).ok();
        // A crash after the last push left it here already.
        if stamp.is_some() && self.peek(&self.slot(row, 1)).ok() == stamp {
            return Ok(());
        }
        let taken = self.numbers(row)?;
        let run = taken
            .iter()
            .zip(1..keep)
            .take_while(|&(&number, expected)| number == expected);
        let run = run.count();
        let full = run + 1 >= keep;
        for &number in taken
            .iter()
            .filter(|&&number| number > keep || full && number == keep)
        {
            self.remove(&self.slot(row, number))?;
        }
        if keep == 0 {
            return Ok(());
        }
        for number in (1..=run).rev() {
            let (from, to) = (self.slot(row, number), self.slot(row, number + 1));
            let moved = self.fs.rename(&from, &to);
            moved.map_err(|e| Error::io(&from, "rename", e))?;
        }
        self.keep_as(file, &self.slot(row, 1))
    }

    /// Gives a file a second name, or copies it where the file system knows no links.
    fn keep_as(&self, file: &Path, slot: &Path) -> Result<()> {
        let Err(e) = self.fs.link(file, slot) else {
            return Ok(());
        };
        log::debug!("{}: copied, since it cannot be linked: {e}", file.display());
        let (mut from, _) = self.fs.open(file)?;
        let like = Target {
            path: file.to_owned(),
            ..self.target.clone()
        };
        let modified = self.fs.modified(file);
        let copy = save::write_temporary(self.fs, &like, modified, |out| {
            std::io::copy(&mut from, out).map_err(|e| Error::io(file, "copy", e))
        });
        save::put_in_place(self.fs, &copy?.0, slot)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.fs
            .remove(path)
            .map_err(|e| Error::io(path, "remove", e))
    }

    fn peek(&self, path: &Path) -> Result<Stamp> {
        let (mut file, len) = self.fs.open(path)?;
        Ok(envelope::peek(&mut file, len, path)?.stamp)
    }

    fn check(&self, path: &Path) -> Result<(Stamp, u64)> {
        let (mut file, len) = self.fs.open(path)?;
        let whole = Envelope::load(&mut file, len, None, path).map_err(|e| e.at(path))?;
        whole.verify().map_err(|e| e.at(path))?;
        Ok((whole.stamp(), len))
    }
}
