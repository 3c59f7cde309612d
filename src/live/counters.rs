//! What happened since the start, for metrics and for the last line of a watch.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters that every thread of the loop adds to.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that the source gave.
    pub captured: AtomicU64,
    /// Frames that were answered.
    pub answered: AtomicU64,
    /// Frames that a newer one replaced before they were answered.
    pub replaced: AtomicU64,
    /// Frames that were not encoded since nothing had changed.
    pub unchanged: AtomicU64,
    /// Frames that were damaged and skipped.
    pub damaged: AtomicU64,
    /// Frames that the source itself says it lost.
    pub lost: AtomicU64,
    /// Times that the source was gone, frozen or silent.
    pub faults: AtomicU64,
    /// Times that a changed classifier was taken.
    pub reloads: AtomicU64,
    /// Times that a changed classifier was refused.
    pub refused: AtomicU64,
}

/// What the counters stand at, with what only the loop knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// As the field of [`Counters`] of that name, and so on.
    pub captured: u64,
    /// Frames that were answered.
    pub answered: u64,
    /// Frames that a newer one replaced.
    pub replaced: u64,
    /// Frames that were like the one before.
    pub unchanged: u64,
    /// Damaged frames.
    pub damaged: u64,
    /// Frames lost at the source.
    pub lost: u64,
    /// Faults of the source.
    pub faults: u64,
    /// Classifiers taken.
    pub reloads: u64,
    /// Classifiers refused.
    pub refused: u64,
    /// Frames answered a second, over the last seconds.
    pub fps: f32,
    /// Median time from capture to answer, over the last frames.
    pub p50: Duration,
    /// The same of the slowest in a hundred.
    pub p99: Duration,
}

impl Counters {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// What they stand at now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = |c: &AtomicU64| c.load(Relaxed);
        Snapshot {
            captured: now(&self.captured),
            answered: now(&self.answered),
            replaced: now(&self.replaced),
            unchanged: now(&self.unchanged),
            damaged: now(&self.damaged),
            lost: now(&self.lost),
            faults: now(&self.faults),
            reloads: now(&self.reloads),
            refused: now(&self.refused),
            ..Snapshot::default()
        }
    }
}
