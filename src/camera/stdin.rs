//! JPEGs on standard input.

use std::thread;
use std::time::Duration;

use super::jpegs::Jpegs;
use super::mjpeg::Splitter;
use super::{Captured, Fault, Source};
use crate::error::{Error, Result};

/// Standard input, read by a thread of its own: nothing can end that but the input itself.
pub(super) struct Stdin {
    jpegs: Jpegs,
}

impl Stdin {
    /// # Errors
    /// No thread can be started.
    pub(super) fn open() -> Result<Self> {
        let jpegs = Jpegs::default();
        let newest = jpegs.newest();
        let work = move || {
            let mut splitter = Splitter::new(std::io::stdin().lock());
            newest.end(match newest.read(&mut splitter, u64::MAX) {
                Ok(_) => Fault::End,
                Err(e) => Fault::Lost(Error::io("standard input".as_ref(), "read", e)),
            });
        };
        let thread = thread::Builder::new().name("stdin".into()).spawn(work);
        thread.map_err(|e| Error::io("standard input".as_ref(), "start a thread for", e))?;
        Ok(Self { jpegs })
    }
}

impl Source for Stdin {
    fn about(&self) -> String {
        "standard input: JPEGs one after the other".into()
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        self.jpegs.next(buffer, patience)
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.jpegs.stop();
    }
}
