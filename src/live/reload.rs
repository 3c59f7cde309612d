//! Takes a classifier that was saved elsewhere, without the loop waiting for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::counters::Counters;
use super::newest::Newest;
use crate::bundle::FeatureSpace;
use crate::classifier::Classifier;
use crate::error::{Error, Result};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// What tells that a file is another one: time, length, number.
type Stamp = (Option<SystemTime>, u64, u64);

/// A thread that looks after a classifier file.
#[derive(Debug)]
pub struct Reload {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    space: FeatureSpace,
    found: Newest<Arc<Classifier>>,
    stop: AtomicBool,
    asked: AtomicBool,
    counters: Arc<Counters>,
}

impl Reload {
    /// Looks after the file `path`, from which `open` was read; what comes must be of its feature space.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(path: &Path, open: &Classifier, counters: Arc<Counters>) -> Result<Self> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            space: open.feature_space(),
            found: Newest::default(),
            stop: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            counters,
        });
        let seen = stamp(path);
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("reload".into());
        let thread = thread
            .spawn(move || own.run(seen))
            .map_err(|e| Error::io("reload thread".as_ref(), "start", e))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The classifier that the file holds now, where it is a new one.
    #[must_use]
    pub fn taken(&self) -> Option<Arc<Classifier>> {
        self.shared.found.take(Duration::ZERO)
    }

    /// Reads the file again even where it looks unchanged.
    pub fn at_once(&self) {
        self.shared.asked.store(true, Relaxed);
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn run(&self, mut seen: Option<Stamp>) {
        while !self.stop.load(Relaxed) {
            let stamp = stamp(&self.path);
            let asked = self.asked.swap(false, Relaxed);
            if stamp != seen || asked {
                seen = stamp;
                match stamp {
                    Some(_) => self.read(),
                    None => log::warn!(
                        "{}: gone; the classifier in force stays",
                        self.path.display()
                    ),
                }
            }
            std::thread::sleep(EVERY);
        }
    }

    fn read(&self) {
        match self.open() {
            Ok(classifier) => {
                Counters::count(&self.counters.reloads);
                log::info!("{}: {}", self.path.display(), classifier.note());
                self.found.put(Arc::new(classifier));
            }
            Err(e) => {
                Counters::count(&self.counters.refused);
                log::error!("{e}; the classifier in force stays");
            }
        }
    }

    fn open(&self) -> Result<Classifier> {
        let classifier = Classifier::open(&self.path)?;
        if classifier.feature_space() != self.space {
            let found = classifier.feature_space().to_string();
            let expected = format!("{}, that of the model in use", self.space);
            return Err(Error::invalid("feature space", found, expected).at(&self.path));
        }
        Ok(classifier)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&meta);
    #[cfg(not(unix))]
    let number = 0;
    Some((meta.modified().ok(), meta.len(), number))
}
