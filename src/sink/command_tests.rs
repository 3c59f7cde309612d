use std::path::Path;
use std::sync::Arc;

use super::super::testing::{class, ended, event, fault};
use super::super::{Outlet, Refused};
use super::*;
use crate::live::State;

fn sh(script: &str, more: &[&str], limit_ms: u64) -> Command {
    let first = ["/bin/sh", "-c", script, "sh"];
    let words = first.iter().chain(more);
    let words = words.map(|w| (*w).to_owned()).collect();
    Command::new(words, Duration::from_millis(limit_ms)).unwrap()
}

fn take(command: &mut Command, event: Event) -> Result<(), Refused> {
    command.take(&News::Event(event))
}

fn words(result: Result<(), Refused>) -> String {
    match result {
        Err(Refused::Failed(words)) => words,
        other => panic!("{other:?}"),
    }
}

/// What a script wrote into a file whose path it was given as `$1`.
fn told(script: &str, more: &[&str], event: Event) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said");
    let mut arguments = vec![file.to_str().unwrap()];
    arguments.extend(more);
    take(&mut sh(script, &arguments, 10_000), event).unwrap();
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn a_command_gets_the_event_in_its_arguments() {
    let script = r#"shift_to=$1; shift; printf '%s|' "$@" > "$shift_to""#;
    let places = [
        "{event}",
        "{state}",
        "say={label}",
        "{p}",
        "{other} {",
        "{label}{p}",
    ];
    assert_eq!(
        told(script, &places, event(1, class("blue mug"))),
        "start|class|say=blue mug|0.96|{other} {|blue mug0.96|"
    );
    let over = ended(&event(1, State::Unknown), Duration::from_secs(3));
    assert_eq!(told(script, &places[..3], over), "end|unknown|say=|");
}

#[test]
fn a_hostile_label_is_one_argument_and_nothing_is_run() {
    let label = "$(touch /tmp/x); `id` {p} '\"\n--help\0";
    let said = told(
        r#"printf '%s' "$2" > "$1""#,
        &["{label}"],
        event(1, class(label)),
    );
    assert_eq!(said, label.replace('\0', "\u{fffd}"));
}

#[test]
fn a_command_gets_the_event_in_its_environment_and_as_json() {
    let script = r#"{ echo "$EDGECLIP_EVENT $EDGECLIP_STATE $EDGECLIP_LABEL $EDGECLIP_P $EDGECLIP_NUMBER"; cat; } > "$1""#;
    let said = told(script, &[], event(7, class("cat")));
    let (variables, json) = said.split_once('\n').unwrap();
    assert_eq!(variables, "start class cat 0.96 7");
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&value["label"], &value["number"]),
        (&"cat".into(), &7.into())
    );
    let said = told(
        r#"printf '%s' "$EDGECLIP_REASON" > "$1""#,
        &[],
        event(1, fault("gone")),
    );
    assert_eq!(said, "gone");
}

#[test]
fn a_command_that_reads_nothing_and_one_that_fails_are_told_apart() {
    assert_eq!(
        take(&mut sh("exec true", &[], 10_000), event(1, class("cat"))),
        Ok(())
    );
    let failed = words(take(&mut sh("exit 3", &[], 10_000), event(1, class("cat"))));
    assert!(failed.contains("exit status: 3"), "{failed}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::write(&path, "").unwrap();
    let words_of = || vec![path.to_str().unwrap().to_owned()];
    let mut gone = Command::new(words_of(), COMMAND_LIMIT).unwrap();
    std::fs::remove_file(&path).unwrap();
    let gone = words(take(&mut gone, event(1, class("cat"))));
    assert!(gone.contains("no such program"), "{gone}");
    assert!(Command::new(words_of(), COMMAND_LIMIT).is_err());
    assert!(Command::new(vec!["no-such-program".into()], COMMAND_LIMIT).is_err());
    assert!(Command::new(Vec::new(), COMMAND_LIMIT).is_err());
}

#[test]
fn words_in_braces_that_stand_for_nothing_are_found() {
    let arguments = "--data={lable} %{http_code} ${x} {p}{state} {\"a\":{label}} {} {";
    let words = std::iter::once("true").chain(arguments.split(' '));
    let command = Command::new(words.map(str::to_owned).collect(), COMMAND_LIMIT).unwrap();
    assert_eq!(command.strange().collect::<Vec<_>>(), ["lable"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = r#"trap '' TERM; sleep 600 & echo "$$ $!" > "$1"; wait; wait"#;
    let start = Instant::now();
    let mut command = sh(script, &[file.to_str().unwrap()], 700);
    let killed = words(take(&mut command, event(1, class("cat"))));
    assert!(killed.contains("killed after 0.7 s"), "{killed}");
    assert!(start.elapsed() < Duration::from_secs(30));
    let pids = std::fs::read_to_string(file).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    for pid in pids.split_whitespace() {
        // Nobody may have collected the orphan yet: then it is a zombie. And a busy machine kills slowly.
        let is_gone = || {
            let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
            stat.is_err() || stat.unwrap().contains(") Z ")
        };
        while !is_gone() {
            assert!(start.elapsed() < Duration::from_secs(30), "{pid} lives");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn while_one_runs_others_wait_and_the_latest_is_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said");
    let script =
        r#"echo "$2" >> "$1"; [ "$2" != n0 ] || while [ ! -e "$1.go" ]; do sleep 0.01; done"#;
    let path = file.to_str().unwrap();
    let outlet = Outlet::start(Box::new(sh(script, &[path, "{label}"], 60_000))).unwrap();
    let said = || std::fs::read_to_string(&file).unwrap_or_default();
    let wait_for = |what: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for n in 0..200 {
        outlet.offer(&News::Event(Event {
            state: State::Class(Arc::from(format!("n{n}"))),
            ..event(n, State::Unknown)
        }));
        if n == 0 {
            wait_for(&|| said() == "n0\n");
        }
    }
    std::fs::write(folder.path().join("said.go"), "").unwrap();
    wait_for(&|| outlet.losses().delivered == 65);
    assert_eq!(outlet.losses().lost, 199 - 64);
    let said = said();
    assert_eq!(said.lines().nth(1), Some("n136"));
    assert_eq!(said.lines().last(), Some("n199"));
}
