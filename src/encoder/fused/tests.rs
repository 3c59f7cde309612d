//! The fused encoder beside ONNX Runtime and tract, on a small model of CLIP's architecture.

use std::sync::Arc;

use tract_onnx::prelude::*;

use super::graph::{Form, Graph, Step};
use super::{Machine, Program};
use crate::encoder::kernels::Kernels;
use crate::encoder::onnx::fake_quantize::Range;
use crate::encoder::onnx::{Fed, Length, Onnx, Pairs};
use crate::encoder::tracted::Tracted;
use crate::store::SectionRef;

const ONNX: &[u8] = include_bytes!("../../../tests/golden/vit/vit.onnx");
const FEATURES: &str = include_str!("../../../tests/golden/vit/features.json");
const SHAPE: [usize; 4] = [1, 3, 64, 64];

const CONVOLUTIONS: &[u8] = include_bytes!("../../../tests/golden/convolutions/convolutions.onnx");
const FEATURES_OF_CONVOLUTIONS: &str =
    include_str!("../../../tests/golden/convolutions/features.json");
const SHAPE_OF_CONVOLUTIONS: [usize; 4] = [1, 3, 48, 40];

/// The picture that `make.py` makes of a seed.
fn picture(seed: usize) -> Vec<f32> {
    picture_of(SHAPE, seed)
}

fn picture_of(shape: [usize; 4], seed: usize) -> Vec<f32> {
    let [_, _, height, width] = shape;
    let pixel = |i: usize| {
        if shape == SHAPE {
            return ((i * (31 + 2 * seed) + i / 97) % 251) as f32 / 125.0 - 1.0;
        }
        let (c, y, x) = (i / (height * width), i / width % height, i % width);
        let steps = x / 4 * (3 + seed) + y / 3 * (5 + 2 * seed) + (11 + 5 * seed) * c;
        (steps % 29) as f32 / 14.0 - 1.0
    };
    (0..shape.iter().product()).map(pixel).collect()
}

fn fed(shape: &[Length]) -> Fed<'_> {
    Fed {
        name: "pixel_values",
        kind: f32::datum_type(),
        shape,
    }
}

/// The model with every product's input rounded as `range` says.
fn rounded(range: Range) -> Onnx {
    with_whole_weights(Some(range))
}

/// The model with weights of 8 bits, and every product's input rounded or not.
fn with_whole_weights(range: Option<Range>) -> Onnx {
    let reader = tract_onnx::onnx();
    let mut proto = reader.proto_model_for_read(&mut &ONNX[..]).unwrap();
    let graph = proto.graph.as_mut().unwrap();
    let mut nodes = Vec::new();
    let held: Vec<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    for (n, mut node) in graph.node.drain(..).enumerate() {
        if node.op_type == "MatMul" && held.contains(&node.input[1]) {
            let name = format!("rounded{n}");
            if let Some(range) = range {
                nodes.push(range.node(&node.input[0], &name));
                node.input[0] = name;
            }
        }
        nodes.push(node);
    }
    graph.node = nodes;
    // Weights that 8 bits hold, as int8 files have them.
    for tensor in &mut graph.initializer {
        if tensor.dims.len() == 2 {
            let values = crate::encoder::onnx::tensor::floats(tensor).unwrap();
            let columns = tensor.dims[1] as usize;
            let most = |c: usize| {
                values
                    .iter()
                    .skip(c)
                    .step_by(columns)
                    .fold(0.0_f32, |m, v| m.max(v.abs()))
            };
            let scales: Vec<f32> = (0..columns).map(|c| most(c) / 127.0).collect();
            let round = |(i, v): (usize, &f32)| {
                let scale = scales[i % columns];
                (v / scale).round() * scale
            };
            let values: Vec<f32> = values.iter().enumerate().map(round).collect();
            tensor.raw_data = values.into_iter().flat_map(f32::to_le_bytes).collect();
        }
    }
    Onnx::of(proto).unwrap()
}

fn program(onnx: &Onnx) -> Arc<Program> {
    program_of(onnx, SHAPE)
}

fn convolutions() -> Arc<Program> {
    let onnx = Onnx::parse_with(CONVOLUTIONS, Pairs::Rounded).unwrap();
    program_of(&onnx, SHAPE_OF_CONVOLUTIONS)
}

fn program_of(onnx: &Onnx, shape: [usize; 4]) -> Arc<Program> {
    let shape = shape.map(Length::Fixed);
    let typed = onnx.typed(&[fed(&shape)], &["image_embeds"]).unwrap();
    let (graph, weights) = super::lower::lower(&typed).unwrap();
    // As a bundle keeps it.
    let bytes = crate::store::encode_postcard(&graph, "graph").unwrap();
    let graph = crate::store::decode_postcard(&bytes, "graph").unwrap();
    Arc::new(Program::new(graph, SectionRef::of_bytes(&weights).unwrap()).unwrap())
}

fn on_tract(onnx: Onnx) -> Tracted {
    let shape = SHAPE.map(Length::Fixed);
    let plan = onnx.into_plan(&[fed(&shape)], "image_embeds", 1);
    Tracted::new(plan.unwrap(), &SHAPE).unwrap()
}

fn run(program: &Arc<Program>, kernels: Kernels, threads: usize, pictures: &[f32]) -> Vec<f32> {
    let mut machine = Machine::new(Arc::clone(program), kernels, threads);
    let mut out = Vec::new();
    machine.run(pictures, &mut out);
    // The second run starts from what the first one left.
    machine.run(pictures, &mut out);
    out
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_model_in_floats_says_what_onnx_runtime_says() {
    let expected: serde_json::Value = serde_json::from_str(FEATURES).unwrap();
    let program = program(&Onnx::parse(ONNX).unwrap());
    for kernels in Kernels::all() {
        for seed in 0..3 {
            let got = run(&program, kernels, 1, &picture(seed));
            let values = expected["features"][seed].as_array().unwrap();
            for (got, expected) in got.iter().zip(values) {
                let off = (f64::from(*got) - expected.as_f64().unwrap()).abs();
                assert!(off < 2e-4, "{kernels:?}, picture {seed}: off by {off}");
            }
        }
    }
}

#[test]
fn int8_products_say_what_tract_says_of_rounded_floats() {
    let fixed = Range::Fixed {
        scale: 0.08,
        zero: -3,
        low: -128,
        high: 127,
    };
    for range in [Range::Row, Range::Tensor, fixed] {
        let program = program(&rounded(range));
        let int8 = program.graph().linear_products().0;
        // The patches and the last projection's kin stay as they are: only MatMuls were rounded.
        assert!(int8 > 2 * 4, "{int8} of 8 bits");
        let mut tract = on_tract(rounded(range));
        for seed in 0..3 {
            let mut expected = Vec::new();
            tract.run(&picture(seed), &mut expected).unwrap();
            for kernels in Kernels::all() {
                let got = run(&program, kernels, 1, &picture(seed));
                let cosine = cosine(&got, &expected);
                // Where a value lies between two steps, the last bit of a float decides.
                assert!(
                    cosine > 0.9997,
                    "{range:?}, {kernels:?}, picture {seed}: {cosine}"
                );
            }
        }
    }
}

#[test]
fn weights_alone_of_8_bits_lose_no_residual_and_no_activation() {
    let program = program(&with_whole_weights(None));
    let mut tract = on_tract(with_whole_weights(None));
    for seed in 0..3 {
        let mut expected = Vec::new();
        tract.run(&picture(seed), &mut expected).unwrap();
        for kernels in Kernels::all() {
            let got = run(&program, kernels, 1, &picture(seed));
            let cosine = cosine(&got, &expected);
            assert!(cosine > 0.999_999, "{kernels:?}, picture {seed}: {cosine}");
        }
    }
}

#[test]
fn convolutions_say_what_onnx_runtime_says_and_the_same_bits_everywhere() {
    let expected: serde_json::Value = serde_json::from_str(FEATURES_OF_CONVOLUTIONS).unwrap();
    let program = convolutions();
    assert_eq!(program.graph().linear_products(), (14, Vec::new()));
    for seed in 0..3 {
        let picture = picture_of(SHAPE_OF_CONVOLUTIONS, seed);
        let values = expected["features"][seed].as_array().unwrap();
        let values: Vec<f32> = values.iter().map(|v| v.as_f64().unwrap() as f32).collect();
        let all = Kernels::all();
        let first = run(&program, all[0], 1, &picture);
        let cosine = cosine(&first, &values);
        // Where a value lies between two bytes, the last bit of a float decides.
        assert!(cosine > 0.9998, "picture {seed}: {cosine}");
        for kernels in all {
            assert_eq!(run(&program, kernels, 1, &picture), first, "{kernels:?}");
        }
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    let all = [
        (program(&rounded(Range::Row)), SHAPE),
        (convolutions(), SHAPE_OF_CONVOLUTIONS),
    ];
    for ((program, shape), kernels) in all.iter().flat_map(|case| {
        Kernels::all()
            .into_iter()
            .map(move |kernels| (case, kernels))
    }) {
        let picture = |seed| picture_of(*shape, seed);
        let one = run(program, kernels, 1, &picture(0));
        for threads in 2..6 {
            let same = run(program, kernels, threads, &picture(0));
            assert_eq!(one, same, "{kernels:?}, {threads} threads");
        }
        let all: Vec<f32> = (0..3).flat_map(picture).collect();
        let together = run(program, kernels, 2, &all);
        let apart: Vec<f32> = (0..3)
            .flat_map(|seed| run(program, kernels, 1, &picture(seed)))
            .collect();
        assert_eq!(together, apart, "{kernels:?}");
    }
}

#[test]
fn only_the_row_that_is_read_is_computed_in_the_last_block_and_products_are_merged() {
    let program = program(&Onnx::parse(ONNX).unwrap());
    let steps = &program.graph().steps;
    let linear = steps
        .iter()
        .filter(|s| matches!(s, Step::Linear { .. }))
        .count();
    // Patches; Q K V, out, two of the MLP; Q, K V, out, two; the projection.
    assert_eq!(linear, 1 + 4 + 5 + 1);
    let rows: Vec<usize> = program
        .graph()
        .shapes(usize::MAX)
        .unwrap()
        .iter()
        .map(|s| s.rows)
        .collect();
    assert!(rows[rows.len() - 5..].iter().all(|n| *n == 1), "{rows:?}");
}

#[test]
fn damaged_graphs_are_refused_and_never_run() {
    let good = program(&rounded(Range::Row));
    refuses_damage(&good);
    refuses_damage(&convolutions());
    // Weights cut short are refused as well.
    assert!(good.graph().shapes(good.weights_len() - 1).is_err());
    let has_int8 = |s: &Step| matches!(s, Step::Linear { matrix, .. } if matches!(matrix.form, Form::Int8 { .. }));
    assert!(good.graph().steps.iter().any(has_int8));
}

fn refuses_damage(good: &Program) {
    let bytes = crate::store::encode_postcard(good.graph(), "graph").unwrap();
    let weights = good.weights_len();
    let mut state = 7_u64;
    let mut refused = 0;
    for _ in 0..20_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut damaged = bytes.clone();
        let at = (state >> 33) as usize % damaged.len();
        damaged[at] ^= 1 << (state >> 29 & 7);
        let graph: Result<Graph, _> = crate::store::decode_postcard(&damaged, "graph");
        let Ok(graph) = graph else {
            refused += 1;
            continue;
        };
        // What is not refused holds all that running relies on.
        match graph.shapes(weights) {
            Err(e) => {
                refused += 1;
                assert!(e.to_string().contains("fused encoder"), "{e}");
            }
            Ok(shapes) => assert_eq!(shapes.len(), graph.steps.len()),
        }
    }
    assert!(refused > 8_000, "{refused}");
}
