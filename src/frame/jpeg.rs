//! What the JPEG decoder would let pass: pictures that break off come out grey below.

use crate::error::{Error, Result};

const START_OF_SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// Tells whether the picture ends where it says, by walking its segments to the end marker.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    match walk(bytes) {
        Some(()) => Ok(()),
        None => Err(Error::invalid(
            "picture",
            format!("a JPEG that breaks off after {} bytes", bytes.len()),
            "a whole file: copy or take it again",
        )),
    }
}

/// From marker to marker; `None` where the bytes run out before the end marker.
fn walk(bytes: &[u8]) -> Option<()> {
    let mut at = 2;
    loop {
        // Between segments any bytes but 0xff are skipped, as decoders do.
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        let marker = *bytes.get(at + 1)?;
        at += match marker {
            END => return Some(()),
            // Fill bytes before a marker.
            0xff => 1,
            // Markers without a length: escaped data, restarts, a start.
            0x00 | 0x01 | 0xd0..=0xd8 => 2,
            _ => {
                2 + usize::from(u16::from_be_bytes([
                    *bytes.get(at + 2)?,
                    *bytes.get(at + 3)?,
                ]))
            }
        };
        if marker == START_OF_SCAN {
            at = skip_scan(bytes, at)?;
        }
    }
}

/// The position of the first marker after a scan's data.
fn skip_scan(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}
