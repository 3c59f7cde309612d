//! Convolutions between grids that the file fixed, as quantizers write them: QuantizeLinear and DequantizeLinear
//! around every activation.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_core::ops::nn::{Reduce, Reducer};

use super::draft::{Channels, Matrix, Step};
use super::linear::rounding;
use super::look::node_words;
use super::{Lowering, Made};
use crate::encoder::fused::graph::{Levels, Rounding, Window};
use crate::encoder::kernels::COLUMNS;
use crate::encoder::onnx::fake_quantize::{FakeQuantize, Range};

impl Lowering<'_> {
    /// What is put on a grid: a convolution, or a sum of two.
    pub(super) fn pixels(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let Some(FakeQuantize(range @ Range::Fixed { .. })) = look.op::<FakeQuantize>(outlet)
        else {
            return Ok(None);
        };
        let mut levels = levels_of(*range)?;
        let mut inner = look.through(look.inputs(outlet)[0]);
        // Clamps before the grid, as ReLU6 is.
        loop {
            let (from, low, high) = match (
                look.with_constant(inner, "Max"),
                look.with_constant(inner, "Min"),
            ) {
                (Some((from, low)), _) => (from, look.scalar(low), None),
                (_, Some((from, high))) => (from, None, look.scalar(high)),
                _ => break,
            };
            if low.is_none() && high.is_none() {
                return Ok(None);
            }
            let byte = |v: f32| {
                let q = (v / levels.scale).round_ties_even() + f32::from(levels.zero);
                q.clamp(0.0, 255.0) as u8
            };
            levels.low = low.map_or(levels.low, |v| byte(v).max(levels.low));
            levels.high = high.map_or(levels.high, |v| byte(v).min(levels.high));
            inner = from;
        }
        if levels.low > levels.high {
            return Err(format!(
                "{}: no value is left",
                node_words(look.node(outlet))
            ));
        }
        if look.op::<Conv>(inner).is_some() {
            return self.convolution(inner, levels);
        }
        let Some([a, b]) = look.pair(inner, "Add") else {
            return Ok(None);
        };
        let is_pixels = |o: OutletId| look.shape(o).is_some_and(|s| s.len() == 4);
        if look.shape(a) != look.shape(b)
            || !is_pixels(a)
            || look.is_constant(a)
            || look.is_constant(b)
        {
            return Ok(None);
        }
        let values = [self.value(a)?, self.value(b)?];
        if values.iter().any(|v| self.draft.levels(*v).is_none()) {
            return Ok(None);
        }
        Ok(Some(Step::Sum { values, levels }))
    }

    fn convolution(&mut self, outlet: OutletId, levels: Levels) -> Made {
        let look = self.look;
        let Some(conv) = look.op::<Conv>(outlet) else {
            return Ok(None);
        };
        let why = |what: &str| Err(format!("{}: {what}", node_words(look.node(outlet))));
        let inputs = look.inputs(outlet);
        let Some((shape, weights)) = inputs.get(1).and_then(|w| look.floats(*w)) else {
            return why("weights that are computed");
        };
        let (Ok([columns, channels, side, across]), Some(out)) = (
            <[usize; 4]>::try_from(&shape[..]),
            look.shape(outlet).filter(|s| s.len() == 4),
        ) else {
            return why("a convolution of other than lines and columns");
        };
        let pool = &conv.pool_spec;
        let strides: Vec<usize> = pool.strides.as_ref().map_or(vec![1, 1], |s| s.to_vec());
        let before = match &pool.padding {
            PaddingSpec::Valid => vec![0, 0],
            PaddingSpec::Explicit(before, _) | PaddingSpec::ExplicitOnnxPool(before, _, _) => {
                before.to_vec()
            }
            _ => return why("padding by name"),
        };
        let is_dense = pool
            .dilations
            .as_ref()
            .is_none_or(|d| d.iter().all(|n| *n == 1));
        if side != across
            || strides.len() != 2
            || strides[0] != strides[1]
            || before.len() != 2
            || !is_dense
            || conv.kernel_fmt != KernelFormat::OIHW
            || conv.q_params.is_some()
        {
            return why("windows that are no squares of neighbours");
        }
        let number = |n: usize| u32::try_from(n).map_err(|e| e.to_string());
        let window = Window {
            side: number(side)?,
            stride: number(strides[0])?,
            before: [number(before[0])?, number(before[1])?],
            lines: number(out[2])?,
            across: number(out[3])?,
        };
        let bias = match inputs.get(2).and_then(|b| look.floats(*b)) {
            None => vec![0.0; columns],
            Some((_, values)) if values.len() == columns => values.to_vec(),
            Some((_, [one])) => vec![*one; columns],
            Some(_) => return why("a bias of another length"),
        };
        let from = look.through(inputs[0]);
        let Some(FakeQuantize(range)) = look.op::<FakeQuantize>(from) else {
            return why("an input on no grid");
        };
        let of_picture = look.through(look.inputs(from)[0]).node == self.input;
        if conv.group == 1 {
            let is_plain = side == 1 && window.stride == 1 && before == [0, 0];
            let (rows, inputs, weights) = if of_picture {
                let levels = levels_of(*range)?;
                let step = self.draft.add(Step::Stem { window, levels });
                (step, channels * side * side, weights.to_vec())
            } else if is_plain {
                (self.value(from)?, channels, weights.to_vec())
            } else {
                let rows = self.value(from)?;
                let padded = channels.next_multiple_of(COLUMNS);
                let windows = self.draft.add(Step::Windows { rows, window });
                let inputs = side * side * padded;
                (
                    windows,
                    inputs,
                    pixel_by_pixel(weights, channels, side * side, padded),
                )
            };
            let matrix = Matrix {
                inputs,
                columns,
                weights: Arc::new(weights),
                bias,
                rounding: Some(Rounding::Kept),
            };
            return Ok(Some(Step::of_bytes(rows, matrix, levels)));
        }
        if of_picture || conv.group != columns || channels != 1 {
            return why("groups of several channels");
        }
        let rows = self.value(from)?;
        let channels = Channels {
            weights: weights.to_vec(),
            taps: side * side,
            bias,
        };
        let channels = Arc::new(channels);
        Ok(Some(Step::Depthwise {
            rows,
            window,
            channels,
            levels,
        }))
    }

    /// The mean of all pixels.
    pub(super) fn pooled(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let Some((sum, count)) = look.with_constant(outlet, "Div") else {
            return Ok(None);
        };
        let Some(reduce) = look.op::<Reduce>(sum) else {
            return Ok(None);
        };
        let from = look.through(look.inputs(sum)[0]);
        let Some([1, _, lines, across]) = look
            .shape(from)
            .and_then(|s| <[usize; 4]>::try_from(s).ok())
        else {
            return Ok(None);
        };
        let over_pixels = reduce.reducer == Reducer::Sum && reduce.axes[..] == [2, 3];
        if !over_pixels || look.scalar(count) != Some((lines * across) as f32) {
            return Ok(None);
        }
        let rows = self.value(from)?;
        Ok(Some(Step::Mean { rows }))
    }
}

/// Weights of each column, channel by channel, in the order of [`Step::Windows`].
fn pixel_by_pixel(weights: &[f32], channels: usize, taps: usize, padded: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(weights.len() / channels * padded);
    for column in weights.chunks_exact(channels * taps) {
        for tap in 0..taps {
            out.extend((0..channels).map(|c| column[c * taps + tap]));
            out.resize(out.len() + padded - channels, 0.0);
        }
    }
    out
}

fn levels_of(range: Range) -> Result<Levels, String> {
    let Rounding::Fixed {
        scale,
        zero,
        low,
        high,
    } = rounding(range)?
    else {
        return Err("a grid that is no file's".into());
    };
    let byte = |n: i32| u8::try_from(n).map_err(|_| format!("{n} is no byte"));
    Ok(Levels {
        scale,
        zero: byte(zero)?,
        low: byte(low)?,
        high: byte(high)?,
    })
}
