//! Room for a download, looked at before its first byte.

use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that the file system of a folder has left for us; none where it does not tell.
pub(super) fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let system = rustix::fs::statvfs(folder).ok()?;
        // File systems without blocks of their own tell nothing of their room.
        (system.f_blocks > 0).then(|| system.f_bavail.saturating_mul(system.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// # Errors
/// Less is free than is still to come to `to`.
pub(super) fn check(to: &Path, needed: u64, free: Option<u64>) -> Result<()> {
    match free {
        Some(free) if free < needed => {
            let expected = format!(
                "{needed} bytes, which are still to come: make room, or name a folder on a larger disk with EDGECLIP_CACHE"
            );
            Err(Error::invalid("disk space", format!("{free} bytes free"), expected).at(to))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path()).is_some_and(|n| n > 0));
        assert_eq!(free(&dir.path().join("nowhere")), None);
    }
}
