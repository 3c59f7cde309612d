//! The image encoder: a [`Frame`] goes in, a [`Feature`] comes out.
//!
//! A fused graph runs on kernels of our own, any other ONNX graph through tract, one frame at a time. The
//! frozen encoder never changes here; what learns stands to the right of it.

mod fused;
mod kernels;
#[cfg(feature = "import")]
pub(crate) mod onnx;
#[cfg(feature = "import")]
mod tracted;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "import")]
use tract_core::prelude::*;

#[cfg(feature = "import")]
use self::onnx::Pairs;
#[cfg(feature = "import")]
use crate::bundle::ImageEncoder;
use crate::bundle::{Bundle, EncoderForm, ImageSections};
use crate::error::{Error, Result};
use crate::frame::Frame;
#[cfg(feature = "import")]
use crate::preprocess::Preprocess;
use crate::preprocess::Preprocessor;
use crate::store::{self, SectionRef};

/// What the image encoder says of one image: D floats of unit length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feature(Vec<f32>);

impl Feature {
    /// A feature from raw values, brought to unit length.
    ///
    /// # Errors
    /// Values that are not finite, or all zero: they have no direction.
    pub fn from_values(mut values: Vec<f32>) -> Result<Self> {
        normalise(&mut values)?;
        Ok(Self(values))
    }

    /// The values, of unit length.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// D, the number of values.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// Cosine of the angle to another feature or text weight of the same width.
    ///
    /// # Panics
    /// The widths differ.
    #[must_use]
    pub fn cosine(&self, other: &[f32]) -> f32 {
        assert_eq!(
            self.0.len(),
            other.len(),
            "features of one space have one width"
        );
        self.0.iter().zip(other).map(|(a, b)| a * b).sum()
    }
}

/// Brings `values` to unit length.
pub(crate) fn normalise(values: &mut [f32]) -> Result<()> {
    let norm = values
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() || norm < 1e-12 {
        return Err(Error::invalid(
            "encoder output",
            format!("a vector of length {norm}"),
            "finite numbers, not all zero: is the model damaged?",
        ));
    }
    let scale = 1.0 / norm;
    for v in values {
        *v = (f64::from(*v) * scale) as f32;
    }
    Ok(())
}

/// An opened image encoder with its working memory; one frame at a time.
///
/// Cheap to [`fork`](Encoder::fork): workers share the graph and its weights.
pub struct Encoder {
    engine: Engine,
    preprocessor: Preprocessor,
    /// The picture as the encoder takes it, and what it says of it.
    input: Vec<f32>,
    output: Vec<f32>,
    dim: usize,
}

/// What runs an encoder.
enum Engine {
    /// Ours, as a whole.
    Fused(Box<fused::Machine>),
    /// tract's, for encoders that are not known to ours.
    #[cfg(feature = "import")]
    Tract(tracted::Tracted),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("engine", &self.engine())
            .field("input", &self.input_size())
            .field("dim", &self.dim)
            .finish()
    }
}

impl Encoder {
    /// Opens the image encoder of `bundle` for `threads` threads a frame (0: all cores).
    ///
    /// One thread a frame and a [`fork`](Self::fork) a core serve many frames best.
    ///
    /// # Errors
    /// The bundle has no image encoder, this build cannot open its form, or the graph is no
    /// image encoder of the stated width; the words say what was found.
    pub fn open(bundle: &Bundle, threads: usize) -> Result<Self> {
        let preprocessor = Preprocessor::new(bundle.preprocess().clone())?;
        let threads = resolve_threads(threads);
        let open = || {
            let engine = engine(bundle, &input_shape(&preprocessor), threads)?;
            let mut encoder = Self::on(engine, preprocessor, bundle.dim());
            // A graph of ours was run when the bundle was made, and holds all that running relies on.
            if bundle.card().image != Some(EncoderForm::Graph) {
                encoder.try_out()?;
            }
            Ok(encoder)
        };
        open().map_err(|e: Error| e.at(bundle.path()))
    }

    /// The encoder in the bytes of an ONNX file that is in no bundle yet, on one thread.
    #[cfg(feature = "import")]
    pub(crate) fn of_onnx(onnx: &[u8], preprocess: &Preprocess, dim: usize) -> Result<Self> {
        let preprocessor = Preprocessor::new(preprocess.clone())?;
        let engine = onnx_engine(onnx, &input_shape(&preprocessor), dim, 1)?;
        let mut encoder = Self::on(engine, preprocessor, dim);
        encoder.try_out()?;
        Ok(encoder)
    }

    fn on(engine: Engine, preprocessor: Preprocessor, dim: usize) -> Self {
        let values = input_shape(&preprocessor).iter().product();
        Self {
            engine,
            preprocessor,
            input: vec![0.0; values],
            output: Vec::new(),
            dim,
        }
    }

    /// A run on a made-up picture: it finds operators that fail only when they run.
    ///
    /// # Errors
    /// As [`encode_into`](Self::encode_into).
    pub(crate) fn try_out(&mut self) -> Result<()> {
        for (i, v) in self.input.iter_mut().enumerate() {
            *v = (i % 23) as f32 / 23.0 - 0.3;
        }
        self.run(&mut Feature::default())
    }

    /// Another encoder on the same graph and weights, with working memory of its own, on one thread.
    ///
    /// # Errors
    /// tract cannot set up its state.
    pub fn fork(&self) -> Result<Self> {
        let engine = match &self.engine {
            Engine::Fused(m) => {
                let program = Arc::clone(m.program());
                Engine::Fused(Box::new(fused::Machine::new(program, *m.kernels(), 1)))
            }
            #[cfg(feature = "import")]
            Engine::Tract(t) => Engine::Tract(t.fork()?),
        };
        Ok(Self {
            engine,
            preprocessor: Preprocessor::new(self.preprocessor.spec().clone())?,
            input: vec![0.0; self.input.len()],
            output: Vec::new(),
            dim: self.dim,
        })
    }

    /// What runs the encoder: the name of our kernels, or `tract`.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match &self.engine {
            Engine::Fused(m) => m.kernels().name,
            #[cfg(feature = "import")]
            Engine::Tract(_) => "tract",
        }
    }

    /// Products of 8 bits and of floats that one frame takes, where the encoder is ours.
    #[must_use]
    pub fn products(&self) -> Option<(u64, u64)> {
        match &self.engine {
            Engine::Fused(m) => Some(m.program().products()),
            #[cfg(feature = "import")]
            Engine::Tract(_) => None,
        }
    }

    /// Products of 8 bits a second that the kernels of an encoder of ours reach at most, on one core of this machine,
    /// measured in some milliseconds.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        match &self.engine {
            Engine::Fused(m) => Some(m.kernels().peak()),
            #[cfg(feature = "import")]
            Engine::Tract(_) => None,
        }
    }

    /// The steps of an encoder of ours, and the time that each took over `runs` runs on the last frame.
    pub fn profile(&mut self, runs: usize) -> Option<Vec<(String, Duration)>> {
        match &mut self.engine {
            Engine::Fused(m) => Some(m.profile(&self.input, runs)),
            #[cfg(feature = "import")]
            Engine::Tract(_) => None,
        }
    }

    /// Width D of the features.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Size (width, height) of the encoder's input in pixels.
    #[must_use]
    pub fn input_size(&self) -> (u32, u32) {
        self.preprocessor.input_size()
    }

    /// The feature of one frame.
    ///
    /// # Errors
    /// As [`encode_into`](Self::encode_into).
    pub fn encode(&mut self, frame: &Frame) -> Result<Feature> {
        let mut feature = Feature::default();
        self.encode_into(frame, &mut feature)?;
        Ok(feature)
    }

    /// The feature of one frame, written over `feature`, whose memory is reused.
    ///
    /// # Errors
    /// The graph fails to run or answers with numbers that have no direction.
    pub fn encode_into(&mut self, frame: &Frame, feature: &mut Feature) -> Result<()> {
        self.preprocessor.tensor_into(frame, &mut self.input)?;
        self.run(feature)
    }

    /// Features of many frames, in order, on `workers` threads (0: all cores).
    ///
    /// # Errors
    /// The first frame that fails, as [`encode_into`](Self::encode_into).
    pub fn encode_batch(&mut self, frames: &[Frame], workers: usize) -> Result<Vec<Feature>> {
        let workers = resolve_threads(workers).min(frames.len()).max(1);
        if workers == 1 {
            return frames.iter().map(|f| self.encode(f)).collect();
        }
        let part = frames.len().div_ceil(workers);
        let forks = (0..workers)
            .map(|_| self.fork())
            .collect::<Result<Vec<_>>>()?;
        let parts: Vec<Result<Vec<Feature>>> = std::thread::scope(|scope| {
            let started: Vec<_> = frames
                .chunks(part)
                .zip(forks)
                .map(|(frames, mut fork)| {
                    scope.spawn(move || frames.iter().map(|f| fork.encode(f)).collect())
                })
                .collect();
            started
                .into_iter()
                .map(|t| t.join().expect("encoding does not panic"))
                .collect()
        });
        Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    fn run(&mut self, feature: &mut Feature) -> Result<()> {
        match &mut self.engine {
            Engine::Fused(machine) => machine.run(&self.input, &mut self.output),
            #[cfg(feature = "import")]
            Engine::Tract(tracted) => tracted.run(&self.input, &mut self.output)?,
        }
        check_width(self.output.len(), self.dim)?;
        feature.0.clear();
        feature.0.extend_from_slice(&self.output);
        normalise(&mut feature.0)
    }
}

/// Frames × channels × height × width of what goes in.
fn input_shape(preprocessor: &Preprocessor) -> [usize; 4] {
    let (width, height) = preprocessor.input_size();
    [1, 3, height as usize, width as usize]
}

/// Mean and least cosine of features to others of the same pictures.
#[cfg(feature = "import")]
pub(crate) fn likeness(features: &[Feature], others: &[Feature]) -> (f64, f64) {
    let pairs = features.iter().zip(others);
    let cosines: Vec<f64> = pairs
        .map(|(a, b)| f64::from(a.cosine(b.values())))
        .collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len().max(1) as f64;
    (mean, cosines.into_iter().fold(1.0, f64::min))
}

/// 0 stands for every core that this process may use.
pub(crate) fn resolve_threads(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}

#[cfg(feature = "import")]
fn run_error(e: &TractError) -> Error {
    Error::invalid(
        "encoder run",
        format!("{e:#}"),
        "a graph that tract 0.23 can run",
    )
}

fn engine(bundle: &Bundle, shape: &[usize; 4], threads: usize) -> Result<Engine> {
    match bundle.image_encoder()? {
        None => Err(Error::invalid(
            "model bundle",
            "no image encoder",
            "a bundle with one: this one may hold a text encoder alone",
        )),
        Some(ImageSections::Graph { graph, weights }) => {
            let program = fused_of(&graph, weights)?;
            let [_, channels, height, width] = *shape;
            if program.input() != [channels, height, width] {
                let found = format!("a graph for pictures of {:?}", program.input());
                let expected = format!("{:?}, as preprocessing makes them", &shape[1..]);
                return Err(Error::invalid("image encoder", found, expected));
            }
            check_width(program.dim(), bundle.dim())?;
            Ok(fused_engine(program, threads))
        }
        Some(ImageSections::Onnx(bytes)) => as_imported(&bytes, shape, bundle.dim(), threads),
    }
}

fn check_width(width: usize, dim: usize) -> Result<()> {
    if width == dim {
        return Ok(());
    }
    let found = format!("{width}-wide features");
    let expected = format!("{dim}: was it exported without the projection?");
    Err(Error::invalid("image encoder output", found, expected))
}

fn fused_of(graph: &[u8], weights: SectionRef) -> Result<fused::Program> {
    let graph = store::decode_postcard(graph, "fused graph")?;
    fused::Program::new(graph, weights)
}

fn fused_engine(program: fused::Program, threads: usize) -> Engine {
    let kernels = kernels::Kernels::chosen();
    let machine = fused::Machine::new(Arc::new(program), kernels, threads);
    Engine::Fused(Box::new(machine))
}

#[cfg(feature = "import")]
fn as_imported(bytes: &[u8], shape: &[usize; 4], dim: usize, threads: usize) -> Result<Engine> {
    onnx_engine(bytes, shape, dim, threads)
}

#[cfg(not(feature = "import"))]
fn as_imported(_: &[u8], _: &[usize; 4], _: usize, _: usize) -> Result<Engine> {
    Err(Error::invalid(
        "image encoder form",
        "onnx",
        "a build with the feature `import`, which opens ONNX",
    ))
}

/// The fused form of the encoder in the bytes of an ONNX file, for a bundle, or why it has none.
///
/// # Errors
/// The graph is no image encoder of width `dim`.
#[cfg(feature = "import")]
pub(crate) fn fuse(
    onnx: &[u8],
    preprocess: &Preprocess,
    dim: usize,
) -> Result<Result<ImageEncoder, String>> {
    let shape = input_shape(&Preprocessor::new(preprocess.clone())?);
    let typed = typed(onnx, &shape, Some(dim), Pairs::Rounded)?;
    Ok(match fused::lower::lower(&typed) {
        Err(why) => Err(why),
        // Halves would become floats, twice as large.
        Ok((graph, _)) if graph.linear_products().0 == 0 => {
            Err("its products are in floats".into())
        }
        Ok((graph, weights)) => Ok(ImageEncoder::Graph {
            graph: store::encode_postcard(&graph, "fused graph")?,
            weights,
        }),
    })
}

/// Int8 products of a fused encoder, and names of those in floats.
///
/// # Errors
/// The graph is damaged.
#[cfg(feature = "import")]
pub(crate) fn fused_products(graph: &[u8], weights: SectionRef) -> Result<(usize, Vec<String>)> {
    Ok(fused_of(graph, weights)?.graph().linear_products())
}

/// Ours where the graph is known to it, else tract's.
#[cfg(feature = "import")]
fn onnx_engine(bytes: &[u8], shape: &[usize; 4], dim: usize, threads: usize) -> Result<Engine> {
    let rounded = typed(bytes, shape, Some(dim), Pairs::Rounded)?;
    match fused::lower::lower(&rounded) {
        Ok((steps, weights)) => {
            drop(rounded);
            let program = fused::Program::new(steps, SectionRef::of_bytes(&weights)?)?;
            Ok(fused_engine(program, threads))
        }
        Err(why) => {
            log::debug!("the image encoder is not fused: {why}");
            // Rounding to a fixed grid, which tract does slowly, is left out there.
            let typed = if fused::lower::has_grids(&rounded) {
                typed(bytes, shape, Some(dim), Pairs::Clamped)?
            } else {
                rounded
            };
            let plan = onnx::plan(typed, threads)?;
            Ok(Engine::Tract(tracted::Tracted::new(plan, shape)?))
        }
    }
}

/// The encoder in the bytes of an ONNX file, typed for pictures of `shape`.
#[cfg(feature = "import")]
fn typed(bytes: &[u8], shape: &[usize; 4], dim: Option<usize>, pairs: Pairs) -> Result<TypedModel> {
    let graph = onnx::Onnx::parse_with(bytes, pairs)?;
    let input = the_image_input(&graph, shape)?;
    let output = the_feature_output(&graph, dim)?;
    let shape = shape.map(onnx::Length::Fixed);
    let fed = onnx::Fed {
        name: &input,
        kind: f32::datum_type(),
        shape: &shape,
    };
    graph.typed(&[fed], &[&output])
}

/// Width D of the features that the encoder in `onnx` gives.
#[cfg(feature = "import")]
pub(crate) fn feature_width(onnx: &[u8], preprocess: &Preprocess) -> Result<usize> {
    let shape = input_shape(&Preprocessor::new(preprocess.clone())?);
    let plan = onnx::plan(typed(onnx, &shape, None, Pairs::Clamped)?, 1)?;
    let fact = plan.model().output_fact(0).map_err(|e| run_error(&e))?;
    let shape = fact.shape.as_concrete();
    match shape {
        Some([1, dim]) => Ok(*dim),
        _ => {
            let expected =
                "[1, D]: with `--pool class` or `--pool mean` where each token has a vector";
            Err(Error::invalid(
                "shape of the image encoder's output",
                format!("{:?}", fact.shape),
                expected,
            ))
        }
    }
}

#[cfg(feature = "import")]
fn the_image_input(graph: &onnx::Onnx, shape: &[usize; 4]) -> Result<String> {
    let inputs = graph.inputs();
    let fits = |i: &onnx::Declared| {
        i.is_f32()
            && i.shape.len() == 4
            && i.shape
                .iter()
                .zip(shape)
                .all(|(d, s)| d.is_none_or(|d| d == *s))
    };
    match &inputs[..] {
        [one] if fits(one) => Ok(one.name.clone()),
        _ => {
            let expected =
                format!("one f32 input of shape {shape:?} (frames × channels × height × width)");
            Err(Error::invalid(
                "image encoder inputs",
                onnx::Declared::list(&inputs),
                expected,
            ))
        }
    }
}

#[cfg(feature = "import")]
fn the_feature_output(graph: &onnx::Onnx, dim: Option<usize>) -> Result<String> {
    let outputs = graph.outputs();
    let fits = |o: &&onnx::Declared| {
        o.is_f32()
            && (o.shape.is_empty()
                || (o.shape.len() == 2
                    && o.shape[1].is_none_or(|d| dim.is_none_or(|dim| d == dim))))
    };
    let chosen = outputs
        .iter()
        .find(|o| o.name == "image_embeds")
        .or(match &outputs[..] {
            [one] => Some(one),
            _ => None,
        });
    chosen.filter(fits).map(|o| o.name.clone()).ok_or_else(|| {
        let dim = dim.map_or("?".into(), |d| d.to_string());
        let expected = format!(
            "`image_embeds`, or one output, f32 [?, {dim}]: was it exported without the projection?"
        );
        Error::invalid(
            "image encoder outputs",
            onnx::Declared::list(&outputs),
            expected,
        )
    })
}
