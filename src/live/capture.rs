//! The thread that owns the source: it keeps the newest frame, and opens again what was lost.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::frozen::Frozen;
use super::newest::Newest;
use crate::camera::{Captured, Fault, Source, Spec, Wish};
use crate::error::{Error, Result};
use crate::frame::Frame;

/// How long a source is asked to wait at once: a stop is heeded after that.
const WAIT: Duration = Duration::from_millis(200);
/// Damaged frames in a row after which a source without an end counts as lost.
const MOST_DAMAGED: u32 = 100;
/// Good frames after which a source counts as well again.
const WELL_AGAIN: u32 = 30;
/// Buffers that are kept for coming frames.
const SPARE: usize = 3;

/// When a source counts as lost, and how it is opened again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Longest time without a whole frame.
    pub silence: Duration,
    /// Longest time with frames that are all the same; `None`: they may be.
    pub frozen: Option<Duration>,
    /// First wait before it is opened again; it doubles.
    pub pause: Duration,
    /// Longest such wait.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5),
            frozen: Some(Duration::from_secs(30)),
            pause: Duration::from_millis(250),
            longest: Duration::from_secs(10),
        }
    }
}

/// What comes from the capture thread.
#[derive(Debug)]
pub enum Arrival {
    /// The newest frame.
    Frame(Captured),
    /// No frames come, and why; it is being tried again.
    Fault(Arc<str>),
    /// The source has ended.
    End,
}

/// What to open, and what to do where it fails.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The source.
    pub spec: Spec,
    /// How it is to run.
    pub wish: Wish,
    /// When it counts as lost.
    pub patience: Patience,
    /// Whether a source that is not there yet is a fault like one that is lost later.
    pub keep_trying: bool,
}

/// A source on a thread of its own.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    newest: Newest<Arrival>,
    /// The newest fault: a frame that comes after it must not hide it.
    fault: Newest<Arc<str>>,
    spare: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
    counters: Arc<Counters>,
}

impl Capture {
    /// Opens the source and starts its thread.
    ///
    /// # Errors
    /// It cannot be opened, or no thread can be started.
    pub fn start(plan: Plan, counters: Arc<Counters>) -> Result<Self> {
        let first = match plan.spec.open(&plan.wish) {
            Err(e) if plan.keep_trying => Err(e),
            opened => Ok(opened?),
        };
        if let Ok(source) = &first {
            log::info!("camera: {}", source.about());
        }
        let shared = Arc::new(Shared {
            newest: Newest::default(),
            fault: Newest::default(),
            spare: Mutex::default(),
            stop: AtomicBool::new(false),
            counters,
        });
        let keeper = Keeper {
            pause: plan.patience.pause,
            told: None,
            plan,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("capture".into());
        let thread = thread
            .spawn(move || keeper.run(first))
            .map_err(|e| Error::io("capture thread".as_ref(), "start", e))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The newest arrival, waiting at most `patience` for one.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Option<Arrival> {
        let fault = || self.shared.fault.take(Duration::ZERO);
        if let Some(words) = fault() {
            return Some(Arrival::Fault(words));
        }
        let arrival = self.shared.newest.take(patience);
        if matches!(arrival, Some(Arrival::Fault(_))) {
            fault();
        }
        arrival
    }

    /// Gives back a frame that is done with, so that its memory serves again.
    pub fn give_back(&self, frame: Frame) {
        self.shared.keep(frame.into_bytes());
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A source that hangs in the kernel must not hold the end of the program.
        let until = Instant::now() + 2 * WAIT;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn keep(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }

    fn buffer(&self) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    fn put(&self, arrival: Arrival) {
        if let Some(Arrival::Frame(old)) = self.newest.put(arrival) {
            Counters::count(&self.counters.replaced);
            self.keep(old.frame.into_bytes());
        }
    }
}

/// What the thread works with.
struct Keeper {
    plan: Plan,
    shared: Arc<Shared>,
    /// Wait before the source is opened again, if it is lost now.
    pause: Duration,
    /// The fault that was told of last, until frames come again.
    told: Option<String>,
}

impl Keeper {
    fn run(mut self, first: Result<Box<dyn Source>>) {
        let mut source = match first {
            Ok(source) => Some(source),
            Err(e) => self.open_again(&e.to_string()),
        };
        while let Some(open) = source {
            source = match self.watch(open) {
                Some(words) => self.open_again(&words),
                None => return,
            };
        }
    }

    /// Hands on frames until the source is lost, which the words tell; none at its end.
    fn watch(&mut self, mut source: Box<dyn Source>) -> Option<String> {
        let counters = Arc::clone(&self.shared.counters);
        let patience = self.plan.patience;
        let limit = patience.frozen.filter(|_| self.plan.spec.is_live());
        let mut frozen = Frozen::default();
        let (mut last, mut damaged, mut good) = (Instant::now(), 0, 0);
        let (mut sequence, mut why) = (None, None);
        while !self.shared.stop.load(Relaxed) {
            match source.next(self.shared.buffer(), WAIT) {
                Ok(captured) => {
                    (last, damaged, good) = (Instant::now(), 0, good + 1);
                    why = None;
                    Counters::count(&counters.captured);
                    if self.told.take().is_some() {
                        log::info!("camera: frames come again: {}", source.about());
                    }
                    if let Some(before) = sequence.replace(captured.sequence) {
                        let gap = captured.sequence.saturating_sub(before).saturating_sub(1);
                        counters.lost.fetch_add(gap, Relaxed);
                    }
                    if good == WELL_AGAIN {
                        self.pause = patience.pause;
                    }
                    if limit.is_some_and(|limit| frozen.see(&captured, last) >= limit) {
                        let s = limit.unwrap_or_default().as_secs_f32();
                        return Some(format!("the picture has not moved for {s} s"));
                    }
                    if self.plan.spec.is_finite() {
                        self.wait_until_taken();
                    }
                    self.shared.put(Arrival::Frame(captured));
                }
                Err(Fault::Silent) if last.elapsed() >= patience.silence => {
                    let s = patience.silence.as_secs_f32();
                    return Some(format!("no frame for {s} s"));
                }
                Err(Fault::Silent) => {}
                // Each picture of a folder counts, and none is worth giving up the rest.
                Err(Fault::Damaged(e)) if self.plan.spec.is_finite() => {
                    log::warn!("{e}; skipped");
                    Counters::count(&counters.damaged);
                }
                Err(Fault::Damaged(e)) => {
                    log::debug!("{e}; skipped");
                    Counters::count(&counters.damaged);
                    damaged += 1;
                    // The first of them, so that the same trouble is told in the same words.
                    let why = why.get_or_insert_with(|| e.to_string());
                    if damaged >= MOST_DAMAGED || last.elapsed() >= patience.silence {
                        return Some(format!("no whole frame among those that come: {why}"));
                    }
                }
                Err(Fault::Lost(e)) => return Some(e.to_string()),
                Err(Fault::End) => {
                    self.end();
                    return None;
                }
            }
        }
        None
    }

    /// Tells of the fault and tries until the source opens; none where it is time to stop.
    fn open_again(&mut self, words: &str) -> Option<Box<dyn Source>> {
        Counters::count(&self.shared.counters.faults);
        self.tell(words);
        loop {
            self.rest(self.pause)?;
            self.pause = (self.pause * 2).min(self.plan.patience.longest);
            match self.plan.spec.open(&self.plan.wish) {
                Ok(source) => return Some(source),
                Err(e) => self.tell(&e.to_string()),
            }
        }
    }

    /// Tells of a fault, unless it is the one that was told of last.
    fn tell(&mut self, words: &str) {
        if self.told.as_deref() == Some(words) {
            return;
        }
        self.told = Some(words.to_owned());
        // What a camera says of itself may begin with that word.
        log::info!("camera: {}", words.trim_start_matches("camera: "));
        let words: Arc<str> = words.into();
        self.shared.fault.put(Arc::clone(&words));
        self.shared.put(Arrival::Fault(words));
    }

    fn rest(&self, pause: Duration) -> Option<()> {
        let until = Instant::now() + pause;
        loop {
            if self.shared.stop.load(Relaxed) {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Lets the last frame be taken first.
    fn end(&self) {
        self.wait_until_taken();
        self.shared.put(Arrival::End);
    }

    fn wait_until_taken(&self) {
        while !self.shared.stop.load(Relaxed) && !self.shared.newest.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
