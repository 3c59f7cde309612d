//! What goes into a tower and what comes out: found, named, and brought to the stored form.

use ndarray::Array2;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, ValueInfoProto, tensor_shape_proto::dimension::Value,
};

use super::super::options::{Layout, Pool};
use super::{cut_to, inputs};
use crate::encoder::onnx::Declared;
use crate::encoder::onnx::proto::{declared, int, ints, whole_numbers};
use crate::encoder::onnx::tensor::{F32, I32, I64, float_tensor, floats};
use crate::error::{Error, Result};

const PIXELS: &str = "pixel_values";
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";

/// What is known of the ends of an image tower beyond the file.
#[derive(Debug, Default)]
pub(crate) struct ImageEnds {
    pub(crate) output: Option<String>,
    pub(crate) pool: Option<Pool>,
    /// P×D, applied to the output from the right.
    pub(crate) projection: Option<Array2<f32>>,
    pub(crate) layout: Option<Layout>,
    /// Whether a pooled output is the feature, as in SigLIP.
    pub(crate) pooled_is_feature: bool,
}

/// The same of a text tower.
#[derive(Debug, Default)]
pub(crate) struct TextEnds {
    pub(crate) output: Option<String>,
    pub(crate) projection: Option<Array2<f32>>,
    pub(crate) pooled_is_feature: bool,
}

/// The input that takes pictures.
pub(super) fn image_input(inputs: &[Declared]) -> Option<&Declared> {
    let named = |i: &&Declared| i.name == PIXELS;
    let fits = |i: &&Declared| i.is_float() && (i.shape.len() == 4 || i.shape.is_empty());
    let pictures: Vec<&Declared> = inputs.iter().filter(fits).collect();
    match pictures[..] {
        [one] => Some(one),
        _ => pictures.into_iter().find(named),
    }
}

pub(super) fn takes_tokens(inputs: &[Declared]) -> bool {
    ids_input(inputs).is_some()
}

fn ids_input(inputs: &[Declared]) -> Option<&Declared> {
    let whole = |i: &&Declared| i.is_integer() && (i.shape.len() == 2 || i.shape.is_empty());
    let of_integers: Vec<&Declared> = inputs.iter().filter(whole).collect();
    match of_integers[..] {
        [one] => Some(one),
        _ => of_integers.into_iter().find(|i| i.name == IDS),
    }
}

/// (width, height) where the file fixes both.
pub(super) fn picture_size(inputs: &[Declared]) -> Option<(u32, u32)> {
    let input = image_input(inputs)?;
    let side = |at: usize| {
        input
            .shape
            .get(at)
            .copied()
            .flatten()
            .and_then(|n| u32::try_from(n).ok())
    };
    let at = if layout_of(input) == Layout::Nhwc {
        1
    } else {
        2
    };
    Some((side(at + 1)?, side(at)?))
}

pub(super) fn text_length(inputs: &[Declared]) -> Option<usize> {
    ids_input(inputs)?.shape.get(1).copied().flatten()
}

/// Rows of the table that token ids pick from: the largest that a Gather of ids reads.
pub(super) fn token_count(graph: &GraphProto) -> Option<usize> {
    let fed = inputs(graph);
    let ids = &ids_input(&fed)?.name;
    let tables = graph
        .node
        .iter()
        .filter(|n| n.op_type == "Gather" && n.input.get(1) == Some(ids));
    let rows = tables.filter_map(|n| {
        let table = graph
            .initializer
            .iter()
            .find(|t| Some(&t.name) == n.input.first())?;
        usize::try_from(*table.dims.first()?).ok()
    });
    rows.max()
}

/// Three channels last, and not three in the place where they usually are.
fn layout_of(input: &Declared) -> Layout {
    match input.shape[..] {
        [_, second, _, Some(3)] if second != Some(3) => Layout::Nhwc,
        _ => Layout::Nchw,
    }
}

impl ImageEnds {
    pub(super) fn apply(&self, graph: &mut GraphProto, opset: i64) -> Result<()> {
        let fed = inputs(graph);
        let Some(input) = image_input(&fed).map(|i| (i.name.clone(), layout_of(i))) else {
            let found = Declared::list(&fed);
            let expected = "one float input of pictures (frames × channels × height × width): this may be a text model";
            return Err(Error::invalid("image model inputs", found, expected));
        };
        let output = self.choose(graph)?;
        cut_to(graph, &output);
        let left = inputs(graph);
        if left.len() != 1 || left[0].name != input.0 {
            let expected = format!("`{}` alone", input.0);
            return Err(Error::invalid(
                "inputs of the image tower",
                Declared::list(&left),
                expected,
            ));
        }
        let mut end = End { graph, at: output };
        match self.pool {
            Some(Pool::Class) => end.first_token(),
            Some(Pool::Mean) => end.mean(opset),
            None => {}
        }
        end.project(self.projection.as_ref());
        end.close("image_embeds");
        begin(graph, &input.0, self.layout.unwrap_or(input.1));
        Ok(())
    }

    /// The output that is the feature, or will be after pooling and projection.
    fn choose(&self, graph: &GraphProto) -> Result<String> {
        let outputs: Vec<Declared> = graph.output.iter().map(Declared::of).collect();
        choose(
            "image",
            &outputs,
            self.output.as_deref(),
            self.projection.is_some() || self.pooled_is_feature,
            self.pool.is_some(),
        )
    }
}

impl TextEnds {
    pub(super) fn apply(&self, graph: &mut GraphProto) -> Result<()> {
        let fed = inputs(graph);
        let Some(ids) = ids_input(&fed).map(|i| i.name.clone()) else {
            let expected = "an integer input of token ids [texts, tokens]";
            return Err(Error::invalid(
                "text model inputs",
                Declared::list(&fed),
                expected,
            ));
        };
        let outputs: Vec<Declared> = graph.output.iter().map(Declared::of).collect();
        let whole = self.projection.is_some() || self.pooled_is_feature;
        let output = choose("text", &outputs, self.output.as_deref(), whole, false)?;
        cut_to(graph, &output);
        let mut end = End { graph, at: output };
        end.project(self.projection.as_ref());
        end.close("text_embeds");
        for input in inputs(graph) {
            let name = if input.name == ids { IDS } else { MASK };
            let is_mask = input.name.contains("mask");
            if !input.is_integer() || (name == MASK && !is_mask) {
                let expected = "token ids and maybe an attention mask, both integers";
                return Err(Error::invalid(
                    "inputs of the text tower",
                    input.words(),
                    expected,
                ));
            }
            rename_input(graph, &input.name, name);
            take_i64(graph, name);
        }
        Ok(())
    }
}

fn choose(
    tower: &str,
    outputs: &[Declared],
    asked: Option<&str>,
    pooled_serves: bool,
    pooling: bool,
) -> Result<String> {
    let find = |name: &str| outputs.iter().find(|o| o.name == name);
    if let Some(name) = asked {
        let found = find(name).ok_or_else(|| {
            let expected = format!("`{name}`, as asked for");
            Error::invalid("model outputs", Declared::list(outputs), expected)
        })?;
        let rank = found.shape.len();
        if rank == 3 && !pooling {
            return Err(Error::invalid(
                "model output",
                found.words(),
                "`--pool class` or `--pool mean` with an output of many tokens",
            ));
        }
        return Ok(name.to_owned());
    }
    let ready = [
        format!("{tower}_embeds"),
        format!("{tower}_embed"),
        format!("{tower}_features"),
        format!("{tower}_embedding"),
    ];
    if let Some(found) = ready.iter().find_map(|n| find(n)) {
        return Ok(found.name.clone());
    }
    if pooling && let Some(found) = outputs.iter().find(|o| o.shape.len() == 3) {
        return Ok(found.name.clone());
    }
    let pooled = ["pooler_output", "pooled_output"]
        .iter()
        .find_map(|n| find(n));
    if let Some(found) = pooled.filter(|_| pooled_serves) {
        return Ok(found.name.clone());
    }
    let hidden = outputs.iter().any(|o| o.name.contains("hidden_state")) || pooled.is_some();
    match outputs {
        [one] if !hidden && (one.shape.len() == 2 || one.shape.is_empty()) && one.is_float() => {
            Ok(one.name.clone())
        }
        _ if hidden => {
            let expected = format!(
                "`{tower}_embeds`: this export lacks the projection. Export the model \"with projection\", or give the matrix as \
                 `--projection FILE` (.npy, or FILE.safetensors:TENSOR) with `--pool class` where tokens are not pooled yet; \
                 where the pooled output is the feature, `--{tower}-output pooler_output`"
            );
            Err(Error::invalid(
                "model outputs",
                Declared::list(outputs),
                expected,
            ))
        }
        _ => {
            let expected = format!(
                "one feature a picture, `{tower}_embeds` [?, D]: a detector or classifier has no feature to give; else `--{tower}-output NAME`"
            );
            Err(Error::invalid(
                "model outputs",
                Declared::list(outputs),
                expected,
            ))
        }
    }
}

/// The growing end of a graph.
struct End<'a> {
    graph: &'a mut GraphProto,
    at: String,
}

impl End<'_> {
    fn push(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) {
        let next = format!("edgeclip_{}_{}", op.to_lowercase(), self.graph.node.len());
        let mut input = vec![self.at.clone()];
        input.extend(inputs.iter().map(|s| (*s).to_owned()));
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: next.clone(),
            input,
            output: vec![next.clone()],
            attribute,
            ..Default::default()
        });
        self.at = next;
    }

    fn first_token(&mut self) {
        self.graph
            .initializer
            .push(whole_numbers("edgeclip_first", &[], &[0]));
        self.push("Gather", &["edgeclip_first"], vec![int("axis", 1)]);
    }

    fn mean(&mut self, opset: i64) {
        if opset < 18 {
            return self.push(
                "ReduceMean",
                &[],
                vec![ints("axes", &[1]), int("keepdims", 0)],
            );
        }
        self.graph
            .initializer
            .push(whole_numbers("edgeclip_tokens", &[1], &[1]));
        self.push("ReduceMean", &["edgeclip_tokens"], vec![int("keepdims", 0)]);
    }

    fn project(&mut self, projection: Option<&Array2<f32>>) {
        let Some(matrix) = projection else { return };
        let dims = vec![matrix.nrows() as i64, matrix.ncols() as i64];
        self.graph.initializer.push(float_tensor(
            "edgeclip_projection",
            dims,
            matrix.iter().copied(),
        ));
        self.push("MatMul", &["edgeclip_projection"], Vec::new());
    }

    /// Makes what has grown the only output, under `name`.
    fn close(mut self, name: &str) {
        if self.at != name {
            // A value of that name inside would be read in its stead.
            for node in &mut self.graph.node {
                let names = node.input.iter_mut().chain(&mut node.output);
                names
                    .filter(|n| *n == name)
                    .for_each(|n| n.push_str("_inner"));
            }
            self.push("Identity", &[], Vec::new());
            if let Some(last) = self.graph.node.last_mut() {
                last.output[0] = name.into();
            }
        }
        self.graph.output = vec![value(name, F32, &[None, None])];
    }
}

/// Names the picture input and gives it channels in the second place.
fn begin(graph: &mut GraphProto, input: &str, layout: Layout) {
    let declared = graph
        .input
        .iter()
        .find(|i| i.name == input)
        .map(Declared::of);
    let sides = declared.map_or_else(Vec::new, |d| d.shape);
    rename_input(graph, input, PIXELS);
    let (mut height, mut width) = (
        sides.get(2).copied().flatten(),
        sides.get(3).copied().flatten(),
    );
    if layout == Layout::Nhwc {
        (height, width) = (
            sides.get(1).copied().flatten(),
            sides.get(2).copied().flatten(),
        );
        let inner = "edgeclip_channels_last";
        for node in &mut graph.node {
            node.input
                .iter_mut()
                .filter(|n| *n == PIXELS)
                .for_each(|n| *n = inner.into());
        }
        let turn = NodeProto {
            op_type: "Transpose".into(),
            name: inner.into(),
            input: vec![PIXELS.into()],
            output: vec![inner.into()],
            attribute: vec![ints("perm", &[0, 2, 3, 1])],
            ..Default::default()
        };
        graph.node.insert(0, turn);
    }
    graph.input = vec![value(PIXELS, F32, &[None, Some(3), height, width])];
}

fn rename_input(graph: &mut GraphProto, old: &str, new: &str) {
    if old == new {
        return;
    }
    let rename = |from: &str, to: &str, graph: &mut GraphProto| {
        for node in &mut graph.node {
            let names = node.input.iter_mut().chain(&mut node.output);
            names.filter(|n| *n == from).for_each(|n| *n = to.into());
        }
    };
    rename(new, &format!("{new}_inner"), graph);
    rename(old, new, graph);
    graph
        .input
        .iter_mut()
        .filter(|i| i.name == old)
        .for_each(|i| i.name = new.into());
}

/// Feeds a 32-bit input from a 64-bit one.
fn take_i64(graph: &mut GraphProto, name: &str) {
    let Some(input) = graph.input.iter_mut().find(|i| i.name == name) else {
        return;
    };
    let declared = Declared::of(input);
    *input = value(name, I64, &declared.shape);
    if declared.kind != I32 {
        return;
    }
    let inner = format!("{name}_i32");
    for node in &mut graph.node {
        node.input
            .iter_mut()
            .filter(|n| *n == name)
            .for_each(|n| n.clone_from(&inner));
    }
    let cast = NodeProto {
        op_type: "Cast".into(),
        name: inner.clone(),
        input: vec![name.into()],
        output: vec![inner],
        attribute: vec![int("to", I32.into())],
        ..Default::default()
    };
    graph.node.insert(0, cast);
}

/// exp(logit scale): from a weight of that name, or from the factor next to the logits of a file with both towers.
pub(super) fn logit_scale(graph: &GraphProto) -> Option<f32> {
    let scalar = |name: &str| {
        let t = graph.initializer.iter().find(|t| t.name == name)?;
        match floats(t).ok()?[..] {
            [v] if v.is_finite() => Some(v),
            _ => None,
        }
    };
    if let Some(v) = graph
        .initializer
        .iter()
        .find(|t| t.name.ends_with("logit_scale"))
        .and_then(|t| scalar(&t.name))
    {
        // CLIP keeps the logarithm, at most ln 100.
        return Some(if v <= 5.0 { v.exp() } else { v });
    }
    let mut name = graph
        .output
        .iter()
        .find(|o| o.name.starts_with("logits_per_"))?
        .name
        .clone();
    for _ in 0..4 {
        let node = graph.node.iter().find(|n| n.output.contains(&name))?;
        if node.op_type == "Mul"
            && let Some(v) = node.input.iter().find_map(|i| scalar(i))
        {
            return (1.0..=1000.0).contains(&v).then_some(v);
        }
        name.clone_from(node.input.first()?);
    }
    None
}

/// A declared input or output, its free lengths named.
pub(super) fn value(name: &str, kind: i32, shape: &[Option<usize>]) -> ValueInfoProto {
    let dim = |(i, d): (usize, &Option<usize>)| {
        d.map_or_else(
            || Value::DimParam(format!("{name}_{i}")),
            |n| Value::DimValue(n as i64),
        )
    };
    declared(
        name,
        kind,
        Some(shape.iter().enumerate().map(dim).collect()),
    )
}
