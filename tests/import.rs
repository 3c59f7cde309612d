//! Published models in the forms that they come in, beside the same arithmetic written out here.

#![allow(clippy::unwrap_used)]

mod graph;
mod options;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use edgeclip::bundle::{Bundle, ScoreForm};
use edgeclip::import::{self, Imported, Layout, Options, Pixels, Pool};
use edgeclip::preprocess::Resize;
use edgeclip::text::{TextEncoder, TextTower, parse_labels};
use edgeclip::{Encoder, Error, Frame};
use graph::{F32, I64, bytes, floats, int_attribute, node, tensor_info};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto};

/// Side of the picture, of a patch, width of a token and of a feature.
const SIDE: usize = 16;
const PATCH: usize = 8;
const WIDTH: usize = 32;
const DIM: usize = 40;
const TOKENS: usize = (SIDE / PATCH) * (SIDE / PATCH);
const F16: i32 = 10;
const U8: i32 = 2;
const I8: i32 = 3;

/// Numbers of either sign below `size`, the same every time.
fn numbers(count: usize, seed: u32, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * size
    };
    (0..count).map(|_| next()).collect()
}

fn patches() -> Vec<f32> {
    numbers(WIDTH * 3 * PATCH * PATCH, 1, 0.1)
}

fn projection() -> Vec<f32> {
    numbers(WIDTH * DIM, 2, 0.3)
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: I64,
        dims: vec![values.len() as i64],
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn list(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: 7,
        ints: ints.to_vec(),
        ..Default::default()
    }
}

/// Patches, a ReLU, tokens × width as `last_hidden_state`; then the mean over tokens and the projection.
fn image_model() -> GraphProto {
    let (p, w) = (PATCH as i64, WIDTH as i64);
    let mut conv = node("Conv", &["pixel_values", "patches"], "grid");
    conv.attribute = vec![list("kernel_shape", &[p, p]), list("strides", &[p, p])];
    let mut turn = node("Transpose", &["flat"], "last_hidden_state");
    turn.attribute = vec![list("perm", &[0, 2, 1])];
    let mut mean = node("ReduceMean", &["last_hidden_state"], "pooler_output");
    mean.attribute = vec![list("axes", &[1]), int_attribute("keepdims", 0)];
    GraphProto {
        name: "image".into(),
        node: vec![
            conv,
            node("Relu", &["grid"], "lit"),
            node("Reshape", &["lit", "shape"], "flat"),
            turn,
            mean,
            node("MatMul", &["pooler_output", "projection"], "image_embeds"),
        ],
        initializer: vec![
            floats("patches", &[w, 3, p, p], &patches()),
            ints("shape", &[0, w, -1]),
            floats("projection", &[w, DIM as i64], &projection()),
        ],
        input: vec![tensor_info(
            "pixel_values",
            F32,
            &[-1, 3, SIDE as i64, SIDE as i64],
        )],
        output: vec![tensor_info("image_embeds", F32, &[-1, DIM as i64])],
        ..Default::default()
    }
}

const ROWS: usize = 1572;

/// The mean of token vectors.
fn text_model() -> GraphProto {
    let mut mean = node("ReduceMean", &["vectors"], "text_embeds");
    mean.attribute = vec![list("axes", &[1]), int_attribute("keepdims", 0)];
    GraphProto {
        name: "text".into(),
        node: vec![node("Gather", &["table", "input_ids"], "vectors"), mean],
        initializer: vec![floats(
            "table",
            &[ROWS as i64, DIM as i64],
            &numbers(ROWS * DIM, 3, 1.0),
        )],
        input: vec![tensor_info("input_ids", I64, &[-1, -1])],
        output: vec![tensor_info("text_embeds", F32, &[-1, DIM as i64])],
        ..Default::default()
    }
}

fn picture() -> Frame {
    let rgb = numbers(SIDE * SIDE * 3, 4, 127.0)
        .into_iter()
        .map(|v| (v + 128.0) as u8);
    Frame::from_rgb(SIDE as u32, SIDE as u32, rgb.collect()).unwrap()
}

/// Tokens of the picture, each ReLU(patch · weight), in f64; pixels are (v/255 − 0.5) / 0.5.
fn tokens() -> Vec<Vec<f64>> {
    let picture = picture();
    let pixel =
        |c: usize, y: usize, x: usize| f64::from(picture.row(y as u32)[3 * x + c]) / 127.5 - 1.0;
    let weights = patches();
    let mut tokens = Vec::new();
    for top in (0..SIDE).step_by(PATCH) {
        for left in (0..SIDE).step_by(PATCH) {
            let one = |w: usize| {
                let mut sum = 0.0;
                for c in 0..3 {
                    for y in 0..PATCH {
                        for x in 0..PATCH {
                            let weight = weights[((w * 3 + c) * PATCH + y) * PATCH + x];
                            sum += f64::from(weight) * pixel(c, top + y, left + x);
                        }
                    }
                }
                sum.max(0.0)
            };
            tokens.push((0..WIDTH).map(one).collect());
        }
    }
    tokens
}

fn projected(pooled: &[f64]) -> Vec<f64> {
    let p = projection();
    let sum = |d: usize| {
        pooled
            .iter()
            .enumerate()
            .map(|(w, v)| v * f64::from(p[w * DIM + d]))
            .sum::<f64>()
    };
    (0..DIM).map(sum).collect()
}

fn mean_token() -> Vec<f64> {
    (0..WIDTH)
        .map(|w| tokens().iter().map(|t| t[w]).sum::<f64>() / TOKENS as f64)
        .collect()
}

fn expected() -> Vec<f64> {
    projected(&mean_token())
}

fn options() -> Options {
    Options {
        pixels: Pixels {
            resize: Some(Resize::Exact {
                width: SIDE as u32,
                height: SIDE as u32,
            }),
            mean: Some([0.5; 3]),
            std: Some([0.5; 3]),
            ..Pixels::default()
        },
        ..Options::default()
    }
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn import(&self, paths: &[PathBuf], options: &Options) -> Result<Imported, Error> {
        import::import(paths, options, &self.path("out.ecmodel"), &mut |_, _| {})
    }

    /// Imports the file that `model` makes, and compares its feature with `expected`.
    fn same(&self, model: GraphProto, options: &Options, expected: &[f64], least: f64) {
        let path = self.write("model.onnx", &bytes(model));
        let made = self.import(&[path], options).unwrap();
        assert_same(&made.bundle, expected, least);
    }

    /// Exit status, stdout and stderr of the program, run in this folder.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_edgeclip"));
        program.current_dir(&self.dir).env_clear().args(args);
        let run = program.env("HOME", self.dir.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let status = run.status.code().unwrap_or(-1);
        (status, text(run.stdout), text(run.stderr))
    }

    fn refusal(&self, paths: &[PathBuf], options: &Options) -> String {
        let words = self.import(paths, options).unwrap_err().to_string();
        assert!(!self.path("out.ecmodel").exists());
        words
    }
}

fn assert_same(bundle: &Bundle, expected: &[f64], least: f64) {
    let feature = Encoder::open(bundle, 1)
        .unwrap()
        .encode(&picture())
        .unwrap();
    let length = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
    let cosine: f64 = feature
        .values()
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from(*a) * b / length)
        .sum();
    assert!(cosine >= least, "cosine {cosine}");
}

#[test]
fn a_plain_export_gives_the_features_of_its_arithmetic() {
    Bench::new().same(image_model(), &options(), &expected(), 0.999_999);
}

#[test]
fn halves_are_widened_and_weights_beside_the_file_found() {
    let bench = Bench::new();
    let mut model = image_model();
    for t in &mut model.initializer {
        if t.data_type == F32 {
            let values = t
                .raw_data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            t.raw_data = values
                .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
                .collect();
            t.data_type = F16;
        }
    }
    model.input[0] = tensor_info("pixel_values", F16, &[-1, 3, SIDE as i64, SIDE as i64]);
    bench.same(model.clone(), &options(), &expected(), 0.999_99);
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    };
    let weights = std::mem::take(&mut model.initializer[2].raw_data);
    model.initializer[2].data_location = Some(1);
    model.initializer[2].external_data = vec![
        entry("location", "model.onnx_data"),
        entry("offset", "8"),
        entry("length", &weights.len().to_string()),
    ];
    let lone = bench.write("lone/model.onnx", &bytes(model.clone()));
    fs::remove_file(bench.path("out.ecmodel")).unwrap();
    assert!(
        bench
            .refusal(&[lone], &options())
            .contains("model.onnx_data")
    );
    bench.write("model.onnx_data", &[&[0; 8][..], &weights].concat());
    bench.same(model.clone(), &options(), &expected(), 0.999_99);
    model.initializer[2].external_data[0].value = "../secret".into();
    let path = bench.write("escape/model.onnx", &bytes(model));
    fs::remove_file(bench.path("out.ecmodel")).unwrap();
    assert!(bench.refusal(&[path], &options()).contains("same folder"));
}

#[test]
fn channels_may_come_last_and_inputs_have_any_name() {
    let mut model = image_model();
    let side = SIDE as i64;
    model.input[0] = tensor_info("image", F32, &[1, side, side, 3]);
    let mut turn = node("Transpose", &["image"], "pixel_values");
    turn.attribute = vec![list("perm", &[0, 3, 1, 2])];
    model.node.insert(0, turn);
    Bench::new().same(model.clone(), &options(), &expected(), 0.999_999);
    // Where lengths are symbolic, the layout must be said.
    model.input[0] = tensor_info("image", F32, &[-1, -1, -1, -1]);
    let said = Options {
        layout: Some(Layout::Nhwc),
        ..options()
    };
    Bench::new().same(model, &said, &expected(), 0.999_999);
}

#[test]
fn hidden_states_are_pooled_and_projected_as_stated() {
    let bench = Bench::new();
    let mut model = image_model();
    model.output = vec![
        tensor_info("last_hidden_state", F32, &[-1, -1, WIDTH as i64]),
        tensor_info("pooler_output", F32, &[-1, WIDTH as i64]),
    ];
    let path = bench.write("bare.onnx", &bytes(model.clone()));
    let words = bench.refusal(std::slice::from_ref(&path), &options());
    assert!(
        words.contains("lacks the projection") && words.contains("--projection"),
        "{words}"
    );
    let mut npy = Vec::new();
    let matrix = ndarray::Array2::from_shape_vec((WIDTH, DIM), projection()).unwrap();
    import::write_npy(&mut npy, matrix.view()).unwrap();
    let place = bench
        .write("projection.npy", &npy)
        .to_str()
        .unwrap()
        .to_owned();
    let given = |pool| Options {
        pool,
        projection: Some(place.clone()),
        ..options()
    };
    bench.same(
        model.clone(),
        &given(Some(Pool::Mean)),
        &expected(),
        0.999_999,
    );
    bench.same(
        model.clone(),
        &given(Some(Pool::Class)),
        &projected(&tokens()[0]),
        0.999_999,
    );
    bench.same(model.clone(), &given(None), &expected(), 0.999_999);
    let bare = Options {
        image_output: Some("pooler_output".into()),
        ..options()
    };
    bench.same(model, &bare, &mean_token(), 0.999_999);
}

/// DynamicQuantizeLinear → MatMulInteger → Cast → Mul, as ONNX Runtime's quantizer writes it.
fn dynamic_int8() -> (GraphProto, Vec<f64>) {
    let mut model = image_model();
    let weights = projection();
    let scales: Vec<f32> = (0..DIM)
        .map(|d| {
            (0..WIDTH)
                .map(|w| weights[w * DIM + d].abs())
                .fold(0.0, f32::max)
                / 127.0
        })
        .collect();
    let q: Vec<i8> = weights
        .iter()
        .enumerate()
        .map(|(i, v)| (v / scales[i % DIM]).round() as i8)
        .collect();
    model.initializer.truncate(2);
    model.initializer.extend([
        TensorProto {
            name: "wq".into(),
            data_type: I8,
            dims: vec![WIDTH as i64, DIM as i64],
            raw_data: q.iter().map(|v| *v as u8).collect(),
            ..Default::default()
        },
        TensorProto {
            name: "wz".into(),
            data_type: I8,
            dims: vec![DIM as i64],
            raw_data: vec![0; DIM],
            ..Default::default()
        },
        floats("ws", &[DIM as i64], &scales),
    ]);
    model.node.pop();
    let mut quantize = node("DynamicQuantizeLinear", &["pooler_output"], "xq");
    quantize.output.extend(["xs".into(), "xz".into()]);
    let mut cast = node("Cast", &["sum"], "float_sum");
    cast.attribute = vec![int_attribute("to", F32.into())];
    model.node.extend([
        quantize,
        node("MatMulInteger", &["xq", "wq", "xz", "wz"], "sum"),
        cast,
        node("Mul", &["xs", "ws"], "both"),
        node("Mul", &["float_sum", "both"], "image_embeds"),
    ]);
    let x = mean_token();
    let (low, high) = x
        .iter()
        .fold((0.0_f64, 0.0_f64), |(l, h), v| (l.min(*v), h.max(*v)));
    let step = (high - low) / 255.0;
    let zero = (-low / step).round();
    let rounded: Vec<f64> = x
        .iter()
        .map(|v| step * ((v / step + zero).round().clamp(0.0, 255.0) - zero))
        .collect();
    let answer = (0..DIM).map(|d| {
        (0..WIDTH)
            .map(|w| rounded[w] * f64::from(scales[d]) * f64::from(q[w * DIM + d]))
            .sum()
    });
    let answer = answer.collect();
    (model, answer)
}

#[test]
fn dynamic_int8_rounds_as_the_integers_do() {
    let bench = Bench::new();
    let (model, answer) = dynamic_int8();
    bench.same(model, &options(), &answer, 0.999_999);
    let (int8, floats) =
        import::products(&Bundle::open(&bench.path("out.ecmodel")).unwrap()).unwrap();
    assert_eq!((int8, floats.len()), (1, 1), "{floats:?}");
}

#[test]
fn static_ranges_clamp_and_round_what_passes() {
    let mut model = image_model();
    // A coarse range, so that rounding shows: steps of 0.05 from 0 to 12.75.
    model.initializer.extend([
        floats("step", &[], &[0.05]),
        TensorProto {
            name: "zero".into(),
            data_type: U8,
            raw_data: vec![0],
            ..Default::default()
        },
    ]);
    model.node[5].input[0] = "rounded".into();
    let pair = [
        node("QuantizeLinear", &["pooler_output", "step", "zero"], "q"),
        node("DequantizeLinear", &["q", "step", "zero"], "rounded"),
    ];
    model.node.splice(5..5, pair);
    let rounded: Vec<f64> = mean_token()
        .iter()
        .map(|v| 0.05 * (v / 0.05).round().clamp(0.0, 255.0))
        .collect();
    Bench::new().same(model, &options(), &projected(&rounded), 0.999_999);
}

/// A folder as model hubs have it.
fn hub_folder(bench: &Bench) -> PathBuf {
    bench.write("hub/onnx/vision_model.onnx", &bytes(image_model()));
    bench.write("hub/onnx/text_model.onnx", &bytes(text_model()));
    bench.write(
        "hub/onnx/vision_model_quantized.onnx",
        &bytes(dynamic_int8().0),
    );
    bench.write("hub/onnx/text_model_quantized.onnx", &bytes(text_model()));
    bench.write(
        "hub/preprocessor_config.json",
        br#"{"do_resize":true,"size":{"height":16,"width":16},"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"resample":3}"#,
    );
    bench.write(
        "hub/config.json",
        br#"{"model_type":"clip","text_config":{"max_position_embeddings":32}}"#,
    );
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokens/clip");
    for name in ["vocab.json", "merges.txt"] {
        bench.write(
            &format!("hub/{name}"),
            &fs::read(golden.join(name)).unwrap(),
        );
    }
    bench.path("hub")
}

#[test]
fn a_hub_folder_gives_both_towers_and_takes_the_variant_asked_for() {
    let bench = Bench::new();
    let folder = hub_folder(&bench);
    let made = bench
        .import(std::slice::from_ref(&folder), &Options::default())
        .unwrap();
    assert_same(&made.bundle, &expected(), 0.999_999);
    assert_eq!(made.bundle.card().name, "hub");
    assert_eq!(made.bundle.score().scale, 100.0);
    assert!(
        made.notes.iter().any(|n| n.contains("no logit scale")),
        "{:?}",
        made.notes
    );
    let text = TextEncoder::open(&made.bundle).unwrap().unwrap();
    assert_eq!(text.max_tokens(), 32);
    let ids = text.token_ids("a mug").unwrap();
    let table = numbers(ROWS * DIM, 3, 1.0);
    let mean = (0..DIM).map(|d| {
        ids.iter()
            .map(|i| f64::from(table[*i as usize * DIM + d]))
            .sum::<f64>()
    });
    let vector = &text.encode(&["a mug".into()], &mut |_| {}).unwrap()[0];
    let length = mean.clone().map(|v| v * v).sum::<f64>().sqrt();
    for (ours, theirs) in vector.iter().zip(mean) {
        assert!((f64::from(*ours) - theirs / length).abs() < 1e-5);
    }
    let quantized = Options {
        variant: Some("quantized".into()),
        ..Options::default()
    };
    let made = bench.import(&[folder], &quantized).unwrap();
    assert_same(&made.bundle, &dynamic_int8().1, 0.999_999);
}

#[test]
fn names_baked_in_serve_without_the_text_encoder() {
    let bench = Bench::new();
    let folder = hub_folder(&bench);
    let whole = bench
        .import(std::slice::from_ref(&folder), &Options::default())
        .unwrap()
        .bundle;
    let labels = parse_labels("mug, spanner").unwrap();
    let direct = TextTower::open(&whole, None)
        .unwrap()
        .weights(&labels, &mut |_, _| {})
        .unwrap();
    let list = bench.write("names.txt", b"mug\nspanner\n");
    let lean = Options {
        no_text: true,
        vocabulary: Some(list),
        ..Options::default()
    };
    let baked = bench.import(&[folder], &lean).unwrap().bundle;
    assert!(baked.card().text.is_none());
    assert_eq!(baked.feature_space(), whole.feature_space());
    let found = TextTower::open(&baked, None)
        .unwrap()
        .weights(&labels, &mut |_, _| {})
        .unwrap();
    for (a, b) in direct.weights.rows().into_iter().zip(found.weights.rows()) {
        assert!(a.dot(&b) > 0.999);
    }
}

#[test]
fn a_file_with_both_towers_is_cut_and_tells_its_scale() {
    let bench = Bench::new();
    hub_folder(&bench);
    let (mut both, text) = (image_model(), text_model());
    both.node.extend(text.node);
    both.initializer.extend(text.initializer);
    both.input.extend(text.input);
    let mut turn = node("Transpose", &["text_embeds"], "text_columns");
    turn.attribute = vec![list("perm", &[1, 0])];
    both.initializer.push(floats("scale", &[], &[42.5]));
    both.node.extend([
        turn,
        node("MatMul", &["image_embeds", "text_columns"], "cosines"),
        node("Mul", &["cosines", "scale"], "logits_per_image"),
    ]);
    both.output = vec![
        tensor_info("logits_per_image", F32, &[-1, -1]),
        tensor_info("text_embeds", F32, &[-1, DIM as i64]),
        tensor_info("image_embeds", F32, &[-1, DIM as i64]),
    ];
    let path = bench.write("hub/model.onnx", &bytes(both));
    let made = bench.import(&[path], &Options::default()).unwrap();
    assert_same(&made.bundle, &expected(), 0.999_999);
    assert_eq!(
        (made.bundle.score().scale, made.bundle.score().form),
        (42.5, ScoreForm::Softmax)
    );
    assert!(TextEncoder::open(&made.bundle).unwrap().is_some());
    let sections: Vec<_> = made
        .bundle
        .envelope()
        .sections()
        .map(|s| (s.name.to_owned(), s.len_bytes))
        .collect();
    let size = |name: &str| sections.iter().find(|s| s.0 == name).unwrap().1;
    // Each tower holds its own weights and not the other's.
    assert!(
        size("image/onnx") < 100_000 && size("text/onnx") > ROWS * DIM * 4,
        "{sections:?}"
    );
}

#[test]
fn int8_keeps_features_and_an_outlier_keeps_its_product_in_floats() {
    let bench = Bench::new();
    let path = bench.write("model.onnx", &bytes(image_model()));
    let int8 = Options {
        int8: true,
        ..options()
    };
    let made = bench.import(std::slice::from_ref(&path), &int8).unwrap();
    let q = made.quantized.unwrap();
    assert_eq!((q.int8, q.floats.len()), (2, 0));
    assert!(q.cosine.0 >= 0.999 && q.bytes.1 * 3 < q.bytes.0, "{q:?}");
    assert_same(&made.bundle, &expected(), 0.999);
    let plain = bench.import(&[path], &options()).unwrap();
    assert_eq!(plain.bundle.feature_space(), made.bundle.feature_space());

    // One channel a thousand times the others, which cancels in the projection: rounding by its
    // range loses all the rest.
    let mut model = image_model();
    let mut weights = patches();
    weights[..3 * PATCH * PATCH]
        .iter_mut()
        .for_each(|v| *v = 20.0);
    model.initializer[0] = floats(
        "patches",
        &[WIDTH as i64, 3, PATCH as i64, PATCH as i64],
        &weights,
    );
    let mut flat = projection();
    flat[..DIM].fill(0.0);
    model.initializer[2] = floats("projection", &[WIDTH as i64, DIM as i64], &flat);
    let path = bench.write("outlier.onnx", &bytes(model));
    let made = bench.import(&[path], &int8).unwrap();
    let q = made.quantized.unwrap();
    assert!(
        q.floats.iter().any(|(name, _)| name == "image_embeds") && q.cosine.0 >= 0.999,
        "{q:?}"
    );
    let (_, listed) = import::products(&made.bundle).unwrap();
    assert!(listed.contains(&"image_embeds".to_owned()));
}

#[test]
fn what_is_no_clip_is_refused_in_words_that_help() {
    let bench = Bench::new();
    let refused = |name: &str, bytes: &[u8]| bench.refusal(&[bench.write(name, bytes)], &options());
    let says = |words: String, part: &str| assert!(words.contains(part), "{words}");
    let mut detector = image_model();
    detector.output = vec![
        tensor_info("boxes", F32, &[-1, 100, 4]),
        tensor_info("scores", F32, &[-1, 100]),
    ];
    detector.node[5].output[0] = "scores".into();
    detector
        .node
        .push(node("Identity", &["last_hidden_state"], "boxes"));
    says(refused("detector.onnx", &bytes(detector)), "a detector");
    says(
        refused("text.onnx", &bytes(text_model())),
        "text model alone",
    );
    says(
        refused(
            "lfs.onnx",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        ),
        "git lfs pull",
    );
    says(
        refused("page.onnx", b"<!DOCTYPE html><html>404</html>"),
        "web page",
    );
    says(refused("zip.onnx", b"PK\x03\x04\x14\0\0\0\0\0"), "zip");
    says(
        refused("model.pt", b"PK\x03\x04\0\0archive/data.pkl\x80\x02"),
        "pickle",
    );
    let whole = bytes(image_model());
    says(
        refused("cut.onnx", &whole[..whole.len() / 2]),
        "download complete",
    );
    let mut odd = image_model();
    odd.node[1] = NodeProto {
        op_type: "Frobnicate".into(),
        ..odd.node[1].clone()
    };
    let words = refused("odd.onnx", &bytes(odd));
    assert!(
        words.contains("Frobnicate") && words.contains("lit"),
        "{words}"
    );
    let mut fused = image_model();
    fused.node[5].op_type = "QLinearMatMul".into();
    says(refused("fused.onnx", &bytes(fused)), "QDQ");
    let mut wide = options();
    wide.pixels.resize = Some(Resize::Exact {
        width: 32,
        height: 32,
    });
    let path = bench.write("model.onnx", &whole);
    says(bench.refusal(std::slice::from_ref(&path), &wide), "--size");
    says(
        bench.refusal(&[bench.path("nothing")], &options()),
        "nothing",
    );
    let empty = bench.path("empty");
    fs::create_dir(&empty).unwrap();
    says(bench.refusal(&[empty], &options()), "model.safetensors");
    let folder = hub_folder(&bench);
    let mut small = text_model();
    small.initializer[0] = floats("table", &[1000, DIM as i64], &numbers(1000 * DIM, 3, 1.0));
    bench.write("hub/onnx/text_model.onnx", &bytes(small));
    says(bench.refusal(&[folder], &Options::default()), "1000");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// A damaged file is refused or imported, and never ends the program.
    #[test]
    fn damaged_files_never_panic(at in 0.0..1.0_f64, byte: u8, cut: bool) {
        let bench = Bench::new();
        let mut damaged = bytes(image_model());
        let at = (at * (damaged.len() - 1) as f64) as usize;
        if cut { damaged.truncate(at) } else { damaged[at] = byte }
        let path = bench.write("model.onnx", &damaged);
        let made = bench.import(&[path], &options());
        proptest::prop_assert!(made.is_ok() == bench.path("out.ecmodel").exists());
    }
}

#[test]
fn nothing_but_a_bundle_is_written_over() {
    let bench = Bench::new();
    let source = bench.write("model.onnx", &bytes(image_model()));
    let over = |out: &Path| {
        import::import(
            std::slice::from_ref(&source),
            &options(),
            out,
            &mut |_, _| {},
        )
    };
    let words = over(&source).unwrap_err().to_string();
    assert!(words.contains("a new name"), "{words}");
    assert_eq!(fs::read(&source).unwrap(), bytes(image_model()));
    let out = bench.path("out.ecmodel");
    over(&out).unwrap();
    over(&out).unwrap();
    assert!(over(bench.dir.path()).is_err());
}
