//! Replacing a file so that, whatever happens in between, its name stands for the old or
//! the new content, whole.
//!
//! The new content is written to a temporary file beside the target and made durable, the
//! old file is given a second name, and one rename puts the new one in place. docs/formats.md
//! goes through the steps and says what a crash leaves behind at each. Files are never
//! written in place, for others may have them mapped.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::builder::Builder;
use super::fs::{FileSystem, Output, Real, Target};
use super::generations::{Generation, Row, Shelf};
use super::layout::Stamp;
use super::lock::Lock;
use crate::error::{Error, Result};

/// A temporary file of a living process is left alone for this long.
const STALE: Duration = Duration::from_secs(60 * 60);

/// Saves a file over itself again and again, keeping what stood there before.
#[derive(Debug, Clone)]
pub struct Saver {
    path: PathBuf,
    keep: usize,
    wait: Duration,
}

impl Saver {
    /// For the file at `path`; keeps 20 earlier saves and waits 5 seconds for others to finish.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            keep: 20,
            wait: Duration::from_secs(5),
        }
    }

    /// Sets how many earlier saves are kept; with 0 there is no undo.
    #[must_use]
    pub fn keep(mut self, keep: usize) -> Self {
        self.keep = keep;
        self
    }

    /// Sets how long to wait while another process saves.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Whether a save could begin now: its folder takes files, and nobody else saves for long.
    ///
    /// # Errors
    /// As [`Saver::save`] has them before it writes.
    pub fn check(&self) -> Result<()> {
        self.locked(|_| Ok(()))
    }

    /// Replaces the file. `base` is the stamp of the state that `contents` was made from,
    /// `None` for a new file; the stamp of the new state comes back. What was undone
    /// before can no longer be redone.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the file is no longer the one that `base` names,
    /// [`Error::Locked`], a file there that is not ours, and what the system refuses. The
    /// file is then as it was, unless only the last act failed, making the new name durable.
    pub fn save(&self, base: Option<Stamp>, contents: &Builder<'_>) -> Result<Stamp> {
        self.locked(|shelf| save(shelf, self.keep, base, contents))
    }

    /// Goes back by so many saves and gives the stamp of the state that then stands. What
    /// is left behind can be had again with [`Saver::redo`] until the next save.
    ///
    /// # Errors
    /// [`Error::NoWay`] where fewer whole saves are kept, [`Error::Locked`], and what the system refuses.
    pub fn undo(&self, steps: usize) -> Result<Stamp> {
        self.locked(|shelf| travel(shelf, self.keep, steps, Row::Earlier))
    }

    /// Takes back so many steps of [`Saver::undo`].
    ///
    /// # Errors
    /// As [`Saver::undo`].
    pub fn redo(&self, steps: usize) -> Result<Stamp> {
        self.locked(|shelf| travel(shelf, self.keep, steps, Row::Undone))
    }

    /// The current state, the earlier ones, newest first, and the undone ones. Reads and
    /// checks all of them; takes no lock and changes nothing.
    ///
    /// # Errors
    /// A folder that cannot be listed. A damaged file is an entry that says so.
    pub fn history(&self) -> Result<Vec<Generation>> {
        let target = Target::resolve(&self.path)?;
        Shelf {
            fs: &Real,
            target: &target,
        }
        .history()
    }

    fn locked<T>(&self, act: impl FnOnce(&Shelf<'_>) -> Result<T>) -> Result<T> {
        let target = Target::resolve(&self.path)?;
        let _lock = Lock::acquire(&target, self.wait)?;
        act(&Shelf {
            fs: &Real,
            target: &target,
        })
    }
}

/// Puts `bytes` at `path` in one step, for files without generations; the last one wins.
///
/// # Errors
/// What the system refuses; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(path, |out| {
        out.write_all(bytes)
            .map_err(|e| Error::io(path, "write", e))
    })
}

/// As [`replace`], with what `write` writes, which need never lie in memory at once. Its
/// writes are buffered.
///
/// # Errors
/// Those of `write`, and what the system refuses; the file is then as it was.
pub fn replace_with<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    replace_in(&Real, &Target::resolve(path)?, write)
}

pub(super) fn replace_in<T>(
    fs: &dyn FileSystem,
    target: &Target,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    sweep(fs, target);
    let (temporary, value) = write_temporary(fs, target, None, write)?;
    put_in_place(fs, &temporary, &target.path)?;
    sync_folder(fs, target)?;
    Ok(value)
}

pub(super) fn save(
    shelf: &Shelf<'_>,
    keep: usize,
    base: Option<Stamp>,
    contents: &Builder<'_>,
) -> Result<Stamp> {
    let (fs, target) = (shelf.fs, shelf.target);
    sweep(fs, target);
    let current = shelf.current()?;
    if current != base {
        return Err(Error::Conflict {
            path: target.path.clone(),
            found: current.map(|stamp| stamp.generation),
            expected: base.map(|stamp| stamp.generation),
        });
    }
    let contents = contents.clone().generation(shelf.next_generation(current)?);
    let written = write_temporary(fs, target, None, |out| contents.write_to(out, &target.path));
    let (temporary, stamp) = written?;
    let kept = match current {
        Some(_) => keep_current(shelf, keep),
        None => Ok(()),
    };
    if let Err(e) = kept {
        discard(fs, &temporary);
        return Err(e);
    }
    put_in_place(fs, &temporary, &target.path)?;
    forget_undone(shelf);
    sync_folder(fs, target)?;
    Ok(stamp)
}

/// Durable before the rename, so that the old state is reachable whatever comes.
fn keep_current(shelf: &Shelf<'_>, keep: usize) -> Result<()> {
    shelf.push(Row::Earlier, &shelf.target.path, keep)?;
    sync_folder(shelf.fs, shelf.target)
}

/// What remains is passed over, since every new save bears a higher number.
fn forget_undone(shelf: &Shelf<'_>) {
    let numbers = shelf.numbers(Row::Undone).unwrap_or_default();
    for number in numbers {
        if let Err(e) = shelf.remove(&shelf.slot(Row::Undone, number)) {
            log::warn!("left behind: {e}");
        }
    }
}

/// Walks along one row, leaving what it passes in the other.
pub(super) fn travel(shelf: &Shelf<'_>, keep: usize, steps: usize, row: Row) -> Result<Stamp> {
    let (fs, target) = (shelf.fs, shelf.target);
    sweep(fs, target);
    // A damaged file is the best reason to go back, so it must not stand in the way.
    let current = shelf.current();
    let there = !matches!(current, Ok(None));
    let way = shelf.way(row, current.ok().flatten(), steps)?;
    let Some((&(last, stamp), passed)) = way.split_last().filter(|_| way.len() == steps) else {
        return Err(Error::NoWay {
            path: target.path.clone(),
            way: match row {
                Row::Earlier => "undo",
                Row::Undone => "redo",
            },
            steps,
            kept: way.len(),
        });
    };
    let other = match row {
        Row::Earlier => Row::Undone,
        Row::Undone => Row::Earlier,
    };
    let keep = keep.max(steps);
    if there {
        shelf.push(other, &target.path, keep)?;
    }
    for &(number, _) in passed {
        shelf.push(other, &shelf.slot(row, number), keep)?;
    }
    sync_folder(fs, target)?;
    let from = shelf.slot(row, last);
    let moved = fs.rename(&from, &target.path);
    moved.map_err(|e| Error::io(&target.path, "replace", e))?;
    for &(number, _) in passed {
        shelf.remove(&shelf.slot(row, number))?;
    }
    sync_folder(fs, target)?;
    Ok(stamp)
}

/// Writes a durable file beside `target`, with its permissions; nothing stays on failure.
pub(super) fn write_temporary<T>(
    fs: &dyn FileSystem,
    target: &Target,
    modified: Option<SystemTime>,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<(PathBuf, T)> {
    let (path, file) = create_temporary(fs, target)?;
    let mut file = BufWriter::new(file);
    let written = write(&mut file).and_then(|value| {
        let done = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        let done = done.and_then(|file| file.finish(modified));
        done.map_err(|e| Error::io(&target.path, "write", e))?;
        Ok(value)
    });
    match written {
        Ok(value) => Ok((path, value)),
        Err(e) => {
            discard(fs, &path);
            Err(e)
        }
    }
}

fn create_temporary<'a>(
    fs: &'a dyn FileSystem,
    target: &Target,
) -> Result<(PathBuf, Box<dyn Output + 'a>)> {
    let mut number = 0u32;
    loop {
        let path = target.beside(".", &format!(".tmp-{}-{number}", std::process::id()));
        match fs.create(&path, &target.path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(e) => return Err(Error::making(&target.path, "write beside it", e)),
        }
    }
}

/// Renames a temporary file over `path`, or removes it.
pub(super) fn put_in_place(fs: &dyn FileSystem, temporary: &Path, path: &Path) -> Result<()> {
    fs.rename(temporary, path).map_err(|e| {
        discard(fs, temporary);
        Error::io(path, "replace", e)
    })
}

fn discard(fs: &dyn FileSystem, temporary: &Path) {
    if let Err(e) = fs.remove(temporary) {
        log::warn!("{}: left behind: {e}", temporary.display());
    }
}

fn sync_folder(fs: &dyn FileSystem, target: &Target) -> Result<()> {
    let synced = fs.sync_folder(&target.folder);
    synced.map_err(|e| Error::io(&target.folder, "sync the folder", e))
}

/// Removes temporary files whose writer is dead or seems to have given up.
fn sweep(fs: &dyn FileSystem, target: &Target) {
    let start = target.beside(".", ".tmp-");
    let Some(start) = start.file_name().map(std::ffi::OsStr::as_encoded_bytes) else {
        return;
    };
    for name in fs.names(&target.folder).unwrap_or_default() {
        let Some(rest) = name.as_encoded_bytes().strip_prefix(start) else {
            continue;
        };
        let pid = std::str::from_utf8(rest)
            .ok()
            .and_then(|rest| rest.split('-').next()?.parse().ok());
        let path = target.folder.join(&name);
        let age = fs
            .modified(&path)
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        let stale = age.is_some_and(|age| age > STALE);
        if stale || pid.is_some_and(|pid| !fs.process_lives(pid)) {
            log::debug!("{}: removed, left by a process that ended", path.display());
            discard(fs, &path);
        }
    }
}
