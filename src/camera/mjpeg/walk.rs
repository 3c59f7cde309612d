//! The end of one JPEG whose beginning is known, from segment to segment.

use std::ops::RangeInclusive;

use crate::error::Error;

const SCAN: u8 = 0xda;
/// With one to four colours. It also bounds how often a scan can be gone through again.
const SCAN_HEADER: RangeInclusive<usize> = 8..=14;
const START: u8 = 0xd8;
const END: u8 = 0xd9;

/// Where a walk stands; it goes on from there when more bytes have come.
#[derive(Debug)]
pub(super) struct Walk {
    at: usize,
    in_scan: bool,
    /// Where the length of the last segment stands, which was stepped over unseen.
    segment: usize,
}

/// What came of a walk. Places are counted from the start of the picture.
#[derive(Debug)]
pub(super) enum Step {
    /// More bytes are needed.
    More,
    /// The picture is whole and has so many bytes.
    Whole(usize),
    /// It is none, or breaks off.
    Broken {
        /// Why.
        why: Error,
        /// From where to look for the next picture.
        resume: usize,
        /// How far it was followed.
        reached: usize,
        /// Whether a picture that ends before there is its thumbnail.
        has_thumbnail: bool,
    },
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            at: 2,
            in_scan: false,
            segment: 2,
        }
    }
}

impl Walk {
    /// Goes on through `bytes`, which begin with the picture and are all that will come if `ended`.
    pub(super) fn step(&mut self, bytes: &[u8], most: usize, ended: bool) -> Step {
        loop {
            if self.at > most {
                // The answer must not hang on how the bytes happened to come.
                return match bytes.len() < most && !ended {
                    true => Step::More,
                    false => self.too_large(bytes.len().min(most), most),
                };
            }
            let on = match self.in_scan {
                true => self.scan(bytes),
                false => self.marker(bytes),
            };
            match on {
                Some(On::Further) => {}
                Some(On::End) if self.at <= most => return Step::Whole(self.at),
                // Judged at the head of the loop.
                Some(On::End) => {}
                Some(On::Wrong) => return self.broken(bytes),
                None if ended => return self.broken(bytes),
                None => return Step::More,
            }
        }
    }

    /// One segment; none where its bytes have not come yet.
    fn marker(&mut self, bytes: &[u8]) -> Option<On> {
        // A picture that breaks off within a segment shows here: what follows it is no marker.
        if *bytes.get(self.at)? != 0xff {
            return Some(On::Wrong);
        }
        let marker = *bytes.get(self.at + 1)?;
        match marker {
            0xff => self.at += 1,
            END => {
                self.at += 2;
                return Some(On::End);
            }
            0x01 | 0xd0..=0xd7 => self.at += 2,
            0x00 | 0x02..=0xbf | START => return Some(On::Wrong),
            _ => {
                let length = [*bytes.get(self.at + 2)?, *bytes.get(self.at + 3)?];
                let length = usize::from(u16::from_be_bytes(length));
                let lengths = if marker == SCAN {
                    SCAN_HEADER
                } else {
                    2..=0xffff
                };
                if !lengths.contains(&length) {
                    return Some(On::Wrong);
                }
                self.segment = self.at + 2;
                self.at += 2 + length;
                self.in_scan = marker == SCAN;
            }
        }
        Some(On::Further)
    }

    /// Up to the marker after a scan's data.
    fn scan(&mut self, bytes: &[u8]) -> Option<On> {
        loop {
            let rest = bytes.get(self.at..)?;
            match rest.iter().position(|&byte| byte == 0xff) {
                Some(skipped) => self.at += skipped,
                None => {
                    self.at = bytes.len();
                    return None;
                }
            }
            match *bytes.get(self.at + 1)? {
                0xff => self.at += 1,
                // What may stand between scans; decoders pass over the rest, and so do we.
                START | END | SCAN..=0xdd | 0xc4 | 0xcc | 0xe0..=0xef | 0xfe => break,
                _ => self.at += 2,
            }
        }
        self.in_scan = false;
        Some(On::Further)
    }

    fn too_large(&self, resume: usize, most: usize) -> Step {
        let (what, found, limit) = ("bytes of one picture", self.at as u64, most as u64);
        let why = Error::Limit { what, found, limit };
        Step::Broken {
            why,
            resume,
            reached: resume,
            has_thumbnail: false,
        }
    }

    fn broken(&self, bytes: &[u8]) -> Step {
        let reached = self.at.min(bytes.len());
        let found = format!("a JPEG that breaks off within {reached} bytes");
        let data = bytes.get(self.segment + 2..).unwrap_or_default();
        Step::Broken {
            why: Error::invalid("picture", found, "a whole one"),
            resume: self.segment.min(reached),
            reached,
            has_thumbnail: data.starts_with(b"Exif\0") || data.starts_with(b"JFXX\0"),
        }
    }
}

enum On {
    Further,
    End,
    Wrong,
}
