//! The JSON of frames and events, the same for every sink; docs/live.md has its schema.

use serde::{Serialize, Serializer};

use super::Utc;
use crate::live::{Event, Reading, State, Top};

/// A frame or an event, as JSON has it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Line<'a> {
    Frame(FrameLine<'a>),
    Event(EventLine<'a>),
}

#[derive(Serialize)]
pub(super) struct FrameLine<'a> {
    frame: u64,
    time: Utc,
    state: &'static str,
    label: Option<&'a str>,
    p: Option<f64>,
    #[serde(serialize_with = "tops")]
    top: &'a [Option<Top>],
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct EventLine<'a> {
    event: &'static str,
    number: u64,
    state: &'static str,
    label: Option<&'a str>,
    started: Utc,
    ended: Option<Utc>,
    lasted_s: f64,
    confidence: Option<f64>,
    frames: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct TopLine<'a> {
    label: &'a str,
    p: f64,
}

impl<'a> From<&'a Reading> for Line<'a> {
    fn from(reading: &'a Reading) -> Self {
        let label = label(&reading.state);
        Self::Frame(FrameLine {
            frame: reading.frame,
            time: Utc(reading.taken),
            state: reading.state.kind(),
            label,
            p: label.map(|_| share(reading.p)),
            top: &reading.top,
            latency_ms: rounded(reading.latency.as_secs_f64() * 1e3, 10.0),
            reason: reason(&reading.state),
        })
    }
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        let label = label(&event.state);
        Self::Event(EventLine {
            event: moment(event),
            number: event.number,
            state: event.state.kind(),
            label,
            started: Utc(event.started),
            ended: event.ended.map(Utc),
            lasted_s: rounded(event.lasted.as_secs_f64(), 1e3),
            confidence: label.map(|_| share(event.confidence)),
            frames: event.frames,
            reason: reason(&event.state),
        })
    }
}

impl Line<'_> {
    /// Writes it over what `buffer` held, with the end of the line.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) -> Result<(), String> {
        buffer.clear();
        serde_json::to_writer(&mut *buffer, self).map_err(|e| e.to_string())?;
        buffer.push(b'\n');
        Ok(())
    }
}

/// `start` or `end`.
pub(super) fn moment(event: &Event) -> &'static str {
    if event.ended.is_some() {
        "end"
    } else {
        "start"
    }
}

/// The class of a state that names one.
pub(super) fn label(state: &State) -> Option<&str> {
    match state {
        State::Class(label) => Some(label),
        _ => None,
    }
}

/// What is wrong, where something is.
pub(super) fn reason(state: &State) -> Option<&str> {
    match state {
        State::Fault(words) => Some(words),
        _ => None,
    }
}

/// A probability to four digits: more are noise, and lines stay short.
pub(super) fn share(p: f32) -> f64 {
    rounded(f64::from(p), 1e4)
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// The likeliest classes, without the places that none takes.
pub(super) fn tops<S: Serializer>(top: &[Option<Top>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(top.iter().flatten().map(|t| TopLine {
        label: &t.label,
        p: share(t.p),
    }))
}
