//! One writer at a time: an advisory lock on a file beside the target.
//!
//! The system drops the lock when its holder ends, however that happens. The lock file
//! itself stays: removing it would let two processes hold locks on two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::fs::Target;
use crate::error::{Error, Result};

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// How long to rest between two tries.
const PAUSE: Duration = Duration::from_millis(10);

impl Lock {
    /// Waits for the lock of `target` as long as `wait`.
    ///
    /// # Errors
    /// [`Error::Locked`] when the time is up, and what the system refuses.
    pub(super) fn acquire(target: &Target, wait: Duration) -> Result<Self> {
        let path = target.beside("", ".lock");
        let file = open(&path).map_err(|e| Error::making(&path, "open the lock file", e))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(e)) => return Err(Error::io(&path, "lock", e)),
                Err(TryLockError::WouldBlock) if began.elapsed() >= wait => {
                    return Err(Error::Locked {
                        path: target.path.clone(),
                        waited_ms: began.elapsed().as_millis() as u64,
                    });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
    {
        // Another user made it; a lock needs no more than reading.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => File::open(path).map_err(|_| e),
        other => other,
    }
}
