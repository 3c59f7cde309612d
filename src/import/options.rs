//! What a person may say of a model that its files do not, or differently.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use safetensors::tensor::SafeTensors;

use super::read_npy;
use super::values::floats;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::preprocess::{Filter, Preprocess, Resize};
use crate::store;

/// Largest file with a projection, in bytes.
const MAX_PROJECTION: u64 = 2 << 30;

/// Order of the axes of an image input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Frames, channels, rows, columns.
    Nchw,
    /// Frames, rows, columns, channels.
    Nhwc,
}

/// How the tokens of a last hidden state become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The first token, CLIP's class token.
    Class,
    /// The mean over all tokens.
    Mean,
}

/// How to import; what is not given comes from the files, else from CLIP's own defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the bundle; else that of the file or folder.
    pub name: Option<String>,
    /// Which form of the model to take where there are several: `fp32`, `fp16`, `int8`, `quantized`, `uint8`.
    pub variant: Option<String>,
    /// Output of the image model that is the feature.
    pub image_output: Option<String>,
    /// Output of the text model that is the text weight.
    pub text_output: Option<String>,
    /// How tokens become one vector where the output has many.
    pub pool: Option<Pool>,
    /// File of a projection P×D for the image output: `.npy`, or `FILE.safetensors:TENSOR`.
    pub projection: Option<String>,
    /// The same for the text output.
    pub text_projection: Option<String>,
    /// Axes of the image input.
    pub layout: Option<Layout>,
    /// Preprocessing that goes before what the files say.
    pub pixels: Pixels,
    /// exp(logit scale).
    pub logit_scale: Option<f32>,
    /// Logit bias; makes scores sigmoid, as in SigLIP.
    pub logit_bias: Option<f32>,
    /// Makes the image encoder int8, and the text encoder's weights half floats.
    pub int8: bool,
    /// Photos of the field to judge the int8 encoder on; without any, made-up pictures serve.
    pub calibrate: Vec<Frame>,
    /// Leaves the text encoder out.
    pub no_text: bool,
    /// File of names, one a line, whose text vectors go into the bundle.
    pub vocabulary: Option<PathBuf>,
}

impl Options {
    /// Whether a text model is wanted, be it for the vocabulary alone.
    pub(super) fn needs_text(&self) -> bool {
        !self.no_text || self.vocabulary.is_some()
    }

    /// Refuses everything: a bundle says all of itself.
    pub(super) fn check_for_bundle(&self) -> Result<()> {
        let untouched = Self::default();
        // Frames have no equality, and there are none here.
        if self.calibrate.is_empty() && format!("{self:?}") == format!("{untouched:?}") {
            return Ok(());
        }
        Err(Error::invalid(
            "options",
            "options beside a bundle",
            "none but -o: a bundle says all of itself; import what it was made of, to change it",
        ))
    }

    /// Refuses what only ONNX files leave open.
    pub(super) fn check_for_safetensors(&self) -> Result<()> {
        let given = [
            ("--projection", self.projection.is_some()),
            ("--text-projection", self.text_projection.is_some()),
            ("--pool", self.pool.is_some()),
            ("--layout", self.layout.is_some()),
            ("--image-output", self.image_output.is_some()),
            ("--text-output", self.text_output.is_some()),
        ];
        let flags: Vec<&str> = given.iter().filter(|f| f.1).map(|f| f.0).collect();
        if flags.is_empty() {
            return Ok(());
        }
        let found = format!("{} with safetensors", flags.join(", "));
        let expected =
            "none of these, which are for ONNX files: the configuration beside the weights says it";
        Err(Error::invalid("options", found, expected))
    }
}

/// Parts of the preprocessing.
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    /// Size before the crop.
    pub resize: Option<Resize>,
    /// Width and height of the centre that is kept.
    pub crop: Option<(u32, u32)>,
    /// Mean of red, green and blue on the scale of 0 to 1.
    pub mean: Option<[f32; 3]>,
    /// Spread of red, green and blue on the scale of 0 to 1.
    pub std: Option<[f32; 3]>,
    /// Resize filter.
    pub filter: Option<Filter>,
}

impl Pixels {
    /// All of `p`, whatever the files say.
    pub(super) fn all_of(p: &Preprocess) -> Self {
        Self {
            resize: Some(p.resize),
            crop: p.crop,
            mean: Some(p.mean),
            std: Some(p.std),
            filter: Some(p.filter),
        }
    }

    /// `known` with what is given here in its place.
    pub(super) fn over(&self, known: Preprocess) -> Preprocess {
        let mut p = known;
        if let Some(resize) = self.resize {
            p.resize = resize;
            // The old crop was for the old size.
            p.crop = match resize {
                Resize::Shortest(side) => Some((side, side)),
                Resize::Exact { .. } => None,
            };
        }
        p.crop = self.crop.or(p.crop);
        p.mean = self.mean.unwrap_or(p.mean);
        p.std = self.std.unwrap_or(p.std);
        p.filter = self.filter.unwrap_or(p.filter);
        p
    }
}

/// Reads the projection at `place`, a path with `:TENSOR` after a safetensors file. PyTorch keeps a
/// linear layer as D×P; one whose name ends in `.weight` is turned.
pub(super) fn projection(place: &str) -> Result<Array2<f32>> {
    let (path, tensor) = match place.rsplit_once(".safetensors:") {
        Some((stem, tensor)) => (PathBuf::from(format!("{stem}.safetensors")), Some(tensor)),
        None if place.ends_with(".safetensors") => (PathBuf::from(place), Some("")),
        None => (PathBuf::from(place), None),
    };
    let bytes = store::read_bounded(&path, "bytes of a projection", MAX_PROJECTION)?;
    match tensor {
        None => read_npy(&bytes).map_err(|e| e.at(&path)),
        Some(name) => from_safetensors(&bytes, name, &path),
    }
}

/// Tensors that may be a projection, for messages.
fn likely(file: &SafeTensors<'_>) -> String {
    const MOST: usize = 6;
    let matrix = |n: &&str| file.tensor(n).is_ok_and(|t| t.shape().len() == 2);
    let mut names: Vec<&str> = file.names().into_iter().filter(matrix).collect();
    // Those that are called so come first.
    names.sort_unstable_by_key(|n| (!n.contains("proj"), n.contains("layers"), n.len(), *n));
    let more = match names.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" or {more} more"),
    };
    names.truncate(MOST);
    match names[..] {
        [] => "a matrix, of which this file has none".into(),
        _ => format!("`{}`{more}", names.join("`, `")),
    }
}

fn from_safetensors(bytes: &[u8], name: &str, path: &Path) -> Result<Array2<f32>> {
    let wrong = |found: String| {
        Error::invalid(
            "projection",
            found,
            "a matrix of f32 or f16 in a safetensors file",
        )
        .at(path)
    };
    let file = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    let Ok(view) = file.tensor(name) else {
        return Err(Error::invalid(
            "projection",
            if name.is_empty() {
                "no name of a tensor".into()
            } else {
                format!("no tensor `{name}`")
            },
            format!("FILE.safetensors:TENSOR, TENSOR being {}", likely(&file)),
        )
        .at(path));
    };
    let &[rows, columns] = view.shape() else {
        return Err(wrong(format!("`{name}` of shape {:?}", view.shape())));
    };
    let values = floats(&view).ok_or_else(|| wrong(format!("`{name}` of {:?}", view.dtype())))?;
    let matrix =
        Array2::from_shape_vec((rows, columns), values).map_err(|e| wrong(e.to_string()))?;
    Ok(if name.ends_with(".weight") {
        matrix.reversed_axes()
    } else {
        matrix
    })
}
