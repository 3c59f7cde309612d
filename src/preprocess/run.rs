//! Frames to tensors with buffers and weights that are kept from frame to frame.

use super::plan::{Plan, Target};
use super::{Filter, Preprocess};
use crate::error::{Error, Result};
use crate::frame::{Frame, PIXEL_BYTES, check_sides};

/// Source sizes whose weights are kept: upright and lying photos of two cameras.
const KEPT_PLANS: usize = 4;

/// The most pixels that [`resize`] makes; 300 MB.
const MAX_RESIZED_PIXELS: u64 = 100_000_000;

/// Does what a [`Preprocess`] says. It owns its buffers, so keep one per thread.
#[derive(Debug)]
pub struct Preprocessor {
    spec: Preprocess,
    // The last used stands first.
    plans: Vec<Plan>,
    middle: Vec<u8>,
    pixels: Vec<u8>,
    levels: Box<[[f32; 256]; 3]>,
}

impl Preprocessor {
    /// Checks the spec and sets aside the buffers that do not depend on the frames.
    ///
    /// # Errors
    ///
    /// Those of [`Preprocess::check`].
    pub fn new(spec: Preprocess) -> Result<Self> {
        spec.check()?;
        let (width, height) = spec.input_size();
        Ok(Self {
            plans: Vec::with_capacity(KEPT_PLANS),
            middle: Vec::new(),
            pixels: vec![0; width as usize * height as usize * PIXEL_BYTES],
            levels: levels(&spec),
            spec,
        })
    }

    /// What this preprocessor does.
    #[must_use]
    pub fn spec(&self) -> &Preprocess {
        &self.spec
    }

    /// `(width, height)` of the tensor.
    #[must_use]
    pub fn input_size(&self) -> (u32, u32) {
        self.spec.input_size()
    }

    /// Floats of the tensor: `3 × height × width`.
    #[must_use]
    pub fn tensor_len(&self) -> usize {
        self.pixels.len()
    }

    /// Writes a frame as `[3, height, width]` floats: red, green, blue, each
    /// `(level / 255 − mean) / std` in single precision, as torchvision computes it.
    ///
    /// Nothing is allocated for a frame whose size was among the last four.
    ///
    /// # Errors
    ///
    /// If `tensor` does not hold [`Preprocessor::tensor_len`] floats, or the frame is so long
    /// that the work between the passes would not fit its bound.
    pub fn tensor_into(&mut self, frame: &Frame, tensor: &mut [f32]) -> Result<()> {
        if tensor.len() != self.pixels.len() {
            let (width, height) = self.input_size();
            return Err(Error::invalid(
                "tensor length",
                tensor.len().to_string(),
                format!("{} for 3x{height}x{width}", self.pixels.len()),
            ));
        }
        self.choose_plan(frame.size())?;
        self.plans[0].run(frame, &mut self.middle, &mut self.pixels);
        self.spread(tensor);
        Ok(())
    }

    /// The resized and cropped RGB bytes of the last frame, row after row.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Brings the plan for a source size to the front, making it where there is none.
    fn choose_plan(&mut self, source: (u32, u32)) -> Result<()> {
        if let Some(at) = self.plans.iter().position(|plan| plan.source() == source) {
            self.plans[..=at].rotate_right(1);
            return Ok(());
        }
        let target = Target {
            resized: self.spec.resized_size(source),
            kept: self.input_size(),
            filter: self.spec.filter,
        };
        let plan = Plan::new(source, &target)?;
        self.plans.truncate(KEPT_PLANS - 1);
        self.plans.insert(0, plan);
        Ok(())
    }

    /// Interleaved bytes to planes of floats.
    fn spread(&self, tensor: &mut [f32]) {
        let (red, rest) = tensor.split_at_mut(tensor.len() / 3);
        let (green, blue) = rest.split_at_mut(red.len());
        let planes = red.iter_mut().zip(green).zip(blue);
        for (pixel, ((red, green), blue)) in self.pixels.chunks_exact(PIXEL_BYTES).zip(planes) {
            *red = self.levels[0][pixel[0] as usize];
            *green = self.levels[1][pixel[1] as usize];
            *blue = self.levels[2][pixel[2] as usize];
        }
    }
}

/// The float of each level of each channel.
fn levels(spec: &Preprocess) -> Box<[[f32; 256]; 3]> {
    let mut levels = Box::new([[0.0; 256]; 3]);
    for (channel, table) in levels.iter_mut().enumerate() {
        for (level, value) in (0_u8..=255).zip(table) {
            *value = (f32::from(level) / 255.0 - spec.mean[channel]) / spec.std[channel];
        }
    }
    levels
}

/// A frame at another size, equal to Pillow's `Image.resize` of the same pixels.
///
/// # Errors
///
/// If a side is 0 or above [`Frame::MAX_SIDE`], or the result or the work between the passes
/// would exceed its bound.
pub fn resize(frame: &Frame, width: u32, height: u32, filter: Filter) -> Result<Frame> {
    check_sides(width, height)?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_RESIZED_PIXELS {
        return Err(Error::Limit {
            what: "pixels after a resize",
            found: pixels,
            limit: MAX_RESIZED_PIXELS,
        });
    }
    let target = Target {
        resized: (width.into(), height.into()),
        kept: (width, height),
        filter,
    };
    let plan = Plan::new(frame.size(), &target)?;
    let mut out = vec![0; pixels as usize * PIXEL_BYTES];
    plan.run(frame, &mut Vec::new(), &mut out);
    Frame::from_rgb(width, height, out)
}
