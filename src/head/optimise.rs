//! Minimisers over one flat array of parameters: SGD and Adam as torch does them, and L-BFGS.

use std::collections::VecDeque;
use std::f64::consts::PI;

/// Gives the value at the first array and writes the gradient over the second.
pub(super) type Objective<'a> = dyn FnMut(&[f64], &mut [f64]) -> f64 + 'a;

/// Learning rate of step `t` of `steps`, falling from `rate` to 0 along half a cosine
/// (Loshchilov and Hutter, 2017, eq. 5, without restarts).
pub(super) fn cosine(rate: f64, t: usize, steps: usize) -> f64 {
    0.5 * rate * (1.0 + (PI * t as f64 / steps as f64).cos())
}

/// Adam (Kingma and Ba, 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter,
/// 2019, algorithm 2, as torch.optim.AdamW): β 0.9 and 0.999, ε 1e-8.
pub(super) struct Adam {
    decay: f64,
    t: i32,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Adam {
    pub(super) fn new(len: usize, decay: f64) -> Self {
        Self {
            decay,
            t: 0,
            mean: vec![0.0; len],
            square: vec![0.0; len],
        }
    }

    pub(super) fn step(&mut self, x: &mut [f64], gradient: &[f64], rate: f64) {
        const BETA: (f64, f64) = (0.9, 0.999);
        self.t += 1;
        let unbias = (1.0 - BETA.0.powi(self.t), 1.0 - BETA.1.powi(self.t));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((x, g), (m, v)) in x.iter_mut().zip(gradient).zip(moments) {
            *m = BETA.0 * *m + (1.0 - BETA.0) * g;
            *v = BETA.1 * *v + (1.0 - BETA.1) * g * g;
            *x -= rate * self.decay * *x;
            *x -= rate * (*m / unbias.0) / ((*v / unbias.1).sqrt() + 1e-8);
        }
    }
}

/// Stochastic gradient descent with momentum and coupled weight decay, as torch.optim.SGD:
/// v = momentum·v + (g + decay·x); x −= rate·v.
pub(super) struct Sgd {
    momentum: f64,
    decay: f64,
    speed: Vec<f64>,
}

impl Sgd {
    pub(super) fn new(len: usize, momentum: f64, decay: f64) -> Self {
        Self {
            momentum,
            decay,
            speed: vec![0.0; len],
        }
    }

    pub(super) fn step(&mut self, x: &mut [f64], gradient: &[f64], rate: f64) {
        for ((x, g), v) in x.iter_mut().zip(gradient).zip(&mut self.speed) {
            *v = self.momentum * *v + g + self.decay * *x;
            *x -= rate * *v;
        }
    }
}

/// When [`lbfgs`] stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Most steps.
    pub(super) steps: usize,
    /// Largest share of the gradient's first length that may be left.
    pub(super) gradient: f64,
    /// Least relative fall of the value in one step.
    pub(super) fall: f64,
}

/// Pairs of steps that L-BFGS remembers.
const MEMORY: usize = 8;

/// L-BFGS (Nocedal and Wright, 2006, algorithm 7.5) with a line search for the strong Wolfe
/// conditions (algorithms 3.5 and 3.6). Starts from and improves `x`; returns the value there.
///
/// The value never rises; where no step lowers it, it stays.
pub(super) fn lbfgs(x: &mut [f64], stop: Stop, objective: &mut Objective<'_>) -> f64 {
    let mut gradient = vec![0.0; x.len()];
    let mut value = objective(x, &mut gradient);
    let first = norm(&gradient);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    // Arrays that are done with: fresh ones of a megabyte each would cost as much as the products.
    let mut spare: Vec<Vec<f64>> = Vec::new();
    let mut direction = Vec::new();
    for _ in 0..stop.steps {
        if norm(&gradient) <= stop.gradient * first {
            break;
        }
        turn(&mut direction, &gradient, &memory);
        if dot(&direction, &gradient) >= 0.0 {
            memory.clear();
            turn(&mut direction, &gradient, &memory);
        }
        // Before curvature is known, the first try moves by a unit of length at most.
        let first_try = if memory.is_empty() {
            1.0_f64.min(1.0 / norm(&gradient))
        } else {
            1.0
        };
        let start = Point {
            x,
            value,
            slope: dot(&direction, &gradient),
        };
        let Some(found) = line_search(&start, &direction, first_try, &mut spare, objective) else {
            break;
        };
        let fell = value - found.value;
        value = found.value;
        let pair = Pair::of_step(x, &mut gradient, found);
        if pair.is_sound() {
            memory.push_back(pair);
        } else {
            spare.extend([pair.moved, pair.turned]);
        }
        if memory.len() > MEMORY
            && let Some(oldest) = memory.pop_front()
        {
            spare.extend([oldest.moved, oldest.turned]);
        }
        if fell <= stop.fall * value.abs() {
            break;
        }
    }
    value
}

/// One step and what it did to the gradient.
struct Pair {
    moved: Vec<f64>,
    turned: Vec<f64>,
    curvature: f64,
}

impl Pair {
    /// Moves `x` and `gradient` on to what was found.
    fn of_step(x: &mut [f64], gradient: &mut [f64], found: Trial) -> Self {
        let step = |at: &mut [f64], mut to: Vec<f64>| {
            for (at, to) in at.iter_mut().zip(&mut to) {
                let new = *to;
                *to -= *at;
                *at = new;
            }
            to
        };
        let (moved, turned) = (step(x, found.x), step(gradient, found.gradient));
        let curvature = dot(&moved, &turned);
        Self {
            moved,
            turned,
            curvature,
        }
    }

    fn is_sound(&self) -> bool {
        self.curvature > 1e-14 * norm(&self.moved) * norm(&self.turned)
    }
}

/// Overwrites `d` with the next direction, by the two loops of algorithm 7.4.
fn turn(d: &mut Vec<f64>, gradient: &[f64], memory: &VecDeque<Pair>) {
    d.clear();
    d.extend(gradient.iter().map(|g| -g));
    let mut shares = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let share = dot(&pair.moved, d) / pair.curvature;
        add(d, -share, &pair.turned);
        shares.push(share);
    }
    if let Some(last) = memory.back() {
        let scale = last.curvature / dot(&last.turned, &last.turned);
        d.iter_mut().for_each(|v| *v *= scale);
    }
    for (pair, share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(&pair.turned, d) / pair.curvature;
        add(d, share - back, &pair.moved);
    }
}

struct Point<'a> {
    x: &'a [f64],
    value: f64,
    slope: f64,
}

struct Trial {
    x: Vec<f64>,
    gradient: Vec<f64>,
    value: f64,
    slope: f64,
}

/// A step along `direction` that falls enough and flattens enough; none if nothing falls.
fn line_search(
    start: &Point<'_>,
    direction: &[f64],
    first: f64,
    spare: &mut Vec<Vec<f64>>,
    objective: &mut Objective<'_>,
) -> Option<Trial> {
    const TRIALS: usize = 24;
    const ENOUGH_FALL: f64 = 1e-4;
    const ENOUGH_FLAT: f64 = 0.9;
    let mut step = first;
    // The best step that fell so far, and the bracket: below lies a step that fell.
    let mut best: Option<Trial> = None;
    let mut low = (0.0, start.value, start.slope);
    let mut high: Option<(f64, f64)> = None;
    for _ in 0..TRIALS {
        let trial = try_step(start, direction, step, spare, objective);
        let falls = trial.value <= start.value + ENOUGH_FALL * step * start.slope;
        if !trial.value.is_finite() || !falls || trial.value >= low.1 && low.0 > 0.0 {
            high = Some((step, trial.value));
        } else if trial.slope.abs() <= -ENOUGH_FLAT * start.slope {
            return Some(trial);
        } else {
            let past = trial.slope * (high.map_or(f64::INFINITY, |h| h.0) - low.0) >= 0.0;
            if past {
                high = Some((low.0, low.1));
            }
            low = (step, trial.value, trial.slope);
            best = Some(trial);
        }
        step = match high {
            None => 2.5 * step,
            Some(high) => between(low, high),
        };
    }
    best
}

/// The minimum of the parabola through the low end's value and slope and the high end's value,
/// kept off both ends.
fn between(low: (f64, f64, f64), high: (f64, f64)) -> f64 {
    let width = high.0 - low.0;
    let bend = 2.0 * (high.1 - low.1 - low.2 * width);
    let share = -low.2 * width / bend;
    low.0
        + width
            * if share.is_finite() {
                share.clamp(0.1, 0.9)
            } else {
                0.5
            }
}

fn try_step(
    start: &Point<'_>,
    direction: &[f64],
    step: f64,
    spare: &mut Vec<Vec<f64>>,
    objective: &mut Objective<'_>,
) -> Trial {
    let mut x = spare.pop().unwrap_or_default();
    x.clear();
    x.extend(start.x.iter().zip(direction).map(|(x, d)| x + step * d));
    let mut gradient = spare.pop().unwrap_or_default();
    gradient.resize(x.len(), 0.0);
    let value = objective(&x, &mut gradient);
    let slope = dot(&gradient, direction);
    Trial {
        x,
        gradient,
        value,
        slope,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    ndarray::aview1(a).dot(&ndarray::aview1(b))
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add(a: &mut [f64], share: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += share * b);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Stop = Stop {
        steps: 200,
        gradient: 1e-9,
        fall: 0.0,
    };

    #[test]
    fn lbfgs_finds_the_bottom_of_a_bent_valley() {
        let mut rosenbrock = |x: &[f64], g: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let mut x = [-1.2, 1.0];
        assert!(lbfgs(&mut x, FINE, &mut rosenbrock) < 1e-15);
        assert!(
            (x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6,
            "{x:?}"
        );
    }

    #[test]
    fn lbfgs_survives_a_wall_of_infinity() {
        let mut wall = |x: &[f64], g: &mut [f64]| {
            g[0] = 1.0 - 0.1 / x[0];
            if x[0] <= 0.0 {
                f64::NAN
            } else {
                x[0] - 0.1 * x[0].ln()
            }
        };
        let mut x = [5.0];
        lbfgs(&mut x, FINE, &mut wall);
        assert!((x[0] - 0.1).abs() < 1e-6, "{x:?}");
    }

    #[test]
    fn lbfgs_stays_at_a_minimum() {
        let mut bowl = |x: &[f64], g: &mut [f64]| {
            g[0] = 2.0 * x[0];
            x[0] * x[0]
        };
        let mut x = [0.0];
        assert_eq!(lbfgs(&mut x, FINE, &mut bowl), 0.0);
        assert_eq!(x, [0.0]);
    }

    #[test]
    fn adam_and_sgd_take_the_steps_of_their_papers() {
        let mut x = [1.0];
        Adam::new(1, 0.1).step(&mut x, &[3.0], 0.01);
        // The first step of Adam is the rate, whatever the gradient; the decay is apart.
        assert!((x[0] - (1.0 - 0.001 - 0.01)).abs() < 1e-9, "{x:?}");
        let (mut x, mut sgd) = ([1.0], Sgd::new(1, 0.9, 0.5));
        sgd.step(&mut x, &[1.0], 0.1);
        assert!((x[0] - 0.85).abs() < 1e-12);
        sgd.step(&mut x, &[1.0], 0.1);
        assert!((x[0] - (0.85 - 0.1 * (0.9 * 1.5 + 1.0 + 0.425))).abs() < 1e-12);
    }
}
