//! `learn --camera`: a countdown, a burst of frames, and which of them are worth learning from.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::args;
use super::learn::{Lesson, Seen};
use super::output::count;
use super::{Stop, watch};
use crate::bundle::Bundle;
use crate::camera::{Captured, Spec, Wish};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::live::lend;
use crate::live::{Arrival, Capture, Flaw, Looks, Patience, Plan, View, judge};
use crate::store;

/// Frames that a camera gives before its exposure has settled.
const SETTLING: Duration = Duration::from_millis(700);
/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a frame is waited for at once: signals are heeded after that.
const WAIT: Duration = Duration::from_millis(100);

/// The frames of a burst with their flaws, in order.
pub(super) struct Burst {
    frames: Vec<Frame>,
    flaws: Vec<Option<Flaw>>,
    /// One number for all: they are one capture.
    capture: u32,
    taken_s: u64,
}

/// Counts down, then takes the burst that `args` ask for.
pub(super) fn take(args: &args::Learn, model: &Bundle, quiet: bool) -> Result<Burst, Stop> {
    let camera = args.burst.camera.as_deref().unwrap_or_default();
    let spec = watch::spec(camera)?;
    let frames = args.burst.frames;
    let pace = Pace::of(&args.burst, &spec);
    let view = watch::view(&args.burst.source);
    let wish = watch::wish(&args.burst.source, &spec, model)?;
    let mut taken = Vec::new();
    let mut keep = |frame: Frame| {
        if !quiet {
            eprint!("\rframe {} of {frames}  ", taken.len() + 1);
        }
        taken.push(frame);
    };
    let signals = Signals::heed()?;
    let mut camera = Camera::of(spec, wish)?;
    if !quiet && matches!(camera, Camera::Lent(..)) {
        eprintln!("frames come from the `edgeclip watch` that owns the camera");
    }
    let result = count_down(pace.countdown, quiet, &signals)
        .and_then(|()| camera.take(frames, pace.every, &signals, &mut keep));
    if !quiet {
        eprintln!();
    }
    result?;
    // Nothing is left that had to be ended.
    drop((camera, signals));
    let frames: Vec<Frame> = taken
        .into_iter()
        .map(|frame| seen(view, frame))
        .collect::<Result<_>>()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let taken_s = now.unwrap_or_default().as_secs();
    let looks: Vec<Looks> = frames.iter().map(Looks::of).collect();
    Ok(Burst {
        flaws: judge(&looks),
        frames,
        capture: taken_s as u32,
        taken_s,
    })
}

fn seen(view: View, frame: Frame) -> Result<Frame> {
    match view.is_whole() {
        true => Ok(frame),
        false => view.of(&frame, Vec::new()),
    }
}

/// When frames are taken.
struct Pace {
    countdown: u8,
    every: Duration,
}

impl Pace {
    fn of(args: &watch::args::Burst, spec: &Spec) -> Self {
        // Pictures that are there already wait for nobody to turn the thing.
        if spec.is_finite() {
            return Self {
                countdown: 0,
                every: Duration::ZERO,
            };
        }
        Self {
            countdown: args.countdown,
            every: args.over / args.frames.max(2).saturating_sub(1),
        }
    }
}

/// Ctrl-C and SIGTERM while a burst is taken: a program that gives frames has to be ended first.
struct Signals {
    came: Arc<AtomicBool>,
    /// Whether they act as usual.
    over: Arc<AtomicBool>,
}

impl Signals {
    fn heed() -> Result<Self, Stop> {
        let (came, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&over))?;
            flag::register(signal, Arc::clone(&came))?;
        }
        Ok(Self { came, over })
    }

    /// Lets them act as usual.
    fn rest(&self) {
        self.over.store(true, Relaxed);
    }

    fn check(&self) -> Result<(), Stop> {
        match self.came.load(Relaxed) {
            true => Err(Stop::Interrupted),
            false => Ok(()),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.rest();
    }
}

fn count_down(from: u8, quiet: bool, signals: &Signals) -> Result<(), Stop> {
    for left in (1..=from).rev() {
        if !quiet {
            eprint!("\r{left} … ");
        }
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            signals.check()?;
            std::thread::sleep(WAIT);
        }
    }
    Ok(())
}

/// Where a burst comes from. It is found before the countdown, in which a camera's exposure settles.
enum Camera {
    /// The `watch` that owns the camera and listens there.
    Lent(PathBuf),
    /// A camera that nobody else owns, and until when it settles.
    Own(Capture, Instant),
}

impl Camera {
    fn of(spec: Spec, wish: Wish) -> Result<Self> {
        let folders = watch::sockets();
        let mut places = folders.iter().map(|folder| lend::place(folder, &spec));
        if let Some(place) = places.find(|place| lend::is_lent(place)) {
            return Ok(Self::Lent(place));
        }
        let mut settled = Instant::now();
        if spec.is_live() {
            settled += SETTLING;
        }
        let plan = Plan {
            spec,
            wish,
            patience: Patience {
                silence: PATIENCE,
                frozen: None,
                ..Patience::default()
            },
            keep_trying: false,
        };
        let capture = Capture::start(plan, Arc::default()).inspect_err(|_| {
            let owners: usize = folders.iter().map(|f| lend::owners(f)).sum();
            if owners > 0 {
                let watches = count(owners, "`edgeclip watch` lends", "`edgeclip watch` lend");
                log::warn!(
                    "{watches} frames of another camera: name it to --camera as it is named there"
                );
            }
        });
        Ok(Self::Own(capture?, settled))
    }

    /// Takes `frames` frames, `every` so long; fewer where the source ends.
    fn take(
        &mut self,
        frames: u32,
        every: Duration,
        signals: &Signals,
        keep: &mut dyn FnMut(Frame),
    ) -> Result<(), Stop> {
        let (capture, due) = match self {
            Self::Own(capture, settled) => (capture, settled),
            Self::Lent(place) => {
                // No program hangs on this one.
                signals.rest();
                let lent = lend::borrow(place, frames, every, keep)?;
                return lent.ok_or_else(|| {
                    let expected = "one that goes on: try again, the camera is free now";
                    Error::invalid("watch", "its end", expected).into()
                });
            }
        };
        let mut kept = 0;
        while kept < frames {
            let Some(captured) = next(capture, signals)? else {
                break;
            };
            let now = Instant::now();
            if now >= *due {
                *due = now + every;
                kept += 1;
                keep(captured.frame);
            } else {
                capture.give_back(captured.frame);
            }
        }
        Ok(())
    }
}

/// The next frame, none at the end.
fn next(capture: &Capture, signals: &Signals) -> Result<Option<Captured>, Stop> {
    let burst = |found: &str, expected| Error::invalid("burst", found, expected);
    let until = Instant::now() + 2 * PATIENCE;
    loop {
        signals.check()?;
        match capture.next(WAIT) {
            Some(Arrival::Frame(captured)) => return Ok(Some(captured)),
            Some(Arrival::End) => return Ok(None),
            Some(Arrival::Fault(words)) => {
                return Err(burst(&words, "a camera that goes on").into());
            }
            None if Instant::now() < until => {}
            None => return Err(burst("no frame", "frames: is the camera in use?").into()),
        }
    }
}

impl Burst {
    /// The lesson with its frames in the place of photos; says which of them are not learned from.
    pub(super) fn lessons(&self, mut lessons: Vec<Lesson>) -> Vec<Lesson> {
        for flaw in Flaw::ALL {
            let frames = (1..).zip(&self.flaws).filter(|(_, f)| **f == Some(flaw));
            let frames: Vec<String> = frames.map(|(i, _)| i.to_string()).collect();
            match &frames[..] {
                [] => {}
                [one] => log::warn!("frame {one}: {}", flaw.words()),
                many => log::warn!("frames {}: {}", many.join(", "), flaw.words()),
            }
        }
        let name = |i| PathBuf::from(format!("frame {i}"));
        if let [lesson] = &mut lessons[..] {
            lesson.photos = (1..=self.frames.len()).map(name).collect();
        }
        lessons
    }

    /// Each frame encoded, or the words on why it is not learned from.
    ///
    /// # Errors
    /// None is worth it.
    pub(super) fn encode(
        &self,
        encoder: &mut Encoder,
        args: &args::Learn,
    ) -> Result<Vec<Result<Seen, String>>> {
        if self.frames.is_empty() {
            let expected = "frames for as long as the burst takes: of pictures that are there already, name \
                            the files, a folder or `clip.mjpeg`";
            return Err(Error::invalid("burst", "the end before a frame", expected));
        }
        if self.flaws.iter().all(Option::is_some) {
            let frames = count(self.frames.len(), "frame", "frames");
            let why = self.flaws.iter().flatten().next().map_or("", |f| f.words());
            let found = format!("{frames}, the first {why}");
            return Err(Error::invalid(
                "burst",
                found,
                "sharp, lit, moving pictures",
            ));
        }
        let all = self.frames.iter().zip(&self.flaws);
        all.map(|(frame, flaw)| match flaw {
            Some(flaw) => Ok(Err(flaw.words().to_owned())),
            None => self.see(frame, encoder, args).map(Ok),
        })
        .collect()
    }

    fn see(&self, frame: &Frame, encoder: &mut Encoder, args: &args::Learn) -> Result<Seen> {
        let mut digest = Sha256::new();
        frame.rows().for_each(|row| digest.update(row));
        let features = super::learn::views(frame, args.views, encoder)?;
        Ok(Seen {
            source: store::half(digest),
            capture: Some(self.capture),
            taken_s: Some(self.taken_s),
            features,
            thumbnail: super::learn::thumbnail(frame, args.keep_photos)?,
        })
    }
}
