//! Lends frames of a camera that one process owns to another one on the same machine.
//!
//! A kernel's camera streams to one process only. Who owns it listens on a local socket; who wants
//! frames writes one line, `FRAMES EVERY_MS`, and reads so many frames: width, height and length as
//! three little-endian u32, then RGB rows without padding. The owner never waits for a borrower.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::camera::Spec;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::store;

/// Most frames of one loan.
pub const MOST_FRAMES: u32 = 100;
/// Longest time between two of them.
const LONGEST: Duration = Duration::from_secs(60);
/// Longest silence of either side.
const SILENCE: Duration = Duration::from_secs(10);
const MOST_REQUEST_BYTES: u64 = 64;
/// Largest frame that is believed: an 8K picture.
const MOST_FRAME_BYTES: u32 = 100 << 20;

/// Where the owner of `spec` listens, below `folder`; one camera under two names has one place.
#[must_use]
pub fn place(folder: &Path, spec: &Spec) -> PathBuf {
    let text = match spec {
        Spec::Device(path) => {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            real.to_string_lossy().into_owned()
        }
        other => other.to_string(),
    };
    let hash = Sha256::digest(text.as_bytes());
    folder.join(format!("camera-{}.sock", store::hex(&hash[..8])))
}

/// The owner's side.
#[derive(Debug)]
pub struct Lender {
    shared: Arc<Shared>,
    path: PathBuf,
}

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    loan: Mutex<Option<Loan>>,
}

#[derive(Debug)]
struct Loan {
    every: Duration,
    due: Instant,
    to: SyncSender<Frame>,
}

impl Lender {
    /// Listens at `path`, for this user and group.
    ///
    /// # Errors
    /// Another process listens there, or the folder cannot be written.
    pub fn start(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(path, "listen at", e);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        if is_lent(path) {
            let expected = "one owner of a camera: end the other `edgeclip watch`";
            return Err(Error::invalid("camera", "in use by edgeclip already", expected).at(path));
        }
        // What a killed process left behind.
        std::fs::remove_file(path).ok();
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("lend".into())
            .spawn(move || own.serve(&listener))
            .map_err(failed)?;
        Ok(Self {
            shared,
            path: path.to_owned(),
        })
    }

    /// Shows a frame to who waits for one. Costs nothing where nobody does.
    pub fn offer(&self, frame: &Frame) {
        if !self.shared.asked.load(Relaxed) {
            return;
        }
        let mut loan = self.shared.lock();
        let now = Instant::now();
        if let Some(l) = loan.as_mut().filter(|l| now >= l.due) {
            l.due = now + l.every;
            // A slow borrower misses frames.
            if matches!(l.to.try_send(frame.clone()), Err(e) if is_gone(&e)) {
                *loan = None;
                self.shared.asked.store(false, Relaxed);
            }
        }
    }
}

fn is_gone(e: &std::sync::mpsc::TrySendError<Frame>) -> bool {
    matches!(e, std::sync::mpsc::TrySendError::Disconnected(_))
}

impl Drop for Lender {
    fn drop(&mut self) {
        // The thread waits for a caller for ever; it ends with the process.
        std::fs::remove_file(&self.path).ok();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Loan>> {
        self.loan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming().flatten() {
            if let Err(e) = self.lend(stream) {
                log::info!("frames lent: {e}");
            }
            *self.lock() = None;
            self.asked.store(false, Relaxed);
        }
    }

    fn lend(&self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut line = String::new();
        BufReader::new((&stream).take(MOST_REQUEST_BYTES)).read_line(&mut line)?;
        // Who only asks whether somebody listens says nothing.
        if line.is_empty() {
            return Ok(());
        }
        let Some((count, every)) = request(&line) else {
            return Err(std::io::ErrorKind::InvalidData.into());
        };
        let (to, frames) = sync_channel(2);
        *self.lock() = Some(Loan {
            every,
            due: Instant::now(),
            to,
        });
        self.asked.store(true, Relaxed);
        for _ in 0..count {
            let frame = self.frame(&frames, every)?;
            write_frame(&mut stream, &frame)?;
        }
        Ok(())
    }

    fn frame(&self, frames: &Receiver<Frame>, every: Duration) -> std::io::Result<Frame> {
        let waited = frames.recv_timeout(every + SILENCE);
        waited.map_err(|_| std::io::ErrorKind::TimedOut.into())
    }
}

/// Frames and time between them, within bounds.
fn request(line: &str) -> Option<(u32, Duration)> {
    let (count, every) = line.trim().split_once(' ')?;
    let count = count
        .parse()
        .ok()
        .filter(|n| (1..=MOST_FRAMES).contains(n))?;
    let every = Duration::from_millis(every.parse().ok()?);
    (every <= LONGEST).then_some((count, every))
}

fn write_frame(to: &mut impl Write, frame: &Frame) -> std::io::Result<()> {
    let (width, height) = frame.size();
    let length = width * height * 3;
    let head = [width, height, length].map(u32::to_le_bytes).concat();
    to.write_all(&head)?;
    frame.rows().try_for_each(|row| to.write_all(row))
}

/// Whether an owner listens at `path`.
#[must_use]
pub fn is_lent(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// How many owners listen in `folder`, whatever their cameras.
#[must_use]
pub fn owners(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.starts_with("camera-") && name.ends_with(".sock");
    entries
        .filter(|e| e.file_name().to_str().is_some_and(is_ours))
        .filter(|e| is_lent(&e.path()))
        .count()
}

/// Frames from the owner that listens at `path`; none where nobody does.
///
/// # Errors
/// The owner lends nothing, or something else than frames.
pub fn borrow(
    path: &Path,
    count: u32,
    every: Duration,
    each: &mut dyn FnMut(Frame),
) -> Result<Option<()>> {
    let Ok(mut stream) = UnixStream::connect(path) else {
        return Ok(None);
    };
    let failed = |e| failed(path, e);
    stream
        .set_read_timeout(Some(every + 2 * SILENCE))
        .map_err(failed)?;
    writeln!(stream, "{count} {}", every.as_millis()).map_err(failed)?;
    for _ in 0..count {
        each(read_frame(&mut stream, path)?);
    }
    Ok(Some(()))
}

/// What a loan ran into.
fn failed(path: &Path, e: std::io::Error) -> Error {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};

    match e.kind() {
        BrokenPipe | ConnectionReset | UnexpectedEof => {
            let found = "the end of the `edgeclip watch` that lent its frames";
            Error::invalid("burst", found, "one that goes on: try again")
        }
        _ => Error::io(path, "borrow frames from", e),
    }
}

fn read_frame(from: &mut impl Read, path: &Path) -> Result<Frame> {
    let failed = |e| failed(path, e);
    let mut head = [0; 12];
    from.read_exact(&mut head).map_err(failed)?;
    let [width, height, length] = [0, 4, 8].map(|i| {
        let word = [head[i], head[i + 1], head[i + 2], head[i + 3]];
        u32::from_le_bytes(word)
    });
    if length > MOST_FRAME_BYTES {
        let what = "bytes of a lent frame";
        let (found, limit) = (length.into(), MOST_FRAME_BYTES.into());
        return Err(Error::Limit { what, found, limit });
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).map_err(failed)?;
    Frame::from_rgb(width, height, bytes).map_err(|e| e.at(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_borrower_gets_what_the_owner_sees_and_the_owner_never_waits() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec::parse("test").unwrap();
        let path = place(dir.path(), &spec);
        let lender = Lender::start(&path).unwrap();
        assert!(Lender::start(&path).is_err());
        assert_eq!(owners(dir.path()), 1);
        let stop = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&stop);
        let owner = std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            let mut n = 0_u8;
            while !own.load(Relaxed) {
                n = n.wrapping_add(1);
                let began = Instant::now();
                lender.offer(&Frame::from_rgb(8, 4, vec![n; 96]).unwrap());
                slowest = slowest.max(began.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
            slowest
        });
        let mut seen = Vec::new();
        let every = Duration::from_millis(10);
        let lent = borrow(&path, 5, every, &mut |f| seen.push(f.bytes()[0])).unwrap();
        assert!(
            lent.is_some() && seen.len() == 5 && seen.is_sorted(),
            "{seen:?}"
        );
        // One that asks and does not read holds nobody up.
        let mut idle = UnixStream::connect(&path).unwrap();
        writeln!(idle, "100 0").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(idle);
        stop.store(true, Relaxed);
        assert!(owner.join().unwrap() < Duration::from_millis(500));
        assert!(borrow(&path, 1, every, &mut |_| {}).unwrap().is_none());
        assert_eq!(owners(dir.path()), 0);
    }

    #[test]
    fn an_owner_that_ends_meanwhile_is_told_as_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("camera-1.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let owner = std::thread::spawn(move || drop(listener.accept()));
        let words = borrow(&path, 1, Duration::ZERO, &mut |_| {}).unwrap_err();
        owner.join().unwrap();
        assert!(words.to_string().contains("try again"), "{words}");
    }

    #[test]
    fn requests_are_bounded() {
        assert_eq!(request("8 250\n"), Some((8, Duration::from_millis(250))));
        for bad in [
            "",
            "8",
            "0 1",
            "101 1",
            "8 -1",
            "8 60001",
            "x y",
            "99999999999 1",
        ] {
            assert_eq!(request(bad), None, "{bad}");
        }
    }
}
