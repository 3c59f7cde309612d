//! Frames to tensors, to the bit as Pillow does it: the encoders were trained on Pillow's pixels.
//!
//! A [`Preprocess`] says what an encoder wants: a resize, a crop, a mean and a spread. A
//! [`Preprocessor`] does it, frame after frame, without allocating, and computes only the
//! columns and rows that the crop keeps. [`resize`] is the resize alone.
//!
//! Sizes follow Hugging Face's CLIP image processor: the shorter side gets the asked length, the
//! longer one `int(length × long / short)`, cut not rounded, and the crop starts at
//! `(height − crop height) // 2, (width − crop width) // 2`.
//!
//! The resize is that of Pillow up to version 12: weights in 22-bit fixed point, the horizontal
//! pass first, its result rounded to bytes, then the vertical one. Pillow 13 swaps the passes
//! for tall pictures, which moves some pixels by a level; the encoders learned before that.
//!
//! What it refuses: a spec whose tensor would not have one fixed shape, or whose numbers could
//! not be finite.

mod kernels;
mod plan;
mod run;
mod taps;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use run::{Preprocessor, resize};

/// The longest side that a spec may ask for, in pixels; encoders take 224 to 1,024.
pub const MAX_INPUT_SIDE: u32 = 4096;

/// What an encoder wants its pixels to go through: resize, then crop, then normalise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// The size before the crop.
    pub resize: Resize,
    /// How pixels are weighed when the size changes.
    pub filter: Filter,
    /// `(width, height)` of the centre that is kept; everything where absent.
    pub crop: Option<(u32, u32)>,
    /// What is subtracted from red, green and blue, on the scale of 0 to 1.
    pub mean: [f32; 3],
    /// What red, green and blue are then divided by, on the scale of 0 to 1.
    pub std: [f32; 3],
}

/// The size that a picture gets before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The shorter side gets this many pixels; the proportions stay.
    Shortest(u32),
    /// Both sides are set; the proportions may change.
    Exact {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
}

/// How pixels are weighed when the size changes; both widen when shrinking, as Pillow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Cubic with a = −0.5, two pixels to each side.
    Bicubic,
    /// A triangle, one pixel to each side.
    Bilinear,
}

impl Preprocess {
    /// Tells whether the spec gives every picture the same shape and finite numbers.
    ///
    /// # Errors
    ///
    /// Names the part that is zero, larger than [`MAX_INPUT_SIDE`], larger than the picture that
    /// it is cut from, missing or not finite.
    pub fn check(&self) -> Result<()> {
        let least = match self.resize {
            Resize::Shortest(side) => (side, side),
            Resize::Exact { width, height } => (width, height),
        };
        check_side("resize", least)?;
        match self.crop {
            Some(crop) => {
                check_side("crop", crop)?;
                if crop.0 > least.0 || crop.1 > least.1 {
                    return Err(Error::invalid(
                        "crop",
                        format!("{}x{}", crop.0, crop.1),
                        format!("at most the resized {}x{}", least.0, least.1),
                    ));
                }
            }
            None if matches!(self.resize, Resize::Shortest(_)) => {
                return Err(Error::invalid(
                    "crop",
                    "none after a resize of the shortest side",
                    "a crop, or an exact resize: every picture must give the same shape",
                ));
            }
            None => {}
        }
        self.check_levels()
    }

    fn check_levels(&self) -> Result<()> {
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::invalid("mean", mean.to_string(), "finite numbers"));
        }
        let usable = |std: &f32| std.is_finite() && (1.0 / std).is_finite() && *std > 0.0;
        if let Some(std) = self.std.iter().find(|std| !usable(std)) {
            return Err(Error::invalid(
                "std",
                std.to_string(),
                "positive, finite numbers",
            ));
        }
        Ok(())
    }

    /// `(width, height)` of the tensor; meaningful once [`Preprocess::check`] has passed.
    #[must_use]
    pub fn input_size(&self) -> (u32, u32) {
        match (self.crop, self.resize) {
            (Some(crop), _) => crop,
            (None, Resize::Exact { width, height }) => (width, height),
            (None, Resize::Shortest(side)) => (side, side),
        }
    }

    /// `(width, height)` of `source` after the resize, before the crop.
    ///
    /// 64 bits, because a strip one pixel thin grows beyond 32; only its centre is ever computed.
    #[must_use]
    pub fn resized_size(&self, source: (u32, u32)) -> (u64, u64) {
        match self.resize {
            Resize::Exact { width, height } => (width.into(), height.into()),
            Resize::Shortest(side) => {
                let short = source.0.min(source.1).max(1);
                let scaled = |long: u32| {
                    // The same double division as Python's, so that the cut falls alike.
                    let exact = (u64::from(side) * u64::from(long)) as f64 / f64::from(short);
                    (exact as u64).max(1)
                };
                if source.0 <= source.1 {
                    (side.into(), scaled(source.1))
                } else {
                    (scaled(source.0), side.into())
                }
            }
        }
    }
}

fn check_side(what: &'static str, (width, height): (u32, u32)) -> Result<()> {
    let fits = 1..=MAX_INPUT_SIDE;
    if fits.contains(&width) && fits.contains(&height) {
        return Ok(());
    }
    Err(Error::invalid(
        what,
        format!("{width}x{height}"),
        format!("1 to {MAX_INPUT_SIDE} pixels a side"),
    ))
}

/// Which body of the resize kernels this machine runs: `AVX2`, `NEON` or `portable`.
#[must_use]
pub fn kernel_name() -> &'static str {
    kernels::name()
}
