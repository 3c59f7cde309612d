//! Rounding an activation to 8 bits and back, in f32: what an int8 product does to its input.
//!
//! A product of rounded f32 values equals the integer product to f32's last bits, so a graph with
//! these operators answers as its int8 form does, on any machine. In ONNX it is the operator
//! `FakeQuantize` of the domain `edgeclip`; see [`Range`] for its attributes.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::inference_wrap;

use super::proto::{float, int, word};

/// Name of the operator in ONNX.
pub(crate) const OP: &str = "FakeQuantize";
/// Its domain.
pub(crate) const DOMAIN: &str = "edgeclip";

/// The 256 values that an activation may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Range {
    /// Each row (last axis) from its own least to its greatest value, zero included.
    Row,
    /// The same for the whole tensor, as ONNX's DynamicQuantizeLinear.
    Tensor,
    /// `scale·(q − zero)` with q from `low` to `high`, as ONNX's QuantizeLinear.
    Fixed {
        /// Distance of two values.
        scale: f32,
        /// What stands for 0.
        zero: i32,
        /// Least q.
        low: i32,
        /// Greatest q.
        high: i32,
    },
}

impl Range {
    /// The node that rounds `input` to `output`.
    pub(crate) fn node(self, input: &str, output: &str) -> NodeProto {
        let mut attributes = vec![word("range", self.word())];
        if let Self::Fixed {
            scale,
            zero,
            low,
            high,
        } = self
        {
            attributes.push(float("scale", scale));
            let bounds = [("zero_point", zero), ("low", low), ("high", high)];
            attributes.extend(bounds.map(|(name, value)| int(name, value.into())));
        }
        NodeProto {
            op_type: OP.into(),
            domain: DOMAIN.into(),
            name: format!("{output}_quantized"),
            input: vec![input.into()],
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        }
    }

    /// Least and greatest value of a fixed range.
    pub(super) fn bounds(self) -> (f32, f32) {
        match self {
            Self::Fixed {
                scale,
                zero,
                low,
                high,
            } => (scale * (low - zero) as f32, scale * (high - zero) as f32),
            Self::Row | Self::Tensor => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Tensor => "tensor",
            Self::Fixed { .. } => "fixed",
        }
    }

    /// The range that a node states; words where it states none.
    pub(crate) fn of(node: &NodeProto) -> Result<Self, String> {
        let find = |name: &str| node.attribute.iter().find(|a| a.name == name);
        let int = |name: &str| {
            let value = find(name).and_then(|a| i32::try_from(a.i).ok());
            value.ok_or_else(|| format!("no {name}"))
        };
        match find("range").map(|a| &a.s[..]) {
            Some(b"row") => Ok(Self::Row),
            Some(b"tensor") => Ok(Self::Tensor),
            Some(b"fixed") => {
                let scale = find("scale").map_or(0.0, |a| a.f);
                let (zero, low, high) = (int("zero_point")?, int("low")?, int("high")?);
                if !(scale.is_finite() && scale > 0.0)
                    || low >= high
                    || !(low..=high).contains(&zero)
                {
                    return Err(format!(
                        "scale {scale}, zero point {zero}, range {low} to {high}"
                    ));
                }
                Ok(Self::Fixed {
                    scale,
                    zero,
                    low,
                    high,
                })
            }
            _ => Err("no range".into()),
        }
    }

    /// Rounds `values`, whose rows are `width` long.
    pub(crate) fn round(self, values: &mut [f32], width: usize) {
        match self {
            Self::Row => values
                .chunks_exact_mut(width.max(1))
                .for_each(round_to_own_range),
            Self::Tensor => round_to_own_range(values),
            Self::Fixed {
                scale,
                zero,
                low,
                high,
            } => round_to_grid(values, scale, (low - zero) as f32, (high - zero) as f32),
        }
    }
}

/// ONNX DynamicQuantizeLinear, then back.
fn round_to_own_range(values: &mut [f32]) {
    let low = values.iter().fold(0.0_f32, |m, v| m.min(*v));
    let high = values.iter().fold(0.0_f32, |m, v| m.max(*v));
    let scale = (high - low) / 255.0;
    if scale > 0.0 {
        let zero = nearest((-low / scale).clamp(0.0, 255.0));
        round_to_grid(values, scale, -zero, 255.0 - zero);
    }
}

/// To the nearest of `scale·low … scale·high`, ties to the even step.
fn round_to_grid(values: &mut [f32], scale: f32, low: f32, high: f32) {
    for v in values {
        *v = scale * nearest((*v / scale).clamp(low, high));
    }
}

/// The nearest whole number, ties to even, of anything below 2²²: an addition does the rounding.
fn nearest(v: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (v + SHIFT) - SHIFT
}

/// The operator in tract.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FakeQuantize(pub(crate) Range);

// A range read from a file holds no NaN.
impl Eq for FakeQuantize {}

impl Op for FakeQuantize {
    fn name(&self) -> StaticName {
        OP.into()
    }

    op_as_typed_op!();
}

impl EvalOp for FakeQuantize {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let width = input.shape().last().copied().unwrap_or(1);
        let mut tensor = input.into_tensor();
        let mut view = tensor.try_as_plain_ram_mut()?;
        self.0.round(view.as_slice_mut::<f32>()?, width);
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for FakeQuantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}

/// Lets `onnx` read the operator.
pub(super) fn register(onnx: &mut tract_onnx::Onnx) {
    onnx.op_register.insert(OP, |_, node| {
        let range = Range::of(node).map_err(TractError::msg)?;
        let op = inference_wrap(FakeQuantize(range), 1, |_, solver, inputs, outputs| {
            check_input_arity(inputs, 1)?;
            check_output_arity(outputs, 1)?;
            solver.equals(&inputs[0].datum_type, f32::datum_type())?;
            solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
            solver.equals(&inputs[0].shape, &outputs[0].shape)
        });
        Ok((op, vec![]))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_range_rounds_and_clamps_as_onnx_does() {
        let range = Range::Fixed {
            scale: 0.5,
            zero: 10,
            low: 0,
            high: 255,
        };
        let mut values = [
            0.24,
            0.25,
            0.75,
            -0.25,
            0.76,
            1000.0,
            -1000.0,
            f32::MIN,
            f32::MAX,
        ];
        range.round(&mut values, 9);
        assert_eq!(values, [0.0, 0.0, 1.0, 0.0, 1.0, 122.5, -5.0, -5.0, 122.5]);
        assert_eq!(Range::of(&range.node("a", "b")).unwrap(), range);
    }

    #[test]
    fn rows_have_ranges_of_their_own_and_keep_zero() {
        let mut values = [0.0, 1.0, 2.55, 0.0, -100.0, 155.0, 0.0, 0.0, 0.0];
        Range::Row.round(&mut values, 3);
        for (got, expected) in values
            .iter()
            .zip([0.0, 1.0, 2.55, 0.0, -100.0, 155.0, 0.0, 0.0, 0.0])
        {
            assert!((got - expected).abs() < 1e-4, "{values:?}");
        }
        let mut tensor = [0.3, 255.0];
        Range::Tensor.round(&mut tensor, 1);
        assert_eq!(tensor, [0.0, 255.0]);
        for range in [Range::Row, Range::Tensor] {
            assert_eq!(Range::of(&range.node("a", "b")).unwrap(), range);
        }
    }

    #[test]
    fn attributes_that_are_no_range_are_refused() {
        let mut node = Range::Fixed {
            scale: 1.0,
            zero: 0,
            low: 0,
            high: 255,
        }
        .node("a", "b");
        node.attribute[1].f = f32::NAN;
        assert!(Range::of(&node).is_err());
        node.attribute.clear();
        assert!(Range::of(&node).is_err());
    }
}
