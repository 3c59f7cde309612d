//! Whether a frame is worth learning from: sharp, neither black nor blinding, and a new one.

use super::still::{Glance, brightness};
use crate::frame::Frame;

/// Longest side at which sharpness is judged: grain and compression lie below.
const JUDGED_PX: u32 = 320;
/// Mean brightness below which a frame is black, where nothing in it is bright either.
const BLACK: f32 = 14.0;
/// Share of pixels at full brightness that a frame may have.
const BLINDED: f32 = 0.6;
/// Sharpness below which a frame is blurred whatever its burst looks like.
const BLURRED: f32 = 12.0;
/// A frame with less than this share of its burst's median sharpness is blurred.
const BLURRED_BESIDE: f32 = 0.3;
/// Differences of brightness below which two frames are one: no camera is free of noise.
const SAME: f32 = 0.02;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Out of focus, or moved.
    Blurred,
    /// Too dark to see anything.
    Black,
    /// Too bright to see anything.
    Blinding,
    /// The same as the one before.
    Same,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Blurred, Self::Black, Self::Blinding, Self::Same];

    /// A word for people, and what to do.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Blurred => "blurred: hold still, or move back from the lens",
            Self::Black => "black: is the lens covered, or the light off?",
            Self::Blinding => "far too bright: turn away from the light",
            Self::Same => "the same as the one before: does the camera still move?",
        }
    }
}

/// What a frame looks like, in figures.
#[derive(Clone, Debug)]
pub struct Looks {
    sharpness: f32,
    mean: f32,
    brightest: u8,
    blinded: f32,
    glance: Glance,
}

impl Looks {
    /// Judges one frame.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        let (width, height) = frame.size();
        let step = width.max(height).div_ceil(JUDGED_PX).max(1);
        let (w, h) = ((width / step) as usize, (height / step) as usize);
        let mut grey = Vec::with_capacity(w * h);
        for y in 0..h {
            let row = frame.row(y as u32 * step);
            let step = step as usize;
            grey.extend((0..w).map(|x| brightness(&row[x * step * 3..x * step * 3 + 3])));
        }
        let count = grey.len().max(1) as f32;
        let sum: u64 = grey.iter().map(|v| u64::from(*v)).sum();
        let full = grey.iter().filter(|v| **v >= 250).count();
        Self {
            sharpness: laplacian_variance(&grey, w, h),
            mean: sum as f32 / count,
            brightest: grey.iter().copied().max().unwrap_or(0),
            blinded: full as f32 / count,
            glance: Glance::at(frame),
        }
    }
}

/// Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000): low where nothing has an edge.
fn laplacian_variance(grey: &[u8], w: usize, h: usize) -> f32 {
    if w < 3 || h < 3 {
        return 0.0;
    }
    let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
    for y in 1..h - 1 {
        for x in 1..w - 1 {
            let at = |dx: usize, dy: usize| i32::from(grey[(y + dy - 1) * w + x + dx - 1]);
            let v = f64::from(at(0, 1) + at(2, 1) + at(1, 0) + at(1, 2) - 4 * at(1, 1));
            sum += v;
            squares += v * v;
        }
    }
    let n = ((w - 2) * (h - 2)) as f64;
    (squares / n - (sum / n).powi(2)) as f32
}

/// What is wrong with each frame of a burst, in order; a frame is held against the last good one
/// before it, and against the sharpness of the others.
#[must_use]
pub fn judge(burst: &[Looks]) -> Vec<Option<Flaw>> {
    let mut sharp: Vec<f32> = burst.iter().map(|l| l.sharpness).collect();
    sharp.sort_by(f32::total_cmp);
    let median = sharp.get(sharp.len() / 2).copied().unwrap_or(0.0);
    let mut before: Option<&Glance> = None;
    burst
        .iter()
        .map(|looks| {
            let same = before.is_some_and(|b| b.difference(&looks.glance) < SAME);
            let flaw = if looks.mean < BLACK && looks.brightest < 60 {
                Some(Flaw::Black)
            } else if looks.blinded > BLINDED {
                Some(Flaw::Blinding)
            } else if looks.sharpness < BLURRED || looks.sharpness < BLURRED_BESIDE * median {
                Some(Flaw::Blurred)
            } else if same {
                Some(Flaw::Same)
            } else {
                None
            };
            if flaw.is_none() {
                before = Some(&looks.glance);
            }
            flaw
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo() -> Frame {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/photos/cat.jpg");
        crate::frame::Decode::default().load(&path).unwrap()
    }

    fn changed(frame: &Frame, change: impl Fn(u8, usize) -> u8) -> Frame {
        let (w, h) = frame.size();
        let bytes = frame.rows().flatten().enumerate();
        Frame::from_rgb(w, h, bytes.map(|(i, v)| change(*v, i)).collect()).unwrap()
    }

    /// A mean over a square, which is what a lens out of focus does.
    fn blurred(frame: &Frame, radius: usize) -> Frame {
        let (w, h) = frame.size();
        let (w, h) = (w as usize, h as usize);
        let mut bytes = Vec::with_capacity(w * h * 3);
        for y in 0..h {
            for x in 0..w {
                for c in 0..3 {
                    let (mut sum, mut n) = (0_u32, 0);
                    for yy in (y.saturating_sub(radius)..(y + radius + 1).min(h)).step_by(2) {
                        let row = frame.row(yy as u32);
                        for xx in (x.saturating_sub(radius)..(x + radius + 1).min(w)).step_by(2) {
                            sum += u32::from(row[xx * 3 + c]);
                            n += 1;
                        }
                    }
                    bytes.push((sum / n) as u8);
                }
            }
        }
        Frame::from_rgb(w as u32, h as u32, bytes).unwrap()
    }

    #[test]
    fn each_flaw_is_told_and_good_frames_pass() {
        let good = photo();
        let noise =
            |frame: &Frame, by: usize| changed(frame, |v, i| v.saturating_add((i * by % 3) as u8));
        let burst = [
            good.clone(),
            noise(&good, 7),
            noise(&good, 7),
            blurred(&good, 8),
            changed(&good, |v, _| v / 40),
            changed(&good, |v, _| v.saturating_add(230)),
            noise(&good, 5),
        ];
        let looks: Vec<Looks> = burst.iter().map(Looks::of).collect();
        let flaws = judge(&looks);
        let expected = [
            None,
            None,
            Some(Flaw::Same),
            Some(Flaw::Blurred),
            Some(Flaw::Black),
            Some(Flaw::Blinding),
            None,
        ];
        assert_eq!(flaws, expected, "{looks:#?}");
    }
}
