//! A flag beats the environment beats the file beats the default.

use super::{Bench, finish, photo};

fn shown(bench: &Bench, variables: &[(&str, &str)], args: &[&str]) -> serde_json::Value {
    let mut program = bench.program();
    program
        .envs(variables.iter().copied())
        .args(["config", "show", "--json"])
        .args(args);
    finish(program.output().unwrap()).ok().json().remove(0)
}

#[test]
fn each_setting_says_where_it_comes_from() {
    let bench = Bench::new();
    assert_eq!(shown(&bench, &[], &[])["threads"]["source"], "default");
    let file = bench.write(".config/edgeclip/config.toml", "threads = 3\ntop = 2\n");
    let from_file = shown(&bench, &[], &[]);
    assert_eq!(from_file["threads"]["value"], "3");
    assert_eq!(from_file["threads"]["source"], file.to_str().unwrap());
    let from_environment = shown(&bench, &[("EDGECLIP_THREADS", "2")], &[]);
    assert_eq!(from_environment["threads"]["source"], "EDGECLIP_THREADS");
    let from_flag = shown(&bench, &[("EDGECLIP_THREADS", "2")], &["--threads", "1"]);
    assert_eq!(
        (
            &from_flag["threads"]["value"],
            &from_flag["threads"]["source"]
        ),
        (&"1".into(), &"flag".into())
    );
}

#[test]
fn settings_take_effect() {
    let bench = Bench::new();
    bench.write("c.toml", "top = 1\n");
    let run = bench
        .run([
            "classify",
            &photo("cat.jpg"),
            "--labels",
            "cat,dog,cow",
            "--json",
            "--config",
            "c.toml",
        ])
        .ok();
    assert_eq!(run.json()[0]["top"].as_array().unwrap().len(), 1);
}

#[test]
fn mistakes_in_settings_are_named() {
    let bench = Bench::new();
    bench.write("bad.toml", "treads = 3\n");
    let run = bench.run(["config", "show", "--config", "bad.toml"]);
    assert!(
        run.status == 1 && run.err.contains("treads") && run.err.contains("bad.toml"),
        "{}",
        run.err
    );
    let run = bench.run(["config", "show", "--config", "gone.toml"]);
    assert!(
        run.status == 1 && run.err.contains("gone.toml"),
        "{}",
        run.err
    );
    let mut program = bench.program();
    let run = finish(
        program
            .env("EDGECLIP_TOP", "many")
            .args(["config", "show"])
            .output()
            .unwrap(),
    );
    assert!(
        run.status == 1 && run.err.contains("EDGECLIP_TOP"),
        "{}",
        run.err
    );
}
