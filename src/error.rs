//! The one error type. Variants carry facts; each layer adds what only it knows,
//! and words end in what to do where we know it.

use std::path::{Path, PathBuf};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read, write, map or lock.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// The act that failed, as a verb: `read`, `replace`, `lock`.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// No file can be made in a folder.
    #[error(
        "{folder}: cannot write into this folder: {source}: make it writable, or name a file elsewhere (a classifier with --classifier)",
        folder = folder.display()
    )]
    ReadOnly {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Fewer saves lie that way than were to be gone.
    #[error("{path}: {}", no_way(way, *steps, *kept), path = path.display())]
    NoWay {
        /// The file whose saves they are.
        path: PathBuf,
        /// `undo` or `redo`.
        way: &'static str,
        /// How many saves were to be gone.
        steps: usize,
        /// How many there are.
        kept: usize,
    },
    /// Something is wrong with a named file; the cause says what.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<Error>,
    },
    /// More was asked for than the stated bound.
    #[error("{what}: found {found}, at most {limit} is allowed")]
    Limit {
        /// What is bounded, with its unit: `pixels`, `bytes`, `labels`.
        what: &'static str,
        /// What was asked for.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A value does not fit what is needed here.
    #[error("{what}: found {found}, expected {expected}")]
    Invalid {
        /// The part concerned: `magic`, `crop`, `image encoder input`.
        what: &'static str,
        /// What stood there.
        found: String,
        /// What would have been accepted, and what to do.
        expected: String,
    },
    /// A file of ours was cut short or changed since it was written.
    #[error(
        "{part} is damaged: found {found}, expected {expected}; copy the file again; a classifier goes back with `undo`"
    )]
    Damaged {
        /// The part concerned: `header`, `section "weights"`.
        part: String,
        /// What stood there: a length or a checksum.
        found: String,
        /// What was written there.
        expected: String,
    },
    /// A file of ours from a later version of this program.
    #[error("format version {found} is newer than {known}, the newest known here: update edgeclip")]
    NewerVersion {
        /// The version that the file states.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// Somebody else saved the file in the meantime; saving over it would lose their work.
    #[error(
        "{path}: changed since it was read: found {found}, expected {expected}; read it again, then repeat the change",
        path = path.display(), found = found_save(*found, *expected), expected = save(*expected)
    )]
    Conflict {
        /// The file concerned.
        path: PathBuf,
        /// The generation that the file has now, if there is a file.
        found: Option<u64>,
        /// The generation that the change was made from, if from any.
        expected: Option<u64>,
    },
    /// A photo is a shot already, of the class that is asked for or of another.
    #[error("{}", known(shots, of, wanted))]
    Known {
        /// Ids of the shots that it is.
        shots: Vec<u32>,
        /// Their class; `None` for the background.
        of: Option<String>,
        /// The class that it was to be learned as; `None` for the background.
        wanted: Option<String>,
    },
    /// Another process holds the lock of a file for longer than we wait.
    #[error(
        "{path}: locked by another process for {waited_ms} ms: wait for it to finish, or end it, then try again",
        path = path.display()
    )]
    Locked {
        /// The file that was to be changed.
        path: PathBuf,
        /// How long we waited.
        waited_ms: u64,
    },
}

fn save(generation: Option<u64>) -> String {
    generation.map_or("no file".to_owned(), |n| format!("generation {n}"))
}

/// Numbers come again when files are copied about; then only the content differs.
fn found_save(found: Option<u64>, expected: Option<u64>) -> String {
    let other = if found == expected { "another " } else { "" };
    format!("{other}{}", save(found))
}

fn no_way(way: &str, steps: usize, kept: usize) -> String {
    let kind = if way == "undo" { "earlier" } else { "undone" };
    match kept {
        0 => format!("nothing to {way}: no {kind} state is kept"),
        1 => format!("cannot {way} {steps} times: only 1 {kind} state is kept"),
        n => format!("cannot {way} {steps} times: only {n} {kind} states are kept"),
    }
}

fn known(shots: &[u32], of: &Option<String>, wanted: &Option<String>) -> String {
    let ids: Vec<String> = shots.iter().map(u32::to_string).collect();
    let ids = ids.join(" ");
    let class = of
        .as_ref()
        .map_or("the background".to_owned(), |c| format!("`{c}`"));
    let to = wanted
        .as_ref()
        .map_or("--background".to_owned(), |c| format!("--to {c:?}"));
    let noun = if shots.len() == 1 { "shot" } else { "shots" };
    let is = format!("photo: is {noun} {ids} of {class} already");
    if of == wanted {
        return is;
    }
    format!(
        "{is}: move it with `edgeclip classes move {ids} {to}`, or drop it with `edgeclip forget --shot {ids}`"
    )
}

impl Error {
    /// An [`Error::Io`] for `path`.
    pub(crate) fn io(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    }

    /// An [`Error::ReadOnly`] where that is the reason, else an [`Error::Io`].
    pub(crate) fn making(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match path.parent() {
            Some(folder) if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) => {
                // A name alone lies in the folder that we are in.
                let here = folder.as_os_str().is_empty();
                let folder = if here { Path::new(".") } else { folder };
                Self::ReadOnly {
                    folder: folder.to_owned(),
                    source,
                }
            }
            _ => Self::io(path, doing, source),
        }
    }

    /// An [`Error::Invalid`].
    pub(crate) fn invalid(
        what: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            what,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Names the file that this error is about; an error that names one already stays as it is.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::Io { .. }
            | Self::ReadOnly { .. }
            | Self::NoWay { .. }
            | Self::File { .. }
            | Self::Conflict { .. }
            | Self::Locked { .. } => self,
            cause => Self::File {
                path: path.to_owned(),
                cause: Box::new(cause),
            },
        }
    }
}
