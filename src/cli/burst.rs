//! `learn --camera`: a countdown, a burst of frames, and which of them are worth learning from.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::args;
use super::learn::{Lesson, Seen};
use super::output::count;
use super::{Stop, watch};
use crate::bundle::Bundle;
use crate::camera::{Fault, Spec};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::live::lend;
use crate::live::{Flaw, Looks, View, judge};
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
    count_down(args.burst.countdown, quiet);
    let view = watch::view(&args.burst.source);
    let mut taken = Vec::new();
    let mut keep = |frame: Frame| {
        if !quiet {
            eprint!("\rframe {} of {frames}  ", taken.len() + 1);
        }
        taken.push(frame);
    };
    if !borrowed(&spec, frames, every, &mut keep)? {
        let wish = watch::wish(&args.burst.source, model)?;
        own(&spec, &wish, frames, every, &mut keep)?;
    }
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

/// Frames of a `watch` that owns the camera; `false` where none does.
fn borrowed(
    spec: &Spec,
    frames: u32,
    every: Duration,
    keep: &mut dyn FnMut(Frame),
) -> Result<bool> {
    for folder in watch::sockets() {
        let place = lend::place(&folder, spec);
        if lend::borrow(&place, frames, every, keep)?.is_some() {
            log::info!("frames of the `edgeclip watch` that owns the camera");
            return Ok(true);
        }
    }
    Ok(false)
}

/// Frames of a camera that nobody else owns.
fn own(
    spec: &Spec,
    wish: &crate::camera::Wish,
    frames: u32,
    every: Duration,
    keep: &mut dyn FnMut(Frame),
) -> Result<()> {
    let mut source = spec.open(wish)?;
    log::info!("camera: {}", source.about());
    let mut due = Instant::now();
    if spec.is_live() {
        due += SETTLING;
    }
    let (mut kept, mut last) = (0, Instant::now());
    let mut buffer = Vec::new();
    while kept < frames {
        match source.next(std::mem::take(&mut buffer), Duration::from_millis(500)) {
            Ok(captured) => {
                last = Instant::now();
                if last >= due {
                    due = last + every;
                    kept += 1;
                    keep(captured.frame);
                } else {
                    buffer = captured.frame.into_bytes();
                }
            }
            Err(Fault::Silent) if last.elapsed() > PATIENCE => {
                let found = format!("no frame for {} s", PATIENCE.as_secs());
                return Err(Error::invalid("camera", found, "frames: is it in use?"));
            }
            Err(Fault::Silent) => {}
            Err(Fault::Damaged(e)) => log::info!("{e}; skipped"),
            Err(Fault::Lost(e)) => return Err(e),
            Err(Fault::End) => return Ok(()),
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
