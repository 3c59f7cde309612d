//! Buffers that a driver fills in turn. The newest is handed out; dropping a ring whose camera is
//! gone is quiet, since nothing is left to be stopped then.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use v4l::device::Handle;

use super::calls::{self, Map, Taken};

const READABLE: i16 = 1;
/// Enough for a driver to fill one while one is read and two wait.
const BUFFERS: u32 = 4;
/// What is waited for where a driver says that a frame is there and then hands none over.
const PAUSE: Duration = Duration::from_millis(5);

/// A stream that runs.
pub(super) struct Ring {
    node: Arc<Handle>,
    maps: Vec<Map>,
}

impl Ring {
    /// Starts the stream.
    ///
    /// # Errors
    /// What the driver says; nothing of the stream is left then.
    pub(super) fn start(node: Arc<Handle>) -> io::Result<Self> {
        let mut ring = Self {
            node,
            maps: Vec::new(),
        };
        ring.maps = calls::buffers(&ring.node, BUFFERS)?;
        for index in 0..ring.maps.len() {
            calls::give(&ring.node, index)?;
        }
        calls::stream(&ring.node, true)?;
        Ok(ring)
    }

    /// The newest frame that is ready before `deadline`, and how many older ones were given back.
    pub(super) fn newest(&mut self, deadline: Instant) -> io::Result<Option<(Taken, usize)>> {
        loop {
            if !self.wait(deadline)? {
                return Ok(None);
            }
            let mut newest: Option<Taken> = None;
            let mut older = 0;
            // No more than there are: a camera faster than us would hold us here.
            for _ in 0..self.maps.len() {
                let taken = match calls::take(&self.node) {
                    Ok(taken) => taken,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // A frame that came before the failure is as good as any.
                    Err(_) if newest.is_some() => break,
                    Err(e) => return Err(e),
                };
                if let Some(before) = newest.replace(taken) {
                    self.give_back(&before)?;
                    older += 1;
                }
            }
            if let Some(newest) = newest {
                return Ok(Some((newest, older)));
            }
            std::thread::sleep(PAUSE);
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Waits until a frame is ready or something is wrong; false where nothing came in time.
    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last part of a millisecond is no busy loop.
            let ms = left.as_micros().div_ceil(1000).min(60_000) as i32;
            match self.node.poll(READABLE, ms) {
                Ok(0) if ms == 0 || Instant::now() >= deadline => return Ok(false),
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The memory of the buffer that a frame was taken in.
    pub(super) fn bytes(&self, taken: &Taken) -> &[u8] {
        // The index comes from a driver.
        self.maps.get(taken.index).map_or(&[], |m| m.bytes(taken))
    }

    /// Lets the driver fill the buffer again.
    pub(super) fn give_back(&self, taken: &Taken) -> io::Result<()> {
        calls::give(&self.node, taken.index)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A camera that was pulled out refuses all of this, rightly; its memory is freed by unmapping.
        calls::stream(&self.node, false).ok();
        self.maps.clear();
        calls::request_buffers(&self.node, 0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What answers every call with an error, as a camera does that was pulled out.
    fn no_camera() -> Arc<Handle> {
        v4l::Device::with_path("/dev/null").unwrap().handle()
    }

    #[test]
    fn a_ring_whose_camera_is_gone_drops_quietly_even_while_a_panic_unwinds() {
        drop(Ring {
            node: no_camera(),
            maps: Vec::new(),
        });
        let unwound = std::panic::catch_unwind(|| {
            let _ring = Ring {
                node: no_camera(),
                maps: Vec::new(),
            };
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(unwound.is_err());
    }

    #[test]
    fn what_is_no_camera_does_not_start_and_does_not_block() {
        assert!(Ring::start(no_camera()).is_err());
        let mut ring = Ring {
            node: no_camera(),
            maps: Vec::new(),
        };
        let start = Instant::now();
        let answer = ring.newest(start + Duration::from_millis(30));
        assert!(matches!(answer, Ok(None) | Err(_)));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
