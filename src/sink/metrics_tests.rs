use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::testing::{class, event};
use super::*;

type Samples = HashMap<(String, BTreeMap<String, String>), f64>;

/// A strict reader of the text format: every family has its help and type first and stands
/// together, no sample comes twice, and labels end where they should.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (Samples::new(), HashSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (family, words) = help
            .strip_prefix("# HELP ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        assert!(
            !words.is_empty() && families.insert(family.to_owned()),
            "{help}"
        );
        let kind = lines
            .next()
            .unwrap()
            .strip_prefix(&format!("# TYPE {family} "))
            .unwrap();
        assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
        assert!(matches!(kind, "counter" | "gauge"));
        while let Some(line) = lines.next_if(|l| !l.starts_with('#')) {
            let (name, labels, value) = sample(line);
            assert_eq!(name, family);
            assert!(
                samples.insert((name, labels), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let name: String = line
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let mut rest = &line[name.len()..];
    let mut labels = BTreeMap::new();
    while let Some(inside) = rest.strip_prefix(['{', ',']) {
        let (key, after) = inside.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), after.char_indices());
        loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("escape {c}"),
                }),
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, c) => value.push(c),
            }
        }
        assert!(labels.insert(key.to_owned(), value).is_none());
    }
    let rest = if labels.is_empty() {
        rest
    } else {
        rest.strip_prefix('}').unwrap()
    };
    (
        name,
        labels,
        rest.strip_prefix(' ').unwrap().parse().unwrap(),
    )
}

fn counters() -> Snapshot {
    Snapshot {
        captured: 100,
        answered: 60,
        replaced: 30,
        unchanged: 7,
        damaged: 2,
        lost: 1,
        faults: 3,
        reloads: 4,
        refused: 5,
        fps: 12.5,
        p50: Duration::from_millis(38),
        p99: Duration::from_micros(61_500),
    }
}

fn losses(sink: &'static str, n: u64) -> Losses {
    Losses {
        sink,
        delivered: n,
        lost: n + 1,
        failed: n + 2,
    }
}

fn of(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    samples[&(format!("edgeclip_{name}"), labels.collect())]
}

#[test]
fn every_figure_is_there_under_its_name() {
    let all = [
        losses("mqtt", 10),
        losses("command", 20),
        losses("command", 5),
    ];
    let samples = parse(&text(&counters(), &class("cat"), &all));
    for (kind, n) in [("captured", 100.0), ("answered", 60.0), ("replaced", 30.0)] {
        assert_eq!(of(&samples, "frames_total", &[("kind", kind)]), n);
    }
    for (kind, n) in [("unchanged", 7.0), ("damaged", 2.0), ("lost", 1.0)] {
        assert_eq!(of(&samples, "frames_total", &[("kind", kind)]), n);
    }
    for (name, n) in [
        ("faults_total", 3.0),
        ("reloads_total", 4.0),
        ("reloads_refused_total", 5.0),
        ("fps", 12.5),
    ] {
        assert_eq!(of(&samples, name, &[]), n);
    }
    assert_eq!(
        of(&samples, "latency_seconds", &[("quantile", "0.99")]),
        0.0615
    );
    assert_eq!(
        of(
            &samples,
            "state_info",
            &[("state", "class"), ("label", "cat")]
        ),
        1.0
    );
    let failed = |sink| {
        of(
            &samples,
            "sink_news_total",
            &[("sink", sink), ("result", "failed")],
        )
    };
    assert_eq!((failed("mqtt"), failed("command")), (12.0, 29.0));
}

#[test]
fn hostile_names_stay_one_label() {
    let hostile = "a\"} 1\nevil 2\\";
    let samples = parse(&text(&counters(), &class(hostile), &[]));
    assert_eq!(
        of(
            &samples,
            "state_info",
            &[("state", "class"), ("label", hostile)]
        ),
        1.0
    );
    parse(&text(&Snapshot::default(), &State::Unknown, &[]));
}

/// Only where the reference parser is installed.
#[test]
fn the_reference_parser_reads_it() {
    let python = std::env::var("EDGECLIP_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as read\nfor f in read(sys.stdin.read()):\n for s in f.samples: print(s.name, dict(s.labels).get('label', ''), s.value)";
    let probe = std::process::Command::new(&python)
        .args(["-c", "import prometheus_client"])
        .output();
    if !probe.is_ok_and(|p| p.status.success()) {
        let words = format!("skipped: {python} has no prometheus_client\n");
        std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page");
    std::fs::write(
        &file,
        text(&counters(), &class("c\"a\\t"), &[losses("mqtt", 1)]),
    )
    .unwrap();
    let run = std::process::Command::new(&python)
        .args(["-c", script])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.lines().count(), 6 + 3 + 1 + 2 + 1 + 3, "{said}");
    assert!(said.contains("edgeclip_state_info c\"a\\t 1"), "{said}");
}

#[test]
fn the_file_is_replaced_whole_and_not_too_often() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgeclip.prom");
    let mut sink = Metrics::new(&path, Duration::from_secs(3600)).unwrap();
    let starting = std::fs::read_to_string(&path).unwrap();
    assert!(starting.contains("state=\"starting\""));
    let begun = News::Event(event(1, class("cat")));
    assert_eq!(sink.take(&begun), Err(Refused::Idle));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), starting);
    sink.take(&News::Counters(counters(), vec![losses("mqtt", 1)]))
        .unwrap();
    let first = std::fs::read_to_string(&path).unwrap();
    assert!(first.contains("label=\"cat\""));
    let more = Snapshot {
        captured: 101,
        ..counters()
    };
    let more = News::Counters(more, Vec::new());
    assert_eq!(sink.take(&more), Err(Refused::Idle));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    sink.close();
    let last = std::fs::read_to_string(&path).unwrap();
    assert!(last.contains("{kind=\"captured\"} 101\n"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_gone_is_a_failure_with_words_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone/edgeclip.prom");
    assert!(Metrics::new(&path, Duration::ZERO).is_err());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let mut sink = Metrics::new(&path, Duration::ZERO).unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let news = News::Counters(counters(), Vec::new());
    let Err(Refused::Failed(words)) = sink.take(&news) else {
        panic!("taken");
    };
    assert!(
        words.contains("gone/edgeclip.prom: cannot replace"),
        "{words}"
    );
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    assert_eq!(sink.take(&news), Ok(()));
}
