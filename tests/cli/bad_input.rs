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
fn a_missing_photo_does_not_stop_the_others() {
    let bench = Bench::new();
    let cat = photo("cat.jpg");
    let run = bench.run(["classify", &cat, "gone.jpg", "--labels", "cat, dog"]);
    assert_eq!(run.status, 1);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    let said = run.err.contains("gone.jpg") && run.err.contains("1 of 2 photos");
    assert!(said, "{}", run.err);
    let run = bench.run(["embed", "gone.jpg", &cat]);
    assert_eq!((run.status, run.json().len()), (1, 2));
    let run = bench.run(["learn", "cat", &cat, "gone.jpg"]);
    assert_eq!(run.status, 1);
    assert!(run.out.contains("learned 1 photo of `cat`, 1 skipped"));
    assert!(run.err.contains("gone.jpg"), "{}", run.err);
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_bring_no_photo_twice() {
    let bench = Bench::new();
    for (class, name) in [("cat", "cat.jpg"), ("rocket", "rocket.jpg")] {
        let bytes = std::fs::read(photo(name)).unwrap();
        bench.write(&format!("things/{class}/{name}"), bytes);
    }
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, bench.path(from)).unwrap();
    link(".", "things/cat/here");
    link("..", "things/cat/up");
    link("../rocket", "things/cat/other");
    let run = bench.run(["classify", "things", "--labels", "cat, rocket", "--json"]);
    assert_eq!(run.ok().json().len(), 2);
    let run = bench.run(["learn", "--from", "things"]).ok();
    assert!(
        run.out.contains("learned 2 photos of 2 classes"),
        "{}",
        run.out
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named_as_such() {
    // Nobody may make files there, root neither.
    let run = Bench::new().run(["classes", "add", "cat", "--classifier", "/sys/a.ecclass"]);
    assert_eq!(run.status, 1);
    for words in ["/sys: cannot write into this folder", "--classifier"] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
}

#[test]
fn a_picture_too_large_hears_of_the_flag() {
    let bench = Bench::new();
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    for number in [2000_u32, 1001, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bmp.extend(number.to_le_bytes());
    }
    bench.write("large.bmp", bmp);
    let one = ["--labels", "cat", "--max-megapixels", "1"];
    let run = bench.run(["classify", "large.bmp"].iter().chain(&one));
    assert_eq!(run.status, 1);
    let words = "found 2002000, expected at most 1000000: allow more with --max-megapixels 3";
    assert!(run.err.contains(words), "{}", run.err);
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
