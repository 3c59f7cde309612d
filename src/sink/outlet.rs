//! One sink on a thread of its own: it may be slow, fail or panic, and nobody else notices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::queue::{Due, Queue};
use super::{Losses, News, Refused, Sink};
use crate::error::{Error, Result};

/// How long what waits is still delivered at the end.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a sink may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// A sink that runs.
pub struct Outlet {
    name: &'static str,
    frames: bool,
    counters: bool,
    tells_losses: bool,
    shared: Arc<Shared>,
}

struct Shared {
    queue: Queue,
    delivered: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
    closed: AtomicBool,
}

impl Outlet {
    /// Runs a sink on a new thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(sink: Box<dyn Sink>) -> Result<Self> {
        let name = sink.name();
        let (frames, counters) = (sink.wants_frames(), sink.wants_counters());
        let tells_losses = sink.tells_losses();
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let worker = Worker {
            sink,
            shared: Arc::clone(&shared),
            trouble: None,
        };
        std::thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || worker.run())
            .map_err(|e| {
                let expected =
                    format!("one more thread, for the sink `{name}`: allow more (ulimit -u)");
                Error::invalid("threads", e.to_string(), expected)
            })?;
        Ok(Self {
            name,
            frames,
            counters,
            tells_losses,
            shared,
        })
    }

    /// Hands news to the sink, if it wants such. Never waits; what the queue cannot hold is counted.
    pub fn offer(&self, news: &News) {
        let wanted = match news {
            News::Frame(_) => self.frames,
            News::Event(_) => true,
            News::Counters(..) => self.counters,
        };
        if wanted && !self.has_closed() && self.shared.queue.push(news.clone()) {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    /// What became of its news so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses {
            sink: self.name,
            delivered: self.shared.delivered.load(Relaxed),
            lost: self.shared.lost.load(Relaxed),
            failed: self.shared.failed.load(Relaxed),
        }
    }

    /// As [`Sink::tells_losses`].
    pub(super) fn tells_losses(&self) -> bool {
        self.tells_losses
    }

    /// Whether nobody reads any more what the sink writes.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.shared.closed.load(Relaxed)
    }

    /// Delivers what waits for at most half a second, lets the sink say goodbye, and leaves it to
    /// itself if it takes longer.
    pub fn close(self) -> Losses {
        self.drain();
        self.leave(Instant::now())
    }

    /// Begins to close.
    pub(super) fn drain(&self) {
        self.shared.queue.drain(DRAIN);
    }

    /// Ends what [`Outlet::drain`] began then.
    pub(super) fn leave(self, began: Instant) -> Losses {
        // A little more than the sink's own time, so that one that ends in time is seen to.
        let drained = began + DRAIN + Duration::from_millis(20);
        let waiting = self.shared.queue.wait_end(drained, drained + GOODBYE);
        self.shared.lost.fetch_add(waiting as u64, Relaxed);
        self.losses()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.drain();
    }
}

/// The thread's side.
struct Worker {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    /// The words of the last failure, while it lasts.
    trouble: Option<String>,
}

impl Worker {
    fn run(mut self) {
        let every = self.sink.every();
        let mut idle_at = every.map(|_| Instant::now());
        while !self.shared.closed.load(Relaxed) {
            match self.shared.queue.next(idle_at) {
                Due::News(news) => {
                    let result = guarded(|| self.sink.take(&news));
                    self.note(result, true);
                }
                Due::Nothing => {}
                Due::End(left) => {
                    self.shared.lost.fetch_add(left as u64, Relaxed);
                    break;
                }
            }
            // Also between news that never pause.
            if idle_at.is_some_and(|at| Instant::now() >= at) {
                let result = guarded(|| self.sink.idle());
                self.note(result, false);
                idle_at = every.map(|e| Instant::now() + e);
            }
        }
        let goodbye = guarded(|| {
            self.sink.close();
            Ok(())
        });
        // That it went well says nothing of trouble before.
        if goodbye.is_err() {
            self.note(goodbye, false);
        }
        self.shared.queue.end();
    }

    /// Counts; says once that something fails, and once that it works again.
    fn note(&mut self, result: Result<(), Refused>, is_news: bool) {
        let name = self.sink.name();
        match result {
            Ok(()) => {
                self.shared.delivered.fetch_add(is_news.into(), Relaxed);
                if self.trouble.take().is_some() {
                    log::warn!("{name}: works again");
                }
            }
            Err(Refused::Idle) => {}
            Err(Refused::Closed) => self.shared.closed.store(true, Relaxed),
            Err(Refused::Failed(words)) => {
                self.shared.failed.fetch_add(1, Relaxed);
                if self.trouble.as_ref() != Some(&words) {
                    log::warn!("{name}: {words}");
                    self.trouble = Some(words);
                }
            }
        }
    }
}

/// A panic of a sink is a failure like others.
fn guarded(act: impl FnOnce() -> Result<(), Refused>) -> Result<(), Refused> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let words = words.unwrap_or("no words");
        Err(Refused::Failed(format!("panicked: {words}")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::testing::{event, frame};
    use super::*;
    use crate::live::State;

    /// A sink that does as its function says.
    struct Does<F>(F, bool);

    impl<F: FnMut(&News) -> Result<(), Refused> + Send> Sink for Does<F> {
        fn name(&self) -> &'static str {
            "test"
        }
        fn wants_frames(&self) -> bool {
            self.1
        }
        fn take(&mut self, news: &News) -> Result<(), Refused> {
            (self.0)(news)
        }
    }

    fn start(take: impl FnMut(&News) -> Result<(), Refused> + Send + 'static) -> Outlet {
        Outlet::start(Box::new(Does(take, true))).unwrap()
    }

    fn wait_for(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_sink_that_never_returns_neither_slows_the_loop_nor_grows() {
        let (_hold, gate): (Sender<()>, Receiver<()>) = channel();
        let outlet = start(move |_| {
            gate.recv().ok();
            Ok(())
        });
        let reading = frame(1);
        let label = Arc::clone(&reading.top[0].as_ref().unwrap().label);
        let news = News::Frame(reading);
        outlet.offer(&news);
        wait_for(|| outlet.losses().lost == 0 && Arc::strong_count(&label) == 3);
        let start = Instant::now();
        for _ in 0..100_000 {
            outlet.offer(&news);
        }
        // A push is well below a millisecond; a wait would be for ever.
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(outlet.losses().lost, 100_000 - 64);
        // What is alive: ours twice, the one in the sink, and the queue's.
        assert_eq!(Arc::strong_count(&label), 2 + 1 + 64);

        let start = Instant::now();
        let losses = outlet.close();
        assert!(start.elapsed() < Duration::from_secs(3));
        assert_eq!((losses.delivered, losses.lost), (0, 100_000));
    }

    #[test]
    fn a_sink_that_panics_is_counted_and_goes_on() {
        let outlet = start(|news| match news {
            News::Frame(r) if r.frame == 2 => panic!("a fault of the sink"),
            _ => Ok(()),
        });
        for n in 1..=3 {
            outlet.offer(&News::Frame(frame(n)));
        }
        let losses = outlet.close();
        assert_eq!((losses.delivered, losses.failed, losses.lost), (2, 1, 0));
    }

    #[test]
    fn a_failure_is_counted_and_the_next_news_may_do_better() {
        let outlet = start(|news| match news {
            News::Frame(r) if r.frame < 3 => Err(Refused::Failed("no space".into())),
            _ => Ok(()),
        });
        for n in 1..=5 {
            outlet.offer(&News::Frame(frame(n)));
        }
        let losses = outlet.close();
        assert_eq!((losses.delivered, losses.failed), (3, 2));
    }

    #[test]
    fn where_nothing_is_to_be_done_nothing_is_counted() {
        let outlet = start(|news| match news {
            News::Frame(r) if r.frame < 4 => Err(Refused::Idle),
            _ => Ok(()),
        });
        for n in 1..=5 {
            outlet.offer(&News::Frame(frame(n)));
        }
        let losses = outlet.close();
        assert_eq!((losses.delivered, losses.failed, losses.lost), (2, 0, 0));
    }

    #[test]
    fn a_sink_gets_only_what_it_wants() {
        let (seen, got) = channel();
        let take = move |news: &News| {
            seen.send(matches!(news, News::Event(_))).ok();
            Ok(())
        };
        let outlet = Outlet::start(Box::new(Does(take, false))).unwrap();
        outlet.offer(&News::Frame(frame(1)));
        outlet.offer(&News::Event(event(1, State::Unknown)));
        outlet.offer(&News::Counters(Default::default(), Vec::new()));
        assert_eq!(outlet.close().delivered, 1);
        assert_eq!(got.iter().collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn a_reader_that_left_is_told_apart_from_a_failure() {
        let outlet = start(|_| Err(Refused::Closed));
        outlet.offer(&News::Frame(frame(1)));
        wait_for(|| outlet.has_closed());
        outlet.offer(&News::Frame(frame(2)));
        let losses = outlet.close();
        assert_eq!((losses.failed, losses.lost), (0, 0));
    }

    #[test]
    fn what_waits_is_delivered_at_the_end_and_goodbye_is_said() {
        struct Polite(Sender<&'static str>);
        impl Sink for Polite {
            fn name(&self) -> &'static str {
                "polite"
            }
            fn wants_frames(&self) -> bool {
                true
            }
            fn take(&mut self, _: &News) -> Result<(), Refused> {
                std::thread::sleep(Duration::from_millis(2));
                self.0.send("news").ok();
                Ok(())
            }
            fn every(&self) -> Option<Duration> {
                Some(Duration::from_millis(1))
            }
            fn idle(&mut self) -> Result<(), Refused> {
                self.0.send("idle").ok();
                Ok(())
            }
            fn close(&mut self) {
                self.0.send("bye").ok();
            }
        }
        let (say, said) = channel();
        let outlet = Outlet::start(Box::new(Polite(say))).unwrap();
        for n in 0..10 {
            outlet.offer(&News::Frame(frame(n)));
        }
        assert_eq!(outlet.close().delivered, 10);
        let said: Vec<_> = said.iter().collect();
        assert_eq!(said.iter().filter(|s| **s == "news").count(), 10);
        // Idle work is done between news that never pause, too.
        assert!(said.iter().filter(|s| **s == "idle").count() > 5);
        assert_eq!(said.last(), Some(&"bye"));
    }
}
