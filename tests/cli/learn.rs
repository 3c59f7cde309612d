//! Teaching by photos: what is learned, told, undone, and what goes wrong.

use super::{Bench, photo, repository};

/// A bench whose classifier knows names, and `cup of coffee` by a photo.
fn taught() -> Bench {
    let bench = Bench::new();
    bench
        .run(["classes", "add", "cat", "rocket", "bicycle"])
        .ok();
    bench
        .run(["learn", "cup of coffee", &photo("coffee.jpg")])
        .ok();
    bench
}

fn best(bench: &Bench, name: &str) -> (String, Option<bool>) {
    let line = bench.run(["classify", &photo(name), "--json"]).ok().json()[0].clone();
    (
        line["top"][0]["label"].as_str().unwrap().to_owned(),
        line["unknown"].as_bool(),
    )
}

#[test]
fn a_class_is_learned_used_and_undone() {
    let bench = taught();
    let run = bench
        .run([
            "learn",
            "my blue galaxy",
            &photo("galaxies.jpg"),
            "--no-name",
        ])
        .ok();
    for word in [
        "learned 1 photo of `my blue galaxy`",
        "5 classes and 2 shots",
        "edgeclip undo",
    ] {
        assert!(run.out.contains(word), "{word}: {}", run.out);
    }
    assert_eq!(best(&bench, "galaxies.jpg").0, "my blue galaxy");
    assert_eq!(best(&bench, "coffee.jpg").0, "cup of coffee");
    let undone = bench.run(["undo"]).ok().out;
    assert!(
        undone.contains("learned 1 photo of `cup of coffee`"),
        "{undone}"
    );
    let nowhere = Bench::new().run(["undo"]);
    assert!(nowhere.err.contains("no such file"), "{}", nowhere.err);
    for (steps, words) in [
        (
            &["undo", "5"],
            "cannot undo 5 times: only 1 earlier state is kept",
        ),
        (
            &["redo", "2"],
            "cannot redo 2 times: only 1 undone state is kept",
        ),
    ] {
        let run = bench.run(steps);
        assert!(run.status == 1 && run.err.contains(words), "{}", run.err);
    }
    assert_ne!(best(&bench, "galaxies.jpg").0, "my blue galaxy");
    bench.run(["redo"]).ok();
    assert_eq!(best(&bench, "galaxies.jpg").0, "my blue galaxy");
}

#[test]
fn history_tells_what_each_save_was_for() {
    let bench = taught();
    let lines = bench.run(["history", "--json"]).ok().json();
    let notes: Vec<_> = lines
        .iter()
        .map(|l| l["note"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        notes,
        [
            "learned 1 photo of `cup of coffee`",
            "added cat, rocket, bicycle"
        ]
    );
    assert_eq!(lines[0]["way"], "now");
    assert_eq!(lines[1]["way"], "undo 1");
    assert!(bench.run(["history"]).ok().out.contains("just now"));
}

#[test]
fn the_answer_of_learn_as_json_holds_the_documented_fields() {
    let bench = taught();
    let run = bench
        .run(["learn", "cat", &photo("cat.jpg"), "--json"])
        .ok();
    let told = &run.json()[0];
    assert_eq!(told["learned"], 1);
    assert_eq!(told["shots"], 2);
    assert_eq!(told["classes"], 4);
    assert_eq!(told["head"], "auto");
    assert!(!told["words"].as_array().unwrap().is_empty(), "{told}");
    for field in [
        "before",
        "after",
        "old_shots",
        "worse",
        "seconds",
        "skipped",
        "new_classes",
    ] {
        assert!(told.get(field).is_some(), "{field}: {told}");
    }
}

#[test]
fn an_unreadable_photo_is_named_and_skipped() {
    let bench = taught();
    let broken = bench.write("broken.jpg", b"\xff\xd8\xffnothing");
    let run = bench.run(["learn", "cat", &photo("cat.jpg"), broken.to_str().unwrap()]);
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("broken.jpg") && run.err.contains("skipped"),
        "{}",
        run.err
    );
    assert!(
        run.out.contains("learned 1 photo of `cat`, 1 skipped"),
        "{}",
        run.out
    );
    let nothing = bench.run(["learn", "cat", broken.to_str().unwrap()]);
    assert_eq!(nothing.status, 1);
    assert!(
        nothing.err.contains("nothing was changed"),
        "{}",
        nothing.err
    );
    assert_eq!(bench.run(["history", "--json"]).ok().json().len(), 3);
}

#[test]
fn a_photo_is_never_learned_twice() {
    let bench = taught();
    let again = bench.run(["learn", "cat", &photo("coffee.jpg")]);
    assert_eq!(again.status, 1);
    assert!(
        again.err.contains("shot 0 of `cup of coffee` already")
            && again.err.contains("edgeclip classes move 0 --to \"cat\"")
            && again.err.contains("forget --shot 0"),
        "{}",
        again.err
    );
    let twice = [&photo("cat.jpg"), &photo("cat.jpg")];
    let twice = bench.run(["learn", "cat", twice[0], twice[1]]).ok().out;
    assert!(
        twice.contains("learned 1 photo of `cat`, 1 already known, in"),
        "{twice}"
    );
}

#[test]
fn a_lesson_again_learns_what_is_new_and_is_no_failure() {
    let bench = Bench::new();
    for (class, name) in [("cat", "cat.jpg"), ("rocket", "rocket.jpg")] {
        let bytes = std::fs::read(photo(name)).unwrap();
        bench.write(&format!("things/{class}/{name}"), bytes);
    }
    let lesson = ["learn", "--from", "things", "--views", "2"];
    bench.run(lesson).ok();
    let again = bench.run(lesson).ok();
    assert_eq!(again.out, "nothing new to learn, 2 already known\n");
    assert_eq!(again.err, "");
    let history = |bench: &Bench| bench.run(["history", "--json"]).ok().json().len();
    assert_eq!(history(&bench), 1, "nothing was saved");
    let told = bench.run([&lesson[..], &["--json"]].concat()).ok().json();
    assert_eq!(
        (&told[0]["learned"], &told[0]["known"]),
        (&0.into(), &2.into())
    );

    let bytes = std::fs::read(photo("galaxies.jpg")).unwrap();
    bench.write("things/rocket/new.jpg", bytes);
    let more = bench.run(lesson).ok().out;
    assert!(
        more.contains("learned 1 photo of 2 classes, 2 already known"),
        "{more}"
    );
    let head = bench
        .run([&lesson[..], &["--head", "gda"]].concat())
        .ok()
        .out;
    assert!(
        head.contains("learned the same photos by head gda"),
        "{head}"
    );
    assert_eq!(history(&bench), 3);
}

#[test]
fn lessons_at_once_are_all_learned() {
    let bench = Bench::new();
    let lessons = [
        ("cat", "cat.jpg"),
        ("rocket", "rocket.jpg"),
        ("starry sky", "galaxies.jpg"),
        ("cup of coffee", "coffee.jpg"),
    ];
    let children = lessons.map(|(class, name)| {
        let mut program = bench.program();
        program
            .args(["learn", class, &photo(name), "--threads", "1"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        program.spawn().unwrap()
    });
    for child in children {
        super::finish(child.wait_with_output().unwrap()).ok();
    }
    let shots = ["classes", "list", "--shots", "--json"];
    assert_eq!(bench.run(shots).ok().json().len(), 4);
    assert_eq!(bench.run(["history", "--json"]).ok().json().len(), 4);
}

#[test]
fn forgetting_leaves_named_classes_and_takes_nameless_ones() {
    let bench = taught();
    bench
        .run(["learn", "thing", &photo("rocket.jpg"), "--no-name"])
        .ok();
    bench.run(["forget", "cup of coffee"]).ok();
    let list = bench.run(["classes", "list"]).ok().out;
    assert!(
        list.contains("cup of coffee  by its name\n") && list.contains("by 1 shot alone"),
        "{list}"
    );
    bench.run(["forget", "thing"]).ok();
    assert!(!bench.run(["classes", "list"]).ok().out.contains("thing"));
    let none = bench.run(["forget", "thing"]);
    assert!(
        none.status == 1 && none.err.contains("no `thing`"),
        "{}",
        none.err
    );
    let none = bench.run(["forget", "--shot", "99"]);
    assert!(
        none.status == 1 && none.err.contains("no 99"),
        "{}",
        none.err
    );
}

#[test]
fn shots_are_listed_moved_and_forgotten_one_by_one() {
    let bench = taught();
    bench
        .run(["learn", "cat", &photo("cat.jpg"), &photo("rocket.jpg")])
        .ok();
    let shots = bench
        .run(["classes", "list", "--shots", "--json"])
        .ok()
        .json();
    assert_eq!(shots.len(), 3);
    assert_eq!(shots[2]["photo"], "rocket.jpg");
    bench.run(["classes", "move", "2", "--to", "rocket"]).ok();
    let shots = bench
        .run(["classes", "list", "--shots", "--json"])
        .ok()
        .json();
    assert_eq!(shots[2]["label"], "rocket");
    bench.run(["forget", "--shot", "2"]).ok();
    assert_eq!(
        bench
            .run(["classes", "list", "--shots", "--json"])
            .ok()
            .json()
            .len(),
        2
    );
}

#[test]
fn a_folder_of_folders_is_learned_and_measured() {
    let bench = Bench::new();
    for (class, name) in [
        ("cat", "cat.jpg"),
        ("night_sky", "galaxies.jpg"),
        ("rocket", "rocket.jpg"),
    ] {
        bench.write(
            &format!("things/{class}/{name}"),
            std::fs::read(photo(name)).unwrap(),
        );
    }
    let run = bench.run(["learn", "--from", "things"]).ok();
    assert!(
        run.out.contains("learned 3 photos of 3 classes"),
        "{}",
        run.out
    );
    let told = bench.run(["eval", "things", "--json"]).ok().json();
    assert_eq!(told[0]["top1"], 1.0);
    assert_eq!(told[0]["photos"], 3);
    assert_eq!(told.len(), 4);
    let words = bench
        .run(["eval", "things", "--picture", "answers.svg"])
        .ok()
        .out;
    assert!(
        words.contains("top-1") && words.contains("night sky"),
        "{words}"
    );
    assert!(
        std::fs::read_to_string(bench.path("answers.svg"))
            .unwrap()
            .contains("night sky")
    );
    let few = bench.run(["eval", "things", "--shots", "1"]);
    assert!(
        few.status == 1 && few.err.contains("1 photos of `cat`"),
        "{}",
        few.err
    );
}

#[test]
fn the_background_is_answered_unknown() {
    let bench = taught();
    bench
        .run([
            "learn",
            "--background",
            &photo("cameraman.png"),
            &photo("astronaut.jpg"),
        ])
        .ok();
    assert_eq!(best(&bench, "cameraman.png").1, Some(true));
    assert_eq!(
        best(&bench, "coffee.jpg"),
        ("cup of coffee".into(), Some(false))
    );
    assert!(
        bench
            .run(["classes", "list"])
            .ok()
            .out
            .contains("(background)")
    );
    bench.run(["forget", "--background"]).ok();
    assert!(
        !bench
            .run(["classes", "list"])
            .ok()
            .out
            .contains("(background)")
    );
    let early = Bench::new().run(["learn", "--background", &photo("cat.jpg")]);
    assert_eq!(early.status, 2, "{}", early.err);
}

#[test]
fn audit_speaks_in_words_json_and_pictures() {
    let bench = taught();
    bench
        .run(["learn", "cat", &photo("cat.jpg"), "--views", "2"])
        .ok();
    let run = bench.run(["audit", "--picture", "confusion.png"]).ok();
    assert_eq!(run.err, "confusion matrix in confusion.png\n");
    let quiet = bench.run(["audit", "--picture", "confusion.png", "--quiet"]);
    assert_eq!(quiet.ok().err, "");
    for word in [
        "class",
        "cup of coffee",
        "What to do next",
        "take more photos",
    ] {
        assert!(run.out.contains(word), "{word}: {}", run.out);
    }
    assert!(
        std::fs::read(bench.path("confusion.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    let lines = bench.run(["audit", "--json"]).ok().json();
    assert_eq!(lines[0]["label"], "cat");
    assert_eq!(
        (lines[0]["shots"].as_u64(), lines[0]["bursts"].as_u64()),
        (Some(2), Some(1))
    );
    assert!(lines.iter().any(|l| l.get("advice").is_some()));
    let names = Bench::new();
    names.run(["classes", "add", "cat"]).ok();
    let none = names.run(["audit"]);
    assert!(
        none.status == 1 && none.err.contains("names alone"),
        "{}",
        none.err
    );
}

#[test]
fn audit_speaks_of_photos_not_of_their_views() {
    let bench = Bench::new();
    let mut again = std::fs::read(photo("cat.jpg")).unwrap();
    again.push(0);
    bench.write("again.jpg", again);
    for (class, name) in [
        ("cat", photo("cat.jpg")),
        ("rocket", photo("rocket.jpg")),
        ("dog", "again.jpg".into()),
    ] {
        bench.run(["learn", class, &name, "--views", "4"]).ok();
    }
    let photos = [photo("cameraman.png"), photo("galaxies.jpg")];
    bench
        .run(["learn", "--background", &photos[0], &photos[1]])
        .ok();
    let told = bench.run(["audit"]).ok().out;
    assert_eq!(told.matches("again.jpg,").count(), 1, "{told}");
    let twins = "shots 0 1 2 3 (`cat`) and shots 8 9 10 11 (`dog`) show the same";
    assert!(told.contains(twins), "{told}");
    assert!(!told.contains("`background`, from other sides"), "{told}");
    let advice = told.split("What to do next").nth(1).unwrap();
    assert!(!advice.contains("background"), "{advice}");
}

#[test]
fn photos_are_kept_only_where_asked_and_shots_are_small() {
    let bench = taught();
    bench.run(["learn", "cat", &photo("cat.jpg")]).ok();
    let file = bench.path(".local/share/edgeclip/default.ecclass");
    let before = std::fs::metadata(&file).unwrap().len();
    let two = [&photo("rocket.jpg"), &photo("astronaut.jpg")];
    bench.run(["learn", "cat", two[0], two[1]]).ok();
    let plain = std::fs::metadata(&file).unwrap().len();
    assert!(
        plain - before <= 2 * (2 * 512 + 200),
        "{} bytes for two shots",
        plain - before
    );
    bench
        .run(["learn", "rocket", &photo("galaxies.jpg"), "--keep-photos"])
        .ok();
    let kept = std::fs::metadata(&file).unwrap().len();
    assert!(
        kept - plain > 2 * (2 * 512 + 200),
        "{} bytes for a kept photo",
        kept - plain
    );
}

#[test]
fn heads_are_chosen_exchanged_and_measured() {
    let bench = taught();
    bench
        .run([
            "learn",
            "cat",
            &photo("cat.jpg"),
            "--head",
            "clip-adapter",
            "--alpha",
            "0.4",
        ])
        .ok();
    let told = bench
        .run(["learn", "rocket", &photo("rocket.jpg"), "--json"])
        .ok()
        .json();
    assert_eq!(
        told[0]["head"], "clip-adapter",
        "the head stays until another is chosen"
    );
    let line = |bench: &Bench| {
        bench
            .run(["classify", &photo("cat.jpg"), "--json"])
            .ok()
            .json()[0]["top"]
            .clone()
    };
    let before = line(&bench);
    bench.run(["head", "export", "head.safetensors"]).ok();
    bench.run(["forget", "rocket"]).ok();
    bench.run(["head", "import", "head.safetensors"]).ok();
    assert_eq!(line(&bench), before);
    let wrong = bench.run([
        "learn",
        "cat",
        &photo("galaxies.jpg"),
        "--head",
        "clip-adaptor",
    ]);
    assert!(
        wrong.status != 0 && wrong.err.contains("clip-adapter"),
        "{}",
        wrong.err
    );
    bench.write("bad.safetensors", b"nonsense");
    assert_eq!(bench.run(["head", "import", "bad.safetensors"]).status, 1);
}

#[test]
fn a_classifier_of_another_model_is_refused() {
    let bench = Bench::new();
    let strange = repository("tests/golden/tiny-v1.ecclass");
    let run = bench.run(["learn", "cat", &photo("cat.jpg"), "--classifier", &strange]);
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("space") && run.err.contains("--model"),
        "{}",
        run.err
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_the_old_classifier() {
    let bench = taught();
    let file = bench.path(".local/share/edgeclip/default.ecclass");
    let before = std::fs::read(&file).unwrap();
    let photos = repository("examples/photos");
    let mut child = bench
        .program()
        .args(["learn", "cat", &photos, "--views", "12", "--threads", "1"])
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .unwrap();
    assert!(
        !child.wait().unwrap().success(),
        "ended before it was interrupted: use more views"
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let shots = bench
        .run(["classes", "list", "--shots", "--json"])
        .ok()
        .json();
    assert_eq!(shots.len(), 1);
}

#[test]
fn a_classifier_taught_here_works_where_it_is_copied() {
    let bench = taught();
    let line = |bench: &Bench| {
        bench
            .run(["classify", &photo("coffee.jpg"), "--json"])
            .ok()
            .json()[0]["top"]
            .clone()
    };
    let file = std::fs::read(bench.path(".local/share/edgeclip/default.ecclass")).unwrap();
    let other = Bench::new();
    other.write(".local/share/edgeclip/default.ecclass", file);
    assert_eq!(line(&other), line(&bench));
    other.run(["learn", "cat", &photo("cat.jpg")]).ok();
}

#[test]
fn features_of_a_pack_are_measured_and_drawn() {
    let Some(data) = std::env::var_os("EDGECLIP_DATA") else {
        println!("skipped: EDGECLIP_DATA is not set, no feature pack to measure");
        return;
    };
    let pack = std::path::Path::new(&data).join("features/food9.safetensors");
    let bench = Bench::new();
    let args = [
        "eval",
        "--features",
        pack.to_str().unwrap(),
        "--shots",
        "1,2",
        "--head",
        "auto,gda",
    ];
    let run = bench
        .run(args.iter().chain(&["--json", "--plot", "curve.svg"]))
        .ok();
    let lines = run.json();
    assert_eq!(lines.len(), 4);
    for field in [
        "top1",
        "ece",
        "zero_shot",
        "head",
        "shots",
        "estimate",
        "draws",
    ] {
        assert!(lines[0].get(field).is_some(), "{field}: {}", lines[0]);
    }
    assert!(lines[0]["top1"].as_f64().unwrap() > 0.95);
    let svg = std::fs::read_to_string(bench.path("curve.svg")).unwrap();
    assert!(svg.contains("auto") && svg.contains("gda") && svg.contains("shots a class"));
    let one = bench
        .run(
            args.iter()
                .chain(&["--draw", "1", "--text", "ignore", "--json"]),
        )
        .ok()
        .json();
    assert_eq!(
        (one[0]["draws"].as_u64(), one[0]["zero_shot"].is_null()),
        (Some(1), true)
    );
    let wrong = bench.run(["eval", "--features", &photo("cat.jpg"), "--shots", "1"]);
    assert!(
        wrong.status == 1 && wrong.err.contains("feature pack"),
        "{}",
        wrong.err
    );
}

#[test]
fn eval_tells_what_it_measured_and_refuses_pictures_of_no_kind_first() {
    let bench = taught();
    let coins = repository("examples/lesson/learn/old_coin");
    bench.run(["learn", "old coin", &coins]).ok();
    let run = bench
        .run(["eval", &repository("examples/lesson/rest"), "--json"])
        .ok();
    assert!(run.err.contains("things of no class"), "{}", run.err);
    let told = run.json();
    assert_eq!(told[0]["head"], "auto");
    assert!(told[0]["shots"].as_u64().unwrap() > 1);
    for flag in ["--plot", "--picture"] {
        let run = bench.run(["eval", "no such folder", "--shots", "1", flag, "x.pdf"]);
        assert_eq!(run.status, 2, "{}", run.err);
        assert!(run.err.contains(".svg"), "{}", run.err);
    }
    let Some(data) = std::env::var_os("EDGECLIP_DATA") else {
        eprintln!("skipped: EDGECLIP_DATA names no folder of feature packs");
        return;
    };
    let pack = std::path::Path::new(&data).join("features/food9.safetensors");
    let pack = pack.to_str().unwrap();
    let cell = &bench
        .run([
            "eval",
            "--features",
            pack,
            "--shots",
            "4",
            "--open-set",
            "--json",
        ])
        .ok()
        .json()[0];
    let (own, top) = (
        cell["auroc"].as_f64().unwrap(),
        cell["auroc_max_softmax"].as_f64().unwrap(),
    );
    assert!(own > top && own < 1.0, "{own} {top}");
    let classes = cell["per_class"].as_array().unwrap();
    let sum = |key: &str| {
        classes
            .iter()
            .map(|c| c[key].as_f64().unwrap())
            .sum::<f64>()
    };
    assert!((sum("right") / sum("asked") - cell["top1"].as_f64().unwrap()).abs() < 1e-9);
}
