//! When the next frame is due, for sources that make their own time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Fault;
use crate::error::{Error, Result};

/// The slowest pace: a longer wait is nothing that anybody means.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Hands out due times; the first frame is due at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
}

impl Pace {
    /// Waits until the next frame is due and tells when that was; `gap` lies between it and the
    /// one after. Who asks late is served at once, and the frames after move with it: nothing is
    /// made up for in a rush.
    ///
    /// # Errors
    /// [`Fault::Silent`] where `patience` ends before.
    pub(super) fn wait(&mut self, gap: Duration, patience: Duration) -> Result<Instant, Fault> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        let left = due.saturating_duration_since(now);
        if left > patience {
            sleep(patience);
            return Err(Fault::Silent);
        }
        sleep(left);
        let now = Instant::now();
        // Within one gap the beat is kept, so that small delays do not add up.
        let from = if now.duration_since(due) > gap {
            now
        } else {
            due
        };
        self.due = Some(from + gap);
        Ok(now)
    }
}

/// Time from frame to frame at `fps` frames a second.
///
/// # Errors
/// `fps` is not above 0.
pub(super) fn gap_of(fps: f32) -> Result<Duration> {
    if !(fps.is_finite() && fps > 0.0) {
        return Err(Error::invalid(
            "frames a second",
            fps.to_string(),
            "a number above 0",
        ));
    }
    let gap = Duration::try_from_secs_f64(1.0 / f64::from(fps));
    Ok(gap.unwrap_or(LONGEST).min(LONGEST))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn frames_come_when_they_are_due_and_not_before() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        for gaps in 0..3 {
            let due = pace.wait(GAP, LONG).unwrap();
            assert!(due - began >= gaps * GAP);
        }
    }

    #[test]
    fn patience_that_ends_before_is_silence_and_loses_nothing() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let gap = 10 * GAP;
        pace.wait(gap, LONG).unwrap();
        let short = Duration::from_millis(1);
        assert!(matches!(pace.wait(gap, short), Err(Fault::Silent)));
        assert!(pace.wait(gap, LONG).unwrap() - began >= gap);
    }

    #[test]
    fn who_comes_late_gets_no_burst() {
        let mut pace = Pace::default();
        pace.wait(GAP, LONG).unwrap();
        sleep(4 * GAP);
        let late = pace.wait(GAP, LONG).unwrap();
        assert!(pace.wait(GAP, LONG).unwrap() - late >= GAP);
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for fps in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(gap_of(fps).is_err(), "{fps}");
        }
        assert_eq!(gap_of(20.0).unwrap(), Duration::from_millis(50));
        assert_eq!(gap_of(1e-30).unwrap(), LONGEST);
    }
}
