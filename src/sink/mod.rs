//! Where answers go: a terminal, lines of JSON, a command, MQTT, a file of metrics.
//!
//! Each sink works on a thread of its own behind a short queue that loses its oldest entries rather
//! than stall the loop; what was lost and what failed is counted.

use crate::live::{Event, Reading, Snapshot};

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
    /// News that it failed to deliver.
    pub failed: u64,
}

/// A place that answers go to.
pub trait Sink: Send {
    /// Its name in messages and counters: `mqtt`, `command`.
    fn name(&self) -> &'static str;

    /// Whether it wants each frame, not only events.
    fn wants_frames(&self) -> bool;

    /// Takes one piece of news. May wait; the loop does not.
    ///
    /// # Errors
    /// It could not be delivered; the words say why. The next may be.
    fn take(&mut self, news: &News) -> Result<(), String>;

    /// Says goodbye: the loop has ended in good order. At most half a second.
    fn close(&mut self) {}
}
