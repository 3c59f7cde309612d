//! The body of an answer, as one run of bytes.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::{Answer, Content, broken, line};

/// A chunk's size with all that may stand beside it.
const MOST_SIZE: usize = 1 << 10;
const SIZE_TIME: Duration = Duration::from_secs(10);

/// What is still to come, and how it is wrapped.
#[derive(Debug)]
pub(super) struct Body<R = BufReader<TcpStream>> {
    from: R,
    left: Left,
}

#[derive(Debug)]
enum Left {
    /// All until the server hangs up.
    All,
    /// So many bytes.
    Bytes(u64),
    /// So many bytes of this chunk, and then more chunks.
    Chunk(u64),
    Nothing,
}

impl<R: BufRead> Body<R> {
    pub(super) fn new(from: R, answer: &Answer, content: Content) -> Self {
        let left = match answer.length {
            _ if answer.is_chunked => Left::Chunk(0),
            // Some cameras state a length of streams, which have none.
            Some(length) if content == Content::Picture => Left::Bytes(length),
            _ => Left::All,
        };
        Self { from, left }
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let until = Instant::now() + SIZE_TIME;
        let mut most = MOST_SIZE;
        let mut text = line(&mut self.from, &mut most, until)?;
        // The end of the chunk before.
        if text.is_empty() {
            text = line(&mut self.from, &mut most, until)?;
        }
        let digits = text.split(';').next().unwrap_or_default().trim();
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        u64::from_str_radix(digits, 16)
            .ok()
            .filter(|_| is_hex)
            .ok_or_else(|| broken("a chunk of the answer has no size"))
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        if let Left::Chunk(0) = self.left {
            self.left = match self.next_chunk()? {
                0 => Left::Nothing,
                bytes => Left::Chunk(bytes),
            };
        }
        let (Left::Bytes(left) | Left::Chunk(left)) = &mut self.left else {
            return match self.left {
                Left::Nothing => Ok(0),
                _ => self.from.read(to),
            };
        };
        let most = usize::try_from(*left).map_or(to.len(), |left| left.min(to.len()));
        let read = self.from.read(&mut to[..most])?;
        *left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn body(from: &[u8], left: Left) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Body { from, left }.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn chunks_are_joined() {
        let text = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nmore";
        assert_eq!(body(text, Left::Chunk(0)).unwrap(), b"abc0123456789");
    }

    #[test]
    fn a_stated_length_is_kept() {
        assert_eq!(body(b"abcdef", Left::Bytes(4)).unwrap(), b"abcd");
        assert_eq!(body(b"abc", Left::Bytes(4)).unwrap(), b"abc");
        assert_eq!(body(b"abc", Left::All).unwrap(), b"abc");
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in [
            &b"x\r\n"[..],
            b"-1\r\n",
            b"+1\r\na",
            b"\r\n\r\n",
            b"11111111111111111\r\n",
        ] {
            assert!(body(text, Left::Chunk(0)).is_err(), "{text:?}");
        }
        assert!(body(&b"1".repeat(5000), Left::Chunk(0)).is_err());
    }
}
