//! When a photo was taken, by its EXIF.

use exif::{DateTime, In, Reader, Tag, Value};

/// Seconds since 1970 on the camera's own clock, from EXIF bytes; cameras know no time zone,
/// so this serves to tell photos of one moment, not to tell the time.
pub(super) fn taken_s(exif: Vec<u8>) -> Option<u64> {
    let exif = Reader::new().read_raw(exif).ok()?;
    let field = exif.get_field(Tag::DateTimeOriginal, In::PRIMARY)?;
    let Value::Ascii(ref texts) = field.value else {
        return None;
    };
    seconds(&DateTime::from_ascii(texts.first()?).ok()?)
}

fn seconds(t: &DateTime) -> Option<u64> {
    let days = days_since_1970(t.year.into(), t.month.into(), t.day.into())?;
    let clock = (t.hour < 24 && t.minute < 60 && t.second < 61)
        .then_some(())
        .map(|()| u64::from(t.hour) * 3600 + u64::from(t.minute) * 60 + u64::from(t.second))?;
    Some(days * 86_400 + clock)
}

/// Days of the Gregorian calendar, counted in years that begin in March so that leap days end them.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // From `date -u -d DATE +%s` divided by 86,400.
        for ((year, month, day), days) in [
            ((1970, 1, 1), 0),
            ((1999, 12, 31), 10_956),
            ((2000, 2, 29), 11_016),
            ((2024, 3, 1), 19_783),
        ] {
            assert_eq!(days_since_1970(year, month, day), Some(days));
        }
        assert_eq!(days_since_1970(2024, 13, 1), None);
    }

    #[test]
    fn a_time_of_day_is_added_and_a_wrong_one_refused() {
        let time = DateTime::from_ascii(b"1970:01:02 00:00:09").unwrap();
        assert_eq!(seconds(&time), Some(86_409));
        let blank = DateTime::from_ascii(b"1970:01:02 99:00:09");
        assert!(blank.map_or(true, |t| seconds(&t).is_none()));
    }
}
