//! Feature packs: labelled features to measure heads on, in one safetensors file.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `support`, `support_labels` | N×D f16 or f32, N i32 | the pool that shots are drawn from |
//! | `query`, `query_labels` | M×D, M i32 | what is asked |
//! | `text` | K×D | text weights, rows of zeros where a class has none (may be missing) |
//! | `draw_n` | R×(K·n) i32 | fixed draws of n shots a class, rows of `support` (may be missing) |
//!
//! Metadata: `classes`, a JSON list of K names, and `logit_scale`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Axis};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::head::Random;
use crate::import::floats;
use crate::store;

/// Largest pack that is read, in bytes.
const MAX_BYTES: u64 = 2 << 30;
const MAX_CLASSES: usize = crate::text::MAX_LABELS;
/// Widest feature that is believed.
const MAX_DIM: usize = 4096;
/// Most scores that measuring may hold, queries times classes.
const MAX_SCORES: usize = 1 << 29;

/// Features with labels.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// N×D, unit rows.
    pub features: Array2<f32>,
    /// Class of each row.
    pub labels: Vec<usize>,
}

/// One set to measure heads on.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Names of the K classes.
    pub classes: Vec<String>,
    /// The pool that shots are drawn from.
    pub support: Labelled,
    /// What is asked. Where empty, each draw asks for all rows that it left in the pool.
    pub query: Labelled,
    /// Text weights, K×D, rows of zeros where a class has none.
    pub text: Array2<f32>,
    /// exp(logit scale) of the encoder.
    pub scale: f32,
    /// Fixed draws by shots a class: rows of the pool.
    pub draws: BTreeMap<usize, Vec<Vec<usize>>>,
}

/// Rows of the pool to learn from, and what to ask then.
#[derive(Clone, Debug)]
pub struct Draw {
    /// What is learned.
    pub support: Labelled,
    /// What is asked.
    pub query: Labelled,
}

impl Pack {
    /// Reads the pack at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is no pack, or its parts do not fit together.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = store::read_bounded(path, "bytes of a feature pack", MAX_BYTES)?;
        Self::from_bytes(&bytes).map_err(|e| e.at(path))
    }

    /// A pack from the bytes of its file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| no_pack(&e.to_string()))?;
        let facts = header.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| no_pack(&e.to_string()))?;
        let list = facts
            .get("classes")
            .ok_or_else(|| no_pack("no list of classes"))?;
        let classes: Vec<String> = serde_json::from_str(list)
            .map_err(|e| no_pack(&format!("a list of classes that is no JSON ({e})")))?;
        if classes.is_empty() || classes.len() > MAX_CLASSES {
            return Err(no_pack(&format!("{} classes", classes.len())));
        }
        let scale = facts
            .get("logit_scale")
            .map_or(Ok(100.0), |text| text.parse::<f32>());
        let scale = scale.ok().filter(|s| s.is_finite() && *s > 0.0);
        let scale = scale.ok_or_else(|| no_pack("a logit scale that is no positive number"))?;
        let support = labelled(&tensors, "support", classes.len())?;
        let query = labelled(&tensors, "query", classes.len())?;
        let dim = support.features.ncols();
        let text = match tensors.tensor("text") {
            Ok(view) => text(&view, classes.len(), dim)?,
            Err(_) => Array2::zeros((classes.len(), dim)),
        };
        if query.features.ncols() != dim {
            return Err(no_pack("query and support of different widths"));
        }
        if dim > MAX_DIM || query.labels.len().saturating_mul(classes.len()) > MAX_SCORES {
            let found = format!(
                "{} queries, {} classes, width {dim}",
                query.labels.len(),
                classes.len()
            );
            return Err(no_pack(&found));
        }
        let draws = draws(&tensors, support.labels.len())?;
        Ok(Self {
            classes,
            support,
            query,
            text,
            scale,
            draws,
        })
    }

    /// The same with no class named.
    #[must_use]
    pub fn without_text(mut self) -> Self {
        self.text.fill(0.0);
        self
    }

    /// Whether every class has a text weight.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.text
            .rows()
            .into_iter()
            .all(|row| row.iter().any(|v| *v != 0.0))
    }

    /// `count` draws of `shots` a class: the fixed ones where the pack has them, else by a
    /// generator that starts at the number of the draw.
    ///
    /// # Errors
    /// A class has fewer than `shots` rows in the pool.
    pub fn draw(&self, shots: usize, count: usize) -> Result<Vec<Draw>> {
        let rows: Vec<Vec<usize>> = match self.draws.get(&shots) {
            Some(fixed) => fixed.iter().take(count).cloned().collect(),
            None => (0..count as u64)
                .map(|seed| self.random(shots, seed))
                .collect::<Result<_>>()?,
        };
        Ok(rows.into_iter().map(|rows| self.split(&rows)).collect())
    }

    fn random(&self, shots: usize, seed: u64) -> Result<Vec<usize>> {
        let mut rows = Vec::new();
        let mut random = Random::new(seed);
        for (class, name) in self.classes.iter().enumerate() {
            let mut own: Vec<usize> = (0..self.support.labels.len())
                .filter(|i| self.support.labels[*i] == class)
                .collect();
            let needed = if self.query.labels.is_empty() {
                shots + 1
            } else {
                shots
            };
            if own.len() < needed {
                let found = format!("{} photos of `{name}`", own.len());
                return Err(Error::invalid(
                    "pool to draw from",
                    found,
                    format!("{needed} or more, or fewer shots"),
                ));
            }
            // Fisher and Yates, as far as needed.
            for i in 0..shots {
                let other = i + (random.bits() % (own.len() - i) as u64) as usize;
                own.swap(i, other);
            }
            rows.extend_from_slice(&own[..shots]);
        }
        Ok(rows)
    }

    fn split(&self, rows: &[usize]) -> Draw {
        let pick = |from: &Labelled, rows: &[usize]| Labelled {
            features: from.features.select(Axis(0), rows),
            labels: rows.iter().map(|i| from.labels[*i]).collect(),
        };
        let query = if self.query.labels.is_empty() {
            let taken: std::collections::BTreeSet<_> = rows.iter().collect();
            let rest: Vec<usize> = (0..self.support.labels.len())
                .filter(|i| !taken.contains(i))
                .collect();
            pick(&self.support, &rest)
        } else {
            self.query.clone()
        };
        Draw {
            support: pick(&self.support, rows),
            query,
        }
    }
}

fn no_pack(found: &str) -> Error {
    Error::invalid(
        "feature pack",
        found,
        "a safetensors file with support, support_labels, query, query_labels and a list of classes",
    )
}

fn labelled(tensors: &SafeTensors<'_>, name: &str, classes: usize) -> Result<Labelled> {
    let view = tensors
        .tensor(name)
        .map_err(|e| no_pack(&format!("no tensor `{name}` ({e})")))?;
    let features = unit_rows(matrix(&view, name)?, name)?;
    let labels_name = format!("{name}_labels");
    let view = tensors
        .tensor(&labels_name)
        .map_err(|e| no_pack(&format!("no tensor `{labels_name}` ({e})")))?;
    let labels = integers(&view, &labels_name, classes)?;
    if labels.len() != features.nrows() {
        return Err(no_pack(&format!(
            "{} labels for {} rows of `{name}`",
            labels.len(),
            features.nrows()
        )));
    }
    Ok(Labelled { features, labels })
}

fn text(view: &TensorView<'_>, classes: usize, dim: usize) -> Result<Array2<f32>> {
    let mut text = matrix(view, "text")?;
    if text.dim() != (classes, dim) {
        return Err(no_pack(&format!(
            "text of shape {:?} for {classes} classes of {dim}",
            text.dim()
        )));
    }
    for mut row in text.rows_mut() {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row /= length;
        }
    }
    Ok(text)
}

/// Half floats are a little off unit length.
fn unit_rows(mut rows: Array2<f32>, name: &str) -> Result<Array2<f32>> {
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt();
        if length == 0.0 {
            return Err(no_pack(&format!("a row of zeros in `{name}`")));
        }
        row /= length;
    }
    Ok(rows)
}

fn matrix(view: &TensorView<'_>, name: &str) -> Result<Array2<f32>> {
    let &[rows, columns] = view.shape() else {
        return Err(no_pack(&format!("`{name}` of shape {:?}", view.shape())));
    };
    let values = floats(view)
        .ok_or_else(|| no_pack(&format!("`{name}` of {:?}, not F16 or F32", view.dtype())))?;
    if columns == 0 || values.iter().any(|v| !v.is_finite()) {
        return Err(no_pack(&format!(
            "a value in `{name}` that is no finite number"
        )));
    }
    Array2::from_shape_vec((rows, columns), values).map_err(|e| no_pack(&e.to_string()))
}

/// Numbers from 0 to `below`.
fn integers(view: &TensorView<'_>, name: &str, below: usize) -> Result<Vec<usize>> {
    if view.dtype() != Dtype::I32 {
        return Err(no_pack(&format!("`{name}` of {:?}, not I32", view.dtype())));
    }
    let read = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| i32::from_le_bytes(*b));
    read.map(|n| usize::try_from(n).ok().filter(|n| *n < below).ok_or(n))
        .collect::<Result<_, i32>>()
        .map_err(|n| no_pack(&format!("{n} in `{name}`, not 0 to {}", below - 1)))
}

fn draws(tensors: &SafeTensors<'_>, pool: usize) -> Result<BTreeMap<usize, Vec<Vec<usize>>>> {
    let mut found = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let Some(shots) = name.strip_prefix("draw_").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let width = match *view.shape() {
            [rows, width] if rows > 0 && width > 0 => width,
            ref shape => return Err(no_pack(&format!("`{name}` of shape {shape:?}"))),
        };
        let rows = integers(&view, &name, pool)?;
        found.insert(shots, rows.chunks(width).map(<[usize]>::to_vec).collect());
    }
    Ok(found)
}
