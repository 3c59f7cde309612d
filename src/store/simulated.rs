//! A disk that loses power, and the tests of saving that run on it.
//!
//! What was written but not synced may be there, be gone, be cut short or be zeros after
//! the cut; changes to the folder that were not synced may each have happened or not, in
//! any combination. That is more than any one file system does, and what POSIX allows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fs::{FileSystem, Output};
use crate::error::{Error, Result};

type Names = BTreeMap<PathBuf, usize>;
/// One act on the folder: what each name stands for afterwards.
type Change = Vec<(PathBuf, Option<usize>)>;

/// What becomes of content that was not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unsynced {
    Kept,
    Lost,
    Torn,
    Zeroed,
}

impl Unsynced {
    pub(super) const ALL: [Self; 4] = [Self::Kept, Self::Lost, Self::Torn, Self::Zeroed];
}

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct State {
    contents: Vec<Content>,
    names: Names,
    durable: Names,
    pending: Vec<Change>,
}

/// What goes wrong, and at which act.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// The power goes: this act and all later ones fail.
    Crash(usize),
    /// The disk refuses this act alone.
    Refuse(usize),
}

/// One folder on a simulated disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    state: RefCell<State>,
    acts: Cell<usize>,
    fault: Cell<Option<Fault>>,
    without_links: bool,
}

impl Disk {
    /// An empty disk, with or without hard links.
    pub(super) fn new(without_links: bool) -> Self {
        Self {
            without_links,
            ..Self::default()
        }
    }

    /// Arms a fault, counted from the next act.
    pub(super) fn arm(&self, fault: Fault) {
        self.acts.set(0);
        self.fault.set(Some(fault));
    }

    /// Whether the armed fault came to pass.
    pub(super) fn struck(&self) -> bool {
        matches!(self.fault.get(), Some(Fault::Crash(n) | Fault::Refuse(n)) if self.acts.get() > n)
    }

    /// The same disk as it is now, with no fault armed.
    pub(super) fn copy(&self) -> Self {
        Self {
            state: self.state.clone(),
            without_links: self.without_links,
            ..Self::default()
        }
    }

    /// How many changes of the folder are not synced.
    pub(super) fn pending(&self) -> usize {
        self.state.borrow().pending.len()
    }

    /// The disk after the power came back; bit i of `kept` says whether change i lasted.
    pub(super) fn after_cut(&self, kept: u64, unsynced: Unsynced) -> Self {
        let mut state = self.state.borrow().clone();
        state.names = state.durable.clone();
        let pending = std::mem::take(&mut state.pending);
        for (_, change) in pending
            .into_iter()
            .enumerate()
            .filter(|(i, _)| kept >> i & 1 == 1)
        {
            apply(&mut state.names, &change);
        }
        state.durable = state.names.clone();
        for content in &mut state.contents {
            let half = content.now.len() / 2;
            match unsynced {
                Unsynced::Kept => {}
                _ if content.now == content.durable => {}
                Unsynced::Lost => content.now = content.durable.clone(),
                Unsynced::Torn => content.now.truncate(half),
                Unsynced::Zeroed => content.now[half..].fill(0),
            }
            content.durable = content.now.clone();
        }
        Self {
            state: RefCell::new(state),
            without_links: self.without_links,
            ..Self::default()
        }
    }

    /// What a name stands for.
    pub(super) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        Some(state.contents[*state.names.get(path)?].now.clone())
    }

    /// All names.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.state.borrow().names.keys().cloned().collect()
    }

    /// Puts a durable file there, whatever was there before.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let content = Content {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
        };
        state.contents.push(content);
        let id = state.contents.len() - 1;
        state.names.insert(path.to_owned(), id);
        state.durable.insert(path.to_owned(), id);
    }

    fn act(&self) -> io::Result<()> {
        let now = self.acts.replace(self.acts.get() + 1);
        match self.fault.get() {
            Some(Fault::Crash(at)) if now >= at => Err(io::Error::other("the power is gone")),
            Some(Fault::Refuse(at)) if now == at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn change(&self, change: Change) {
        let mut state = self.state.borrow_mut();
        apply(&mut state.names, &change);
        state.pending.push(change);
    }

    fn id(&self, path: &Path) -> io::Result<usize> {
        let id = self.state.borrow().names.get(path).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, id) in change {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

impl FileSystem for Disk {
    fn create(&self, path: &Path, _like: &Path) -> io::Result<Box<dyn Output + '_>> {
        self.act()?;
        if self.id(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.state.borrow_mut().contents.push(Content::default());
        let id = self.state.borrow().contents.len() - 1;
        self.change(vec![(path.to_owned(), Some(id))]);
        Ok(Box::new(Open { disk: self, id }))
    }

    fn open(&self, path: &Path) -> Result<(Box<dyn Read + '_>, u64)> {
        let id = self.id(path).map_err(|e| Error::io(path, "open", e))?;
        let bytes = self.state.borrow().contents[id].now.clone();
        let len = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), len))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act()?;
        if self.without_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if self.id(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.id(from)?;
        self.change(vec![(to.to_owned(), Some(id))]);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act()?;
        let id = self.id(from)?;
        // POSIX: two names of one file, and nothing happens.
        if self.id(to).ok() != Some(id) {
            self.change(vec![(from.to_owned(), None), (to.to_owned(), Some(id))]);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act()?;
        self.id(path)?;
        self.change(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn names(&self, _folder: &Path) -> io::Result<Vec<OsString>> {
        let names = self
            .paths()
            .into_iter()
            .filter_map(|path| path.file_name().map(Into::into));
        Ok(names.collect())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.act()?;
        let mut state = self.state.borrow_mut();
        state.durable = state.names.clone();
        state.pending.clear();
        Ok(())
    }

    fn modified(&self, _path: &Path) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH)
    }

    fn process_lives(&self, _pid: u32) -> bool {
        false
    }
}

struct Open<'a> {
    disk: &'a Disk,
    id: usize,
}

impl Write for Open<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let granted = self.disk.act();
        // The power goes, or the disk fills, in the middle of it.
        let part = if granted.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        self.disk.state.borrow_mut().contents[self.id]
            .now
            .extend_from_slice(part);
        granted.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Open<'_> {
    fn finish(self: Box<Self>, _modified: Option<SystemTime>) -> io::Result<()> {
        self.disk.act()?;
        let content = &mut self.disk.state.borrow_mut().contents[self.id];
        content.durable = content.now.clone();
        Ok(())
    }
}
