//! The first and the last steps: patches, tokens with their places, and the row that is read.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::array::{Gather, Slice, TypedConcat};
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_core::ops::nn::{Reduce, Reducer};

use super::attention::{Axis, Chain};
use super::draft::{Matrix, Step};
use super::linear::rounding;
use super::{Lowering, Made};
use crate::encoder::kernels::rows::Activation;

impl Lowering<'_> {
    /// A convolution of squares that touch, whose places become rows.
    pub(super) fn patches(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let chain = Chain::back(&look, outlet, |o| look.op::<Conv>(o).is_some());
        let Some(chain) = chain else {
            return Ok(None);
        };
        let conv = look.op::<Conv>(chain.base).ok_or("no convolution")?;
        let inputs = look.inputs(chain.base);
        let Some((shape, weights)) = inputs.get(1).and_then(|w| look.floats(*w)) else {
            return Ok(None);
        };
        let ([columns, channels, side, across], Some([1, _, rows, steps])) = (
            <[usize; 4]>::try_from(&shape[..]).unwrap_or_default(),
            look.shape(chain.base)
                .and_then(|s| <[usize; 4]>::try_from(&s[..]).ok()),
        ) else {
            return Ok(None);
        };
        let (from, range) = look.unrounded(inputs[0]);
        let pool = &conv.pool_spec;
        let no_padding = match &pool.padding {
            PaddingSpec::Valid => true,
            PaddingSpec::Explicit(a, b) | PaddingSpec::ExplicitOnnxPool(a, b, _) => {
                a.iter().chain(b.iter()).all(|n| *n == 0)
            }
            _ => false,
        };
        let whole = pool.strides.as_ref().is_some_and(|s| s[..] == [side, side])
            && pool
                .dilations
                .as_ref()
                .is_none_or(|d| d.iter().all(|n| *n == 1));
        if conv.group != 1
            || conv.kernel_fmt != KernelFormat::OIHW
            || conv.q_params.is_some()
            || side != across
            || !(no_padding && whole)
            || from.node != self.input
        {
            return Ok(None);
        }
        // Rows must come line by line, their columns last.
        let base = vec![
            Axis::One,
            Axis::Columns(0, columns),
            Axis::Line(rows),
            Axis::Step(steps),
        ];
        if !chain.forward(&look, base).is_some_and(|(axes, factor)| {
            factor == 1.0
                && Axis::are(
                    &axes,
                    &[Axis::Rows(rows * steps), Axis::Columns(0, columns)],
                )
        }) {
            return Ok(None);
        }
        let bias = match inputs.get(2).and_then(|b| look.floats(*b)) {
            None => vec![0.0; columns],
            Some((_, values)) if values.len() == columns => values.to_vec(),
            Some((_, [one])) => vec![*one; columns],
            Some(_) => return Ok(None),
        };
        let patches = self.draft.add(Step::Patches { side });
        let matrix = Matrix {
            inputs: channels * side * side,
            columns,
            weights: Arc::new(weights.to_vec()),
            bias,
            rounding: range.map(rounding).transpose()?,
        };
        Ok(Some(Step::linear(patches, matrix, Activation::None)))
    }

    /// A class token before the patches, and places added to all.
    pub(super) fn embed(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let Some((tokens, table)) = look.with_constant(outlet, "Add") else {
            return Ok(None);
        };
        let (Some((rows, width)), Some((_, table))) = (look.matrix(tokens), look.floats(table))
        else {
            return Ok(None);
        };
        if table.len() != rows * width {
            return Ok(None);
        }
        let mut table = table.to_vec();
        let (from, first) = match look.op::<TypedConcat>(tokens) {
            None => (tokens, false),
            Some(concat) => {
                let [class, patches] = look.inputs(tokens) else {
                    return Ok(None);
                };
                let rank = look.shape(tokens).map_or(0, |s| s.len());
                let Some((_, class)) = look.floats(look.through(*class)) else {
                    return Ok(None);
                };
                if class.len() != width || concat.axis + 2 != rank {
                    return Ok(None);
                }
                table.iter_mut().zip(class).for_each(|(t, c)| *t += c);
                (*patches, true)
            }
        };
        let rows = self.value(from)?;
        let table = Arc::new(table);
        Ok(Some(Step::Embed { rows, first, table }))
    }

    /// One row, or the mean of all.
    pub(super) fn pick(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        if let Some(gather) = look.op::<Gather>(outlet) {
            let [from, index] = look.inputs(outlet) else {
                return Ok(None);
            };
            let (Some(index), Some((rows, _))) = (look.index(*index), look.matrix(*from)) else {
                return Ok(None);
            };
            let rank = look.shape(*from).map_or(0, |s| s.len());
            let row = if index < 0 {
                index + rows as i64
            } else {
                index
            };
            let Ok(row) = usize::try_from(row) else {
                return Ok(None);
            };
            if gather.axis + 2 != rank || row >= rows {
                return Ok(None);
            }
            let rows = self.value(*from)?;
            return Ok(Some(Step::Pick { rows, row }));
        }
        if let Some(slice) = look.op::<Slice>(outlet) {
            let from = look.inputs(outlet)[0];
            let rank = look.shape(from).map_or(0, |s| s.len());
            let bounds = (slice.start.to_usize(), slice.end.to_usize());
            let (Ok(row), Ok(end)) = bounds else {
                return Ok(None);
            };
            if slice.axis + 2 != rank || end != row + 1 {
                return Ok(None);
            }
            let rows = self.value(from)?;
            return Ok(Some(Step::Pick { rows, row }));
        }
        let Some((sum, count)) = look.with_constant(outlet, "Div") else {
            return Ok(None);
        };
        let Some(reduce) = look.op::<Reduce>(sum) else {
            return Ok(None);
        };
        let from = look.inputs(sum)[0];
        let (Some((rows, _)), Some(shape)) = (look.matrix(from), look.shape(from)) else {
            return Ok(None);
        };
        let over_rows = reduce.reducer == Reducer::Sum && reduce.axes[..] == [shape.len() - 2];
        if !over_rows || look.scalar(count) != Some(rows as f32) {
            return Ok(None);
        }
        let rows = self.value(from)?;
        Ok(Some(Step::Mean { rows }))
    }
}
