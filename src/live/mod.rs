//! Live: frames in, steady answers out, for weeks.
//!
//! One thread owns the source and keeps only its newest frame; the loop encodes it, steadies the
//! answers, and hands a [`Reading`] a frame and an [`Event`] a change to whoever listens. Nothing
//! here grows: no queue, no list, no table of things seen.

mod counters;
mod reading;

pub use counters::{Counters, Snapshot};
pub use reading::{Event, MOST_TOP, Reading, State, Top};
