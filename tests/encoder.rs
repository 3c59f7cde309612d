//! Encoders: small ONNX graphs made here, good and bad, and the shipped one beside ONNX Runtime.

#![allow(clippy::unwrap_used)]

mod graph;

use edgeclip::bundle::{
    Bundle, Card, Contents, EncoderForm, ImageEncoder, Score, ScoreForm, TextCard,
};
use edgeclip::preprocess::{Filter, Preprocess, Resize};
use edgeclip::text::TextEncoder;
use edgeclip::{Encoder, Frame};
use graph::{F32, I64, bytes, floats, int_attribute, node, tensor_info};
use tract_onnx::pb::{GraphProto, TensorProto};

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
        image: Some(ImageEncoder::Onnx(onnx)),
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
            "`input_ids` i64 [?, 77]",
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

/// Sums the rows of two numbers of the tokens where the mask is 1; takes texts of eight tokens.
/// The mask is the first input, as some exporters have it.
fn sum_of_eight() -> Vec<u8> {
    let mut cast = node("Cast", &["attention_mask"], "mask");
    cast.attribute.push(int_attribute("to", i64::from(F32)));
    let ints = |name: &str, values: &[i64]| TensorProto {
        name: name.into(),
        data_type: I64,
        dims: vec![values.len() as i64],
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    };
    let mut sum = node("ReduceSum", &["masked", "one"], "text_embeds");
    sum.attribute.push(int_attribute("keepdims", 0));
    let table = [9.0, 9.0, 9.0, 9.0, 3.0, 0.0, 0.0, 4.0, 1.0, 1.0];
    bytes(GraphProto {
        name: "sum".into(),
        node: vec![
            node("Gather", &["table", "input_ids"], "rows"),
            node("Reshape", &["rows", "eight"], "places"),
            cast,
            node("Unsqueeze", &["mask", "two"], "wide"),
            node("Mul", &["places", "wide"], "masked"),
            sum,
        ],
        initializer: vec![
            floats("table", &[5, 2], &table),
            ints("eight", &[-1, 8, 2]),
            ints("one", &[1]),
            ints("two", &[2]),
        ],
        input: vec![
            tensor_info("attention_mask", I64, &[-1, 8]),
            tensor_info("input_ids", I64, &[-1, 8]),
        ],
        output: vec![tensor_info("text_embeds", F32, &[-1, 2])],
        ..Default::default()
    })
}

fn words_to_ids(padding: &serde_json::Value) -> Vec<u8> {
    serde_json::json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "truncation": null,
        "padding": padding,
        "model": {
            "type": "WordLevel",
            "unk_token": "<unk>",
            "vocab": { "<pad>": 0, "<unk>": 1, "three": 2, "four": 3, "one": 4 },
        },
    })
    .to_string()
    .into_bytes()
}

fn text_bundle(onnx: Vec<u8>, tokenizer: Vec<u8>, max_tokens: u32) -> Bundle {
    let card = Card {
        image: None,
        text: Some(TextCard {
            max_tokens,
            exact: true,
        }),
        ..bundle(bytes(mean_colour()), 2).card().clone()
    };
    let contents = Contents {
        card,
        image: None,
        text: Some((onnx, tokenizer)),
        vocabulary: None,
    };
    Bundle::from_bytes(&contents.to_bytes().unwrap()).unwrap()
}

#[test]
fn texts_are_padded_to_the_one_length_that_an_encoder_takes() {
    let padding = |length: u32| {
        serde_json::json!({
            "strategy": { "Fixed": length }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
        })
    };
    let bundle = text_bundle(sum_of_eight(), words_to_ids(&padding(8)), 8);
    let encoder = TextEncoder::open(&bundle).unwrap().unwrap();
    assert_eq!(
        encoder.token_ids("three four").unwrap(),
        [2, 3, 0, 0, 0, 0, 0, 0]
    );
    let texts = ["three four", "four", "three three four", &"one ".repeat(20)].map(str::to_owned);
    let vectors = encoder.encode(&texts, &mut |_| {}).unwrap();
    let expected = [[3.0, 4.0], [0.0, 4.0], [6.0, 4.0], [8.0, 8.0]];
    for (vector, [x, y]) in vectors.iter().zip(expected) {
        let length = f32::hypot(x, y);
        assert!((vector[0] - x / length).abs() < 1e-6, "{vectors:?}");
        assert!((vector[1] - y / length).abs() < 1e-6, "{vectors:?}");
    }
    // A file that pads beyond what the encoder takes is held to the encoder's length.
    let wider = text_bundle(sum_of_eight(), words_to_ids(&padding(128)), 8);
    let encoder = TextEncoder::open(&wider).unwrap().unwrap();
    assert_eq!(encoder.encode(&texts, &mut |_| {}).unwrap(), vectors);
}

#[test]
fn a_length_beyond_reason_is_refused_before_memory_is_asked_for() {
    let padding = serde_json::json!({
        "strategy": { "Fixed": 4_000_000_000u32 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    });
    let bundle = text_bundle(sum_of_eight(), words_to_ids(&padding), u32::MAX);
    let error = TextEncoder::open(&bundle).unwrap_err().to_string();
    assert!(error.contains("tokens of a text"), "{error}");
}
