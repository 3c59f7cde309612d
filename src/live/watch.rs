//! One frame after the other: encoded, judged, steadied, told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counters::{Counters, Snapshot};
use super::latency::{Latencies, Rate};
use super::moments::{Moments, When};
use super::reading::{Event, MOST_TOP, Reading, State, Top};
use super::steady::{Rules, Steady, Which};
use super::still::Glance;
use super::view::View;
use crate::camera::Captured;
use crate::classifier::{Classifier, Judged};
use crate::encoder::{Encoder, Feature};
use crate::error::Result;

/// How frames are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The part that is looked at.
    pub view: View,
    /// How answers are steadied.
    pub rules: Rules,
    /// Mean difference of brightness (0 to 255) below which a frame is not encoded again.
    pub unchanged: Option<f32>,
}

/// The events of one frame: of the state that ended with it, and of the one that began.
pub type Events = [Option<Event>; 2];

/// The middle of the loop, without a thread of its own.
#[derive(Debug)]
pub struct Watch {
    encoder: Encoder,
    classifier: Arc<Classifier>,
    names: Vec<Arc<str>>,
    options: Options,
    steady: Steady,
    moments: Moments,
    feature: Feature,
    judged: Judged,
    order: Vec<usize>,
    spare: Vec<u8>,
    seen: Option<Glance>,
    last: Option<Instant>,
    reading: Reading,
    latencies: Latencies,
    rate: Rate,
    counters: Arc<Counters>,
}

impl Watch {
    /// Watches with `encoder` for what `classifier` knows.
    #[must_use]
    pub fn new(
        encoder: Encoder,
        classifier: Arc<Classifier>,
        options: Options,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            encoder,
            names: names(&classifier),
            classifier,
            options,
            steady: Steady::new(options.rules),
            moments: Moments::default(),
            feature: Feature::default(),
            judged: Judged::default(),
            order: Vec::new(),
            spare: Vec::new(),
            seen: None,
            last: None,
            reading: Reading::none(),
            latencies: Latencies::default(),
            rate: Rate::default(),
            counters,
        }
    }

    /// Goes on with another classifier; a settled class that it has too stays settled.
    pub fn swap(&mut self, classifier: Arc<Classifier>) {
        self.names = names(&classifier);
        self.classifier = classifier;
        let settled = match &self.reading.state {
            State::Class(name) => {
                let at = self.names.iter().position(|n| n == name);
                at.map_or(Which::Nothing, Which::Class)
            }
            State::Unknown => Which::Unknown,
            State::Starting | State::Fault(_) => Which::Nothing,
        };
        self.steady.restart(settled);
        self.seen = None;
    }

    /// Answers one frame. Nothing is allocated once memory has grown, but by the encoder.
    ///
    /// # Errors
    /// The crop does not lie within the frame, or the encoder fails.
    pub fn answer(&mut self, captured: &Captured) -> Result<(&Reading, Events)> {
        let when = When::of(captured.taken);
        let before = self.last.replace(captured.taken);
        let since = before.map_or(Duration::ZERO, |last| {
            captured.taken.saturating_duration_since(last)
        });
        self.judge(captured)?;
        let p = &self.judged.p()[..self.names.len()];
        let which = self.steady.step(p, self.judged.unknown(), since);
        let (state, sure) = self.state(which);
        self.rank();
        let reading = &mut self.reading;
        reading.frame += 1;
        (reading.state, reading.p, reading.taken) = (state, sure, when.wall);
        reading.latency = captured.taken.elapsed();
        self.latencies.add(reading.latency);
        self.rate.count(captured.taken);
        Counters::count(&self.counters.answered);
        let events = self.moments.see(&self.reading.state, sure, when);
        Ok((&self.reading, events))
    }

    /// A settled state, and the probability of its class.
    fn state(&self, which: Which) -> (State, f32) {
        match which {
            Which::Nothing => (State::Starting, 0.0),
            Which::Unknown => (State::Unknown, 0.0),
            Which::Class(at) => (
                State::Class(Arc::clone(&self.names[at])),
                self.steady.smoothed()[at],
            ),
        }
    }

    /// Encodes and judges a frame, unless it shows what the last one showed.
    fn judge(&mut self, captured: &Captured) -> Result<()> {
        if let Some(limit) = self.options.unchanged {
            let glance = Glance::at(&captured.frame);
            let differs = self.seen.as_ref().map(|s| s.difference(&glance));
            if differs.is_some_and(|d| d < limit) {
                Counters::count(&self.counters.unchanged);
                return Ok(());
            }
            self.seen = Some(glance);
        }
        if self.options.view.is_whole() {
            self.encoder
                .encode_into(&captured.frame, &mut self.feature)?;
        } else {
            let spare = std::mem::take(&mut self.spare);
            let view = self.options.view.of(&captured.frame, spare)?;
            let encoded = self.encoder.encode_into(&view, &mut self.feature);
            self.spare = view.into_bytes();
            encoded?;
        }
        self.classifier.judge_into(&self.feature, &mut self.judged)
    }

    /// The likeliest classes, the likeliest first.
    fn rank(&mut self) {
        let smooth = self.steady.smoothed();
        let higher = |a: &usize, b: &usize| smooth[*b].total_cmp(&smooth[*a]);
        self.order.clear();
        self.order.extend(0..smooth.len());
        let count = smooth.len().min(MOST_TOP);
        if count > 0 && count < smooth.len() {
            self.order.select_nth_unstable_by(count - 1, higher);
        }
        self.order[..count].sort_unstable_by(higher);
        let mut best = self.order[..count].iter();
        self.reading.top = std::array::from_fn(|_| {
            best.next().map(|at| Top {
                label: Arc::clone(&self.names[*at]),
                p: smooth[*at],
            })
        });
    }

    /// Takes that no frames come.
    pub fn fault(&mut self, words: &Arc<str>) -> Events {
        self.reading.state = State::Fault(Arc::clone(words));
        self.reading.p = 0.0;
        self.last = None;
        self.steady.restart(Which::Nothing);
        self.seen = None;
        let now = When::of(Instant::now());
        self.moments.see(&self.reading.state, 0.0, now)
    }

    /// Settles on what is likeliest, where frames ended before anything was settled.
    pub fn settle(&mut self) -> Events {
        let (State::Starting, Some(last)) = (&self.reading.state, self.last) else {
            return [None, None];
        };
        let which = self.steady.settle();
        let (state, sure) = self.state(which);
        (self.reading.state, self.reading.p) = (state, sure);
        self.moments.see(&self.reading.state, sure, When::of(last))
    }

    /// Ends the state that lasts.
    pub fn end(&mut self) -> Option<Event> {
        self.moments.end(When::of(Instant::now()))
    }

    /// What was said last.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What the counters stand at.
    pub fn snapshot(&mut self) -> Snapshot {
        let (p50, p99) = self.latencies.p50_p99();
        Snapshot {
            fps: self.rate.now(),
            p50,
            p99,
            ..self.counters.snapshot()
        }
    }
}

fn names(classifier: &Classifier) -> Vec<Arc<str>> {
    classifier
        .classes()
        .iter()
        .map(|c| c.name().into())
        .collect()
}
