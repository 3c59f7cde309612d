//! Values of safetensors, as floats.

use safetensors::tensor::{Dtype, TensorView};

/// The values of a tensor of f32 or f16; none of other types.
pub(crate) fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => {
            let values = data.as_chunks::<4>().0.iter();
            Some(values.map(|b| f32::from_le_bytes(*b)).collect())
        }
        Dtype::F16 => {
            let values = data.as_chunks::<2>().0.iter();
            Some(
                values
                    .map(|b| half::f16::from_le_bytes(*b).to_f32())
                    .collect(),
            )
        }
        _ => None,
    }
}
