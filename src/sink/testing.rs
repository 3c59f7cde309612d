//! Readings and events that the tests of sinks share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::live::{Event, Reading, State, Top};

/// 2026-11-25T10:12:03.123Z.
pub(super) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_601_523_123)
}

/// A frame that shows a cat.
pub(super) fn frame(number: u64) -> Reading {
    let top = |label: &str, p| {
        Some(Top {
            label: Arc::from(label),
            p,
        })
    };
    Reading {
        frame: number,
        taken: noon(),
        state: class("cat"),
        p: 0.9634,
        top: [
            top("cat", 0.9634),
            top("dog", 0.03),
            top("mug", 0.0066),
            None,
            None,
        ],
        latency: Duration::from_micros(38_440),
    }
}

/// A state that began.
pub(super) fn event(number: u64, state: State) -> Event {
    let confidence = if matches!(state, State::Class(_)) {
        0.96
    } else {
        0.0
    };
    Event {
        number,
        state,
        started: noon(),
        ended: None,
        lasted: Duration::ZERO,
        confidence,
        frames: 1,
    }
}

/// The same state when it is over.
pub(super) fn ended(event: &Event, lasted: Duration) -> Event {
    Event {
        ended: Some(event.started + lasted),
        lasted,
        frames: 40,
        ..event.clone()
    }
}

/// A state that names a class.
pub(super) fn class(label: &str) -> State {
    State::Class(Arc::from(label))
}

/// A state that says what is wrong.
pub(super) fn fault(words: &str) -> State {
    State::Fault(Arc::from(words))
}
