//! The body of an answer, written behind what is held of its file.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::check::{Facts, length, text};
use super::patience::{Failed, Patience};
use super::room;
use crate::error::Error;

/// Largest file that is fetched, in bytes.
const MAX_BYTES: u64 = 8 << 30;

/// Where a body begins in its file, and the length of the whole as far as it is known.
#[derive(Debug, PartialEq)]
struct Span {
    start: u64,
    whole: Option<u64>,
}

/// Hears the bytes held and, where known, all of them.
pub(super) type Told<'a> = dyn FnMut(u64, Option<u64>) + 'a;

/// A file that grows on a disk with so much room.
pub(super) struct Part<'a> {
    pub(super) path: &'a Path,
    pub(super) free: Option<u64>,
    pub(super) patience: Patience,
}

impl Part<'_> {
    /// Writes the body that answers a request for all from the end of the part; `facts` learn the length.
    pub(super) fn take(
        &self,
        response: Response<Body>,
        facts: &mut Facts,
        told: &mut Told<'_>,
    ) -> Result<(), Failed> {
        let held = length(self.path);
        let partial = response.status().as_u16() == 206;
        let Some(span) = span(partial, response.headers(), held, facts.bytes) else {
            // What is held may be of another file just as well.
            std::fs::remove_file(self.path).ok();
            let why = "another part than was asked for".to_owned();
            return Err(Failed::Again(why, None));
        };
        facts.bytes = span.whole;
        if let Some(whole) = span.whole {
            let limit = MAX_BYTES;
            if whole > limit {
                let (what, found) = ("bytes of a download", whole);
                return Err(Failed::Never(Error::Limit { what, found, limit }));
            }
            // A part that starts afresh gives its own room back first.
            let needed = whole.saturating_sub(held);
            room::check(self.path, needed, self.free).map_err(Failed::Never)?;
        }
        self.pour(response, &span, told)
    }

    fn pour(
        &self,
        response: Response<Body>,
        span: &Span,
        told: &mut Told<'_>,
    ) -> Result<(), Failed> {
        let never = |e: std::io::Error| Failed::Never(Error::io(self.path, "write", e));
        let resumed = span.start > 0;
        let mut file = OpenOptions::new()
            .create(true)
            .append(resumed)
            .write(true)
            .truncate(!resumed)
            .open(self.path)
            .map_err(never)?;
        let mut body = response.into_body().into_reader();
        let (mut at, mut buffer) = (span.start, vec![0; 256 << 10]);
        let (mut since, mut before) = (Instant::now(), at);
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) => return Err(Failed::Again(e.to_string(), None)),
            };
            at += count as u64;
            if at > span.whole.unwrap_or(MAX_BYTES) {
                std::fs::remove_file(self.path).ok();
                let expected = "the file as stated";
                let error = Error::invalid("download", "more bytes than the hub states", expected);
                return Err(Failed::Never(error.at(self.path)));
            }
            file.write_all(&buffer[..count]).map_err(never)?;
            told(at, span.whole);
            if since.elapsed() >= self.patience.window {
                if at - before < self.patience.floor_bytes {
                    let seconds = since.elapsed().as_secs_f32();
                    let why = format!("too slow: {} bytes in {seconds:.0} s", at - before);
                    return Err(Failed::Again(why, None));
                }
                (since, before) = (Instant::now(), at);
            }
        }
        file.sync_all().map_err(never)?;
        match span.whole {
            Some(whole) if at < whole => Err(Failed::Again(format!("cut after {at} bytes"), None)),
            _ => Ok(()),
        }
    }
}

/// What a body is of its file; none where that is not what was asked for.
fn span(partial: bool, headers: &HeaderMap, held: u64, stated: Option<u64>) -> Option<Span> {
    let sent = text(headers, "content-length").and_then(|n| n.parse::<u64>().ok());
    if !partial {
        let whole = stated.or(sent);
        return Some(Span { start: 0, whole });
    }
    let range = text(headers, "content-range")?;
    let (place, total) = range.strip_prefix("bytes ")?.trim().split_once('/')?;
    let start: u64 = place.split_once('-')?.0.parse().ok()?;
    let total = match total {
        "*" => None,
        total => Some(total.parse::<u64>().ok()?),
    };
    let agree = stated.is_none() || total.is_none() || stated == total;
    let whole = stated.or(total).or(sent.map(|n| n.saturating_add(start)));
    (agree && start == held).then_some(Span { start, whole })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_that_was_asked_for_is_taken() {
        let of = |range: &str, stated| {
            let mut headers = HeaderMap::new();
            headers.insert("content-length", "50".parse().unwrap());
            headers.insert("content-range", range.parse().unwrap());
            span(true, &headers, 100, stated).map(|s| s.whole)
        };
        assert_eq!(of("bytes 100-149/150", None), Some(Some(150)));
        assert_eq!(of("bytes 100-149/150", Some(150)), Some(Some(150)));
        assert_eq!(of("bytes 100-149/*", None), Some(Some(150)));
        for range in [
            "bytes 0-49/150",
            "bytes 101-150/151",
            "bytes 100-149/151",
            "bytes */150",
            "100-149/150",
            "bytes 100-149",
            "bytes 100-149/many",
            "",
        ] {
            assert_eq!(of(range, Some(150)), None, "{range}");
        }
        assert_eq!(span(true, &HeaderMap::new(), 100, None), None);
        let afresh = span(false, &HeaderMap::new(), 100, Some(7)).unwrap();
        assert_eq!((afresh.start, afresh.whole), (0, Some(7)));
    }
}
