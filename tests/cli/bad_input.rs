//! Bad input is normal: named, counted, survived.

use super::{Bench, finish, photo, repository};

#[test]
fn unreadable_photos_are_named_counted_and_skipped() {
    let bench = Bench::new();
    std::fs::copy(photo("cat.jpg"), bench.path("cat.jpg")).unwrap();
    bench.write("photos/b-text.jpg", "no picture at all");
    bench.write("photos/c-empty.png", "");
    bench.write(
        "photos/deep/d-cut.jpg",
        &std::fs::read(photo("cat.jpg")).unwrap()[..9000],
    );
    std::fs::copy(photo("cat.jpg"), bench.path("photos/a.jpg")).unwrap();
    let run = bench.run(["classify", "photos", "--labels", "cat, dog"]);
    assert_eq!(run.status, 1);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    for name in ["b-text.jpg", "c-empty.png", "d-cut.jpg", "3 of 4 photos"] {
        assert!(run.err.contains(name), "{name}: {}", run.err);
    }
    let lines = bench
        .run(["classify", "photos", "--labels", "cat, dog", "--json"])
        .json();
    assert_eq!(lines.iter().filter(|l| l["error"].is_string()).count(), 3);
}

#[test]
fn missing_things_are_named() {
    let bench = Bench::new();
    let run = bench.run(["classify", "nothing.jpg", "--labels", "cat"]);
    assert!(
        run.status == 1 && run.err.contains("nothing.jpg"),
        "{}",
        run.err
    );
    std::fs::create_dir(bench.path("empty")).unwrap();
    let run = bench.run(["classify", "empty", "--labels", "cat"]);
    assert!(
        run.status == 1 && run.err.contains("no photo"),
        "{}",
        run.err
    );
    let run = bench.run([
        "classify",
        &photo("cat.jpg"),
        "--labels",
        "cat",
        "--model",
        "no.ecmodel",
    ]);
    assert!(
        run.status == 1 && run.err.contains("no.ecmodel"),
        "{}",
        run.err
    );
}

#[test]
fn no_names_is_a_usage_error_that_says_what_to_do() {
    let run = Bench::new().run(["classify", &photo("cat.jpg")]);
    assert_eq!(run.status, 2);
    assert!(
        run.err.contains("--labels") && run.err.contains("edgeclip learn"),
        "{}",
        run.err
    );
}

#[test]
fn files_of_the_wrong_kind_are_refused_by_what_they_are() {
    let bench = Bench::new();
    bench.run(["classes", "add", "cat"]).ok();
    let classifier = bench.path(".local/share/edgeclip/default.ecclass");
    let run = bench.run(["model", "inspect", classifier.to_str().unwrap()]);
    assert!(
        run.status == 1 && run.err.contains("a classifier"),
        "{}",
        run.err
    );
    let model = repository("models/starter.ecmodel");
    let run = bench.run(["classes", "list", "--classifier", &model]);
    assert!(
        run.status == 1 && run.err.contains("a model bundle"),
        "{}",
        run.err
    );
    let run = bench.run(["model", "verify", &photo("cat.jpg")]);
    assert!(run.status == 1 && run.err.contains("JPEG"), "{}", run.err);
}

#[test]
fn a_damaged_model_is_found_and_named() {
    let bench = Bench::new();
    let mut bytes = std::fs::read(repository("models/starter.ecmodel")).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    let path = bench.write("bent.ecmodel", bytes);
    let run = bench.run(["model", "verify", path.to_str().unwrap()]);
    assert!(
        run.status == 1 && run.err.contains("damaged"),
        "{}",
        run.err
    );
    bench.run(["model", "verify"]).ok();
}

#[test]
fn a_failed_import_leaves_what_stood_there() {
    let bench = Bench::new();
    let out = bench.write("mine.ecmodel", "precious");
    bench.write("parts/image.onnx", "not onnx");
    let manifest = |extra: &str| {
        format!(
            "name='x'\nabout='x'\ndim=8\nsource='x'\n[preprocess]\nresize='exact'\nsize=[8,8]\nfilter='bicubic'\n\
             mean=[0.5,0.5,0.5]\nstd=[0.5,0.5,0.5]\n[score]\nform='softmax'\nscale=15.0\n{extra}"
        )
    };
    for (extra, word) in [
        ("[image]\nfile='image.onnx'", "ONNX"),
        ("[image]\nfile='gone.onnx'", "gone.onnx"),
        ("[image]\nfile='/etc/passwd'", "inside the folder"),
        ("[image]\nfile='../mine.ecmodel'", "inside the folder"),
        ("[imaje]\nfile='image.onnx'", "imaje"),
    ] {
        bench.write("parts/bundle.toml", manifest(extra));
        let run = bench.run(["model", "import", "parts", "-o", out.to_str().unwrap()]);
        assert!(
            run.status == 1 && run.err.contains(word),
            "{extra}: {}",
            run.err
        );
        assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    }
}

#[test]
fn hostile_names_cannot_steer_the_terminal() {
    let bench = Bench::new();
    std::fs::copy(photo("cat.jpg"), bench.path("a\u{1b}[31mb.jpg")).unwrap();
    let run = bench
        .run(["classify", "a\u{1b}[31mb.jpg", "--labels", "cat, dog"])
        .ok();
    assert!(!run.out.contains('\u{1b}'), "{:?}", run.out);
    let run = bench.run(["classify", &photo("cat.jpg"), "--labels", "c\u{1b}[2Jat"]);
    assert!(
        run.status == 2 && !run.err.contains('\u{1b}'),
        "{:?}",
        run.err
    );
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let bench = Bench::new();
    let mut child = bench
        .program()
        .args(["model", "inspect", "--vocabulary"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}
