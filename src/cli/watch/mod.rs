//! `watch`: a camera in, steady answers out, until it is told to stop.

pub(super) mod args;
mod service;
mod sinks;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::Global;
use super::output::{Output, count};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::bundle::Bundle;
use crate::camera::{Captured, Spec, Wish};
use crate::classifier::Classifier;
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::live::heat::{Heat, ZONES};
use crate::live::lend::{self, Lender};
use crate::live::{
    Arrival, Capture, Counters, Events, Options, Patience, Plan, Reload, Rules, Snapshot, View,
    Watch,
};
use crate::preprocess::Preprocessor;
use crate::sink::{News, Outlets};
use crate::text::printable;
use service::Service;

/// How long a frame is waited for at once: signals and reloads are heeded after that.
const WAIT: Duration = Duration::from_millis(100);
/// How often the counters are told.
const TELL: Duration = Duration::from_secs(1);

pub(super) fn run(global: &Global, args: args::Watch, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.classifier.clone(),
        top: None,
    };
    let settings = Settings::gather(global, verb)?;
    let spec = spec(&args.camera)?;
    let labels = args.names.given()?;
    let model = places::open_model(&settings)?;
    let (classifier, file) = match labels {
        Some(labels) => {
            let weights = args.names.weights(&labels, &model, &settings)?;
            (Classifier::from_labels(&model, weights)?, None)
        }
        None => {
            let (classifier, path) = super::classify::open_classifier(&model, &settings)?;
            (classifier, Some(path))
        }
    };
    let service = Service::start()?;
    let sinks = sinks::of(&args, out)?;
    let encoder = Encoder::open(&model, settings.threads.value)?;
    let counters = Arc::<Counters>::default();
    let reload = file.map(|path| Reload::start(&path, &classifier, Arc::clone(&counters)));
    let reload = reload.transpose()?;
    let lender = lender(&spec);
    let is_finite = spec.is_finite();
    let options = options(&args, &spec);
    let classifier = Arc::new(classifier);
    let capture = Capture::start(plan(&args, spec, &model)?, Arc::clone(&counters))?;
    let mut looped = Loop {
        watch: Watch::new(encoder, Arc::clone(&classifier), options, counters),
        classifier,
        capture,
        reload,
        lender,
        outlets: Outlets::start(sinks)?,
        heat: args
            .pace
            .rest_at
            .map(|limit| Heat::new(ZONES.as_ref(), limit)),
        gap: args
            .pace
            .max_fps
            .map(|fps| Duration::from_secs_f32(1.0 / fps)),
        due: Instant::now(),
        told: Instant::now(),
        most: args.frames.unwrap_or(u64::MAX),
        fault: false,
        says_faults: out.json,
        service,
    };
    let ended = looped.run();
    let has_ended = matches!(ended, Ok(Ended::Source));
    let Closed { snapshot, written } = looped.close();
    ended?;
    if snapshot.captured == 0 && has_ended {
        return Err(nothing(&args.camera, snapshot.damaged).into());
    }
    if !out.quiet {
        eprintln!("{}", words(&snapshot));
    }
    if !written {
        let found = "answers that could not be written";
        let expected = "a standard output that takes them: is the disk full?";
        return Err(Error::invalid("standard output", found, expected).into());
    }
    Ok(match is_finite && snapshot.damaged > 0 {
        true => Done::InPart,
        false => Done::Whole,
    })
}

/// What a person wrote for a camera; a wrong word is wrong usage.
pub(super) fn spec(text: &str) -> Result<Spec, Stop> {
    Spec::parse(text).map_err(|e| Stop::Usage(e.to_string()))
}

/// How the camera is to run for the model in force.
pub(super) fn wish(source: &args::Source, spec: &Spec, model: &Bundle) -> Result<Wish> {
    let is_asked = source.size.is_some() || source.format.is_some();
    if is_asked && !matches!(spec, Spec::Device(_) | Spec::Pattern) {
        log::warn!("--size and --format are for cameras of V4L2: {spec} comes as it is");
    }
    let preprocessor = Preprocessor::new(model.preprocess().clone())?;
    Ok(Wish {
        size: source.size,
        fps: source.fps,
        format: source.format,
        input: preprocessor.input_size(),
    })
}

/// The part of the picture that is looked at.
pub(super) fn view(source: &args::Source) -> View {
    View {
        crop: source.crop,
        turns: source.rotate.parse::<u16>().map_or(0, |d| (d / 90) as u8),
        mirror: source.mirror,
    }
}

/// Folders in which owners of cameras listen, the service's first.
pub(super) fn sockets() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/run/edgeclip")];
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty());
    folders.extend(own.map(|d| PathBuf::from(d).join("edgeclip")));
    folders
}

fn lender(spec: &Spec) -> Option<Lender> {
    // What one process alone can have is lent, and network cameras: many serve one caller only.
    if !matches!(
        spec,
        Spec::Device(_) | Spec::Stdin | Spec::Exec(_) | Spec::Http(_)
    ) {
        return None;
    }
    let mut why = Vec::new();
    for folder in sockets() {
        match Lender::start(&lend::place(&folder, spec)) {
            Ok(lender) => return Some(lender),
            Err(e) => why.push(e.to_string()),
        }
    }
    let why = why.join("; ");
    log::info!("frames cannot be lent to `learn --camera`: {why}");
    None
}

fn plan(args: &args::Watch, spec: Spec, model: &Bundle) -> Result<Plan> {
    let frozen = args.pace.frozen_after;
    Ok(Plan {
        wish: wish(&args.source, &spec, model)?,
        spec,
        patience: Patience {
            frozen: (!frozen.is_zero()).then_some(frozen),
            ..Patience::default()
        },
        keep_trying: args.pace.keep_trying,
    })
}

fn options(args: &args::Watch, spec: &Spec) -> Options {
    let steady = &args.steady;
    // Pictures of a folder are no moments of one scene, unless they are played as such.
    let usual = match spec {
        Spec::Pictures(_) if args.source.fps.is_none() => Rules::each(),
        _ => Rules::default(),
    };
    Options {
        view: view(&args.source),
        rules: Rules {
            smoothing: steady.smoothing.unwrap_or(usual.smoothing),
            margin: steady.margin.unwrap_or(usual.margin),
            dwell: steady.dwell.unwrap_or(usual.dwell),
            least: steady.least.unwrap_or(usual.least),
        },
        unchanged: args.pace.skip_unchanged,
    }
}

/// Why the loop is over.
enum Ended {
    /// The source has no more frames.
    Source,
    /// It was told to stop.
    Asked,
}

/// The running loop.
struct Loop {
    watch: Watch,
    /// The one in force.
    classifier: Arc<Classifier>,
    capture: Capture,
    reload: Option<Reload>,
    lender: Option<Lender>,
    outlets: Outlets,
    heat: Option<Heat>,
    /// Least time between two answers.
    gap: Option<Duration>,
    due: Instant,
    told: Instant,
    /// Frames after which it is done.
    most: u64,
    fault: bool,
    /// Whether stderr tells of them too, since stdout is for programs.
    says_faults: bool,
    service: Service,
}

impl Loop {
    fn run(&mut self) -> Result<Ended> {
        while !self.service.stops() && !self.outlets.has_closed() {
            self.tend();
            if self.rest() {
                continue;
            }
            match self.capture.next(WAIT) {
                Some(Arrival::Frame(captured)) => {
                    self.mend();
                    self.answer(captured)?;
                }
                Some(Arrival::Fault(words)) => {
                    self.fault = true;
                    if self.says_faults {
                        // What a camera says of itself may begin with that word.
                        log::warn!("camera: {}", words.trim_start_matches("camera: "));
                    }
                    let events = self.watch.fault(&words);
                    self.tell(events);
                }
                Some(Arrival::End) => return Ok(Ended::Source),
                None => {}
            }
            if self.watch.reading().frame >= self.most {
                break;
            }
        }
        Ok(Ended::Asked)
    }

    /// Takes that frames come.
    fn mend(&mut self) {
        if std::mem::take(&mut self.fault) && self.says_faults {
            log::warn!("camera: frames come again");
        }
    }

    /// What has to be done between frames.
    fn tend(&mut self) {
        if let Some(reload) = &self.reload {
            if self.service.reloads() {
                reload.at_once();
            }
            if let Some(classifier) = reload.taken() {
                log::warn!("classifier: {}", change(&self.classifier, &classifier));
                self.classifier = Arc::clone(&classifier);
                self.watch.swap(classifier);
            }
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let counters = News::Counters(self.watch.snapshot(), self.outlets.losses());
            self.outlets.offer(&counters);
        }
        self.service.alive(self.watch.reading().frame, self.fault);
    }

    /// Waits where it is too hot, or too early for the next frame; tells whether it did.
    fn rest(&mut self) -> bool {
        if self.heat.as_mut().is_some_and(Heat::rests) {
            std::thread::sleep(WAIT);
            return true;
        }
        let left = self.due.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(WAIT));
        left > WAIT
    }

    fn answer(&mut self, captured: Captured) -> Result<()> {
        if let Some(gap) = self.gap {
            self.due = Instant::now() + gap;
        }
        if let Some(lender) = &self.lender {
            lender.offer(&captured.frame);
        }
        let (reading, events) = self.watch.answer(&captured)?;
        self.outlets.offer(&News::Frame(reading.clone()));
        self.capture.give_back(captured.frame);
        self.tell(events);
        Ok(())
    }

    fn tell(&self, events: Events) {
        for event in events.into_iter().flatten() {
            self.outlets.offer(&News::Event(event));
        }
    }

    /// Ends the last state and lets the sinks go.
    fn close(mut self) -> Closed {
        self.service.ending();
        // A source that ended has shown all that there is to go by.
        if !self.service.stops() {
            let settled = self.watch.settle();
            self.tell(settled);
        }
        let last = self.watch.end();
        self.tell([last, None]);
        let snapshot = self.watch.snapshot();
        let sinks = self.outlets.close(snapshot);
        for sink in &sinks {
            let all = sink.delivered + sink.lost + sink.failed;
            let apart = [(sink.lost, "lost"), (sink.failed, "not delivered")];
            let apart = apart.iter().filter(|(n, _)| *n > 0);
            let apart: String = apart.map(|(n, what)| format!(", {n} {what}")).collect();
            if !apart.is_empty() {
                log::warn!("{}: of {all} news{apart}", sink.sink);
            }
        }
        Closed {
            snapshot,
            // The first is stdout.
            written: sinks.first().is_none_or(|s| s.failed == 0),
        }
    }
}

/// How it ended.
struct Closed {
    snapshot: Snapshot,
    /// Whether stdout took all that it was given.
    written: bool,
}

/// What to say of a source that ended without a frame.
fn nothing(camera: &str, damaged: u64) -> Error {
    let found = match damaged {
        0 => "the end before the first picture".to_owned(),
        n => format!(
            "{} and no whole one",
            count(n as usize, "damaged picture", "damaged pictures")
        ),
    };
    let name = if camera == "-" {
        "standard input"
    } else {
        camera
    };
    Error::invalid(
        "camera",
        found,
        "pictures, in a stream JPEGs one after the other (MJPEG)",
    )
    .at(name.as_ref())
}

/// What is new in a classifier that was taken, in words.
fn change(before: &Classifier, after: &Classifier) -> String {
    let missing = |of: &Classifier, from: &Classifier| -> Vec<String> {
        let known = |name: &str| from.classes().iter().any(|c| c.name() == name);
        let names = of.classes().iter().map(|c| c.name());
        names
            .filter(|n| !known(n))
            .map(|n| format!("`{}`", printable(n)))
            .collect()
    };
    let (gone, come) = (missing(before, after), missing(after, before));
    let mut words = Vec::new();
    if !come.is_empty() {
        words.push(format!("now knows {}", come.join(", ")));
    }
    if !gone.is_empty() {
        words.push(format!("no longer knows {}", gone.join(", ")));
    }
    if words.is_empty() {
        words.push("read again, with the same classes".into());
    }
    words.join("; ")
}

fn words(s: &Snapshot) -> String {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let answered = count(s.answered as usize, "frame", "frames");
    let mut words = format!("{answered} answered of {} captured", s.captured);
    if s.answered > 0 {
        let (p50, p99) = (ms(s.p50), ms(s.p99));
        words.push_str(&format!(
            "; {p50:.1} ms from capture to answer, {p99:.1} ms for the slowest in a hundred"
        ));
    }
    let more = [
        (s.unchanged, "unchanged", "unchanged"),
        (s.damaged, "damaged", "damaged"),
        (s.lost, "lost at the camera", "lost at the camera"),
        (s.faults, "fault", "faults"),
        (s.reloads, "classifier taken", "classifiers taken"),
        (s.refused, "refused", "refused"),
    ];
    for (n, one, many) in more.into_iter().filter(|(n, ..)| *n > 0) {
        words.push_str(&format!("; {}", count(n as usize, one, many)));
    }
    words
}
