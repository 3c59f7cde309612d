//! What the JPEG decoder would let pass: pictures that break off come out grey below.

use std::borrow::Cow;

use super::huffman::TABLES;
use crate::error::{Error, Result};

const HUFFMAN_TABLES: u8 = 0xc4;
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

/// The picture with the standard's tables before its first scan, where it has none of its own.
pub(super) fn with_tables(bytes: &[u8]) -> Cow<'_, [u8]> {
    match lacks_tables(bytes) {
        Some(scan) => [&bytes[..scan], &TABLES, &bytes[scan..]].concat().into(),
        None => bytes.into(),
    }
}

/// Where the first scan starts, if no tables stand before it.
fn lacks_tables(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match *bytes.get(at + 1)? {
            START_OF_SCAN => return Some(at),
            HUFFMAN_TABLES | END => return None,
            0xff => at += 1,
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                at += 2 + usize::from(u16::from_be_bytes([
                    *bytes.get(at + 2)?,
                    *bytes.get(at + 3)?,
                ]))
            }
        }
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

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;
    use crate::frame::Decode;

    fn jpeg() -> Vec<u8> {
        let pixels: Vec<u8> = (0..48 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut bytes = Vec::new();
        JpegEncoder::new(&mut bytes)
            .encode(&pixels, 48, 32, image::ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    /// As cameras send it: without the segments of tables.
    fn bare(bytes: &[u8]) -> Vec<u8> {
        let mut bare = bytes[..2].to_vec();
        let mut at = 2;
        while bytes[at + 1] != START_OF_SCAN {
            let len = 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            if bytes[at + 1] != HUFFMAN_TABLES {
                bare.extend(&bytes[at..at + len]);
            }
            at += len;
        }
        bare.extend(&bytes[at..]);
        bare
    }

    #[test]
    fn frames_without_tables_decode_as_with_them() {
        let whole = jpeg();
        let bare = bare(&whole);
        assert!(bare.len() < whole.len() - 300);
        let decode = Decode::default();
        let from_bare = decode.jpeg_into(&bare, Vec::new()).unwrap();
        assert_eq!(from_bare, decode.decode(&whole).unwrap());
        assert!(matches!(with_tables(&whole), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stream_of_jpegs_decodes_into_the_same_memory() {
        let decode = Decode::default();
        let first = decode.jpeg_into(&jpeg(), Vec::new()).unwrap().into_bytes();
        let at = first.as_ptr();
        let second = decode.jpeg_into(&jpeg(), first).unwrap().into_bytes();
        assert_eq!(second.as_ptr(), at);
    }

    #[test]
    fn cut_and_foreign_frames_are_refused_at_every_length() {
        let whole = jpeg();
        let decode = Decode {
            max_pixels: 48 * 32,
            ..Decode::default()
        };
        for n in 0..whole.len() {
            assert!(decode.jpeg_into(&whole[..n], Vec::new()).is_err(), "{n}");
        }
        assert!(decode.jpeg_into(b"not a JPEG at all", Vec::new()).is_err());
        let small = Decode {
            max_pixels: 100,
            ..decode
        };
        assert!(small.jpeg_into(&whole, Vec::new()).is_err());
    }
}
