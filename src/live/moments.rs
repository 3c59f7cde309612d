//! From states to events: when each began, how long it lasted, how sure it was.

use std::time::{Duration, Instant, SystemTime};

use super::reading::{Event, State};

/// The state that lasts, and what is known of it so far.
#[derive(Debug, Default)]
pub(super) struct Moments {
    now: Option<Moment>,
    number: u64,
}

#[derive(Debug)]
struct Moment {
    state: State,
    started: SystemTime,
    since: Instant,
    sum: f64,
    frames: u64,
}

/// When something was, by the clock on the wall and by one that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    /// For people.
    pub(super) wall: SystemTime,
    /// For differences.
    pub(super) steady: Instant,
}

impl When {
    /// The time of `steady` on the wall's clock as it is set now.
    #[must_use]
    pub(super) fn of(steady: Instant) -> Self {
        Self {
            wall: SystemTime::now() - steady.elapsed(),
            steady,
        }
    }
}

impl Moments {
    /// Takes the state of a frame with the probability of its class; gives the event of the state
    /// that ended and of the one that began, where it changed.
    pub(super) fn see(&mut self, state: &State, p: f32, when: When) -> [Option<Event>; 2] {
        let same = self.now.as_ref().is_some_and(|m| m.state == *state);
        let mut events = [None, None];
        if !same {
            events[0] = self.end(when);
            self.number += u64::from(*state != State::Starting);
            self.now = Some(Moment {
                state: state.clone(),
                started: when.wall,
                since: when.steady,
                sum: 0.0,
                frames: 0,
            });
        }
        if let Some(moment) = &mut self.now {
            moment.sum += f64::from(p);
            moment.frames += 1;
            if !same && moment.state != State::Starting {
                events[1] = Some(moment.event(self.number, None, Duration::ZERO));
            }
        }
        events
    }

    /// Ends the state that lasts.
    pub(super) fn end(&mut self, when: When) -> Option<Event> {
        let moment = self.now.take()?;
        let lasted = when.steady.saturating_duration_since(moment.since);
        // Whatever was done to the clock in between, an end is not before its beginning.
        let ended = when.wall.max(moment.started);
        let told = moment.state != State::Starting;
        told.then(|| moment.event(self.number, Some(ended), lasted))
    }
}

impl Moment {
    fn event(&self, number: u64, ended: Option<SystemTime>, lasted: Duration) -> Event {
        Event {
            number,
            state: self.state.clone(),
            started: self.started,
            ended,
            lasted,
            confidence: (self.sum / self.frames.max(1) as f64) as f32,
            frames: self.frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_begins_once_and_ends_with_what_it_was() {
        let mut moments = Moments::default();
        let start = When::of(Instant::now());
        let at = |s: u64| When {
            wall: start.wall + Duration::from_secs(s),
            steady: start.steady + Duration::from_secs(s),
        };
        let cat = State::Class("cat".into());
        assert_eq!(moments.see(&State::Starting, 0.0, at(0)), [None, None]);
        let [none, began] = moments.see(&cat, 0.5, at(1));
        assert_eq!(
            (none, began.map(|e| (e.number, e.frames))),
            (None, Some((1, 1)))
        );
        assert_eq!(moments.see(&cat, 0.7, at(2)), [None, None]);
        let [ended, began] = moments.see(&State::Unknown, 0.0, at(4));
        let ended = ended.unwrap();
        assert_eq!(
            (ended.number, ended.frames, ended.lasted.as_secs()),
            (1, 2, 3)
        );
        assert!((ended.confidence - 0.6).abs() < 1e-6);
        assert_eq!(began.unwrap().number, 2);
    }

    #[test]
    fn a_clock_set_back_turns_no_event_round() {
        let mut moments = Moments::default();
        let start = When::of(Instant::now());
        moments.see(&State::Unknown, 0.0, start);
        let set_back = When {
            wall: start.wall - Duration::from_secs(86_400),
            steady: start.steady + Duration::from_secs(5),
        };
        let event = moments.end(set_back).unwrap();
        assert_eq!(
            (event.ended, event.lasted.as_secs()),
            (Some(event.started), 5)
        );
    }
}
