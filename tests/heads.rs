//! Every head against an independent float64 reference (tests/parity/heads_reference.py), and
//! against the supports that break heads: one shot, one class, no text, copies.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use edgeclip::eval::{Exchanged, read_head, write_head};
use edgeclip::head::{
    ClipAdapter, Head, LinearProbe, Method, Scratch, Share, Shots, Support, Training,
};
use edgeclip::head::{Settings, learn, metrics};
use ndarray::Array2;
use serde_json::Value;

/// A support with features and text of its own.
#[derive(Clone)]
struct Case {
    scale: f32,
    features: Array2<f32>,
    labels: Vec<usize>,
    bursts: Vec<u32>,
    text: Array2<f32>,
}

impl Case {
    fn support(&self) -> Support<'_> {
        self.try_support().unwrap()
    }

    fn try_support(&self) -> edgeclip::Result<Support<'_>> {
        let shots = Shots {
            features: self.features.view(),
            labels: &self.labels,
            bursts: &self.bursts,
        };
        Support::new(shots, self.text.view(), self.scale)
    }

    /// Unit rows around a centre of each class; all classes named.
    fn drawn(d: usize, labels: &[usize], k: usize) -> Self {
        let mut noise = noise(d as u64 + 17);
        let centres = Array2::from_shape_simple_fn((k, d), || 1.0 + noise());
        let mut features = Array2::from_shape_simple_fn((labels.len(), d), || 0.7 * noise());
        for (mut row, label) in features.rows_mut().into_iter().zip(labels) {
            row += &centres.row(*label);
        }
        let text = Array2::from_shape_simple_fn((k, d), || noise() - 0.3) + &centres * 0.4;
        Self {
            scale: 20.0,
            features: unit(features),
            labels: labels.to_vec(),
            bursts: (0..labels.len() as u32).collect(),
            text: unit(text),
        }
    }
}

fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

fn unit(mut rows: Array2<f32>) -> Array2<f32> {
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    rows
}

fn method(name: &str) -> Method {
    if name == "linear-probe" {
        // To the very end, as the reference goes.
        return Method::LinearProbe(LinearProbe {
            steps: 2000,
            ..LinearProbe::default()
        });
    }
    let Some(variant) = name.strip_prefix("clip-adapter ") else {
        return name.parse().unwrap();
    };
    let none = Training::FullBatch {
        epochs: 0,
        rate: 0.0,
        decay: 0.0,
    };
    let (alpha, beta, training) = match variant {
        "start" => (0.2, 0.3, none),
        "visual full" => (0.2, 0.0, Training::FULL_BATCH),
        "text full" => (0.0, 0.3, Training::FULL_BATCH),
        "both full" => (0.2, 0.3, Training::FULL_BATCH),
        "visual authors" => (0.2, 0.0, Training::Authors),
        "both authors" => (0.6, 0.3, Training::Authors),
        "fast" => (0.2, 0.3, Training::FAST),
        _ => panic!("{variant}"),
    };
    let (alpha, beta) = (Share::Fixed(alpha), Share::Fixed(beta));
    Method::ClipAdapter(ClipAdapter {
        alpha,
        beta,
        training,
        seed: 7,
    })
}

fn matrix(value: &Value) -> Array2<f32> {
    let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
    let flat = rows.iter().flatten().map(|v| *v as f32).collect();
    Array2::from_shape_vec((rows.len(), rows[0].len()), flat).unwrap()
}

fn golden(name: &str) -> (Case, Value) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/heads/{name}.json"));
    let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let case = Case {
        scale: value["scale"].as_f64().unwrap() as f32,
        features: matrix(&value["features"]),
        labels: serde_json::from_value(value["labels"].clone()).unwrap(),
        bursts: serde_json::from_value(value["bursts"].clone()).unwrap(),
        text: matrix(&value["text"]),
    };
    (case, value)
}

#[test]
fn heads_equal_the_reference_from_support_to_scores() {
    for name in ["named", "half", "bare"] {
        let (case, value) = golden(name);
        let queries = matrix(&value["queries"]);
        let heads = value["scores"].as_object().unwrap();
        assert!(heads.len() >= 14, "{name}");
        for (head, expected) in heads {
            let learned = method(head).learn(&case.support()).unwrap();
            let expected = matrix(expected);
            let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
            let apart = (learned.scores(queries.view()) - &expected) / largest;
            let worst = apart.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(worst < 1e-5, "{name}, {head}: {worst} of {largest}");
        }
    }
}

/// Every head by name, and what of clip-adapter a name alone leaves out.
fn all_methods() -> Vec<Method> {
    let more = [
        "clip-adapter both authors",
        "clip-adapter text full",
        "clip-adapter fast",
    ];
    Method::NAMES.into_iter().chain(more).map(method).collect()
}

fn assert_sound(case: &Case, what: &str) {
    for method in all_methods() {
        let nameless = case
            .text
            .rows()
            .into_iter()
            .any(|r| r.iter().all(|v| *v == 0.0));
        match method.learn(&case.support()) {
            Err(error) => assert!(
                method == Method::ZeroShot && nameless,
                "{what}, {method}: {error}"
            ),
            Ok(head) => {
                let scores = head.scores(case.features.view());
                assert!(
                    scores.iter().all(|s| s.is_finite()),
                    "{what}, {method}: {scores}"
                );
                assert!(head.loss(&case.support()).is_finite(), "{what}, {method}");
            }
        }
    }
}

#[test]
fn odd_supports_give_finite_scores() {
    assert_sound(&Case::drawn(8, &[0], 1), "one class, one shot");
    assert_sound(&Case::drawn(8, &[0, 0, 0], 1), "one class");
    assert_sound(&Case::drawn(8, &[0, 1], 2), "one shot each");
    assert_sound(&Case::drawn(8, &[1], 2), "one shot in all");
    assert_sound(&Case::drawn(3, &[0, 1, 0], 2), "three wide");
    assert_sound(&Case::drawn(1, &[0, 0], 1), "one wide");
    assert_sound(
        &Case::drawn(16, &[0, 1, 1, 1, 1, 1, 1], 4),
        "unbalanced, two by name alone",
    );
    let mut copies = Case::drawn(8, &[0, 0, 1, 1], 2);
    for i in 1..4 {
        let first = copies.features.row(0).to_owned();
        copies.features.row_mut(i).assign(&first);
    }
    assert_sound(&copies, "copies under two labels");
    let mut bursts = Case::drawn(8, &[0, 0, 0, 1, 1], 2);
    bursts.bursts = vec![4, 4, 4, 4, 4];
    assert_sound(&bursts, "one burst");
    let mut bare = Case::drawn(8, &[0, 1, 2, 2], 3);
    bare.text.row_mut(1).fill(0.0);
    assert_sound(&bare, "one class without text");
    bare.text.fill(0.0);
    assert_sound(&bare, "no text");
}

#[test]
fn what_cannot_be_learned_is_said() {
    let mut case = Case::drawn(8, &[0, 0], 3);
    case.text.row_mut(2).fill(0.0);
    let words =
        |name: &str, case: &Case| method(name).learn(&case.support()).unwrap_err().to_string();
    assert!(words("tip", &case).contains("class 2"));
    assert!(words("zero-shot", &case).contains("class 2"));
    let empty = Case::drawn(8, &[], 2);
    for name in Method::NAMES
        .into_iter()
        .filter(|n| !["zero-shot", "auto"].contains(n))
    {
        assert!(words(name, &empty).contains("no shots"), "{name}");
    }
    assert!(
        "zero-shot"
            .parse::<Method>()
            .unwrap()
            .learn(&empty.support())
            .is_ok()
    );
}

#[test]
fn supports_that_do_not_fit_are_refused() {
    let refused = |change: fn(&mut Case)| {
        let mut case = Case::drawn(8, &[0, 1], 2);
        change(&mut case);
        case.try_support().unwrap_err().to_string()
    };
    assert!(refused(|c| c.labels[0] = 2).contains("label"));
    assert!(refused(|c| c.labels.truncate(1)).contains("labels"));
    assert!(refused(|c| c.bursts.truncate(1)).contains("bursts"));
    assert!(refused(|c| c.features[[1, 0]] = f32::NAN).contains("row 1"));
    assert!(refused(|c| c.features *= 1.1).contains("length 1.1"));
    assert!(refused(|c| c.text *= 0.9).contains("text weight"));
    assert!(refused(|c| c.text = Array2::zeros((2, 7))).contains("width"));
    assert!(refused(|c| c.scale = 0.0).contains("scale"));
    assert!(refused(|c| c.text = Array2::zeros((0, 8))).contains("text"));
}

#[test]
fn a_burst_counts_as_one_shot() {
    // The second class's shot twice as one burst, and once: the same heads.
    let once = Case::drawn(8, &[0, 0, 1], 2);
    let mut twice = once.clone();
    let last = once.features.row(2).to_owned();
    twice.features.push_row(last.view()).unwrap();
    twice.labels.push(1);
    twice.bursts.push(once.bursts[2]);
    for name in Method::NAMES {
        // The keys of a burst move apart no further than rounding, but Adam's steps do not scale.
        if name == "tip-f" {
            continue;
        }
        let scores = |case: &Case| {
            method(name)
                .learn(&case.support())
                .unwrap()
                .scores(once.features.view())
        };
        let worst = (scores(&once) - scores(&twice))
            .iter()
            .fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

#[test]
fn learning_twice_gives_the_same_bits() {
    let case = Case::drawn(24, &[0, 1, 2, 2, 1, 0, 0], 3);
    for method in all_methods() {
        assert_eq!(
            method.learn(&case.support()).unwrap(),
            method.learn(&case.support()).unwrap(),
            "{method}"
        );
    }
}

#[test]
fn one_feature_and_many_score_alike() {
    let case = Case::drawn(21, &[0, 1, 2, 2], 3);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    for method in all_methods() {
        let head = method.learn(&case.support()).unwrap();
        let all = head.scores(case.features.view());
        for (row, expected) in case.features.rows().into_iter().zip(all.rows()) {
            head.scores_into(row.as_slice().unwrap(), &mut scratch, &mut out);
            assert_eq!(out, expected.to_vec(), "{method}");
        }
    }
}

#[test]
fn no_adapter_is_zero_shot_to_the_bit() {
    let case = Case::drawn(12, &[0, 1, 2], 3);
    let shares = Share::Fixed(0.0);
    let adapter = ClipAdapter {
        alpha: shares,
        beta: shares,
        ..ClipAdapter::default()
    };
    let plain = Method::ZeroShot.learn(&case.support()).unwrap();
    assert_eq!(
        Method::ClipAdapter(adapter).learn(&case.support()).unwrap(),
        plain
    );
}

#[test]
fn searched_shares_do_not_lose_to_fixed_ones_that_are_worse() {
    // Text weights that point the wrong way: the adapter must be asked for.
    let mut case = Case::drawn(16, &[0, 0, 0, 0, 1, 1, 1, 1], 2);
    let swapped = ndarray::concatenate![
        ndarray::Axis(0),
        case.text.row(1).insert_axis(ndarray::Axis(0)),
        case.text.row(0).insert_axis(ndarray::Axis(0))
    ];
    case.text = swapped;
    let searched = ClipAdapter {
        alpha: Share::Searched,
        beta: Share::Searched,
        training: Training::FAST,
        seed: 1,
    };
    let head = Method::ClipAdapter(searched)
        .learn(&case.support())
        .unwrap();
    let plain = Method::ZeroShot.learn(&case.support()).unwrap();
    assert!(head.loss(&case.support()) < 0.5 * plain.loss(&case.support()));
    case.labels.truncate(1);
    case.bursts.truncate(1);
    case.features = case.features.slice(ndarray::s![..1, ..]).to_owned();
    case.text.row_mut(0).fill(0.0);
    let words = Method::ClipAdapter(searched)
        .learn(&case.support())
        .unwrap_err()
        .to_string();
    assert!(words.contains("two bursts"), "{words}");
}

#[test]
fn the_fast_solver_ends_below_adam() {
    for seed in 0..3 {
        let case = Case::drawn(32, &[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], 4);
        let loss = |training| {
            let adapter = ClipAdapter {
                training,
                seed,
                ..ClipAdapter::default()
            };
            Method::ClipAdapter(adapter)
                .learn(&case.support())
                .unwrap()
                .loss(&case.support())
        };
        let (fast, adam) = (loss(Training::FAST), loss(Training::FULL_BATCH));
        assert!(fast <= adam, "{fast} against {adam}");
    }
}

#[test]
fn heads_survive_being_saved() {
    let case = Case::drawn(12, &[0, 1, 2], 3);
    for method in all_methods() {
        let head = method.learn(&case.support()).unwrap();
        let bytes = postcard::to_stdvec(&head).unwrap();
        assert_eq!(
            postcard::from_bytes::<Head>(&bytes).unwrap(),
            head,
            "{method}"
        );
        for cut in 0..bytes.len().min(300) {
            assert!(postcard::from_bytes::<Head>(&bytes[..cut]).is_err());
        }
    }
}

/// The exported file and tests/parity/head_scores.py, which knows NumPy and nothing of us.
#[test]
fn numpy_scores_exported_heads_as_we_do() {
    let Some(python) = std::env::var_os("EDGECLIP_PYTHON").filter(|p| Path::new(p).exists()) else {
        println!("skipped: set EDGECLIP_PYTHON to a Python with numpy");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let case = Case::drawn(48, &[0, 0, 0, 1, 1, 1, 2, 2, 2], 3);
    let features = folder.path().join("features.npy");
    let mut file = fs::File::create(&features).unwrap();
    edgeclip::import::write_npy(&mut file, case.features.view()).unwrap();
    for name in ["auto", "clip-adapter", "gda", "tip", "tip-f"] {
        let settings = Settings {
            method: name.parse().unwrap(),
            ..Settings::default()
        };
        let head = learn(&case.support(), &settings, 0).unwrap().head;
        let exported = folder.path().join("head.safetensors");
        let exchanged = Exchanged {
            head: head.clone(),
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            feature_space: None,
        };
        fs::write(&exported, write_head(&exchanged).unwrap()).unwrap();
        assert_eq!(read_head(&exported).unwrap(), exchanged);
        let scores = folder.path().join("scores.npy");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/head_scores.py");
        let run = std::process::Command::new(&python)
            .args([&script, &exported, &features, &scores])
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let theirs = edgeclip::import::read_npy(&fs::read(&scores).unwrap()).unwrap();
        let ours = head.scores(case.features.view());
        let worst = (&ours - &theirs)
            .iter()
            .fold(0.0_f32, |m, v| m.max(v.abs()));
        let largest = ours.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        assert!(worst <= 1e-4 * largest, "{name}: {worst} of {largest}");
    }
}

/// Three pairs of classes. Where `twisted`, two features of a pair agree in sign for one class and
/// differ for the other, so that no plane parts them; else each class has a direction of its own.
fn pairs_of_classes(
    twisted: bool,
    shots: usize,
    axes: &Array2<f32>,
    draw: &mut impl FnMut() -> f32,
) -> (Array2<f32>, Vec<usize>) {
    const CLASSES: usize = 6;
    let labels: Vec<usize> = (0..shots * CLASSES).map(|i| i % CLASSES).collect();
    let mut x = Array2::from_shape_simple_fn((labels.len(), axes.ncols()), || draw() * 0.17);
    for (i, mut row) in x.rows_mut().into_iter().enumerate() {
        let (class, pair) = (labels[i], labels[i] / 2);
        row += &axes.row(15);
        row += &axes.row(12 + pair);
        if twisted {
            let side = if (i / CLASSES) % 4 < 2 { 1.0 } else { -1.0 };
            let turn = if class % 2 == 0 { side } else { -side };
            row.scaled_add(side, &axes.row(2 * pair));
            row.scaled_add(turn, &axes.row(2 * pair + 1));
        } else {
            row += &axes.row(6 + class);
        }
    }
    (unit(x), labels)
}

#[test]
fn auto_takes_the_adapter_where_no_plane_parts_the_classes_and_only_there() {
    for twisted in [true, false] {
        let mut draw = noise(5);
        let axes = unit(Array2::from_shape_simple_fn((16, 64), &mut draw));
        let text = unit(Array2::from_shape_simple_fn((6, 64), &mut draw));
        let (x, labels) = pairs_of_classes(twisted, 40, &axes, &mut draw);
        let (queries, truth) = pairs_of_classes(twisted, 100, &axes, &mut draw);
        let bursts: Vec<u32> = (0..labels.len() as u32).collect();
        let shots = Shots {
            features: x.view(),
            labels: &labels,
            bursts: &bursts,
        };
        let support = Support::new(shots, text.view(), 100.0).unwrap();
        let learned = learn(&support, &Settings::default(), 0).unwrap();
        let adapted = learned
            .words
            .iter()
            .find(|w| w.contains("bottleneck adapter"));
        assert_eq!(adapted.is_some(), twisted, "{:?}", learned.words);
        let right = metrics::top1(learned.head.scores(queries.view()).view(), &truth);
        let mix = Method::Auto.learn(&support).unwrap();
        let of_mix = metrics::top1(mix.scores(queries.view()).view(), &truth);
        if twisted {
            assert!(
                right > of_mix + 0.3,
                "{right:.3} with the adapter, {of_mix:.3} without"
            );
            assert!(adapted.is_some_and(|w| w.contains("alpha")), "{adapted:?}");
        } else {
            assert!(right > 0.9, "{right:.3}");
        }
    }
}
