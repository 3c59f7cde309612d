//! The newest picture of a stream, between the thread that reads it and whoever asks.
//!
//! Pictures that nobody asked for in time are replaced before they are decoded. Three buffers go
//! round for ever: one that is read into, the newest, and one that is decoded.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::mjpeg::{Piece, Splitter};
use super::{Captured, Fault};
use crate::error::Error;
use crate::frame::Decode;

/// After so many damaged pieces in a row a stream is given up.
const MOST_DAMAGED: u32 = 50;

/// Where the reading thread leaves the newest picture.
#[derive(Debug, Default)]
pub(super) struct Newest {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    picture: Vec<u8>,
    /// When the picture came and as which, if nobody has taken it yet.
    fresh: Option<(Instant, u64)>,
    count: u64,
    /// Damaged pieces since the last that was told of.
    damaged: u64,
    why: Option<Error>,
    ended: Option<Fault>,
    stopped: bool,
}

impl Newest {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked left is still whole: no step here leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a picture; `picture` becomes memory for the next one.
    fn put(&self, picture: &mut Vec<u8>) {
        let mut state = self.state();
        std::mem::swap(&mut state.picture, picture);
        state.fresh = Some((Instant::now(), state.count));
        state.count += 1;
        self.changed.notify_all();
    }

    fn harm(&self, why: Error) {
        let mut state = self.state();
        state.damaged += 1;
        state.why = Some(why);
        self.changed.notify_all();
    }

    /// Says that nothing more will come, and why.
    pub(super) fn end(&self, why: Fault) {
        self.state().ended = Some(why);
        self.changed.notify_all();
    }

    /// Asks the reading thread to end.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits, unless asked to end.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.state();
        let wait = self.changed.wait_timeout_while(state, time, |s| !s.stopped);
        drop(wait);
    }

    /// Leaves every picture of a stream until it ends or this is stopped; tells how many came.
    ///
    /// # Errors
    /// Those of reading, and a stream that holds nothing whole for long.
    pub(super) fn read<R: Read>(&self, splitter: &mut Splitter<R>, most: u64) -> io::Result<u64> {
        let (mut picture, mut damaged, mut whole) = (Vec::new(), 0, 0);
        while whole < most && !self.is_stopped() {
            match splitter.next(&mut picture)? {
                Piece::Whole => {
                    self.put(&mut picture);
                    damaged = 0;
                    whole += 1;
                }
                Piece::Damaged(why) if damaged == MOST_DAMAGED => {
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                Piece::Damaged(why) => {
                    self.harm(why);
                    damaged += 1;
                }
                Piece::End => break,
            }
        }
        Ok(whole)
    }

    /// Swaps the newest picture for `picture`, waiting at most `patience`.
    fn take(&self, picture: &mut Vec<u8>, patience: Duration) -> Result<(Instant, u64), Fault> {
        let nothing = |s: &mut State| s.fresh.is_none() && s.damaged == 0 && s.ended.is_none();
        let wait = self
            .changed
            .wait_timeout_while(self.state(), patience, nothing);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(why) = state.why.take() {
            let count = std::mem::take(&mut state.damaged);
            return Err(Fault::Damaged(several(why, count)));
        }
        if let Some(fresh) = state.fresh.take() {
            std::mem::swap(&mut state.picture, picture);
            return Ok(fresh);
        }
        match &state.ended {
            None => Err(Fault::Silent),
            Some(Fault::Lost(_)) => {
                let again = Error::invalid("stream", "its end", "to be opened again");
                Err(state
                    .ended
                    .replace(Fault::Lost(again))
                    .unwrap_or(Fault::End))
            }
            Some(_) => Err(Fault::End),
        }
    }
}

/// Between two questions several may have been damaged; they are told of as one.
fn several(why: Error, count: u64) -> Error {
    match why {
        Error::Invalid {
            what,
            found,
            expected,
        } if count > 1 => {
            let found = format!("{found}, and {} more of the kind", count - 1);
            Error::invalid(what, found, expected)
        }
        other => other,
    }
}

/// The asking side: decodes what it takes.
#[derive(Debug, Default)]
pub(super) struct Jpegs {
    newest: Arc<Newest>,
    picture: Vec<u8>,
    rules: Decode,
}

impl Jpegs {
    /// For the reading thread.
    pub(super) fn newest(&self) -> Arc<Newest> {
        Arc::clone(&self.newest)
    }

    pub(super) fn stop(&self) {
        self.newest.stop();
    }

    /// As [`Source::next`](super::Source::next).
    pub(super) fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        let (taken, sequence) = self.newest.take(&mut self.picture, patience)?;
        let frame = self.rules.decode_into(&self.picture, buffer);
        Ok(Captured {
            frame: frame.map_err(Fault::Damaged)?,
            taken,
            sequence,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    const NOW: Duration = Duration::ZERO;

    fn jpeg(grey: u8) -> Vec<u8> {
        let frame = Frame::from_rgb(16, 16, vec![grey; 16 * 16 * 3]).unwrap();
        frame.to_thumbnail(16).unwrap()
    }

    fn read(jpegs: &Jpegs, bytes: &[u8]) -> io::Result<u64> {
        jpegs.newest().read(&mut Splitter::new(bytes), u64::MAX)
    }

    #[test]
    fn the_newest_wins_and_the_others_leave_a_gap() {
        let mut jpegs = Jpegs::default();
        read(&jpegs, &[jpeg(10), jpeg(100), jpeg(200)].concat()).unwrap();
        let got = jpegs.next(Vec::new(), NOW).unwrap();
        assert_eq!(got.sequence, 2);
        assert!(got.frame.bytes()[0].abs_diff(200) < 3);
        assert!(matches!(jpegs.next(Vec::new(), NOW), Err(Fault::Silent)));
    }

    #[test]
    fn what_was_damaged_is_told_of_once_and_does_not_hide_the_next() {
        let mut jpegs = Jpegs::default();
        let (a, b) = (jpeg(10), jpeg(100));
        let half = &a[..a.len() / 2];
        read(&jpegs, &[half, half, &b].concat()).unwrap();
        let Err(Fault::Damaged(why)) = jpegs.next(Vec::new(), NOW) else {
            panic!("not told");
        };
        assert!(why.to_string().contains("1 more of the kind"), "{why}");
        assert!(jpegs.next(Vec::new(), NOW).is_ok());
    }

    #[test]
    fn a_stream_without_anything_whole_is_given_up() {
        let jpegs = Jpegs::default();
        let half = &jpeg(10)[..100];
        assert!(read(&jpegs, &half.repeat(60)).is_err());
    }

    #[test]
    fn the_last_picture_comes_before_the_end() {
        let mut jpegs = Jpegs::default();
        read(&jpegs, &jpeg(10)).unwrap();
        let lost = Error::invalid("stream", "x", "y");
        jpegs.newest().end(Fault::Lost(lost));
        assert!(jpegs.next(Vec::new(), NOW).is_ok());
        for _ in 0..2 {
            assert!(matches!(jpegs.next(Vec::new(), NOW), Err(Fault::Lost(_))));
        }
    }
}
