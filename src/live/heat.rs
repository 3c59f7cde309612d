//! How hot the board is, so that a watch can rest before the processor slows down by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::board::hottest;

/// Where Linux tells of temperatures.
pub const ZONES: &str = "/sys/class/thermal";
/// How often they are read.
const EVERY: Duration = Duration::from_secs(2);
/// Degrees below the limit at which work goes on.
const COOLED: f32 = 5.0;

/// A rest that begins at a temperature and ends below it.
#[derive(Debug)]
pub struct Heat {
    zones: std::path::PathBuf,
    /// Degrees Celsius at which work rests.
    limit: f32,
    read: Option<Instant>,
    resting: bool,
}

impl Heat {
    /// Rests at `limit` degrees Celsius of the hottest zone below `zones`.
    #[must_use]
    pub fn new(zones: &Path, limit: f32) -> Self {
        Self {
            zones: zones.to_owned(),
            limit,
            read: None,
            resting: false,
        }
    }

    /// Whether to rest now; the files are read every other second.
    pub fn rests(&mut self) -> bool {
        let due = self.read.is_none_or(|at| at.elapsed() >= EVERY);
        if due {
            self.read = Some(Instant::now());
            // A board that tells nothing is never too hot.
            let degrees = hottest(&self.zones).unwrap_or(f32::MIN);
            let limit = self.limit - if self.resting { COOLED } else { 0.0 };
            let rests = degrees >= limit;
            if rests != self.resting {
                self.resting = rests;
                let word = if rests {
                    "resting until it cools"
                } else {
                    "going on"
                };
                log::warn!("{degrees:.0} °C: {word}");
            }
        }
        self.resting
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_when_hot_and_goes_on_when_cooler_by_some_degrees() {
        let dir = tempfile::tempdir().unwrap();
        let zone = dir.path().join("thermal_zone0");
        std::fs::create_dir(&zone).unwrap();
        let mut heat = Heat::new(dir.path(), 80.0);
        let mut at = |millis: &str| {
            std::fs::write(zone.join("temp"), millis).unwrap();
            heat.read = None;
            heat.rests()
        };
        let rests = ["79000\n", "80500\n", "77000\n", "74000\n"].map(&mut at);
        assert_eq!(rests, [false, true, true, false]);
        assert!(!Heat::new(Path::new("/nowhere"), 80.0).rests());
    }
}
