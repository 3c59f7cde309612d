//! The head of an answer: status and the few headers that matter.

use std::io::{self, BufRead, ErrorKind};
use std::time::Instant;

use crate::error::{Error, Result};

const MOST_HEAD: usize = 16 << 10;

/// What a server says before its body.
#[derive(Debug, Default)]
pub(super) struct Answer {
    status: u16,
    kind: Option<String>,
    location: Option<String>,
    wants: Option<String>,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Pictures without end.
    Stream,
    /// One picture.
    Picture,
}

impl Answer {
    /// Reads up to the empty line, until `until` at the latest.
    ///
    /// # Errors
    /// Those of reading; it is no answer of HTTP, or longer than any.
    pub(super) fn read(from: &mut impl BufRead, until: Instant) -> io::Result<Self> {
        let mut left = MOST_HEAD;
        let mut answer = Self::default();
        let first = line(from, &mut left, until)?;
        let mut words = first.split_whitespace();
        let is_http = words.next().is_some_and(|v| v.starts_with("HTTP/"));
        answer.status = words
            .next()
            .and_then(|code| code.parse().ok())
            .filter(|_| is_http)
            .ok_or_else(|| broken("the answer is not one of HTTP"))?;
        loop {
            let line = line(from, &mut left, until)?;
            match line.split_once(':') {
                Some((name, value)) => answer.hear(name.trim(), value.trim()),
                None if line.is_empty() => return Ok(answer),
                None => {}
            }
        }
    }

    fn hear(&mut self, name: &str, value: &str) {
        let text = || Some(value.chars().filter(|c| !c.is_control()).collect());
        match &*name.to_ascii_lowercase() {
            "content-type" => self.kind = text(),
            "location" => self.location = text(),
            "www-authenticate" if self.wants.is_none() => self.wants = text(),
            "content-length" => self.length = value.parse().ok(),
            "transfer-encoding" => {
                self.is_chunked = value.to_ascii_lowercase().contains("chunked");
            }
            _ => {}
        }
    }

    /// What the body is.
    ///
    /// # Errors
    /// The server refuses, or sends something that is no picture.
    pub(super) fn content(&self, shown: &str) -> Result<Content> {
        if self.status != 200 {
            let (found, expected) = self.refusal();
            let found = format!("{shown}: {found}");
            return Err(Error::invalid("camera", found, expected));
        }
        let Some(kind) = &self.kind else {
            return Ok(Content::Stream);
        };
        let name = kind.split(';').next().unwrap_or_default().trim();
        match &*name.to_ascii_lowercase() {
            "image/jpeg" | "image/jpg" | "image/pjpeg" => Ok(Content::Picture),
            "video/x-motion-jpeg"
            | "video/x-mjpeg"
            | "video/mjpeg"
            | "image/x-motion-jpeg"
            | "application/octet-stream" => Ok(Content::Stream),
            multipart if multipart.starts_with("multipart/") => Ok(Content::Stream),
            _ => {
                let found = format!("{shown}: content of type {name}");
                let expected = "multipart/x-mixed-replace or image/jpeg: is this the address of the stream, not of its page?";
                Err(Error::invalid("camera", found, expected))
            }
        }
    }

    /// What was found in place of an answer, and what would be one.
    fn refusal(&self) -> (String, &'static str) {
        let status = format!("status {}", self.status);
        match self.status {
            401 if self.is_digest() => (
                "a Digest login is asked for".into(),
                "a login in the clear; this one is given by `exec:curl -sN --digest -u NAME:PASSWORD ADDRESS`",
            ),
            401 | 403 => (
                status,
                "access: write http://NAME:PASSWORD@HOST/…, or check them",
            ),
            404 => (status, "a stream: is the path right?"),
            300..=399 => {
                let to = super::without_login(self.location.as_deref().unwrap_or("nowhere"));
                let expected = "the address that it leads to in the end";
                (format!("{status}, on to {to}"), expected)
            }
            _ => (status, "200 and a stream"),
        }
    }

    fn is_digest(&self) -> bool {
        let wants = self.wants.as_deref().unwrap_or_default();
        wants.to_ascii_lowercase().starts_with("digest")
    }
}

/// A line without its end; some cameras end them with a line feed alone.
pub(super) fn line(
    from: &mut impl BufRead,
    left: &mut usize,
    until: Instant,
) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        // A server that drips may not hold us for ever.
        if Instant::now() > until {
            return Err(ErrorKind::TimedOut.into());
        }
        let held = match from.fill_buf() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            held => held?,
        };
        if held.is_empty() {
            return Err(broken("the answer breaks off"));
        }
        let end = held.iter().position(|&b| b == b'\n');
        let taken = end.map_or(held.len(), |end| end + 1);
        *left = left
            .checked_sub(taken)
            .ok_or_else(|| broken("the head of the answer has no end"))?;
        line.extend_from_slice(&held[..taken]);
        from.consume(taken);
        if end.is_some() {
            return Ok(String::from_utf8_lossy(&line)
                .trim_end_matches(['\r', '\n'])
                .to_owned());
        }
    }
}

pub(super) fn broken(words: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> io::Result<Answer> {
        let until = Instant::now() + Duration::from_secs(5);
        Answer::read(&mut &*text, until)
    }

    fn content(text: &str) -> Result<Content, String> {
        let answer = read(text.as_bytes()).unwrap();
        answer.content("http://cam").map_err(|e| e.to_string())
    }

    #[test]
    fn kinds_are_told_apart() {
        let of = |kind: &str| content(&format!("HTTP/1.0 200 OK\ncontent-type: {kind}\n\n"));
        assert_eq!(of("Image/JPEG; a=b"), Ok(Content::Picture));
        let stream = of("multipart/x-mixed-replace;boundary=x");
        assert_eq!(stream, Ok(Content::Stream));
        assert_eq!(content("HTTP/1.1 200 OK\r\n\r\n"), Ok(Content::Stream));
        assert!(of("text/html").unwrap_err().contains("not of its page"));
        assert!(of("image/png").is_err());
    }

    #[test]
    fn refusals_say_what_to_do() {
        let of = |head: &str| content(&format!("HTTP/1.1 {head}\r\n\r\n")).unwrap_err();
        assert!(of("401 x").contains("NAME:PASSWORD@HOST"));
        assert!(of("401 x\r\nWWW-Authenticate: Digest realm=\"a\"").contains("--digest"));
        assert!(of("404 x").contains("path right"));
        let on = of("302 x\r\nLocation: http://me:secret@b/c");
        assert!(on.contains("http://b/c") && !on.contains("secret"), "{on}");
        assert!(of("500 x").contains("status 500"));
    }

    #[test]
    fn heads_are_bounded() {
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &b"A: b\r\n".repeat(5000)].concat();
        assert!(read(&endless).is_err());
        assert!(read(&[b'x'; 100_000]).is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\nA: b").is_err());
        assert!(read(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn random_heads_never_panic(
            text in "(HTTP/1\\.1 )?[0-9]{0,4}.{0,20}(\r\n[A-Za-z-]{0,20}:?.{0,20}){0,5}\r\n\r\n",
        ) {
            if let Ok(answer) = read(text.as_bytes()) {
                let _ = answer.content("http://cam");
            }
        }
    }
}
