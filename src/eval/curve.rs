//! Accuracy against shots, a line for each head, as few-shot papers draw it.

use super::picture::{Anchor, CHARACTER, Colour, Picture};

/// One for each head; the first six are told apart by colour-blind readers too (Okabe and Ito, 2008).
const COLOURS: [Colour; 11] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [120, 94, 240],
    [90, 90, 90],
    [0, 0, 0],
    [150, 75, 0],
    [180, 170, 0],
];
const INK: Colour = [30, 30, 30];
const GRID: Colour = [225, 225, 225];
const LEFT: i32 = 56;
const TOP: i32 = 40;
const WIDTH: i32 = 420;
const HEIGHT: i32 = 300;

/// One head's top-1 accuracy, 0 to 1, by shots a class.
#[derive(Clone, Debug)]
pub struct Line {
    /// The head's name.
    pub name: String,
    /// (shots, top-1), shots rising.
    pub points: Vec<(usize, f64)>,
}

/// Draws `lines` under `title`; shots stand on a logarithmic axis.
#[must_use]
pub fn curve(title: &str, lines: &[Line]) -> Picture {
    let names = lines
        .iter()
        .map(|l| l.name.chars().count())
        .max()
        .unwrap_or(0) as i32
        + 6;
    let right = LEFT + WIDTH + 20;
    let mut picture = Picture::new(right + 24 + names * CHARACTER, TOP + HEIGHT + 50);
    let shots = all_shots(lines);
    let (low, high) = range(lines);
    let x = |n: usize| {
        let (first, last) = (
            log(shots.first().copied().unwrap_or(1)),
            log(shots.last().copied().unwrap_or(1)),
        );
        let share = if last > first {
            (log(n) - first) / (last - first)
        } else {
            0.5
        };
        LEFT + (share * f64::from(WIDTH)).round() as i32
    };
    let y = |v: f64| TOP + ((high - v) / (high - low) * f64::from(HEIGHT)).round() as i32;
    picture.words((LEFT, 18), title, INK, Anchor::Start);
    for tick in ticks(low, high) {
        picture.path(vec![(LEFT, y(tick)), (LEFT + WIDTH, y(tick))], GRID, 1);
        picture.words(
            (LEFT - 8, y(tick)),
            format!("{:.0}%", 100.0 * tick),
            INK,
            Anchor::End,
        );
    }
    for n in &shots {
        picture.path(vec![(x(*n), TOP), (x(*n), TOP + HEIGHT)], GRID, 1);
        picture.words(
            (x(*n), TOP + HEIGHT + 16),
            n.to_string(),
            INK,
            Anchor::Middle,
        );
    }
    picture.words(
        (LEFT + WIDTH / 2, TOP + HEIGHT + 36),
        "shots a class",
        INK,
        Anchor::Middle,
    );
    for (i, line) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<_> = line.points.iter().map(|(n, v)| (x(*n), y(*v))).collect();
        for (px, py) in &points {
            picture.block((px - 3, py - 3), (7, 7), colour);
        }
        picture.path(points, colour, 2);
        let at = TOP + 8 + 20 * i as i32;
        picture.block((right, at - 2), (14, 4), colour);
        let last = line
            .points
            .last()
            .map_or(String::new(), |(_, v)| format!(" {:.1}", 100.0 * v));
        picture.words(
            (right + 20, at),
            format!("{}{last}", line.name),
            INK,
            Anchor::Start,
        );
    }
    picture
}

fn log(shots: usize) -> f64 {
    (shots.max(1) as f64).ln()
}

fn all_shots(lines: &[Line]) -> Vec<usize> {
    let mut shots: Vec<usize> = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p.0))
        .collect();
    shots.sort_unstable();
    shots.dedup();
    shots
}

/// The accuracies shown, widened to whole tenths.
fn range(lines: &[Line]) -> (f64, f64) {
    let values = || lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
    let low = values().fold(1.0, f64::min);
    let high = values().fold(0.0, f64::max);
    let low = ((low * 10.0).floor() / 10.0).min(0.9);
    (low, ((high * 10.0).ceil() / 10.0).max(low + 0.1))
}

fn ticks(low: f64, high: f64) -> Vec<f64> {
    let step = if high - low > 0.35 { 0.1 } else { 0.05 };
    let count = ((high - low) / step).round() as i32;
    (0..=count).map(|i| low + step * f64::from(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_and_shot_count_is_named() {
        let line = |name: &str, add: f64| Line {
            name: name.to_owned(),
            points: vec![(1, 0.5 + add), (4, 0.6 + add), (16, 0.7 + add)],
        };
        let svg = curve("pets", &[line("auto", 0.05), line("clip-adapter", 0.0)]).to_svg();
        for word in [
            "pets",
            "auto 75.0",
            "clip-adapter 70.0",
            ">4<",
            ">16<",
            "shots a class",
            "50%",
        ] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        assert!(curve("nothing", &[]).to_png().is_ok());
    }
}
