//! All outlets of a watch.

use std::time::Instant;

use super::{Losses, News, Outlet, Sink};
use crate::error::Result;
use crate::live::Snapshot;

/// Sinks that run, each on a thread of its own.
#[derive(Default)]
pub struct Outlets(Vec<Outlet>);

impl Outlets {
    /// Runs each sink.
    ///
    /// # Errors
    /// The system gives no thread; those that run by then are left to end.
    pub fn start(sinks: impl IntoIterator<Item = Box<dyn Sink>>) -> Result<Self> {
        let outlets = sinks.into_iter().map(Outlet::start);
        Ok(Self(outlets.collect::<Result<_>>()?))
    }

    /// Hands news to every sink that wants such. Never waits.
    pub fn offer(&self, news: &News) {
        for outlet in &self.0 {
            outlet.offer(news);
        }
    }

    /// What became of the news of each.
    #[must_use]
    pub fn losses(&self) -> Vec<Losses> {
        self.0.iter().map(Outlet::losses).collect()
    }

    /// Whether the reader of one has left, as after `| head`: the sign to stop.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.0.iter().any(Outlet::has_closed)
    }

    /// Closes all at once, as [`Outlet::close`] does one: about a second at most. Those that tell what
    /// became of the others' news are closed after them, with the last counters.
    pub fn close(self, last: Snapshot) -> Vec<Losses> {
        let (tell, others): (Vec<_>, Vec<_>) = self.0.into_iter().partition(Outlet::tells_losses);
        let mut losses = close(others);
        let counters = News::Counters(last, losses.clone());
        tell.iter().for_each(|o| o.offer(&counters));
        losses.extend(close(tell));
        losses
    }
}

fn close(outlets: Vec<Outlet>) -> Vec<Losses> {
    let began = Instant::now();
    outlets.iter().for_each(Outlet::drain);
    outlets.into_iter().map(|o| o.leave(began)).collect()
}
