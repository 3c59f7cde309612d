//! Flags, outputs and folders of `model import` that can only be a mistake, and what is said of them.

use super::*;

/// A safetensors file of one tensor: its contents in JSON, then the value.
fn safetensors() -> Vec<u8> {
    let contents = br#"{"logit_scale":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (contents.len() as u64).to_le_bytes();
    [&length[..], contents, &4.6_f32.to_le_bytes()].concat()
}

/// Exit status and words of an import with `flags` that must not write anything.
fn refused(bench: &Bench, flags: &[&str]) -> (i32, String) {
    let args = [&["model", "import", "-o", "out.ecmodel"][..], flags].concat();
    let (status, _, words) = bench.run(&args);
    assert!(!bench.path("out.ecmodel").exists(), "{flags:?}");
    (status, words)
}

#[test]
fn calibration_goes_with_int8_alone() {
    let bench = Bench::new();
    hub_folder(&bench);
    // The folder of photos is not there: the flag is refused before anybody looks.
    let (status, words) = refused(&bench, &["hub", "--calibrate", "photos"]);
    assert_eq!(status, 2, "{words}");
    assert!(words.contains("--quantize int8"), "{words}");
}

#[test]
fn what_onnx_leaves_open_is_refused_with_safetensors() {
    let bench = Bench::new();
    bench.write("model.safetensors", &safetensors());
    bench.write("config.json", b"{}");
    for flags in [
        ["--projection", "p.npy"],
        ["--pool", "mean"],
        ["--layout", "nhwc"],
        ["--image-output", "x"],
        ["--text-output", "x"],
    ] {
        let (status, words) = refused(&bench, &[&["."][..], &flags].concat());
        let said = words.contains(flags[0]) && words.contains("ONNX");
        assert!(status == 1 && said, "{words}");
    }
}

#[test]
fn an_output_that_cannot_be_is_told_before_the_work() {
    let bench = Bench::new();
    fs::create_dir(bench.path("models")).unwrap();
    bench.write("notes.txt", b"mine");
    // No model is there either: the output is looked at first.
    for (output, expected) in [
        ("models", "models/NAME.ecmodel"),
        ("new/deep/a.ecmodel", "mkdir -p new/deep"),
        ("new/", "mkdir -p new/"),
        ("notes.txt/a.ecmodel", "a folder to write into"),
        ("notes.txt", "a new name"),
    ] {
        let (status, _, words) = bench.run(&["model", "import", "nothing", "-o", output]);
        assert!(status == 1 && words.contains(expected), "{words}");
    }
    assert_eq!(fs::read(bench.path("notes.txt")).unwrap(), b"mine");
}

#[test]
fn of_a_full_folder_the_files_that_were_taken_are_named() {
    let bench = Bench::new();
    let folder = hub_folder(&bench);
    bench.write("hub/onnx/aesthetics_head.onnx", b"no model");
    let made = bench.import(&[folder], &Options::default()).unwrap();
    let taken = "model: onnx/vision_model.onnx, onnx/text_model.onnx";
    assert!(made.notes.iter().any(|n| n == taken), "{:?}", made.notes);
}

#[test]
fn settings_alone_are_no_tokenizer_and_half_of_one_names_the_way_out() {
    let bench = Bench::new();
    let folder = hub_folder(&bench);
    fs::remove_file(bench.path("hub/vocab.json")).unwrap();
    let words = bench.refusal(std::slice::from_ref(&folder), &Options::default());
    assert!(words.contains("--no-text"), "{words}");
    fs::remove_file(bench.path("hub/merges.txt")).unwrap();
    bench.write("hub/tokenizer_config.json", b"{}");
    bench.write("hub/special_tokens_map.json", b"{}");
    let made = bench.import(&[folder], &Options::default()).unwrap();
    let told = made.notes.iter().any(|n| n.contains("no text encoder"));
    assert!(
        made.bundle.card().text.is_none() && told,
        "{:?}",
        made.notes
    );
}

#[test]
fn inspect_tells_the_form_of_the_encoder() {
    let bench = Bench::new();
    bench.write("model.onnx", &bytes(image_model()));
    let import = [
        "model",
        "import",
        "model.onnx",
        "-o",
        "out.ecmodel",
        "--size",
        "16x16",
    ];
    let row = |flags: &[&str]| {
        let (status, out, words) = bench.run(&[&import[..], flags].concat());
        assert_eq!(status, 0, "{words}");
        let line = out.lines().find(|l| l.starts_with("image ")).unwrap();
        line.trim_start_matches("image").trim().to_owned()
    };
    assert_eq!(row(&[]), "graph as imported, float");
    assert_eq!(
        row(&["--quantize", "int8"]),
        "graph as imported, int8 (2 products)"
    );
}

#[test]
fn weights_named_themselves_are_the_ones_that_are_opened_and_told_of() {
    let bench = Bench::new();
    let whole = safetensors();
    bench.write("config.json", br#"{"model_type":"clip"}"#);
    bench.write("model.safetensors", &whole);
    bench.write("mine.safetensors", &whole[..whole.len() - 2]);
    let (status, words) = refused(&bench, &["mine.safetensors"]);
    let said = words.contains("mine.safetensors: ") && words.contains("download it again");
    assert!(status == 1 && said, "{words}");
    bench.write("mine.safetensors", &whole);
    let (_, words) = refused(&bench, &["mine.safetensors"]);
    assert!(
        words.contains("mine.safetensors: ") && words.contains("tensor"),
        "{words}"
    );
    let (_, words) = refused(&bench, &["mine.safetensors", "model.safetensors"]);
    assert!(words.contains("two files of safetensors"), "{words}");
}
