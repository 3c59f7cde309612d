//! From flickering answers to a settled state: smoothing, hysteresis, a least time.
//!
//! Times are of the clock, not of frames: a board that answers twice a second settles as soon as
//! one that answers thirty times.

use std::time::Duration;

/// How steady answers are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Time constant of the exponential mean of probabilities.
    pub smoothing: Duration,
    /// How much likelier another class must be before it replaces the settled one.
    pub margin: f32,
    /// How long it must stay so.
    pub dwell: Duration,
    /// Least probability of a settled class.
    pub least: f32,
}

impl Rules {
    /// Each frame by itself, as of pictures that have nothing to do with each other.
    #[must_use]
    pub fn each() -> Self {
        Self {
            smoothing: Duration::ZERO,
            margin: 0.0,
            dwell: Duration::ZERO,
            ..Self::default()
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            smoothing: Duration::from_millis(600),
            margin: 0.1,
            dwell: Duration::from_millis(600),
            least: 0.3,
        }
    }
}

/// What is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Nothing yet.
    #[default]
    Nothing,
    /// The class at this place.
    Class(usize),
    /// None of the classes.
    Unknown,
}

/// Share of frames that look unknown, smoothed, above which the state becomes unknown, and below
/// which it ends.
const UNKNOWN: (f32, f32) = (0.6, 0.4);

/// Times the dwell after which the likeliest is settled where nothing is yet, though others change places with it.
const UNDECIDED: u32 = 4;

/// The steadying of one stream of answers. Its memory is one number a class.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    rules: Rules,
    smooth: Vec<f32>,
    unknown: f32,
    settled: Which,
    /// What would replace it, and for how long it has looked so.
    rival: Which,
    standing: Duration,
    /// For how long nothing has been settled.
    undecided: Duration,
    begun: bool,
}

impl Steady {
    /// A new one that keeps `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Takes the probabilities of one frame, whether it looks like none of the classes (where that
    /// is known), and the time since the frame before; gives what is settled then.
    pub fn step(&mut self, p: &[f32], unknown: Option<bool>, since: Duration) -> Which {
        let share = if self.begun && !self.rules.smoothing.is_zero() {
            1.0 - (-since.as_secs_f32() / self.rules.smoothing.as_secs_f32()).exp()
        } else {
            1.0
        };
        if !self.begun {
            self.smooth.clear();
            self.smooth.resize(p.len(), 0.0);
            self.unknown = 0.0;
        }
        self.begun = true;
        for (smooth, p) in self.smooth.iter_mut().zip(p) {
            *smooth += share * (p - *smooth);
        }
        self.unknown += share * (f32::from(unknown.unwrap_or(false)) - self.unknown);
        let rival = self.rival_now();
        if rival == self.settled {
            self.standing = Duration::ZERO;
        } else if rival == self.rival {
            self.standing += since;
        } else {
            self.standing = Duration::ZERO;
        }
        self.rival = rival;
        self.undecided += since;
        let is_late =
            self.settled == Which::Nothing && self.undecided >= self.rules.dwell * UNDECIDED;
        if rival != self.settled && (self.standing >= self.rules.dwell || is_late) {
            self.settled = rival;
            self.standing = Duration::ZERO;
        }
        if self.settled != Which::Nothing {
            self.undecided = Duration::ZERO;
        }
        self.settled
    }

    /// Settles on the likeliest where nothing is settled yet, for no more frames will come.
    pub fn settle(&mut self) -> Which {
        if self.begun && self.settled == Which::Nothing {
            self.settled = self.rival_now();
        }
        self.settled
    }

    /// What the smoothed probabilities speak for, the settled state being given the benefit of the doubt.
    fn rival_now(&self) -> Which {
        let (likely_unknown, known_again) = UNKNOWN;
        let bound = match self.settled {
            Which::Unknown => known_again,
            _ => likely_unknown,
        };
        let best =
            (0..self.smooth.len()).max_by(|a, b| self.smooth[*a].total_cmp(&self.smooth[*b]));
        let Some(best) = best.filter(|_| self.unknown <= bound) else {
            return Which::Unknown;
        };
        let settled = match self.settled {
            Which::Class(at) if at < self.smooth.len() => Some(self.smooth[at]),
            _ => None,
        };
        match settled {
            // Hysteresis: it stays until another one is clearly likelier.
            Some(p) if self.smooth[best] < p + self.rules.margin => {
                if p < self.rules.least - self.rules.margin / 2.0 {
                    Which::Unknown
                } else {
                    self.settled
                }
            }
            _ if self.smooth[best] < self.rules.least => Which::Unknown,
            _ => Which::Class(best),
        }
    }

    /// Smoothed probabilities, in class order.
    #[must_use]
    pub fn smoothed(&self) -> &[f32] {
        &self.smooth
    }

    /// Forgets what was smoothed, and keeps what is settled, which now stands at `settled`: for
    /// other classes, and after the source was away.
    pub fn restart(&mut self, settled: Which) {
        self.begun = false;
        self.settled = settled;
        self.rival = settled;
        self.standing = Duration::ZERO;
        self.undecided = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(100);

    fn run(steps: impl IntoIterator<Item = ([f32; 3], Option<bool>)>) -> Vec<Which> {
        let mut steady = Steady::new(Rules::default());
        let mut states = Vec::new();
        for (p, unknown) in steps {
            let state = steady.step(&p, unknown, FRAME);
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
        states
    }

    #[test]
    fn flickering_answers_are_one_state() {
        // The first class is likelier in six frames of ten, and never for long.
        let flicker = (0..300).map(|i| {
            let first = [0, 1, 3, 4, 6, 8].contains(&(i % 10));
            (
                if first {
                    [0.7, 0.2, 0.1]
                } else {
                    [0.3, 0.6, 0.1]
                },
                Some(false),
            )
        });
        assert_eq!(run(flicker), [Which::Nothing, Which::Class(0)]);
    }

    #[test]
    fn a_true_change_is_told_within_two_seconds() {
        let mut steady = Steady::new(Rules::default());
        (0..50).for_each(|_| _ = steady.step(&[0.9, 0.05, 0.05], Some(false), FRAME));
        let frames = (0..50)
            .position(|_| steady.step(&[0.05, 0.9, 0.05], Some(false), FRAME) == Which::Class(1));
        assert!(frames.is_some_and(|n| (5..20).contains(&n)), "{frames:?}");
    }

    #[test]
    fn what_looks_like_nothing_is_unknown_and_comes_back() {
        let part = |unknown| std::iter::repeat_n(([0.9, 0.05, 0.05], Some(unknown)), 40);
        let states = run(part(false).chain(part(true)).chain(part(false)));
        assert_eq!(
            states,
            [
                Which::Nothing,
                Which::Class(0),
                Which::Unknown,
                Which::Class(0)
            ]
        );
        let unsure = std::iter::repeat_n(([0.2, 0.2, 0.2], None), 40);
        assert_eq!(run(unsure), [Which::Nothing, Which::Unknown]);
    }

    #[test]
    fn two_classes_that_are_equally_likely_settle_as_well() {
        let near = (0..60).map(|i| match i % 4 {
            0 | 1 => ([0.55, 0.45, 0.0], Some(false)),
            _ => ([0.44, 0.56, 0.0], Some(false)),
        });
        let states = run(near);
        assert!(
            matches!(states[..], [Which::Nothing, Which::Class(0 | 1)]),
            "{states:?}"
        );
    }

    #[test]
    fn what_ends_early_is_settled_by_what_was_seen() {
        let settled = |p: &[f32]| {
            let mut steady = Steady::new(Rules::default());
            assert_eq!(steady.step(p, Some(false), FRAME), Which::Nothing);
            steady.settle()
        };
        assert_eq!(settled(&[0.1, 0.9]), Which::Class(1));
        assert_eq!(settled(&[0.2, 0.2]), Which::Unknown);
        assert_eq!(Steady::new(Rules::default()).settle(), Which::Nothing);
    }

    #[test]
    fn slow_frames_settle_after_two() {
        let mut steady = Steady::new(Rules::default());
        let second = Duration::from_secs(1);
        assert_eq!(
            steady.step(&[0.9, 0.1], Some(false), second),
            Which::Nothing
        );
        assert_eq!(
            steady.step(&[0.9, 0.1], Some(false), second),
            Which::Class(0)
        );
    }
}
