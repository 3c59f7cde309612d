//! What a service manager tells and wants to hear: signals, readiness, a watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::Stop;

/// Signals that came, and the service manager that waits.
pub(super) struct Service {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    ready: bool,
    fed: Instant,
    /// How often the watchdog is fed, where there is one.
    every: Option<Duration>,
    /// Frames when it was fed last.
    frames: u64,
}

impl Service {
    /// Listens to signals; a second SIGINT ends at once.
    pub(super) fn start() -> Result<Self, Stop> {
        let (stop, reload) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let flag = signal_hook::flag::register;
        // Registered first, so that it acts on the second Ctrl-C, when the flag is set. Of SIGTERM service
        // managers and `timeout` send more than one.
        signal_hook::flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&stop))?;
        for signal in [SIGTERM, SIGINT] {
            flag(signal, Arc::clone(&stop))?;
        }
        flag(SIGHUP, Arc::clone(&reload))?;
        Ok(Self {
            stop,
            reload,
            ready: false,
            fed: Instant::now(),
            every: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            frames: 0,
        })
    }

    /// Whether it is time to end.
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether the classifier is to be read again.
    pub(super) fn reloads(&self) -> bool {
        self.reload.swap(false, Relaxed)
    }

    /// Tells of readiness once, and feeds the watchdog while frames advance or a fault is being
    /// dealt with: only a loop that hangs goes hungry.
    pub(super) fn alive(&mut self, frames: u64, fault: bool) {
        if !self.ready {
            self.ready = true;
            sd_notify::notify(&[NotifyState::Ready]).ok();
        }
        let due = self.every.is_some_and(|every| self.fed.elapsed() >= every);
        if due && (frames > self.frames || fault) {
            (self.frames, self.fed) = (frames, Instant::now());
            sd_notify::notify(&[NotifyState::Watchdog]).ok();
        }
    }

    /// Tells that the end has begun.
    pub(super) fn ending(&self) {
        sd_notify::notify(&[NotifyState::Stopping]).ok();
    }
}
