//! `learn --camera`: a countdown, a burst of frames, and which of them are worth learning from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::args;
use super::learn::{Lesson, Seen};
use super::output::count;
use super::{Stop, watch};
use crate::bundle::Bundle;
use crate::camera::{Spec, Wish};
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
    let every = args.burst.over / frames.max(2).saturating_sub(1);
    let view = watch::view(&args.burst.source);
    let wish = watch::wish(&args.burst.source, &spec, model)?;
    let mut taken = Vec::new();
    let mut keep = |frame: Frame| {
        if !quiet {
            eprint!("\rframe {} of {frames}  ", taken.len() + 1);
        }
        taken.push(frame);
    };
    let mut camera = Camera::of(spec, wish)?;
    if !quiet && matches!(camera, Camera::Lent(..)) {
        eprintln!("frames come from the `edgeclip watch` that owns the camera");
    }
    count_down(args.burst.countdown, quiet);
    camera.take(frames, every, &mut keep)?;
    if !quiet {
        eprintln!();
    }
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

fn count_down(from: u8, quiet: bool) {
    for left in (1..=from).rev() {
        if !quiet {
            eprint!("\r{left} … ");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
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
        let folders = watch::sockets().into_iter();
        let mut places = folders.map(|folder| lend::place(&folder, &spec));
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
        Ok(Self::Own(Capture::start(plan, Arc::default())?, settled))
    }

    /// Takes `frames` frames, `every` so long; fewer where the source ends.
    fn take(&mut self, frames: u32, every: Duration, keep: &mut dyn FnMut(Frame)) -> Result<()> {
        match self {
            Self::Lent(place) => match lend::borrow(place, frames, every, keep)? {
                Some(()) => Ok(()),
                None => {
                    let expected = "one that goes on: try again, the camera is free now";
                    Err(Error::invalid("watch", "its end", expected))
                }
            },
            Self::Own(capture, settled) => own(capture, *settled, frames, every, keep),
        }
    }
}

fn own(
    capture: &Capture,
    mut due: Instant,
    frames: u32,
    every: Duration,
    keep: &mut dyn FnMut(Frame),
) -> Result<()> {
    let mut kept = 0;
    while kept < frames {
        match capture.next(2 * PATIENCE) {
            Some(Arrival::Frame(captured)) => {
                let now = Instant::now();
                if now >= due {
                    due = now + every;
                    kept += 1;
                    keep(captured.frame);
                } else {
                    capture.give_back(captured.frame);
                }
            }
            Some(Arrival::Fault(words)) => {
                return Err(Error::invalid(
                    "burst",
                    words.to_string(),
                    "a camera that goes on",
                ));
            }
            Some(Arrival::End) => return Ok(()),
            None => {
                return Err(Error::invalid(
                    "burst",
                    "no frame",
                    "frames: is the camera in use?",
                ));
            }
        }
    }
    Ok(())
}

impl Burst {
    /// The lesson with its frames in the place of photos; says which of them are not learned from.
    pub(super) fn lessons(&self, mut lessons: Vec<Lesson>) -> Vec<Lesson> {
        for (i, flaw) in self.flaws.iter().enumerate() {
            if let Some(flaw) = flaw {
                log::warn!("frame {}: {}", i + 1, flaw.words());
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
