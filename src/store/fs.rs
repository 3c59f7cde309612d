//! What saving asks of a file system, in so few words that tests can put a simulated disk
//! underneath and pull the plug between any two of them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// The acts that saving is made of. Each either happens or leaves things as they were,
/// except writing; nothing is safe from a power cut before it was synced.
pub(super) trait FileSystem {
    /// Makes a new file, fails if there is one, and gives it the permissions and, where
    /// allowed, the owner of `like`, if that exists.
    fn create(&self, path: &Path, like: &Path) -> io::Result<Box<dyn Output + '_>>;
    /// Opens a regular file, with its length.
    fn open(&self, path: &Path) -> Result<(Box<dyn Read + '_>, u64)>;
    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file; what bore the new name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// When the content of a file was last written.
    fn modified(&self, path: &Path) -> Option<SystemTime>;
    /// Whether a process of this number runs, as far as can be known.
    fn process_lives(&self, pid: u32) -> bool;
}

/// A new file being written.
pub(super) trait Output: Write {
    /// Makes the content durable and closes the file, dated `modified` if given.
    fn finish(self: Box<Self>, modified: Option<SystemTime>) -> io::Result<()>;
}

/// The file system of the machine.
pub(super) struct Real;

impl FileSystem for Real {
    fn create(&self, path: &Path, like: &Path) -> io::Result<Box<dyn Output + '_>> {
        let like = fs::metadata(like).ok();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if like.is_some() {
            // Private until it has the permissions of its model.
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let file = options.open(path)?;
        if let Some(Err(e)) = like.map(|like| copy_access(&file, &like)) {
            let _ = fs::remove_file(path);
            return Err(e);
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> Result<(Box<dyn Read + '_>, u64)> {
        let (file, len) = open_regular(path)?;
        Ok((Box::new(file), len))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Elsewhere folders cannot be opened, and the system keeps the order itself.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    fn modified(&self, path: &Path) -> Option<SystemTime> {
        fs::metadata(path).and_then(|about| about.modified()).ok()
    }

    fn process_lives(&self, pid: u32) -> bool {
        let processes = Path::new("/proc");
        !processes.join("self").exists() || processes.join(pid.to_string()).exists()
    }
}

impl Output for File {
    fn finish(self: Box<Self>, modified: Option<SystemTime>) -> io::Result<()> {
        if let Some(time) = modified {
            self.set_modified(time)?;
        }
        self.sync_all()
    }
}

/// The owner first, since changing it drops permission bits.
fn copy_access(file: &File, like: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            // Only root may give files away; others keep what they make, as they must.
            if let Err(e) = fchown(file, Some(like.uid()), Some(like.gid())) {
                log::debug!("the new file cannot keep the owner of the old one: {e}");
            }
        }
    }
    file.set_permissions(like.permissions())
}

/// Opens a file after making sure that it is one.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |e| Error::io(path, "open", e);
    // Asked before opening, for opening a pipe would wait for a writer.
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        let found = if about.is_dir() {
            "a folder"
        } else {
            "a device or pipe"
        };
        return Err(Error::invalid("path", found, "a regular file").at(path));
    }
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    Ok((file, len))
}

/// A file that is to be replaced, behind all symbolic links.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) name: OsString,
}

impl Target {
    /// Follows links, so that a linked file is replaced where it lies and stays linked.
    pub(super) fn resolve(path: &Path) -> Result<Self> {
        let mut real = path.to_owned();
        // As many as Linux follows.
        for _ in 0..40 {
            match fs::read_link(&real) {
                Ok(next) => real = real.parent().unwrap_or(Path::new("")).join(next),
                Err(_) => return Self::plain(real),
            }
        }
        Err(Error::invalid("path", "links that lead in a circle", "a file").at(path))
    }

    /// Takes a path as it is.
    pub(super) fn plain(path: PathBuf) -> Result<Self> {
        let Some(name) = path.file_name().map(ToOwned::to_owned) else {
            return Err(Error::invalid("path", "no file name", "the path of a file").at(&path));
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { path, folder, name })
    }

    /// The file beside it whose name is `before`, its own, and `after`.
    pub(super) fn beside(&self, before: &str, after: &str) -> PathBuf {
        let mut name = OsString::from(before);
        name.push(&self.name);
        name.push(after);
        self.folder.join(name)
    }
}
