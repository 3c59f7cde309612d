//! How long a download is waited for, and how often it is tried.

use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};

/// Longest wait before another try, whatever a server asks for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Tries of a host that has no address: a network that comes up needs some, a wrong name needs none.
const LOOKUPS: u32 = 3;

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries of one file that bring nothing new.
    pub tries: u32,
    /// Longest silence.
    pub silence: Duration,
    /// Wait before the second try; it doubles.
    pub pause: Duration,
    /// Bytes that must come in each `window`: fewer are a cut, and a try that brings fewer brings nothing new.
    pub floor_bytes: u64,
    /// See `floor_bytes`.
    pub window: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            floor_bytes: 60 << 10,
            window: Duration::from_secs(60),
        }
    }
}

/// How one try ended, short of success.
pub(super) enum Failed {
    /// Another try may do; wait so long, if the server says.
    Again(String, Option<Duration>),
    /// The host has no address, maybe not yet.
    Unknown(String),
    Never(Error),
}

impl Patience {
    /// Tries until it works or there is no more use in it; `held` tells the bytes that are there.
    pub(super) fn insist<T>(
        &self,
        url: &str,
        held: impl Fn() -> u64,
        mut once: impl FnMut() -> Result<T, Failed>,
    ) -> Result<T> {
        let (mut left, mut pause) = (self.tries, self.pause);
        // Only more than was ever held is progress: a server may send the same beginning for ever.
        let mut most = held();
        loop {
            let (why, wait, tries) = match once() {
                Ok(done) => return Ok(done),
                Err(Failed::Never(e)) => return Err(e),
                Err(Failed::Again(why, wait)) => (why, wait, self.tries),
                Err(Failed::Unknown(why)) => (why, None, self.tries.min(LOOKUPS)),
            };
            if held() >= most.saturating_add(self.floor_bytes) {
                (left, pause) = (self.tries, self.pause);
            }
            most = most.max(held());
            left = left.min(tries).saturating_sub(1);
            if left == 0 {
                let expected = "an answer: is there a network? What was fetched so far is kept, and `model pull` goes on from there; `--offline` takes a model pulled before";
                return Err(Error::invalid(
                    "download",
                    format!("{url}: {why}"),
                    expected,
                ));
            }
            log::info!("{url}: {why}; trying again");
            sleep(wait.unwrap_or(pause).min(MAX_PAUSE));
            pause = pause.saturating_mul(2);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Tries until patience ends, where each brings so many bytes and fails so.
    fn tries(brings: u64, failed: impl Fn() -> Failed) -> u32 {
        let patience = Patience {
            pause: Duration::ZERO,
            ..Patience::default()
        };
        let (held, count) = (Cell::new(0), Cell::new(0));
        let once = || {
            held.set(held.get() + brings);
            count.set(count.get() + 1);
            // What goes on so is stopped here.
            let no_end = Failed::Never(Error::invalid("tries", "no end", "an end"));
            Err::<(), _>(if count.get() < 100 { failed() } else { no_end })
        };
        patience.insist("url", || held.get(), once).unwrap_err();
        count.get()
    }

    #[test]
    fn only_progress_above_the_floor_renews_patience() {
        let cut = || Failed::Again("cut".into(), None);
        let floor = Patience::default().floor_bytes;
        assert_eq!(tries(0, cut), 6);
        assert_eq!(tries(floor - 1, cut), 6);
        assert_eq!(tries(floor, cut), 100);
    }

    #[test]
    fn a_name_without_a_host_is_tried_less_often() {
        assert_eq!(tries(0, || Failed::Unknown("no host".into())), 3);
        let never = || Failed::Never(Error::invalid("certificate", "bad", "good"));
        assert_eq!(tries(0, never), 1);
    }
}
