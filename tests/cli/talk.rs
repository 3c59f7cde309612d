//! What the program says about itself and its work.

use super::{Bench, photo};

#[test]
fn every_verb_has_help_that_shows_its_flags() {
    let bench = Bench::new();
    for verb in [
        "classify",
        "embed",
        "classes",
        "model",
        "bench",
        "config",
        "completions",
        "man",
    ] {
        let run = bench.run([verb, "--help"]).ok();
        assert!(
            run.out.contains("Usage: edgeclip") && run.out.contains("--json"),
            "{verb}: {}",
            run.out
        );
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    let bench = Bench::new();
    for args in [
        &["clasify"][..],
        &["classify"],
        &["classify", "x.jpg", "--top", "many"],
        &["bench", "--size", "9"],
        &["classify", "x.jpg", "--labels", ""],
        &["classify", "x.jpg", "--labels", "cat, Cat"],
        &["classify", "x.jpg", "--threads", "1000"],
        &["embed", "--labels", "cat", "--prompts", "pet"],
        &["classes", "add", ""],
        &["learn", "cat", "x.jpg", "--head", "tipf"],
        &["learn", "cat", "x.jpg", "--alpha", "2"],
        &["learn", "cat", "x.jpg", "--head", "gda", "--alpha", "0.2"],
        &["learn", "cat", "x.jpg", "--false-accept", "1.5"],
        &["eval", "x", "--shots", "1", "--head", "auto,gad"],
    ] {
        let run = bench.run(args);
        assert_eq!(run.status, 2, "{args:?}: {}", run.err);
        assert!(!run.err.contains("x.jpg"), "{args:?}: {}", run.err);
    }
}

#[test]
fn a_misspelt_head_or_prompt_set_hears_a_like_one() {
    let bench = Bench::new();
    let head = bench.run(["learn", "cat", "x.jpg", "--head", "tipf"]).err;
    assert!(head.contains("'tip-f'"), "{head}");
    let set = bench
        .run(["classify", "x.jpg", "--labels", "cat", "--prompts", "pet"])
        .err;
    assert!(set.contains("'pets'"), "{set}");
}

#[test]
fn man_page_and_completions_name_the_verbs() {
    let bench = Bench::new();
    let man = bench.run(["man"]).ok().out;
    assert!(
        man.contains(".TH edgeclip") && man.contains("classify"),
        "{man}"
    );
    for heading in [
        ".SH \"edgeclip learn\"",
        ".SH \"edgeclip classes add\"",
        ".SS LEARNING",
        "Exit status",
    ] {
        assert_eq!(man.matches(heading).count(), 1, "{heading}: {man}");
    }
    assert_eq!(man.matches(".SH SYNOPSIS").count(), 1);
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            bench
                .run(["completions", shell])
                .ok()
                .out
                .contains("classify"),
            "{shell}"
        );
    }
    let bash = bench.run(["completions", "bash"]).ok().out;
    for values in ["auto zero-shot", "plain general"] {
        assert!(bash.contains(values), "{values}");
    }
}

#[test]
fn guessed_names_are_said_and_quiet_is_quiet() {
    let bench = Bench::new();
    let args = [
        "classify",
        &photo("cat.jpg"),
        "--labels",
        "cat, wombat in a hat",
    ];
    let run = bench.run(args).ok();
    assert!(
        run.err.contains("wombat in a hat") && run.err.contains("estimated"),
        "{}",
        run.err
    );
    let run = bench.run(args.into_iter().chain(["--quiet"])).ok();
    assert_eq!(run.err, "");
    let run = bench.run(args.into_iter().chain(["-v"])).ok();
    assert!(run.err.contains("starter"), "{}", run.err);
    let run = bench.run(args.into_iter().chain(["-vv"])).ok();
    assert!(run.err.contains("starter"), "{}", run.err);
    assert!(!run.err.contains("tract"), "{}", run.err);
}

#[test]
fn a_long_name_is_cut_in_tables_and_whole_in_json() {
    let bench = Bench::new();
    let long = "cat ".repeat(40);
    let long = long.trim();
    let labels = format!("{long}, dog, rocket");
    let args = ["classify", &photo("cat.jpg"), "--labels", &labels];
    let table = bench.run(args).ok().out;
    let width = table.lines().map(|l| l.chars().count()).max().unwrap();
    assert!(width < 240 && table.contains('…'), "{table}");
    let json = bench.run(args.into_iter().chain(["--json"])).ok().out;
    assert!(json.contains(long), "{json}");
    bench.run(["classes", "add", long, "dog"]).ok();
    let list = bench.run(["classes", "list"]).ok().out;
    assert!(list.lines().all(|l| l.chars().count() < 60), "{list}");
}

#[test]
fn names_that_nothing_knows_list_the_nearest() {
    let run = Bench::new().run([
        "classify",
        &photo("cat.jpg"),
        "--labels",
        "\u{732b}\u{72ac}",
    ]);
    assert!(
        run.status == 1 && run.err.contains("nearest") && run.err.contains("make text"),
        "{}",
        run.err
    );
}

#[test]
fn the_model_says_what_it_is() {
    let bench = Bench::new();
    let model = &bench.run(["model", "inspect", "--json"]).ok().json()[0];
    assert_eq!(model["name"], "starter");
    assert!(model["vocabulary"].as_u64().unwrap() >= 3000);
    assert!(model["bytes"].as_u64().unwrap() <= 12_000_000);
    assert!(model["about"].as_str().unwrap().contains("not CLIP"));
    let licences = bench.run(["model", "inspect", "--licences"]).ok().out;
    assert!(licences.contains("Apache License") && licences.contains("WordNet"));
    assert!(
        bench
            .run(["model", "inspect", "--vocabulary"])
            .ok()
            .out
            .lines()
            .any(|l| l.starts_with("mug"))
    );
}
