//! Live: frames in, steady answers out, for weeks.
//!
//! One thread owns the source and keeps only its newest frame; the loop encodes it, steadies the
//! answers, and hands a [`Reading`] a frame and an [`Event`] a change to whoever listens. Nothing
//! here grows: no queue, no list, no table of things seen.

mod capture;
mod counters;
mod frozen;
pub mod heat;
mod latency;
#[cfg(unix)]
pub mod lend;
mod moments;
mod newest;
mod quality;
mod reading;
mod reload;
mod steady;
mod still;
mod view;
mod watch;

pub use capture::{Arrival, Capture, Patience, Plan};
pub use counters::{Counters, Snapshot};
pub use quality::{Flaw, Looks, judge};
pub use reading::{Event, MOST_TOP, Reading, State, Top};
pub use reload::Reload;
pub use steady::{Rules, Steady, Which};
pub use view::View;
pub use watch::{Events, Options, Watch};
