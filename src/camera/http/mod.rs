//! JPEGs over plain HTTP: a stream without end, or one picture that is asked for again and again.
//!
//! No TLS, no redirects, no proxies, no cookies: a camera in the same network, asked directly.

mod address;
mod answer;
mod body;

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::jpegs::{Jpegs, Newest};
use super::mjpeg::Splitter;
use super::pace::gap_of;
use super::{Captured, Fault, Source, Wish};
use crate::error::{Error, Result};
use address::Address;
pub(super) use address::without_login;
use answer::{Answer, Content};
use body::Body;

const SNAPSHOT_FPS: f32 = 5.0;

/// Whether `text` is an address that can be asked.
///
/// # Errors
/// It is not; the words leave a password out.
pub(super) fn check(text: &str) -> Result<()> {
    Address::parse(text).map(drop)
}

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connect: Duration,
    /// From the question to the end of the answer's head.
    head: Duration,
    /// Between two bytes of a picture.
    silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(5),
            silence: Duration::from_secs(10),
        }
    }
}

/// An open connection, or the promise of one a picture.
pub(super) struct Http {
    about: String,
    jpegs: Jpegs,
    line: Arc<Line>,
}

impl Http {
    /// Asks once, so that what is wrong with the address is said at once.
    ///
    /// # Errors
    /// Nobody answers in time, the answer is not a picture or a stream of them, or the rate is none.
    pub(super) fn open(address: &str, wish: &Wish) -> Result<Self> {
        Self::within(address, wish, Limits::default())
    }

    fn within(address: &str, wish: &Wish, limits: Limits) -> Result<Self> {
        let line = Line {
            address: Address::parse(address)?,
            limits,
            current: Mutex::default(),
        };
        let fps = wish.fps.unwrap_or(SNAPSHOT_FPS);
        let gap = gap_of(fps)?;
        let line = Arc::new(line);
        let first = line.ask()?;
        let shown = &line.address.shown;
        let about = match first.0 {
            Content::Stream => format!("{shown}: a stream of JPEGs"),
            Content::Picture => format!("{shown}: a JPEG, asked for {fps} times a second"),
        };
        let jpegs = Jpegs::default();
        let (newest, reader) = (jpegs.newest(), Arc::clone(&line));
        let work = move || newest.end(Fault::Lost(reader.read(&newest, first, gap)));
        let thread = thread::Builder::new().name("http".into()).spawn(work);
        thread.map_err(|e| line.failed("start a thread for", e))?;
        Ok(Self { about, jpegs, line })
    }
}

impl Source for Http {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        self.jpegs.next(buffer, patience)
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.jpegs.stop();
        // Wakes the thread that reads; it need not be waited for.
        if let Some(socket) = &*self
            .line
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

/// What asks a server, and can be hung up from another thread.
struct Line {
    address: Address,
    limits: Limits,
    current: Mutex<Option<TcpStream>>,
}

impl Line {
    /// One question, up to the answer's body.
    fn ask(&self) -> Result<(Content, Body)> {
        let failed = |e| self.failed("ask", e);
        let mut socket = self.connect()?;
        socket.set_nodelay(true).map_err(failed)?;
        socket
            .set_write_timeout(Some(self.limits.head))
            .map_err(failed)?;
        socket
            .set_read_timeout(Some(self.limits.head))
            .map_err(failed)?;
        let other = socket.try_clone().map_err(failed)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
        socket
            .write_all(self.address.request().as_bytes())
            .map_err(failed)?;
        let mut reader = io::BufReader::with_capacity(32 << 10, socket);
        let until = Instant::now() + self.limits.head;
        let answer = Answer::read(&mut reader, until).map_err(failed)?;
        let content = answer.content(&self.address.shown)?;
        reader
            .get_ref()
            .set_read_timeout(Some(self.limits.silence))
            .map_err(failed)?;
        Ok((content, Body::new(reader, &answer, content)))
    }

    fn connect(&self) -> Result<TcpStream> {
        let failed = |e| self.failed("connect to", e);
        let (host, port) = (&*self.address.host, self.address.port);
        let places = (host, port).to_socket_addrs().map_err(failed)?;
        let mut last = io::Error::new(ErrorKind::NotFound, "no host of that name is known");
        for place in places {
            match TcpStream::connect_timeout(&place, self.limits.connect) {
                Ok(socket) => return Ok(socket),
                Err(e) => last = e,
            }
        }
        Err(failed(last))
    }

    /// Reads until it ends or nobody listens any more; why it ended.
    fn read(&self, newest: &Newest, first: (Content, Body), gap: Duration) -> Error {
        let (content, body) = first;
        if content == Content::Stream {
            return match newest.read(&mut Splitter::new(body), u64::MAX) {
                Ok(_) => self.ended("the end of the stream", "one that goes on"),
                Err(e) => self.failed("read", e),
            };
        }
        let mut body = Some(body);
        while !newest.is_stopped() {
            let began = Instant::now();
            let body = match body.take().map_or_else(|| self.again(), Ok) {
                Ok(body) => body,
                Err(e) => return e,
            };
            if let Err(e) = newest.read(&mut Splitter::new(body), 1) {
                return self.failed("read", e);
            }
            newest.pause(gap.saturating_sub(began.elapsed()));
        }
        self.ended("a source that was left", "one in use")
    }

    fn again(&self) -> Result<Body> {
        match self.ask()? {
            (Content::Picture, body) => Ok(body),
            (Content::Stream, _) => Err(self.ended("a stream", "a JPEG, as before")),
        }
    }

    fn ended(&self, found: &str, expected: &str) -> Error {
        Error::invalid(
            "camera",
            format!("{}: {found}", self.address.shown),
            expected,
        )
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> Error {
        // The system says of a timeout that the resource is temporarily unavailable.
        let error = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::new(ErrorKind::TimedOut, "nothing came in time")
            }
            _ => error,
        };
        Error::io(Path::new(&self.address.shown), doing, error)
    }
}

#[cfg(test)]
mod tests;
