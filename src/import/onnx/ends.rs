//! What goes into a tower and what comes out: found, named, and brought to the stored form.

use ndarray::Array2;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, ValueInfoProto, tensor_shape_proto::dimension::Value,
};

use super::super::options::{Layout, Pool};
use super::{cut_to, inputs};
use crate::encoder::onnx::Declared;
use crate::encoder::onnx::proto::{declared, int, ints, whole_numbers};
use crate::encoder::onnx::tensor::{F32, I32, I64, float_tensor};
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

pub(super) fn ids_input(inputs: &[Declared]) -> Option<&Declared> {
    let whole = |i: &&Declared| i.is_integer() && (i.shape.len() == 2 || i.shape.is_empty());
    let of_integers: Vec<&Declared> = inputs.iter().filter(whole).collect();
    match of_integers[..] {
        [one] => Some(one),
        _ => of_integers.into_iter().find(|i| i.name == IDS),
    }
}

/// Three channels last, and not three in the place where they usually are.
pub(super) fn layout_of(input: &Declared) -> Layout {
    match input.shape[..] {
        [_, second, _, Some(3)] if second != Some(3) => Layout::Nhwc,
        _ => Layout::Nchw,
    }
}

impl ImageEnds {
    pub(super) fn apply(&self, graph: &mut GraphProto, opset: i64) -> Result<()> {
        let fed = inputs(graph);
        let Some(input) = image_input(&fed).map(|i| i.name.clone()) else {
            let found = Declared::list(&fed);
            let expected = "one float input of pictures (frames × channels × height × width): this may be a text model";
            return Err(Error::invalid("image model inputs", found, expected));
        };
        let layout = self.layout_for(graph, &fed, &input)?;
        let output = self.choose(graph)?;
        let projection = projection_for(graph, &output, self.projection.as_ref())?;
        cut_to(graph, &output);
        let left = inputs(graph);
        if left.len() != 1 || left[0].name != input {
            let expected = format!("`{input}` alone");
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
        end.project(projection.as_ref());
        end.close("image_embeds");
        begin(graph, &input, layout);
        Ok(())
    }

    /// The layout that is asked for, if the file allows it, else the declared one.
    fn layout_for(&self, graph: &GraphProto, fed: &[Declared], input: &str) -> Result<Layout> {
        let declared = fed.iter().find(|i| i.name == input);
        let channels = |i: usize| declared.and_then(|d| d.shape.get(i).copied().flatten());
        let asked = self
            .layout
            .unwrap_or(declared.map_or(Layout::Nchw, layout_of));
        // ONNX convolves over the last axes, so what a Conv reads has its channels second.
        let convolves =
            |n: &NodeProto| n.op_type == "Conv" && n.input.first().is_some_and(|i| i == input);
        let turned = asked == Layout::Nhwc && graph.node.iter().any(convolves);
        let (own, other) = match asked {
            Layout::Nchw => (channels(1), channels(3)),
            Layout::Nhwc => (channels(3), channels(1)),
        };
        if turned || own.is_some_and(|n| n != 3) || own.is_none() && other == Some(3) {
            let found = declared.map_or_else(String::new, Declared::words);
            let expected = match (turned, asked) {
                (true, _) => "no `--layout nhwc`: a Conv reads it, so its channels stand second",
                (_, Layout::Nchw) => {
                    "three channels in the second place: or is it `--layout nhwc`?"
                }
                (_, Layout::Nhwc) => "three channels in the last place: or is it `--layout nchw`?",
            };
            return Err(Error::invalid("image model input", found, expected));
        }
        Ok(asked)
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
        let projection = projection_for(graph, &output, self.projection.as_ref())?;
        cut_to(graph, &output);
        let mut end = End { graph, at: output };
        end.project(projection.as_ref());
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
        if rank == 2 && pooling {
            return Err(one_vector(found));
        }
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
        return match pooling {
            true => Err(one_vector(found)),
            false => Ok(found.name.clone()),
        };
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
            let (flag, pool) = match tower {
                "image" => (
                    "projection",
                    " with `--pool class` where tokens are not pooled yet",
                ),
                _ => ("text-projection", ""),
            };
            let expected = format!(
                "`{tower}_embeds`: this export lacks the projection. Export the model \"with projection\", or give the matrix as \
                 `--{flag} FILE` (.npy, or FILE.safetensors:TENSOR){pool}; \
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

fn one_vector(output: &Declared) -> Error {
    let expected = "an output of many tokens for `--pool` (`--image-output NAME`); this one needs no pooling: leave `--pool` out";
    Error::invalid("model output", output.words(), expected)
}

fn projection_for(
    graph: &GraphProto,
    output: &str,
    matrix: Option<&Array2<f32>>,
) -> Result<Option<Array2<f32>>> {
    let declared = graph.output.iter().find(|o| o.name == output);
    let declared = declared.map(Declared::of);
    let fit = |(matrix, output)| fitted(matrix, output);
    matrix.zip(declared.as_ref()).map(fit).transpose()
}

/// `matrix` as P×D for an output of `width` values; a linear layer keeps it as D×P.
fn fitted(matrix: &Array2<f32>, output: &Declared) -> Result<Array2<f32>> {
    let width = output.shape.last().copied().flatten();
    let (rows, columns) = matrix.dim();
    match width {
        Some(p) if p != rows && p == columns => Ok(matrix.t().to_owned()),
        Some(p) if p != rows => {
            let found = format!("{rows}×{columns}");
            let expected = format!("{p}×D, since `{}` is {p} wide", output.name);
            Err(Error::invalid("projection", found, expected))
        }
        _ => Ok(matrix.clone()),
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
