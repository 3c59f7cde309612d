//! Where answers go: a terminal, lines of JSON, a command, MQTT, a file of metrics.
//!
//! Each sink works on a thread of its own behind a short queue that loses its oldest entries rather
//! than stall the loop; what was lost and what failed is counted. [`Outlets`] are all of a watch:
//! the loop offers its news to them and never waits.

mod command;
mod json;
mod lines;
pub mod metrics;
#[cfg(feature = "mqtt")]
mod mqtt;
mod outlet;
mod outlets;
mod queue;
mod terminal;
#[cfg(test)]
mod testing;
mod time;

use std::time::Duration;

use crate::live::{Event, Reading, Snapshot};

pub use command::{COMMAND_LIMIT, Command};
pub use lines::{Detail, Lines};
pub use metrics::Metrics;
#[cfg(feature = "mqtt")]
pub use mqtt::{Mqtt, MqttOptions, Tls};
pub use outlet::Outlet;
pub use outlets::Outlets;
pub use terminal::{Terminal, View, render};
pub use time::Utc;

/// What a sink is told.
#[derive(Clone, Debug)]
pub enum News {
    /// A frame was answered.
    Frame(Reading),
    /// A state began or ended.
    Event(Event),
    /// What the counters stand at; comes every few seconds, with the losses of each sink.
    Counters(Snapshot, Vec<Losses>),
}

/// What became of the news of one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Losses {
    /// The sink.
    pub sink: &'static str,
    /// News that it delivered.
    pub delivered: u64,
    /// News that its queue lost because it was slow.
    pub lost: u64,
    /// News that it failed to deliver, and what else it failed at.
    pub failed: u64,
}

/// Why a sink did not take its news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It could not be delivered; the words say why. The next may be.
    Failed(String),
    /// Nobody reads any more and nobody will, as after `| head`: it is not asked again.
    Closed,
    /// There was nothing to do: it is counted nowhere, and says neither well nor ill.
    Idle,
}

/// A place that answers go to.
pub trait Sink: Send {
    /// Its name in messages and counters: `mqtt`, `command`.
    fn name(&self) -> &'static str;

    /// Whether it wants each frame, not only events.
    fn wants_frames(&self) -> bool;

    /// Whether it wants what the counters stand at.
    fn wants_counters(&self) -> bool {
        false
    }

    /// Whether it tells of the others' news, and so is closed after them.
    fn tells_losses(&self) -> bool {
        false
    }

    /// Takes one piece of news. May wait; the loop does not.
    ///
    /// # Errors
    /// Why it was not delivered. The same trouble has the same words, so that it is logged once.
    fn take(&mut self, news: &News) -> Result<(), Refused>;

    /// How often [`Sink::idle`] is called, if it is.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Sees to what is due without news: keeping a connection, or making it again.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn idle(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    /// Says goodbye: the loop has ended in good order. At most half a second.
    fn close(&mut self) {}
}
