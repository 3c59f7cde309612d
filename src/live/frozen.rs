//! Whether a camera still looks: drivers and streams have gone on giving one and the same picture.

use std::time::{Duration, Instant};

use super::still::Glance;
use crate::camera::Captured;

/// Since when frames have been the same.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    last: Option<(Glance, u64)>,
    since: Option<Instant>,
}

impl Frozen {
    /// Takes a frame; gives how long frames have been the same, by content or by number.
    ///
    /// Every sensor has noise, so that frames which are equal to the last bit at hundreds of points
    /// are one frame.
    pub(super) fn see(&mut self, captured: &Captured, now: Instant) -> Duration {
        let glance = Glance::at(&captured.frame);
        let same = self
            .last
            .as_ref()
            .is_some_and(|(g, number)| *g == glance || *number == captured.sequence);
        if !same {
            self.since = Some(now);
        }
        self.last = Some((glance, captured.sequence));
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    #[test]
    fn a_picture_that_stays_counts_from_its_first_frame() {
        let mut frozen = Frozen::default();
        let start = Instant::now();
        let mut see = |grey: u8, sequence, s| {
            let captured = Captured {
                frame: Frame::from_rgb(40, 30, vec![grey; 3600]).unwrap(),
                taken: start,
                sequence,
            };
            frozen
                .see(&captured, start + Duration::from_secs(s))
                .as_secs()
        };
        let stayed = [see(1, 1, 0), see(1, 2, 4), see(2, 3, 6), see(2, 4, 9)];
        assert_eq!(stayed, [0, 4, 0, 3]);
        // A number that stays is a frame that stays.
        assert_eq!([see(3, 4, 10), see(4, 5, 11)], [4, 0]);
    }
}
