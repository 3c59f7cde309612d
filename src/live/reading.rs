//! What the loop says: of each frame, and of each change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Most answers that a reading holds.
pub const MOST_TOP: usize = 5;

/// What is in front of the camera, as far as it is settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Nothing is settled yet.
    #[default]
    Starting,
    /// One of the classes.
    Class(Arc<str>),
    /// None of the classes.
    Unknown,
    /// No frames come; the words say why.
    Fault(Arc<str>),
}

/// One class with its probability for one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// Name of the class.
    pub label: Arc<str>,
    /// Its probability, smoothed over frames.
    pub p: f32,
}

/// What is said of one frame. Cloning it allocates nothing.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Counts the frames that were answered, from 1.
    pub frame: u64,
    /// When the frame was taken.
    pub taken: SystemTime,
    /// What is settled with it.
    pub state: State,
    /// Probability of the settled class; 0 where none is.
    pub p: f32,
    /// The likeliest classes of this moment, the likeliest first.
    pub top: [Option<Top>; MOST_TOP],
    /// From when it was taken to the answer.
    pub latency: Duration,
}

/// A state that began, or, with `ended`, one that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Counts the states, from 1; the end of a state has the number of its beginning.
    pub number: u64,
    /// The state.
    pub state: State,
    /// When it began: when its first frame was taken.
    pub started: SystemTime,
    /// When it ended, where it has.
    pub ended: Option<SystemTime>,
    /// How long it has lasted, by a clock that nobody sets.
    pub lasted: Duration,
    /// Mean probability of its class over its frames so far; 0 where it has none.
    pub confidence: f32,
    /// Frames of it so far.
    pub frames: u64,
}

impl Reading {
    /// Before the first frame.
    pub(super) fn none() -> Self {
        Self {
            frame: 0,
            taken: SystemTime::UNIX_EPOCH,
            state: State::Starting,
            p: 0.0,
            top: Default::default(),
            latency: Duration::ZERO,
        }
    }
}

impl State {
    /// The word that people and programs read: the class, `unknown`, `starting` or `fault`.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Class(label) => label,
            Self::Unknown => "unknown",
            Self::Fault(_) => "fault",
        }
    }

    /// Which kind of state it is, as JSON has it: a class may be called `unknown` itself.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Class(_) => "class",
            Self::Unknown => "unknown",
            Self::Fault(_) => "fault",
        }
    }
}
