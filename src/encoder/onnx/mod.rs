//! ONNX bytes to a tract model, with what we demand of any file checked first:
//! it parses, it stands alone, and its inputs and outputs are what the caller expects.

mod dequantize;
pub(crate) use dequantize::Pairs;
pub(crate) mod fake_quantize;
pub(crate) mod proto;
pub(crate) mod tensor;
pub(crate) mod widen;

use tract_onnx::pb::{ModelProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;

use crate::error::{Error, Result};

/// A parsed ONNX file whose quantization of activations has been taken out.
pub(crate) struct Onnx {
    proto: ModelProto,
    initializers: Vec<String>,
}

/// One declared input or output: name, element type and shape as the file states them.
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Number of the element type; 0 where the file is silent.
    pub(crate) kind: i32,
    /// `None` where the length is symbolic.
    pub(crate) shape: Vec<Option<usize>>,
}

/// What a caller will feed to one input.
pub(crate) struct Fed<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: DatumType,
    pub(crate) shape: &'a [Length],
}

/// Length of one axis of a fed input.
pub(crate) enum Length {
    Fixed(usize),
    /// Known only when it runs; one symbol is one length.
    Free(&'static str),
}

impl Declared {
    pub(crate) fn of(info: &ValueInfoProto) -> Self {
        let tensor = info
            .r#type
            .as_ref()
            .and_then(|t| t.value.as_ref())
            .map(|v| {
                let type_proto::Value::TensorType(t) = v;
                t
            });
        let length = |d: &tensor_shape_proto::Dimension| match d.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(n)) => {
                usize::try_from(n).ok().filter(|n| *n > 0)
            }
            _ => None,
        };
        let shape = tensor.and_then(|t| t.shape.as_ref());
        Self {
            name: info.name.clone(),
            kind: tensor.map_or(0, |t| t.elem_type),
            shape: shape.map_or_else(Vec::new, |s| s.dim.iter().map(length).collect()),
        }
    }

    pub(crate) fn is_f32(&self) -> bool {
        self.kind == tensor::F32
    }

    /// Floats of any width.
    pub(crate) fn is_float(&self) -> bool {
        [tensor::F32, tensor::F16, tensor::BF16].contains(&self.kind)
    }

    /// 32 or 64 bits, as token ids are.
    pub(crate) fn is_integer(&self) -> bool {
        [tensor::I32, tensor::I64].contains(&self.kind)
    }

    /// For messages: `pixel_values f32 [?, 3, 224, 224]`.
    pub(crate) fn words(&self) -> String {
        let dims: Vec<_> = self
            .shape
            .iter()
            .map(|d| d.map_or("?".into(), |d| d.to_string()))
            .collect();
        format!(
            "`{}` {} [{}]",
            self.name,
            tensor::kind_name(self.kind),
            dims.join(", ")
        )
    }

    /// Several of them, for messages.
    pub(crate) fn list(all: &[Self]) -> String {
        if all.is_empty() {
            return "none".into();
        }
        let words: Vec<String> = all.iter().map(Self::words).collect();
        words.join(", ")
    }
}

impl Onnx {
    /// Parses `bytes` and folds its quantization into f32 weights ([`dequantize`]).
    ///
    /// # Errors
    /// Not ONNX, no graph, weights in other files, or quantization of a form that we do not know.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        Self::parse_with(bytes, Pairs::Clamped)
    }

    /// The same, with or without the rounding of activations.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn parse_with(bytes: &[u8], pairs: Pairs) -> Result<Self> {
        let proto = tract_onnx::onnx()
            .proto_model_for_read(&mut &bytes[..])
            .map_err(|e| {
                Error::invalid(
                    "ONNX file",
                    format!("{} bytes that do not parse: {e}", bytes.len()),
                    "an ONNX model",
                )
            })?;
        Self::with(proto, pairs)
    }

    /// The same of a file that is decoded already.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn of(proto: ModelProto) -> Result<Self> {
        Self::with(proto, Pairs::Clamped)
    }

    fn with(mut proto: ModelProto, pairs: Pairs) -> Result<Self> {
        let Some(graph) = proto.graph.as_mut().filter(|g| !g.node.is_empty()) else {
            return Err(Error::invalid(
                "ONNX file",
                "no graph",
                "an ONNX model with at least one node",
            ));
        };
        if let Some(t) = graph.initializer.iter().find(|t| is_external(t)) {
            let found = format!("weights of `{}` in another file", t.name);
            return Err(Error::invalid(
                "ONNX file",
                found,
                "all weights inside: save it as one file",
            ));
        }
        widen::halves(graph);
        dequantize::activations_to_float(graph, pairs)?;
        // What shape inference left behind clashes with the batch we fix.
        graph.value_info.clear();
        let initializers = graph.initializer.iter().map(|t| t.name.clone()).collect();
        Ok(Self {
            proto,
            initializers,
        })
    }

    /// Inputs that a caller must feed.
    pub(crate) fn inputs(&self) -> Vec<Declared> {
        let graph = self.proto.graph.as_ref();
        let infos = graph.map_or(&[][..], |g| &g.input);
        infos
            .iter()
            .filter(|i| !self.initializers.contains(&i.name))
            .map(Declared::of)
            .collect()
    }

    /// Outputs that the file offers.
    pub(crate) fn outputs(&self) -> Vec<Declared> {
        self.proto
            .graph
            .as_ref()
            .map_or(&[][..], |g| &g.output)
            .iter()
            .map(Declared::of)
            .collect()
    }

    /// Optimises the graph for the given facts of its inputs, keeping one output.
    ///
    /// # Errors
    /// tract does not know an operator or finds the shapes at odds.
    pub(crate) fn into_plan(
        self,
        inputs: &[Fed<'_>],
        output: &str,
        threads: usize,
    ) -> Result<Arc<TypedSimplePlan>> {
        self.into_plan_of(inputs, &[output], threads)
    }

    /// The same with several outputs.
    ///
    /// # Errors
    /// As [`into_plan`](Self::into_plan).
    pub(crate) fn into_plan_of(
        self,
        inputs: &[Fed<'_>],
        outputs: &[&str],
        threads: usize,
    ) -> Result<Arc<TypedSimplePlan>> {
        plan(self.typed(inputs, outputs)?, threads)
    }

    fn reader(&self) -> Result<tract_onnx::Onnx> {
        let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true);
        fake_quantize::register(&mut onnx);
        self.knows_all(&onnx)?;
        Ok(onnx)
    }

    /// The typed model for the given facts of its inputs, as exporters wrote it otherwise.
    ///
    /// # Errors
    /// As [`into_plan`](Self::into_plan).
    pub(crate) fn typed(&self, inputs: &[Fed<'_>], outputs: &[&str]) -> Result<TypedModel> {
        let onnx = self.reader()?;
        guarded(|| {
            let mut model = onnx.model_for_proto_model(&self.proto)?;
            for fed in inputs {
                let at = model
                    .inputs
                    .iter()
                    .position(|o| model.nodes[o.node].name == fed.name);
                let at = at.ok_or_else(|| TractError::msg(format!("no input {}", fed.name)))?;
                let shape: TVec<TDim> = fed
                    .shape
                    .iter()
                    .map(|l| match l {
                        Length::Fixed(n) => n.to_dim(),
                        Length::Free(name) => model.symbols.sym(name).to_dim(),
                    })
                    .collect();
                model.set_input_fact(at, InferenceFact::dt_shape(fed.kind, shape))?;
            }
            model.select_outputs_by_name(outputs)?;
            model.into_typed()
        })
    }
}

/// The same model with its constants folded, and no more.
///
/// # Errors
/// A constant cannot be computed.
pub(crate) fn folded(typed: &TypedModel) -> Result<TypedModel> {
    guarded(|| {
        let mut model = typed.clone();
        model.prop_consts()?;
        model.compact()?;
        Ok(model)
    })
}

/// The optimised plan of a typed model.
///
/// # Errors
/// tract cannot run it.
pub(crate) fn plan(typed: TypedModel, threads: usize) -> Result<Arc<TypedSimplePlan>> {
    guarded(|| {
        let executor = match threads {
            1 => multithread::Executor::SingleThread,
            n => multithread::Executor::multithread(n),
        };
        TypedSimplePlan::new_with_options(
            typed.into_decluttered()?.into_optimized()?,
            &RunOptions {
                executor: Some(executor),
                ..Default::default()
            },
        )
    })
}

/// tract checks much with assertions; a strange file must not end the program.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(TractError::msg("tract gave up on the graph")))
        .map_err(|e| {
            Error::invalid(
                "ONNX graph",
                format!("{e:#}"),
                "operators and shapes that tract 0.23 runs",
            )
        })
}

impl Onnx {
    /// tract takes operators that it does not know for granted and stumbles later, over something else.
    fn knows_all(&self, onnx: &tract_onnx::Onnx) -> Result<()> {
        let nodes = self.proto.graph.iter().flat_map(|g| &g.node);
        let Some(node) = nodes
            .into_iter()
            .find(|n| !onnx.op_register.0.contains_key(&n.op_type))
        else {
            return Ok(());
        };
        let domain = match &*node.domain {
            "" => String::new(),
            domain => format!("{domain}."),
        };
        let found = format!("{domain}{} at node `{}`", node.op_type, node.name);
        let expected = "operators that tract 0.23 knows: export in f32, f16 or int8 without optimizing for another runtime";
        Err(Error::invalid("ONNX operator", found, expected))
    }
}

fn is_external(t: &TensorProto) -> bool {
    t.data_location == Some(1) || !t.external_data.is_empty()
}
