//! Classifier files: made, changed and used without a flag.

use super::{Bench, photo};

#[test]
fn the_second_command_needs_no_flag() {
    let bench = Bench::new();
    bench
        .run(["classes", "add", "cat", "cup of coffee", "rocket"])
        .ok();
    assert!(
        bench
            .path(".local/share/edgeclip/default.ecclass")
            .is_file()
    );
    let run = bench
        .run(["classify", &photo("rocket.jpg"), "--json", "--top", "1"])
        .ok();
    assert_eq!(run.json()[0]["top"][0]["label"], "rocket");
}

#[test]
fn classes_are_added_renamed_removed_and_listed() {
    let bench = Bench::new();
    bench.run(["classes", "add", "mug", "bolt"]).ok();
    bench.run(["classes", "add", "--labels", "cat, dog"]).ok();
    bench.run(["classes", "rename", "Mug", "my blue mug"]).ok();
    bench.run(["classes", "remove", "bolt", "dog"]).ok();
    let run = bench.run(["classes", "list"]).ok();
    assert_eq!(
        run.out,
        "my blue mug  by its name\ncat          by its name\n"
    );
    let ids: Vec<_> = bench
        .run(["classes", "list", "--json"])
        .ok()
        .json()
        .iter()
        .map(|c| c["id"].clone())
        .collect();
    assert_eq!(ids, [0, 2], "a class keeps its id");
}

#[test]
fn a_renamed_class_recognises_what_it_did_before() {
    let bench = Bench::new();
    bench.run(["classes", "add", "cat", "rocket"]).ok();
    let p = |bench: &Bench| {
        bench
            .run(["classify", &photo("cat.jpg"), "--json"])
            .ok()
            .json()[0]["top"][0]["p"]
            .clone()
    };
    let before = p(&bench);
    bench.run(["classes", "rename", "cat", "Mieze"]).ok();
    assert_eq!(before, p(&bench));
}

#[test]
fn what_stood_there_before_is_kept() {
    let bench = Bench::new();
    bench.run(["classes", "add", "cat"]).ok();
    let first = std::fs::read(bench.path(".local/share/edgeclip/default.ecclass")).unwrap();
    bench.run(["classes", "add", "dog"]).ok();
    assert_eq!(
        first,
        std::fs::read(bench.path(".local/share/edgeclip/default.ecclass.1")).unwrap()
    );
}

#[test]
fn a_class_twice_none_left_or_unknown_is_refused() {
    let bench = Bench::new();
    bench.run(["classes", "add", "cat"]).ok();
    let twice = bench.run(["classes", "add", "Cat"]);
    assert!(
        twice.status == 1 && twice.err.contains("`cat` and again `Cat`"),
        "{}",
        twice.err
    );
    let last = bench.run(["classes", "remove", "cat"]);
    assert!(
        last.status == 1 && last.err.contains("at least one class"),
        "{}",
        last.err
    );
    let unknown = bench.run(["classes", "rename", "dog", "wolf"]);
    assert!(
        unknown.status == 1 && unknown.err.contains("one of cat"),
        "{}",
        unknown.err
    );
    assert_eq!(
        bench.run(["classes", "list"]).ok().out,
        "cat  by its name\n"
    );
}
