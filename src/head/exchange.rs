//! Heads as named arrays, for files of ours and for other programs.
//!
//! | kind | tensors (f32 where nothing is said) |
//! |---|---|
//! | `linear` | `weights` K×D, `bias` K |
//! | `cache` | those, `keys` N×D, `key_classes` N u32, `strengths` N, `sharpness` [] |
//! | `adapter` | those of `linear`, `down` H×D, `up` D×H, `alpha` [] |
//!
//! `linear`: weights·f + bias. `cache`: that plus, to the score of key_classes_i,
//! strengths_i·exp(sharpness·(keys_i·f − 1)). `adapter`: `linear` of unit(alpha·relu(up·relu(
//! down·f)) + (1 − alpha)·f). The bundle's scale is part of the weights. In a safetensors file the
//! kind is the metadata `edgeclip.head`.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::{Adapter, AdapterParts, Cache, CacheParts, Head, Linear};
use crate::error::{Error, Result};

/// A head as a kind and named arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensors {
    /// `linear`, `cache` or `adapter`.
    pub kind: String,
    /// The arrays that this kind asks for, in any order.
    pub tensors: Vec<Tensor>,
}

/// One named array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name, once in a head.
    pub name: String,
    /// Its lengths, outermost first; none for a number.
    pub shape: Vec<usize>,
    /// Its values, the last axis fastest.
    pub values: Values,
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Values {
    /// Weights and settings.
    F32(Vec<f32>),
    /// Numbers of classes.
    U32(Vec<u32>),
}

impl Values {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::U32(v) => v.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&Head> for Tensors {
    fn from(head: &Head) -> Self {
        let linear = head.linear();
        let mut tensors = vec![
            matrix("weights", linear.weights()),
            floats("bias", &[linear.bias().len()], linear.bias().to_vec()),
        ];
        match head {
            Head::Linear(_) => {}
            Head::Cache(cache) => {
                let parts = cache.parts();
                let n = [parts.key_classes.len()];
                tensors.push(matrix("keys", parts.keys.view()));
                tensors.push(Tensor {
                    name: "key_classes".to_owned(),
                    shape: n.to_vec(),
                    values: Values::U32(parts.key_classes.clone()),
                });
                tensors.push(floats("strengths", &n, parts.strengths.clone()));
                tensors.push(floats("sharpness", &[], vec![parts.sharpness]));
            }
            Head::Adapter(adapter) => {
                let parts = adapter.parts();
                tensors.push(matrix("down", parts.down.view()));
                tensors.push(matrix("up", parts.up.view()));
                tensors.push(floats("alpha", &[], vec![parts.alpha]));
            }
        }
        Self {
            kind: head.kind().to_owned(),
            tensors,
        }
    }
}

impl From<Head> for Tensors {
    fn from(head: Head) -> Self {
        Self::from(&head)
    }
}

/// # Errors
/// An unknown kind, a missing or strange array, shapes that do not fit each other, or values that
/// no head has.
impl TryFrom<Tensors> for Head {
    type Error = Error;

    fn try_from(tensors: Tensors) -> Result<Self> {
        let mut rest = Rest(tensors.tensors);
        let linear = |rest: &mut Rest| Linear::new(rest.matrix("weights")?, rest.floats("bias")?);
        let head = match &*tensors.kind {
            "linear" => Self::Linear(linear(&mut rest)?),
            "cache" => Self::Cache(Cache::new(CacheParts {
                linear: linear(&mut rest)?,
                keys: rest.matrix("keys")?,
                key_classes: rest.classes("key_classes")?,
                strengths: rest.floats("strengths")?,
                sharpness: rest.number("sharpness")?,
            })?),
            "adapter" => Self::Adapter(Adapter::new(AdapterParts {
                linear: linear(&mut rest)?,
                down: rest.matrix("down")?,
                up: rest.matrix("up")?,
                alpha: rest.number("alpha")?,
            })?),
            kind => {
                return Err(Error::invalid(
                    "kind of head",
                    kind,
                    "linear, cache or adapter",
                ));
            }
        };
        match rest.0.first() {
            None => Ok(head),
            Some(more) => Err(Error::invalid(
                "tensor of a head",
                more.name.clone(),
                "none but those of its kind",
            )),
        }
    }
}

/// Arrays that were not taken yet.
struct Rest(Vec<Tensor>);

impl Rest {
    fn take(&mut self, name: &'static str, axes: usize) -> Result<(Vec<usize>, Values)> {
        let at = self.0.iter().position(|t| t.name == name);
        let Tensor { shape, values, .. } = match at {
            Some(at) => self.0.swap_remove(at),
            None => return Err(Error::invalid(name, "no such tensor", "one")),
        };
        let len = shape
            .iter()
            .try_fold(1_usize, |len, axis| len.checked_mul(*axis));
        if shape.len() != axes || len != Some(values.len()) {
            let found = format!("{} values for shape {shape:?}", values.len());
            return Err(Error::invalid(
                name,
                found,
                format!("{axes} axes that hold its values"),
            ));
        }
        Ok((shape, values))
    }

    fn take_floats(&mut self, name: &'static str, axes: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        match self.take(name, axes)? {
            (shape, Values::F32(values)) => Ok((shape, values)),
            (_, Values::U32(_)) => Err(Error::invalid(name, "u32", "f32")),
        }
    }

    fn floats(&mut self, name: &'static str) -> Result<Vec<f32>> {
        self.take_floats(name, 1).map(|(_, values)| values)
    }

    fn number(&mut self, name: &'static str) -> Result<f32> {
        self.take_floats(name, 0).map(|(_, values)| values[0])
    }

    fn matrix(&mut self, name: &'static str) -> Result<Array2<f32>> {
        let (shape, values) = self.take_floats(name, 2)?;
        let whole = Array2::from_shape_vec((shape[0], shape[1]), values);
        whole.map_err(|_| {
            Error::invalid(
                name,
                format!("shape {shape:?}"),
                "one that holds its values",
            )
        })
    }

    fn classes(&mut self, name: &'static str) -> Result<Vec<u32>> {
        match self.take(name, 1)? {
            (_, Values::U32(values)) => Ok(values),
            (_, Values::F32(_)) => Err(Error::invalid(name, "f32", "u32")),
        }
    }
}

fn matrix(name: &str, values: ArrayView2<'_, f32>) -> Tensor {
    floats(name, values.shape(), values.iter().copied().collect())
}

fn floats(name: &str, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: Values::F32(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Head {
        let linear =
            Linear::new(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]), vec![0.5, 0.25]).unwrap();
        let parts = CacheParts {
            linear,
            keys: ndarray::arr2(&[[0.6, 0.8]]),
            key_classes: vec![1],
            strengths: vec![1.0],
            sharpness: 5.5,
        };
        Head::Cache(Cache::new(parts).unwrap())
    }

    #[test]
    fn a_head_survives_the_round_trip() {
        assert_eq!(Head::try_from(Tensors::from(&cache())).unwrap(), cache());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_name() {
        let change = |f: fn(&mut Tensors)| {
            let mut tensors = Tensors::from(&cache());
            f(&mut tensors);
            Head::try_from(tensors).unwrap_err().to_string()
        };
        assert!(change(|t| t.kind = "tree".to_owned()).contains("tree"));
        assert!(change(|t| drop(t.tensors.remove(0))).contains("weights"));
        assert!(change(|t| t.tensors[0].shape = vec![usize::MAX, 2]).contains("weights"));
        assert!(change(|t| t.tensors[2].shape = vec![2, 1]).contains("cache head"));
        assert!(change(|t| t.tensors[3].values = Values::U32(vec![2])).contains("class of a key"));
        assert!(change(|t| t.tensors[5].values = Values::F32(vec![f32::NAN])).contains("NaN"));
        assert!(change(|t| t.kind = "linear".to_owned()).contains("none but"));
    }
}
