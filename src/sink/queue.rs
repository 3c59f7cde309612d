//! The queue before a sink: short, never waited for, and readier to lose a frame than an event.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::News;

/// Most entries that wait for a sink.
pub(super) const LENGTH: usize = 64;

/// Entries on their way to a sink, and how far its thread is.
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Condvar,
}

struct Inside {
    news: VecDeque<News>,
    phase: Phase,
}

/// How far the thread of a sink is.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Phase {
    Running,
    /// What waits is delivered until then; nothing new is taken.
    Draining(Instant),
    /// The sink says goodbye.
    Leaving,
    Ended,
}

/// What the thread of a sink finds to do.
pub(super) enum Due {
    News(News),
    /// Nothing came in time.
    Nothing,
    /// To end, with so many entries undelivered.
    End(usize),
}

impl Queue {
    pub(super) fn new() -> Self {
        let news = VecDeque::with_capacity(LENGTH + 1);
        Self {
            inside: Mutex::new(Inside {
                news,
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds an entry and says whether one was lost for it, this one perhaps.
    pub(super) fn push(&self, news: News) -> bool {
        let mut inside = self.lock();
        if inside.phase != Phase::Running {
            return true;
        }
        inside.news.push_back(news);
        let lost = (inside.news.len() > LENGTH).then(|| oldest(&mut inside.news));
        drop(inside);
        self.changed.notify_all();
        lost.is_some()
    }

    /// Waits for the next entry, at most until `until`.
    pub(super) fn next(&self, until: Option<Instant>) -> Due {
        let mut inside = self.lock();
        loop {
            let now = Instant::now();
            if let Phase::Draining(end) = inside.phase
                && (now >= end || inside.news.is_empty())
            {
                let left = inside.news.len();
                inside.news.clear();
                inside.phase = Phase::Leaving;
                return Due::End(left);
            }
            if let Some(news) = inside.news.pop_front() {
                return Due::News(news);
            }
            if until.is_some_and(|u| now >= u) {
                return Due::Nothing;
            }
            inside = self.wait(inside, until.map(|u| u - now));
        }
    }

    /// Takes no more; what waits is delivered for so long.
    pub(super) fn drain(&self, patience: Duration) {
        let mut inside = self.lock();
        if inside.phase == Phase::Running {
            inside.phase = Phase::Draining(Instant::now() + patience);
        }
        drop(inside);
        self.changed.notify_all();
    }

    /// The thread of the sink is at its end.
    pub(super) fn end(&self) {
        self.lock().phase = Phase::Ended;
        self.changed.notify_all();
    }

    /// Waits for the end until `drained`, or until `left` if the sink is saying goodbye by then.
    /// What still waits after that is counted: nobody will deliver it.
    pub(super) fn wait_end(&self, drained: Instant, left: Instant) -> usize {
        let mut inside = self.lock();
        while inside.phase != Phase::Ended {
            let until = if inside.phase == Phase::Leaving {
                left
            } else {
                drained
            };
            let now = Instant::now();
            if now >= until {
                break;
            }
            inside = self.wait(inside, Some(until - now));
        }
        let waiting = inside.news.len();
        inside.news.clear();
        waiting
    }

    fn wait<'a>(
        &self,
        inside: MutexGuard<'a, Inside>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Inside> {
        match patience {
            None => self
                .changed
                .wait(inside)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout(inside, patience);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    // Nothing panics while it is held, and a queue is whole between any two of its acts.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest frame or counters, for newer ones follow; of events alone, the oldest.
fn oldest(news: &mut VecDeque<News>) -> Option<News> {
    let dull = news.iter().position(|n| !matches!(n, News::Event(_)));
    news.remove(dull.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, frame};
    use super::*;
    use crate::live::State;

    fn drained(queue: &Queue) -> (Vec<u64>, Vec<u64>) {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        while let Due::News(news) = queue.next(Some(Instant::now())) {
            match news {
                News::Frame(r) => frames.push(r.frame),
                News::Event(e) => events.push(e.number),
                News::Counters(..) => {}
            }
        }
        (frames, events)
    }

    #[test]
    fn frames_are_lost_before_events_and_the_oldest_first() {
        let queue = Queue::new();
        for n in 0..40 {
            queue.push(News::Event(event(n, State::Unknown)));
            queue.push(News::Frame(frame(n)));
        }
        let (frames, events) = drained(&queue);
        assert_eq!(events, (0..40).collect::<Vec<_>>());
        assert_eq!(frames, (16..40).collect::<Vec<_>>());
    }

    #[test]
    fn of_events_alone_the_latest_are_kept_and_no_frame_takes_their_place() {
        let queue = Queue::new();
        let lost = (0..100)
            .filter(|n| queue.push(News::Event(event(*n, State::Unknown))))
            .count();
        assert_eq!(lost, 36);
        assert!(queue.push(News::Frame(frame(1))));
        let (frames, events) = drained(&queue);
        assert_eq!(events, (36..100).collect::<Vec<_>>());
        assert!(frames.is_empty());
    }
}
