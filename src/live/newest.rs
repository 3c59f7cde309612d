//! A place for one thing: who puts another there replaces it, who takes waits for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A slot between two threads that never holds more than the newest.
#[derive(Debug)]
pub(super) struct Newest<T> {
    slot: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self {
            slot: Mutex::new(None),
            filled: Condvar::new(),
        }
    }
}

impl<T> Newest<T> {
    /// Puts `value` there; what it replaced comes back.
    pub(super) fn put(&self, value: T) -> Option<T> {
        let old = self.lock().replace(value);
        self.filled.notify_one();
        old
    }

    /// Takes what is there, waiting at most `patience` for it.
    pub(super) fn take(&self, patience: Duration) -> Option<T> {
        let until = Instant::now() + patience;
        let mut slot = self.lock();
        loop {
            if let Some(value) = slot.take() {
                return Some(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.filled.wait_timeout(slot, left);
            slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    /// A thread that panicked cannot have left half a value here.
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_the_newest_is_there() {
        let newest = Newest::default();
        assert_eq!(newest.put(1), None);
        assert_eq!(newest.put(2), Some(1));
        assert_eq!(newest.take(Duration::ZERO), Some(2));
        assert_eq!(newest.take(Duration::from_millis(5)), None);
    }

    #[test]
    fn who_waits_is_woken() {
        let newest = Arc::new(Newest::default());
        let other = Arc::clone(&newest);
        let thread = std::thread::spawn(move || other.take(Duration::from_secs(20)));
        std::thread::sleep(Duration::from_millis(20));
        newest.put(7);
        assert_eq!(thread.join().ok(), Some(Some(7)));
    }
}
