//! What stands behind the mean of all pixels: single rows.

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::nn::{Reduce, Reducer, Softmax};

use super::draft::Step;
use super::{Lowering, Made};

impl Lowering<'_> {
    fn is_single_row(&self, outlet: OutletId) -> bool {
        matches!(self.look.shape(outlet).as_deref(), Some([1, _]))
    }

    /// Softmax of a single row.
    pub(super) fn softmax(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let Some(softmax) = look.op::<Softmax>(outlet) else {
            return Ok(None);
        };
        if !self.is_single_row(outlet)
            || softmax.axes[..] != [1]
            || softmax.quant_output_dt.is_some()
        {
            return Ok(None);
        }
        let rows = self.value(look.inputs(outlet)[0])?;
        Ok(Some(Step::Softmax { rows }))
    }

    /// x / ‖x‖, times a constant or not.
    pub(super) fn unit(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let scaled = look.with_constant(outlet, "Mul");
        let scaled = scaled.and_then(|(inner, scale)| Some((inner, look.scalar(scale)?)));
        let (quotient, scale) = scaled.unwrap_or((outlet, 1.0));
        let Some([x, length]) = look.pair(quotient, "Div") else {
            return Ok(None);
        };
        let squares = look.only(length, "Sqrt");
        let squares = squares.and_then(|sum| {
            let reduce = look.op::<Reduce>(sum)?;
            let is_sum = reduce.reducer == Reducer::Sum && reduce.axes[..] == [1];
            look.pair(*look.inputs(sum).first().filter(|_| is_sum)?, "Mul")
        });
        if squares != Some([x, x]) || !self.is_single_row(x) {
            return Ok(None);
        }
        let rows = self.value(x)?;
        Ok(Some(Step::Unit { rows, scale }))
    }

    /// Single rows one behind the other.
    pub(super) fn join(&mut self, outlet: OutletId) -> Made {
        let look = self.look;
        let Some(concat) = look.op::<TypedConcat>(outlet) else {
            return Ok(None);
        };
        let inputs = look.inputs(outlet);
        if concat.axis != 1 || !inputs.iter().all(|i| self.is_single_row(*i)) {
            return Ok(None);
        }
        let values = inputs.iter().map(|i| self.value(*i));
        let values = values.collect::<Result<_, _>>()?;
        Ok(Some(Step::Join { values }))
    }
}
