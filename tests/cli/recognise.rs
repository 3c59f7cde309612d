//! From photos and names to answers.

use super::{Bench, photo, repository};

const NAMES: &str = "cat, cup of coffee, rocket, bicycle, teapot";

#[test]
fn photos_are_named_out_of_free_names() {
    let run = Bench::new()
        .run([
            "classify",
            &photo("cat.jpg"),
            &photo("coffee.jpg"),
            "--labels",
            NAMES,
            "--json",
        ])
        .ok();
    let lines = run.json();
    let best: Vec<_> = lines
        .iter()
        .map(|l| l["top"][0]["label"].as_str().unwrap())
        .collect();
    assert_eq!(best, ["cat", "cup of coffee"]);
}

#[test]
fn json_lines_hold_the_documented_fields() {
    let run = Bench::new()
        .run([
            "classify",
            &photo("cat.jpg"),
            "--labels",
            NAMES,
            "--json",
            "--top",
            "5",
        ])
        .ok();
    let line = &run.json()[0];
    assert_eq!(line["path"], photo("cat.jpg"));
    assert!(line["ms"].as_f64().unwrap() > 0.0);
    let top = line["top"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    let p: Vec<f64> = top.iter().map(|a| a["p"].as_f64().unwrap()).collect();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{p:?}");
    assert!(p.is_sorted_by(|a, b| a >= b), "{p:?}");
    assert!(
        top.iter()
            .all(|a| a["score"].is_f64() && a["label"].is_string())
    );
}

#[test]
fn a_folder_is_searched_in_order_and_a_table_is_aligned() {
    let run = Bench::new()
        .run([
            "classify",
            &repository("examples/photos"),
            "--labels",
            NAMES,
        ])
        .ok();
    let lines: Vec<_> = run.out.lines().collect();
    assert!(
        lines[0].starts_with("photo ") && lines[0].contains("answer") && lines[0].ends_with("ms")
    );
    let photos: Vec<_> = lines[1..]
        .iter()
        .map(|l| l.split_whitespace().next().unwrap())
        .collect();
    assert!(photos.len() >= 6 && photos.is_sorted(), "{photos:?}");
    let at = lines[0].find("answer").unwrap();
    assert!(
        lines[1..]
            .iter()
            .all(|l| l.as_bytes()[at - 1] == b' ' && l.as_bytes()[at] != b' '),
        "{}",
        run.out
    );
    assert!(!run.out.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn answers_are_the_same_on_one_thread_and_on_four() {
    let bench = Bench::new();
    let answers = |threads: &str| {
        let args = [
            "classify",
            &repository("examples/photos"),
            "--labels",
            NAMES,
            "--json",
            "--threads",
            threads,
        ];
        let lines = bench.run(args).ok().json();
        lines
            .into_iter()
            .map(|l| (l["path"].clone(), l["top"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(answers("1"), answers("4"));
}

#[test]
fn embed_writes_a_matrix_that_numpy_could_read() {
    let bench = Bench::new();
    let npy = bench.path("features.npy");
    bench
        .run([
            "embed",
            &photo("cat.jpg"),
            &photo("coffee.jpg"),
            "-o",
            npy.to_str().unwrap(),
        ])
        .ok();
    let matrix = edgeclip::import::read_npy(&std::fs::read(&npy).unwrap()).unwrap();
    assert_eq!(matrix.dim(), (2, 512));
    for row in matrix.rows() {
        assert!((row.dot(&row) - 1.0).abs() < 1e-5);
    }
    let names = std::fs::read_to_string(bench.path("features.npy.txt")).unwrap();
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        [photo("cat.jpg"), photo("coffee.jpg")]
    );

    let lines = bench.run(["embed", &photo("cat.jpg")]).ok().json();
    let values: Vec<f32> = serde_json::from_value(lines[0]["feature"].clone()).unwrap();
    let differ = values
        .iter()
        .zip(matrix.row(0))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(differ < 1e-6, "{differ}");
}

#[test]
fn names_embed_to_unit_text_weights() {
    let run = Bench::new()
        .run(["embed", "--labels", "mug, torque wrench of steel"])
        .ok();
    let lines = run.json();
    assert_eq!(lines[1]["label"], "torque wrench of steel");
    for line in lines {
        let values: Vec<f32> = serde_json::from_value(line["feature"].clone()).unwrap();
        assert!((values.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-4);
    }
}

#[test]
fn bench_prints_times_that_add_up() {
    let line = &Bench::new()
        .run(["bench", "--runs", "3", "--threads", "1", "--json"])
        .ok()
        .json()[0];
    let stage = |name: &str| {
        let stages = line["stages"].as_array().unwrap();
        let found = stages
            .iter()
            .find(|s| s["stage"].as_str().unwrap().starts_with(name))
            .unwrap();
        found["p50_ms"].as_f64().unwrap()
    };
    assert!(stage("frame to answer") > stage("preprocess"));
    assert!(line["open_ms"].as_f64().unwrap() > 0.0);
}
