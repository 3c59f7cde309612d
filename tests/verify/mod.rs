//! `model verify --against`: what must count as the same model, and what must not.

use serde_json::Value;

use super::*;

/// A hub folder with its bundle, and photos in two class folders.
fn made(flags: &[&str]) -> Bench {
    let bench = Bench::new();
    hub_folder(&bench);
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/photos");
    for (class, name) in [
        ("cat", "cat.jpg"),
        ("coffee_mug", "coffee.jpg"),
        ("cat", "rocket.jpg"),
    ] {
        let photo = fs::read(photos.join(name)).unwrap();
        bench.write(&format!("photos/{class}/{name}"), &photo);
    }
    import_with(&bench, flags);
    bench
}

fn import_with(bench: &Bench, flags: &[&str]) {
    let args = [&["model", "import", "hub", "-o", "clip.ecmodel"][..], flags].concat();
    let (status, _, words) = bench.run(&args);
    assert_eq!(status, 0, "{words}");
}

/// Exit status, figures and words of the comparison with `against`.
fn compared(bench: &Bench, against: &str, flags: &[&str]) -> (i32, Value, String) {
    let verify = [
        "model",
        "verify",
        "clip.ecmodel",
        "--photos",
        "photos",
        "--json",
        "--against",
        against,
    ];
    let (status, out, words) = bench.run(&[&verify[..], flags].concat());
    let figures = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{words}"));
    (status, figures, words)
}

fn number(figures: &Value, path: &str) -> f64 {
    figures
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{path}: {figures}"))
}

fn other_text_model() -> GraphProto {
    let mut other = text_model();
    other.initializer[0] = floats(
        "table",
        &[ROWS as i64, DIM as i64],
        &numbers(ROWS * DIM, 9, 1.0),
    );
    other
}

#[test]
fn the_model_itself_is_the_same_in_pixels_features_texts_and_answers() {
    let bench = made(&[]);
    let (status, figures, words) = compared(&bench, "hub", &[]);
    assert_eq!(
        (status, &figures["same"]),
        (0, &Value::Bool(true)),
        "{words}"
    );
    assert!(number(&figures, "/cosine_min") > 0.999_999, "{figures}");
    assert!(
        number(&figures, "/text/cosine_min") > 0.999_999,
        "{figures}"
    );
    assert_eq!(figures["names"], serde_json::json!(["cat", "coffee mug"]));
    assert_eq!(figures["answers"]["same"], 3);
    assert!(
        number(&figures, "/answers/p_difference_max") < 1e-3,
        "{figures}"
    );
    assert_eq!(
        figures["preprocessing"]["differences"],
        serde_json::json!([])
    );
    assert_eq!(
        figures["preprocessing"]["from"],
        "hub/preprocessor_config.json"
    );
    let (_, table, _) = bench.run(&[
        "model",
        "verify",
        "clip.ecmodel",
        "--photos",
        "photos",
        "--against",
        "hub",
    ]);
    assert!(table.contains("verdict     the same"), "{table}");
}

#[test]
fn names_come_from_a_file_and_else_are_everyday_ones() {
    let bench = made(&[]);
    bench.write("names.txt", b"teapot\nmug | a mug of tea\nspanner\n");
    let (_, figures, _) = compared(&bench, "hub", &["--labels-file", "names.txt"]);
    assert_eq!(
        figures["names"],
        serde_json::json!(["teapot", "mug", "spanner"])
    );
    fs::remove_dir_all(bench.path("photos/coffee_mug")).unwrap();
    let (_, figures, _) = compared(&bench, "hub", &[]);
    assert_eq!(figures["names"].as_array().unwrap().len(), 16);
    let (status, _, words) = bench.run(&[
        "model",
        "verify",
        "clip.ecmodel",
        "--labels-file",
        "names.txt",
    ]);
    assert!(status == 2 && words.contains("--against"), "{words}");
}

#[test]
fn another_text_tower_is_told_although_the_images_are_the_same() {
    let bench = made(&[]);
    bench.write("hub/onnx/text_model.onnx", &bytes(other_text_model()));
    let (status, figures, words) = compared(&bench, "hub", &[]);
    assert_eq!((status, &figures["same"]), (1, &Value::Bool(false)));
    assert!(number(&figures, "/cosine_mean") > 0.999_999, "{figures}");
    assert!(number(&figures, "/text/cosine_mean") < 0.9, "{figures}");
    assert!(
        number(&figures, "/answers/p_difference_max") > 0.1,
        "{figures}"
    );
    assert!(words.contains("text vectors that differ"), "{words}");
}

#[test]
fn another_preprocessing_is_named_and_shows_in_the_features() {
    let bench = made(&[]);
    bench.write(
        "hub/preprocessor_config.json",
        br#"{"size":{"shortest_edge":16},"do_center_crop":true,"crop_size":16,"image_mean":[0.9,0.5,0.1],"image_std":[0.5,0.2,0.5]}"#,
    );
    let (status, figures, words) = compared(&bench, "hub", &[]);
    assert_eq!(
        (status, &figures["same"]),
        (1, &Value::Bool(false)),
        "{figures}"
    );
    assert!(number(&figures, "/cosine_mean") < 0.999, "{figures}");
    assert!(
        number(&figures, "/text/cosine_mean") > 0.999_999,
        "{figures}"
    );
    let told = figures["preprocessing"]["differences"].to_string();
    for part in ["resize 16×16", "shortest side 16", "crop", "mean", "std"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(words.contains("preprocessing"), "{words}");
}

#[test]
fn preprocessing_that_is_not_there_or_of_no_use_is_the_bundles() {
    let bench = made(&[]);
    bench.write(
        "hub/preprocessor_config.json",
        br#"{"size":16,"resample":1}"#,
    );
    let (status, figures, _) = compared(&bench, "hub", &[]);
    let why = figures["preprocessing"]["not_used"].as_str().unwrap();
    assert!(status == 0 && why.contains("resample 1"), "{figures}");
    fs::remove_file(bench.path("hub/preprocessor_config.json")).unwrap();
    let (status, figures, _) = compared(&bench, "hub", &[]);
    assert!(
        status == 0 && figures["preprocessing"]["from"].is_null(),
        "{figures}"
    );
}

#[test]
fn a_reference_without_texts_answers_by_the_bundles() {
    let bench = made(&[]);
    let (status, figures, words) = compared(&bench, "hub/onnx/vision_model.onnx", &[]);
    assert_eq!((status, figures["text"].is_null()), (0, true), "{words}");
    let lacking = figures["text_lacking"].as_str().unwrap();
    assert!(
        lacking.contains("the reference has no text encoder"),
        "{lacking}"
    );
    assert_eq!(figures["answers"]["text_weights"], "bundle");
    assert_eq!(figures["answers"]["same"], 3);
    // A tokenizer of more pieces than the text model knows: no texts, and the reason.
    let mut small = text_model();
    small.initializer[0] = floats("table", &[1000, DIM as i64], &numbers(1000 * DIM, 3, 1.0));
    bench.write("hub/onnx/text_model.onnx", &bytes(small));
    let (status, figures, _) = compared(&bench, "hub", &[]);
    let lacking = figures["text_lacking"].as_str().unwrap();
    assert!(status == 0 && lacking.contains("1000"), "{figures}");
}

#[test]
fn a_bundle_without_texts_answers_by_the_references() {
    let bench = made(&["--no-text"]);
    let (status, figures, _) = compared(&bench, "hub", &[]);
    let lacking = figures["text_lacking"].as_str().unwrap();
    assert!(
        status == 0 && lacking.contains("the bundle has no text encoder"),
        "{figures}"
    );
    assert_eq!(figures["answers"]["text_weights"], "reference");
    let (_, figures, _) = compared(&bench, "hub/onnx/vision_model.onnx", &[]);
    assert!(figures["answers"].is_null(), "{figures}");
}

#[test]
fn ready_vectors_are_held_against_the_text_encoder_that_they_were_made_with() {
    let bench = made(&[]);
    bench.write("names.txt", b"coffee mug\ncat\nspanner\n");
    import_with(&bench, &["--no-text", "--vocabulary", "names.txt"]);
    bench.write("wanted.txt", b"Coffee mugs\ncat\ncrane\n");
    let (status, figures, words) = compared(&bench, "hub", &["--labels-file", "wanted.txt"]);
    assert_eq!(
        (status, &figures["text"]["ready_vectors"]),
        (0, &Value::Bool(true)),
        "{words}"
    );
    assert_eq!(figures["names"], serde_json::json!(["coffee mug", "cat"]));
    assert_eq!(figures["names_left_out"], 1);
    assert!(number(&figures, "/text/cosine_min") > 0.999, "{figures}");
    let (_, figures, _) = compared(&bench, "hub/onnx/vision_model.onnx", &[]);
    assert_eq!(figures["answers"]["text_weights"], "bundle");
    bench.write("hub/onnx/text_model.onnx", &bytes(other_text_model()));
    let (status, figures, _) = compared(&bench, "hub", &[]);
    assert_eq!(
        (status, &figures["same"]),
        (1, &Value::Bool(false)),
        "{figures}"
    );
}
