//! Encoders: small ONNX graphs made here, good and bad, and the shipped one beside ONNX Runtime.

#![allow(clippy::unwrap_used)]

use edgeclip::bundle::{Bundle, Card, Contents, EncoderForm, Score, ScoreForm};
use edgeclip::preprocess::{Filter, Preprocess, Resize};
use edgeclip::{Encoder, Frame};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

const F32: i32 = 1;
const I64: i32 = 7;

/// Length of one axis in a file: negative is symbolic.
fn tensor_info(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |d: &i64| Dimension {
        value: Some(if *d < 0 {
            Value::DimParam("batch".into())
        } else {
            Value::DimValue(*d)
        }),
        ..Default::default()
    };
    let shape = TensorShapeProto {
        dim: shape.iter().map(dim).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type,
        shape: Some(shape),
    };
    let kind = TypeProto {
        value: Some(type_proto::Value::TensorType(tensor)),
        ..Default::default()
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(kind),
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: F32,
        dims: dims.to_vec(),
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn int_attribute(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i,
        r#type: 2,
        ..Default::default()
    }
}

fn bytes(graph: GraphProto) -> Vec<u8> {
    let opset = OperatorSetIdProto {
        domain: String::new(),
        version: 13,
    };
    ModelProto {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![opset],
        ..Default::default()
    }
    .encode_to_vec()
}

/// The mean of each channel: the smallest image encoder there is.
fn mean_colour() -> GraphProto {
    let mut flatten = node("Flatten", &["pooled"], "image_embeds");
    flatten.attribute.push(int_attribute("axis", 1));
    GraphProto {
        name: "mean colour".into(),
        node: vec![
            node("GlobalAveragePool", &["pixel_values"], "pooled"),
            flatten,
        ],
        input: vec![tensor_info("pixel_values", F32, &[-1, 3, 8, 8])],
        output: vec![tensor_info("image_embeds", F32, &[-1, 3])],
        ..Default::default()
    }
}

fn bundle(onnx: Vec<u8>, dim: u32) -> Bundle {
    let card = Card {
        name: "tiny".into(),
        about: "for tests".into(),
        dim,
        source: "tiny".into(),
        preprocess: Preprocess {
            resize: Resize::Exact {
                width: 8,
                height: 8,
            },
            filter: Filter::Bilinear,
            crop: None,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        score: Score {
            form: ScoreForm::Softmax,
            scale: 10.0,
            bias: 0.0,
        },
        templates: Vec::new(),
        image: Some(EncoderForm::Onnx),
        text: None,
        licences: Vec::new(),
    };
    let contents = Contents {
        card,
        image_onnx: Some(onnx),
        text: None,
        vocabulary: None,
    };
    Bundle::from_bytes(&contents.to_bytes().unwrap()).unwrap()
}

fn flat(rgb: [u8; 3]) -> Frame {
    Frame::from_rgb(20, 12, rgb.repeat(20 * 12)).unwrap()
}

fn refusal(graph: GraphProto, dim: u32) -> String {
    Encoder::open(&bundle(bytes(graph), dim), 1)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_feature_is_the_graph_output_at_unit_length() {
    let mut encoder = Encoder::open(&bundle(bytes(mean_colour()), 3), 1).unwrap();
    let feature = encoder.encode(&flat([30, 0, 40])).unwrap();
    for (found, expected) in feature.values().iter().zip([0.6, 0.0, 0.8]) {
        assert!((found - expected).abs() < 1e-5, "{feature:?}");
    }
}

#[test]
fn reused_memory_batches_and_forks_give_the_same_features() {
    let mut encoder = Encoder::open(&bundle(bytes(mean_colour()), 3), 2).unwrap();
    let frames: Vec<Frame> = (1..20).map(|i| flat([i * 10, 255 - i * 5, i])).collect();
    let single: Vec<_> = frames.iter().map(|f| encoder.encode(f).unwrap()).collect();
    assert_eq!(single, encoder.encode_batch(&frames, 3).unwrap());
    let mut fork = encoder.fork().unwrap();
    let mut feature = edgeclip::Feature::default();
    for (frame, expected) in frames.iter().zip(&single) {
        fork.encode_into(frame, &mut feature).unwrap();
        assert_eq!(&feature, expected);
    }
}

#[test]
fn what_is_no_image_encoder_is_refused_by_what_it_is() {
    let with = |change: &dyn Fn(&mut GraphProto)| {
        let mut graph = mean_colour();
        change(&mut graph);
        refusal(graph, 3)
    };
    let cases: [(&str, String); 6] = [
        (
            "`pixel_values` f32 [?, 8, 8, 3]",
            with(&|g| g.input[0] = tensor_info("pixel_values", F32, &[-1, 8, 8, 3])),
        ),
        (
            "`pixel_values` f32 [?, 1, 8, 8]",
            with(&|g| g.input[0] = tensor_info("pixel_values", F32, &[-1, 1, 8, 8])),
        ),
        (
            "`input_ids` not f32 [?, 77]",
            with(&|g| g.input[0] = tensor_info("input_ids", I64, &[-1, 77])),
        ),
        (
            "`more` f32",
            with(&|g| g.input.push(tensor_info("more", F32, &[-1, 3, 8, 8]))),
        ),
        (
            "image_embeds",
            with(&|g| g.output[0] = tensor_info("image_embeds", F32, &[-1, 5])),
        ),
        ("no graph", with(&|g| g.node.clear())),
    ];
    for (word, error) in cases {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_width_at_odds_with_the_card_asks_for_the_projection() {
    let error = refusal(mean_colour(), 512);
    assert!(
        error.contains("512") && error.contains("projection"),
        "{error}"
    );
}

#[test]
fn operators_and_bytes_that_nobody_knows_are_errors() {
    let mut graph = mean_colour();
    graph.node[0].op_type = "Frobnicate".into();
    assert!(refusal(graph, 3).contains("Frobnicate"));
    let mut graph = mean_colour();
    let mut tensor = floats("w", &[1], &[1.0]);
    tensor.data_location = Some(1);
    graph.initializer.push(tensor);
    assert!(refusal(graph, 3).contains("another file"));
    for bad in [
        &b""[..],
        b"\xff\xff\xff\xff",
        b"not a protocol buffer at all",
    ] {
        let error = Encoder::open(&bundle(bad.to_vec(), 3), 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains("ONNX"), "{error}");
    }
}

#[test]
fn damaged_graphs_are_errors_and_never_panics() {
    let good = bytes(mean_colour());
    for cut in 0..good.len() {
        Encoder::open(&bundle(good[..cut].to_vec(), 3), 1).ok();
    }
    let mut state = 3u64;
    for _ in 0..300 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut bent = good.clone();
        let at = (state >> 33) as usize % bent.len();
        bent[at] ^= (state >> 20) as u8 | 1;
        Encoder::open(&bundle(bent, 3), 1).ok();
    }
}

#[test]
fn an_output_without_direction_is_refused() {
    let mut graph = mean_colour();
    graph.initializer.push(floats("nothing", &[1], &[0.0]));
    graph
        .node
        .insert(0, node("Mul", &["pixel_values", "nothing"], "dark"));
    graph.node[1].input[0] = "dark".into();
    let error = refusal(graph, 3);
    assert!(error.contains("a vector of length 0"), "{error}");
}
