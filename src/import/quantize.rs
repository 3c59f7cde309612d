//! f32 image encoders to int8: weights per output channel, activations by row as they come.
//!
//! A product is quantized only where rounding costs little: each is run alone on what it sees when the
//! encoder looks at pictures, as it is and rounded, and stays in floats where the error is above
//! [`MOST_ERROR`]. If features still turn, the worst give their place back until they do not.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use tract_onnx::prelude::*;

use crate::bundle::{Bundle, ImageSections};
use crate::encoder::onnx::fake_quantize::{DOMAIN, Range};
use crate::encoder::onnx::proto::{declared, int, integer_of, producers};
use crate::encoder::onnx::tensor::{F16, F32, I8, float_tensor, floats};
use crate::encoder::onnx::{Fed, Length, Onnx, widen};
use crate::encoder::{Encoder, likeness};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::preprocess::{Preprocess, Preprocessor};

/// Largest squared error of a product that may be int8, relative to its squared length.
const MOST_ERROR: f64 = 1e-3;
/// Least mean cosine of features to those of the float encoder; what is wanted of any pictures is 0.999.
const LEAST_COSINE: f64 = 0.9993;
/// Least cosine of any one picture's features.
const LEAST_OF_ANY: f64 = 0.995;
/// Weights below this many values are not worth it.
const LEAST_WEIGHTS: usize = 1024;
/// Pictures that each product is judged on.
const JUDGED_ON: usize = 4;

/// What quantizing did.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Products with int8 weights.
    pub int8: usize,
    /// Of these, products with a range fixed by calibration.
    pub fixed: usize,
    /// Products that stay in floats, with their relative squared error.
    pub floats: Vec<(String, f64)>,
    /// Cosine of features to the float encoder's, mean and least over the pictures.
    pub cosine: (f64, f64),
    /// Milliseconds a picture, before and after.
    pub milliseconds: (f64, f64),
    /// Bytes of the encoder, before and after.
    pub bytes: (usize, usize),
}

/// One product with a constant side.
struct Layer {
    node: usize,
    name: String,
    input: String,
    weight: String,
    /// Axis of the output channels in the weight.
    axis: usize,
    range: Range,
    error: f64,
}

/// Quantizes the image encoder `original` of width `dim`, judged on `frames` after `preprocess`; `calibrated`
/// says that these are photos of the field, whose ranges may be fixed. `progress` hears how many of
/// how many products are judged.
///
/// # Errors
/// The encoder does not run.
pub(super) fn int8(
    original: &[u8],
    (preprocess, dim): (&Preprocess, usize),
    (frames, calibrated): (&[Frame], bool),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<u8>, Quantized)> {
    let mut model = decode(original)?;
    let Some(graph) = model.graph.as_mut() else {
        return Err(Error::invalid(
            "ONNX file",
            "no graph",
            "a model with at least one node",
        ));
    };
    widen::halves(graph);
    let mut layers = layers(graph);
    let judged_on = &frames[..frames.len().min(JUDGED_ON)];
    let seen = activations(&model, &layers, preprocess, judged_on)?;
    let total = layers.len();
    for (i, layer) in layers.iter_mut().enumerate() {
        judge(layer, &model, &seen[&layer.input], calibrated)?;
        progress(i + 1, total);
    }
    let features = |onnx: &[u8]| {
        let mut encoder = Encoder::of_onnx(onnx, preprocess, dim)?;
        let start = Instant::now();
        let features = frames.iter().map(|f| encoder.encode(f));
        let features = features.collect::<Result<Vec<_>>>()?;
        let milliseconds = 1e3 * start.elapsed().as_secs_f64() / frames.len().max(1) as f64;
        Ok::<_, Error>((features, milliseconds))
    };
    let before = features(original)?;
    layers.sort_by(|a, b| a.error.total_cmp(&b.error));
    let mut taken = layers.partition_point(|l| l.error <= MOST_ERROR);
    loop {
        let mut quantized = model.clone();
        for layer in &layers[..taken] {
            rewrite(&mut quantized, layer)?;
        }
        if taken > 0 {
            quantized = in_order(quantized);
        }
        let bytes = quantized.encode_to_vec();
        let after = features(&bytes)?;
        let (mean, least) = likeness(&before.0, &after.0);
        if (mean >= LEAST_COSINE && least >= LEAST_OF_ANY) || taken == 0 {
            let (int8, floats) = layers.split_at(taken);
            let is_fixed = |l: &&Layer| matches!(l.range, Range::Fixed { .. });
            let quantized = Quantized {
                int8: taken,
                fixed: int8.iter().filter(is_fixed).count(),
                floats: floats.iter().map(|l| (l.name.clone(), l.error)).collect(),
                cosine: (mean, least),
                milliseconds: (before.1, after.1),
                bytes: (original.len(), bytes.len()),
            };
            return Ok((bytes, quantized));
        }
        taken -= (taken / 8).max(1);
    }
}

fn decode(onnx: &[u8]) -> Result<ModelProto> {
    ModelProto::decode(onnx)
        .map_err(|e| Error::invalid("ONNX file", e.to_string(), "an ONNX model"))
}

/// Halves the weights of a text encoder: the numbers of f16 exports, at half the size.
pub(super) fn halve(onnx: &[u8]) -> Result<Vec<u8>> {
    let mut model = decode(onnx)?;
    let tensors = model.graph.iter_mut().flat_map(|g| &mut g.initializer);
    for t in tensors.filter(|t| t.data_type == F32) {
        let values = floats(t)?;
        // Beyond the reach of halves a weight stays as it is.
        if values.len() >= LEAST_WEIGHTS && values.iter().all(|v| v.abs() < 65_000.0) {
            t.raw_data = values
                .iter()
                .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                .collect();
            t.float_data.clear();
            t.data_type = F16;
        }
    }
    Ok(model.encode_to_vec())
}

/// Products of an encoder with weights of each kind: how many are int8, and the names of the others.
///
/// # Errors
/// The bundle's encoder cannot be read.
pub fn products(bundle: &Bundle) -> Result<(usize, Vec<String>)> {
    let bytes = match bundle.image_encoder()? {
        None => return Ok((0, Vec::new())),
        Some(ImageSections::Graph { graph, weights }) => {
            return crate::encoder::fused_products(&graph, weights);
        }
        Some(ImageSections::Onnx(bytes)) => bytes,
    };
    let model = decode(&bytes)?;
    let graph = model.graph.unwrap_or_default();
    let unfolded: HashSet<&str> = graph
        .node
        .iter()
        .filter(|n| n.op_type == "DequantizeLinear")
        .flat_map(|n| &n.output)
        .map(String::as_str)
        .collect();
    let int8 = graph
        .node
        .iter()
        .filter(|n| weight_axis(n).is_some() && unfolded.contains(n.input[1].as_str()))
        .count();
    Ok((int8, layers(&graph).into_iter().map(|l| l.name).collect()))
}

/// Where the output channels of a product's weight are; none for other nodes.
fn weight_axis(node: &NodeProto) -> Option<usize> {
    let int = |name: &str| integer_of(node, name).unwrap_or(0);
    match node.op_type.as_str() {
        _ if node.input.len() < 2 => None,
        "MatMul" => Some(1),
        "Gemm" if int("transA") == 0 => Some(if int("transB") == 0 { 1 } else { 0 }),
        "Conv" => Some(0),
        _ => None,
    }
}

/// Products with a float weight of their own.
fn layers(graph: &GraphProto) -> Vec<Layer> {
    let held: HashMap<&str, &TensorProto> = graph
        .initializer
        .iter()
        .map(|t| (t.name.as_str(), t))
        .collect();
    let mut reads: HashMap<&str, usize> = HashMap::new();
    graph
        .node
        .iter()
        .flat_map(|n| &n.input)
        .for_each(|i| *reads.entry(i).or_default() += 1);
    let layer = |(at, node): (usize, &NodeProto)| {
        let axis = weight_axis(node)?;
        let weight = held.get(node.input[1].as_str())?;
        let rank = if node.op_type == "Conv" { 4 } else { 2 };
        let count: i64 = weight.dims.iter().product();
        let large = usize::try_from(count).is_ok_and(|n| n >= LEAST_WEIGHTS);
        let own = reads.get(node.input[1].as_str()) == Some(&1);
        if ![F32, F16].contains(&weight.data_type)
            || weight.dims.len() != rank
            || !large
            || !own
            || held.contains_key(node.input[0].as_str())
        {
            return None;
        }
        Some(Layer {
            node: at,
            name: if node.name.is_empty() {
                node.output[0].clone()
            } else {
                node.name.clone()
            },
            input: node.input[0].clone(),
            weight: weight.name.clone(),
            axis,
            range: if node.op_type == "Conv" {
                Range::Tensor
            } else {
                Range::Row
            },
            error: f64::INFINITY,
        })
    };
    graph.node.iter().enumerate().filter_map(layer).collect()
}

/// What each product sees on each frame.
fn activations(
    model: &ModelProto,
    layers: &[Layer],
    preprocess: &Preprocess,
    frames: &[Frame],
) -> Result<HashMap<String, Vec<Tensor>>> {
    let mut names: Vec<&str> = layers.iter().map(|l| l.input.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut seen: HashMap<String, Vec<Tensor>> = HashMap::new();
    let mut preprocessor = Preprocessor::new(preprocess.clone())?;
    let (width, height) = preprocessor.input_size();
    let shape = [1, 3, height as usize, width as usize];
    let mut asked = model.clone();
    if let Some(graph) = &mut asked.graph {
        let inner = names.iter().filter(|n| **n != "pixel_values");
        graph.output = inner
            .map(|n| ValueInfoProto {
                name: (*n).into(),
                ..Default::default()
            })
            .collect();
    }
    let inner: Vec<String> = asked
        .graph
        .iter()
        .flat_map(|g| &g.output)
        .map(|o| o.name.clone())
        .collect();
    let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
    let plan = (!inner.is_empty())
        .then(|| run_plan(asked, "pixel_values", &shape, &inner))
        .transpose()?;
    for frame in frames {
        let mut pixels = vec![0.0; shape.iter().product()];
        preprocessor.tensor_into(frame, &mut pixels)?;
        let input = Tensor::from_shape(&shape, &pixels).map_err(|e| failed(&e))?;
        if let Some(plan) = &plan {
            let found = plan
                .run(tvec!(input.clone().into_tvalue()))
                .map_err(|e| failed(&e))?;
            for (name, value) in inner.iter().zip(found) {
                seen.entry((*name).to_owned())
                    .or_default()
                    .push(value.into_tensor());
            }
        }
        seen.entry("pixel_values".into()).or_default().push(input);
    }
    Ok(seen)
}

fn run_plan(
    model: ModelProto,
    input: &str,
    shape: &[usize],
    outputs: &[&str],
) -> Result<Arc<TypedSimplePlan>> {
    let graph = Onnx::of(model)?;
    let shape: Vec<Length> = shape.iter().map(|n| Length::Fixed(*n)).collect();
    let fed = Fed {
        name: input,
        kind: f32::datum_type(),
        shape: &shape,
    };
    graph.into_plan_of(&[fed], outputs, 1)
}

fn failed(e: &TractError) -> Error {
    Error::invalid(
        "encoder run",
        format!("{e:#}"),
        "a graph that tract 0.23 can run",
    )
}

/// Finds the range that serves a product best, and its error.
fn judge(layer: &mut Layer, model: &ModelProto, seen: &[Tensor], calibrated: bool) -> Result<()> {
    let graph = model.graph.as_ref().map_or(&[][..], |g| &g.node);
    let plain = alone(model, &graph[layer.node])?;
    let exact = outputs(&plain, &layer.input, seen)?;
    let mut ranges = vec![layer.range];
    if calibrated {
        ranges.extend(fixed_range(seen)?);
    }
    for range in ranges {
        let tried = Layer {
            range,
            name: String::new(),
            input: layer.input.clone(),
            weight: layer.weight.clone(),
            ..*layer
        };
        let mut rounded = plain.clone();
        rewrite(&mut rounded, &Layer { node: 0, ..tried })?;
        let rounded = in_order(rounded);
        let found = outputs(&rounded, &layer.input, seen)?;
        let (mut off, mut whole) = (0.0, 1e-30);
        for (a, b) in exact.iter().zip(&found) {
            off += f64::from(a - b).powi(2);
            whole += f64::from(*a).powi(2);
        }
        // A fixed range spares looking at each picture first, so it may be as good.
        if off / whole <= layer.error * 1.02 {
            (layer.range, layer.error) = (range, off / whole);
        }
    }
    Ok(())
}

/// The range from the least to the greatest value of any picture, zero included, in 8 bits.
fn fixed_range(seen: &[Tensor]) -> Result<Option<Range>> {
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    for tensor in seen {
        let view = tensor.try_as_plain_ram().map_err(|e| failed(&e))?;
        for v in view.as_slice::<f32>().map_err(|e| failed(&e))? {
            (low, high) = (low.min(*v), high.max(*v));
        }
    }
    let scale = (high - low) / 255.0;
    let zero = (-low / scale).round_ties_even() as i32;
    Ok((scale > 0.0 && scale.is_finite()).then_some(Range::Fixed {
        scale,
        zero,
        low: 0,
        high: 255,
    }))
}

/// A model of one node with its constants.
fn alone(model: &ModelProto, node: &NodeProto) -> Result<ModelProto> {
    let held = model
        .graph
        .iter()
        .flat_map(|g| &g.initializer)
        .filter(|t| node.input.contains(&t.name));
    let graph = GraphProto {
        node: vec![node.clone()],
        initializer: held.cloned().collect(),
        input: vec![declared(&node.input[0], F32, None)],
        output: vec![ValueInfoProto {
            name: node.output[0].clone(),
            ..Default::default()
        }],
        ..Default::default()
    };
    Ok(ModelProto {
        graph: Some(graph),
        opset_import: model.opset_import.clone(),
        ir_version: model.ir_version,
        ..Default::default()
    })
}

fn outputs(model: &ModelProto, input: &str, seen: &[Tensor]) -> Result<Vec<f32>> {
    let Some(first) = seen.first() else {
        return Ok(Vec::new());
    };
    let output = model
        .graph
        .iter()
        .flat_map(|g| &g.output)
        .map(|o| o.name.clone())
        .next()
        .unwrap_or_default();
    let plan = run_plan(model.clone(), input, first.shape(), &[&output])?;
    let mut all = Vec::new();
    for tensor in seen {
        let found = plan
            .run(tvec!(tensor.clone().into_tvalue()))
            .map_err(|e| failed(&e))?;
        let view = found[0].try_as_plain_ram().map_err(|e| failed(&e))?;
        all.extend_from_slice(view.as_slice::<f32>().map_err(|e| failed(&e))?);
    }
    Ok(all)
}

/// Puts rounding before a product, and its weight behind a DequantizeLinear.
fn rewrite(model: &mut ModelProto, layer: &Layer) -> Result<()> {
    let Some(graph) = &mut model.graph else {
        return Ok(());
    };
    let Some(at) = graph
        .initializer
        .iter()
        .position(|t| t.name == layer.weight)
    else {
        return Ok(());
    };
    let weight = graph.initializer.swap_remove(at);
    let values = floats(&weight)?;
    let channels = usize::try_from(weight.dims[layer.axis]).unwrap_or(1).max(1);
    let inner: i64 = weight.dims[layer.axis + 1..].iter().product();
    let inner = usize::try_from(inner).unwrap_or(1).max(1);
    let channel = |i: usize| i / inner % channels;
    let mut peaks = vec![0.0_f32; channels];
    for (i, v) in values.iter().enumerate() {
        peaks[channel(i)] = peaks[channel(i)].max(v.abs());
    }
    let scales: Vec<f32> = peaks
        .iter()
        .map(|p| if *p > 0.0 { p / 127.0 } else { 1.0 })
        .collect();
    let rounded = values
        .iter()
        .enumerate()
        .map(|(i, v)| ((v / scales[channel(i)]).round_ties_even() as i8).cast_unsigned());
    let (scale_name, unfolded) = (
        format!("{}_scale", layer.weight),
        format!("{}_unfolded", layer.weight),
    );
    graph.initializer.push(TensorProto {
        name: layer.weight.clone(),
        dims: weight.dims.clone(),
        data_type: I8,
        raw_data: rounded.collect(),
        ..Default::default()
    });
    graph.initializer.push(float_tensor(
        &scale_name,
        vec![channels as i64],
        scales.into_iter(),
    ));
    let node = &mut graph.node[layer.node];
    node.input[0] = rounded_name(layer);
    node.input[1].clone_from(&unfolded);
    graph.node.push(NodeProto {
        op_type: "DequantizeLinear".into(),
        name: unfolded.clone(),
        input: vec![layer.weight.clone(), scale_name],
        output: vec![unfolded],
        attribute: vec![int("axis", layer.axis as i64)],
        ..Default::default()
    });
    let name = rounded_name(layer);
    if !graph.node.iter().any(|n| n.output.contains(&name)) {
        graph.node.push(layer.range.node(&layer.input, &name));
    }
    Ok(())
}

/// Products that read one value with one range share its rounding.
fn rounded_name(layer: &Layer) -> String {
    match layer.range {
        Range::Fixed { .. } => format!("{}_rounded_fixed", layer.input),
        Range::Row => format!("{}_rounded_row", layer.input),
        Range::Tensor => format!("{}_rounded", layer.input),
    }
}

/// Puts new nodes before their readers, and names our operators' domain.
fn in_order(mut model: ModelProto) -> ModelProto {
    if let Some(graph) = &mut model.graph {
        let order = order(graph);
        let nodes = std::mem::take(&mut graph.node);
        let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
        graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    }
    if !model.opset_import.iter().any(|o| o.domain == DOMAIN) {
        model.opset_import.push(OperatorSetIdProto {
            domain: DOMAIN.into(),
            version: 1,
        });
    }
    model
}

/// Nodes so that each stands behind what it reads, else as they stand.
fn order(graph: &GraphProto) -> Vec<usize> {
    let made = producers(graph);
    let mut placed = vec![false; graph.node.len()];
    let mut order = Vec::with_capacity(graph.node.len());
    for first in 0..graph.node.len() {
        // Depth first, without recursion: graphs may be thousands of nodes deep.
        let mut stack = vec![(first, false)];
        while let Some((at, ready)) = stack.pop() {
            if placed[at] {
                continue;
            }
            if ready {
                placed[at] = true;
                order.push(at);
                continue;
            }
            stack.push((at, true));
            let inputs = graph.node[at].input.iter();
            let needs = inputs.filter_map(|i| made.get(i.as_str()));
            stack.extend(needs.filter(|i| !placed[**i]).map(|i| (*i, false)));
        }
    }
    order
}

/// Pictures to judge on where there are no photos: blobs of colour over gratings.
pub(super) fn test_patterns(count: usize) -> Result<Vec<Frame>> {
    const SIDE: u32 = 256;
    let mut state = 0x9e37_79b9_u32;
    // Marsaglia's xorshift: the same pictures on every machine.
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    };
    (0..count)
        .map(|_| {
            let ground: [f32; 3] = [next(), next(), next()];
            let blobs: Vec<[f32; 6]> = (0..6)
                .map(|_| [next(), next(), 0.05 + 0.3 * next(), next(), next(), next()])
                .collect();
            let (contrast, noise) = (0.2 + 1.5 * next(), 0.4 * next().powi(3));
            let (waves, angle) = (5.0 + 35.0 * next(), std::f32::consts::PI * next());
            let mut rgb = Vec::with_capacity((SIDE * SIDE * 3) as usize);
            for y in 0..SIDE {
                for x in 0..SIDE {
                    let (u, v) = (x as f32 / SIDE as f32, y as f32 / SIDE as f32);
                    let mut colour = ground;
                    for [cx, cy, r, blob @ ..] in &blobs {
                        let d = ((u - cx).powi(2) + (v - cy).powi(2)) / (r * r);
                        let share = (-d * d).exp();
                        colour
                            .iter_mut()
                            .zip(blob)
                            .for_each(|(c, b)| *c += share * (b - *c));
                    }
                    let wave = 0.15
                        * (std::f32::consts::TAU * waves * (u * angle.cos() + v * angle.sin()))
                            .sin();
                    rgb.extend(colour.map(|c| {
                        let lit = 0.5 + contrast * (c + wave - 0.5) + noise * (next() - 0.5);
                        (255.0 * lit).clamp(0.0, 255.0) as u8
                    }));
                }
            }
            Frame::from_rgb(SIDE, SIDE, rgb)
        })
        .collect()
}
