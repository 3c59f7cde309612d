//! Times as text: RFC 3339 in UTC, to the millisecond.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

const DAY_MS: i64 = 86_400_000;

/// A time that prints as `2026-11-25T10:12:03.123Z`, without memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(pub SystemTime);

impl Utc {
    /// The time of day: `10:12:03Z`.
    pub(super) fn clock(self) -> String {
        let s = self.millis().rem_euclid(DAY_MS) / 1000;
        format!("{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
    }

    /// Milliseconds since 1970; a board without a clock may stand before.
    fn millis(self) -> i64 {
        let bounded = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match self.0.duration_since(UNIX_EPOCH) {
            Ok(after) => bounded(after),
            // Towards the past, as division of what is after is.
            Err(e) => -bounded(e.duration() + std::time::Duration::from_nanos(999_999)),
        }
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.millis();
        let (year, month, day) = date(ms.div_euclid(DAY_MS));
        let ms = ms.rem_euclid(DAY_MS);
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        let ms = ms % 1000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z"
        )
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar without end.
// Years are counted from March, so that the day that only some have is their last; after Howard
// Hinnant, "chrono-compatible low-level date algorithms".
fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64, ms: u64) -> String {
        let since = Duration::from_secs(seconds) + Duration::from_millis(ms);
        Utc(UNIX_EPOCH + since).to_string()
    }

    /// From `date -u -d @N +%FT%TZ`.
    #[test]
    fn known_times_print_as_date_prints_them() {
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_795_601_523, 123), "2026-11-25T10:12:03.123Z");
        assert_eq!(at(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(1_709_251_200, 0), "2024-03-01T00:00:00.000Z");
        assert_eq!(at(4_107_542_399, 0), "2100-02-28T23:59:59.000Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(at(253_402_300_799, 0), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_clock_that_was_never_set_prints_too() {
        let before = |ms| Utc(UNIX_EPOCH - Duration::from_millis(ms)).to_string();
        assert_eq!(before(1), "1969-12-31T23:59:59.999Z");
        assert_eq!(before(86_400_000), "1969-12-31T00:00:00.000Z");
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
        let (mut y, mut m, mut d) = (1970, 1, 1);
        for day in 0..365 * 800 {
            assert_eq!(date(day), (y, m, d));
            let last = match m {
                2 => 28 + i64::from(leap(y)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (y, m, d) = match (m, d == last) {
                (12, true) => (y + 1, 1, 1),
                (_, true) => (y, m + 1, 1),
                _ => (y, m, d + 1),
            };
        }
    }
}
