//! How long answers take, over the last frames, in memory that does not grow.

use std::time::{Duration, Instant};

/// Frames that are remembered.
const WINDOW: usize = 512;

/// The last latencies.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    /// Microseconds, in a ring.
    ring: [u32; WINDOW],
    sorted: [u32; WINDOW],
    count: usize,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            ring: [0; WINDOW],
            sorted: [0; WINDOW],
            count: 0,
        }
    }
}

impl Latencies {
    /// Remembers one.
    pub(super) fn add(&mut self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.ring[self.count % WINDOW] = micros;
        self.count += 1;
    }

    /// The median and that of the slowest in a hundred; zero before the first frame.
    pub(super) fn p50_p99(&mut self) -> (Duration, Duration) {
        let held = self.count.min(WINDOW);
        if held == 0 {
            return Default::default();
        }
        let sorted = &mut self.sorted[..held];
        sorted.copy_from_slice(&self.ring[..held]);
        sorted.sort_unstable();
        let at = |share: usize| Duration::from_micros(sorted[(held - 1) * share / 100].into());
        (at(50), at(99))
    }
}

/// Frames a second, over about two seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    last: Option<Instant>,
    /// Mean seconds between frames, the newer the weightier.
    gap: f32,
}

impl Rate {
    const SECONDS: f32 = 2.0;

    /// Counts a frame.
    pub(super) fn count(&mut self, at: Instant) {
        if let Some(last) = self.last.replace(at) {
            let gap = at.saturating_duration_since(last).as_secs_f32();
            let share = if self.gap == 0.0 {
                1.0
            } else {
                1.0 - (-gap / Self::SECONDS).exp()
            };
            self.gap += share * (gap - self.gap);
        }
    }

    /// The rate; while no frames come it falls.
    pub(super) fn now(&self) -> f32 {
        let waiting = self.last.map_or(0.0, |l| l.elapsed().as_secs_f32());
        let gap = if waiting > 3.0 * self.gap {
            waiting
        } else {
            self.gap
        };
        if gap > 0.0 { 1.0 / gap } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_last_frames() {
        let mut all = Latencies::default();
        assert_eq!(all.p50_p99(), (Duration::ZERO, Duration::ZERO));
        (0..10_000).for_each(|_| all.add(Duration::from_secs(9)));
        (1..=512)
            .rev()
            .for_each(|ms| all.add(Duration::from_millis(ms)));
        let (p50, p99) = all.p50_p99();
        assert_eq!((p50.as_millis(), p99.as_millis()), (256, 506));
    }
}
