//! ONNX files as exporters write them, brought to the one form that bundles keep: one tower, one
//! input and one output of known names, all weights inside, integer arithmetic spelled out.

mod end_token;
mod ends;
mod external;
mod facts;
mod integers;
mod qlinear;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::{GraphProto, ModelProto};

use crate::encoder::onnx::Declared;
use crate::encoder::onnx::proto::{producers, read_by, read_names};
use crate::encoder::onnx::tensor::I64;
use crate::error::{Error, Result};
use crate::store;

pub(super) use ends::{ImageEnds, TextEnds};

/// Longest ONNX file: protobuf itself ends here. Larger models keep their weights beside it.
const MAX_BYTES: u64 = 2 << 30;

/// A parsed ONNX file with all of its weights.
#[derive(Clone)]
pub(super) struct Model {
    proto: ModelProto,
    path: PathBuf,
    sha256: [u8; 32],
}

impl Model {
    /// Reads the file at `path`, and the files beside it that hold its weights.
    ///
    /// # Errors
    /// A file is missing, too long, no ONNX, or keeps weights where none may be.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = store::read_bounded(path, "bytes of an ONNX file", MAX_BYTES)?;
        let mut hash = Sha256::new();
        hash.update(&bytes);
        let mut proto = ModelProto::decode(&bytes[..]).map_err(|e| {
            let found = format!("{} bytes that end or break off inside ({e})", bytes.len());
            let expected = "a whole ONNX model: was the download complete?";
            Error::invalid("ONNX file", found, expected).at(path)
        })?;
        drop(bytes);
        let graph = proto.graph.as_mut().filter(|g| !g.node.is_empty());
        let graph = graph.ok_or_else(|| {
            Error::invalid("ONNX file", "no graph", "a model with at least one node").at(path)
        })?;
        external::gather(graph, path, &mut hash)?;
        Ok(Self {
            proto,
            path: path.to_owned(),
            sha256: hash.finalize().into(),
        })
    }

    /// SHA-256 over the file and the weights beside it.
    pub(super) fn sha256(&self) -> String {
        store::hex(&self.sha256)
    }

    /// Whether the file holds a tower that takes pictures, and one that takes tokens.
    pub(super) fn towers(&self) -> (bool, bool) {
        let inputs = inputs(self.graph());
        (
            ends::image_input(&inputs).is_some(),
            ends::takes_tokens(&inputs),
        )
    }

    /// exp(logit scale), where the file says it.
    pub(super) fn logit_scale(&self) -> Option<f32> {
        facts::logit_scale(self.graph())
    }

    /// Side lengths (width, height) of the pictures that the file insists on.
    pub(super) fn picture_size(&self) -> Option<(u32, u32)> {
        facts::picture_size(self.graph())
    }

    /// Tokens a text that the file insists on.
    pub(super) fn text_length(&self) -> Option<usize> {
        facts::text_length(&inputs(self.graph()))
    }

    /// Rows of the table of tokens.
    pub(super) fn token_count(&self) -> Option<usize> {
        facts::token_count(self.graph())
    }

    /// The image tower alone, `pixel_values` [batch, 3, height, width] to `image_embeds` [batch, D].
    ///
    /// # Errors
    /// There is none, or it is not clear which output is the feature.
    pub(super) fn image_tower(mut self, ends: &ImageEnds) -> Result<ModelProto> {
        let path = self.path.clone();
        let opset = opset(&self.proto);
        ends.apply(self.graph_mut(), opset)
            .and_then(|()| integers::spell_out(self.graph_mut()))
            .map_err(|e| e.at(&path))?;
        Ok(self.finish())
    }

    /// The text tower alone, `input_ids` and maybe `attention_mask` [batch, tokens] to `text_embeds`.
    ///
    /// # Errors
    /// There is none, or it is not clear which output is the feature.
    pub(super) fn text_tower(mut self, ends: &TextEnds) -> Result<ModelProto> {
        let path = self.path.clone();
        ends.apply(self.graph_mut())
            .and_then(|()| integers::spell_out(self.graph_mut()))
            .map_err(|e| e.at(&path))?;
        end_token::pick_by_pairs(self.graph_mut());
        Ok(self.finish())
    }

    fn graph(&self) -> &GraphProto {
        self.proto
            .graph
            .as_ref()
            .expect("read checks that there is one")
    }

    fn graph_mut(&mut self) -> &mut GraphProto {
        self.proto
            .graph
            .as_mut()
            .expect("read checks that there is one")
    }

    fn finish(mut self) -> ModelProto {
        let graph = self.graph_mut();
        graph.value_info.clear();
        graph.quantization_annotation.clear();
        // Rewrites leave nodes behind that nobody reads, and tract looks at all of them.
        if let Some(output) = graph.output.first().map(|o| o.name.clone()) {
            cut_to(graph, &output);
        }
        self.proto.metadata_props.clear();
        self.proto
    }
}

/// The stored text tower `onnx` declared to take one text of `tokens` tokens a run.
///
/// # Errors
/// It is no ONNX.
pub(super) fn one_text(onnx: &[u8], tokens: u32) -> Result<Vec<u8>> {
    let mut proto = ModelProto::decode(onnx)
        .map_err(|e| Error::invalid("text tower", e.to_string(), "an ONNX model"))?;
    let inputs = proto.graph.iter_mut().flat_map(|g| &mut g.input);
    for input in inputs {
        *input = ends::value(&input.name, I64, &[Some(1), Some(tokens as usize)]);
    }
    Ok(proto.encode_to_vec())
}

fn opset(proto: &ModelProto) -> i64 {
    let main = proto
        .opset_import
        .iter()
        .find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    main.map_or(0, |o| o.version)
}

/// Inputs that a caller must feed.
fn inputs(graph: &GraphProto) -> Vec<Declared> {
    let held: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let fed = graph
        .input
        .iter()
        .filter(|i| !held.contains(i.name.as_str()));
    fed.map(Declared::of).collect()
}

/// Keeps what `output` is computed from, and nothing else.
fn cut_to(graph: &mut GraphProto, output: &str) {
    let producer = producers(graph);
    let mut needed = vec![false; graph.node.len()];
    let mut wanted = vec![output];
    while let Some(name) = wanted.pop() {
        if let Some(&at) = producer.get(name)
            && !std::mem::replace(&mut needed[at], true)
        {
            read_by(&graph.node[at], &mut wanted);
        }
    }
    let mut needed = needed.into_iter();
    graph.node.retain(|_| needed.next().unwrap_or(true));
    graph.output.retain(|o| o.name == output);
    drop_unread(graph);
}

/// Drops weights and inputs that no node reads.
fn drop_unread(graph: &mut GraphProto) {
    let read = read_names(graph);
    graph.initializer.retain(|t| read.contains(&t.name));
    graph.input.retain(|i| read.contains(&i.name));
}
