//! Metrics in Prometheus' text format, in a file that node_exporter's textfile collector reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::json::label;
use super::{Losses, News, Refused, Sink};
use crate::error::{Error, Result};
use crate::live::{Snapshot, State};

/// A file of metrics, replaced whole every few seconds.
pub struct Metrics {
    path: PathBuf,
    every: Duration,
    written: Option<Instant>,
    state: State,
    counters: Option<(Snapshot, Vec<Losses>)>,
}

impl Metrics {
    /// A file at `path`, written now, and then at most once in `every`. Its name ends in `.prom`
    /// for node_exporter to read it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(path: impl Into<PathBuf>, every: Duration) -> Result<Self> {
        let path = path.into();
        put(&path, &text(&Snapshot::default(), &State::Starting, &[]))?;
        Ok(Self {
            path,
            every,
            written: None,
            state: State::Starting,
            counters: None,
        })
    }

    fn write(&mut self) -> Result<()> {
        let Some((snapshot, losses)) = &self.counters else {
            return Ok(());
        };
        self.written = Some(Instant::now());
        put(&self.path, &text(snapshot, &self.state, losses))
    }
}

impl Sink for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn wants_frames(&self) -> bool {
        false
    }

    fn wants_counters(&self) -> bool {
        true
    }

    fn tells_losses(&self) -> bool {
        true
    }

    fn take(&mut self, news: &News) -> Result<(), Refused> {
        match news {
            News::Event(event) if event.ended.is_none() => self.state = event.state.clone(),
            News::Event(_) | News::Frame(_) => {}
            News::Counters(snapshot, losses) => {
                self.counters = Some((*snapshot, losses.clone()));
                if self.written.is_none_or(|w| w.elapsed() >= self.every) {
                    return self.write().map_err(|e| Refused::Failed(e.to_string()));
                }
            }
        }
        // It is written with later counters.
        Err(Refused::Idle)
    }

    fn close(&mut self) {
        if let Err(e) = self.write() {
            log::warn!("metrics: {e}");
        }
    }
}

// Not made durable, as `store::replace` would: a figure that a power cut takes is no loss, and a
// flash card wears with each.
fn put(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Made anew, never opened: in a folder that others write to it could be a link.
    std::fs::remove_file(&beside).ok();
    let put = File::create_new(&beside).and_then(|mut file| {
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        std::fs::rename(&beside, path)
    });
    put.map_err(|e| {
        std::fs::remove_file(&beside).ok();
        Error::making(path, "replace", e)
    })
}

/// All metrics of a watch as Prometheus reads them. Sinks of one name are added up.
#[must_use]
pub fn text(counters: &Snapshot, state: &State, losses: &[Losses]) -> String {
    let mut page = Page(String::with_capacity(2048));
    page.head("frames_total", "counter", "Frames, by what became of them.");
    for (kind, n) in [
        ("captured", counters.captured),
        ("answered", counters.answered),
        ("replaced", counters.replaced),
        ("unchanged", counters.unchanged),
        ("damaged", counters.damaged),
        ("lost", counters.lost),
    ] {
        page.sample("frames_total", &[("kind", kind)], n);
    }
    page.one(
        "faults_total",
        "counter",
        "Times that the source was gone, frozen or silent.",
        counters.faults,
    );
    page.one(
        "reloads_total",
        "counter",
        "Changed classifiers that were taken.",
        counters.reloads,
    );
    page.one(
        "reloads_refused_total",
        "counter",
        "Changed classifiers that were refused.",
        counters.refused,
    );
    page.one(
        "fps",
        "gauge",
        "Frames answered a second, over the last seconds.",
        counters.fps,
    );
    page.head(
        "latency_seconds",
        "gauge",
        "From capture to answer, over the last frames.",
    );
    for (quantile, time) in [("0.5", counters.p50), ("0.99", counters.p99)] {
        page.sample(
            "latency_seconds",
            &[("quantile", quantile)],
            time.as_secs_f64(),
        );
    }
    page.head(
        "state_info",
        "gauge",
        "What is settled; the value is always 1.",
    );
    let labels = [
        ("state", state.kind()),
        ("label", label(state).unwrap_or("")),
    ];
    page.sample("state_info", &labels, 1);
    page.sinks(losses);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP edgeclip_{name} {help}\n# TYPE edgeclip_{name} {kind}\n");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0 += &format!("edgeclip_{name}");
        for (i, (key, text)) in labels.iter().enumerate() {
            let opening = if i == 0 { '{' } else { ',' };
            self.0 += &format!("{opening}{key}=\"{}\"", escaped(text));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        // A string takes every write.
        writeln!(self.0, "{closing} {value}").ok();
    }

    fn sinks(&mut self, losses: &[Losses]) {
        let mut sums: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        for l in losses {
            let sum = sums.entry(l.sink).or_default();
            for (sum, n) in sum.iter_mut().zip([l.delivered, l.lost, l.failed]) {
                *sum += n;
            }
        }
        self.head(
            "sink_news_total",
            "counter",
            "News for each sink, by what became of them.",
        );
        for (sink, sum) in sums {
            for (result, n) in ["delivered", "lost", "failed"].into_iter().zip(sum) {
                self.sample("sink_news_total", &[("sink", sink), ("result", result)], n);
            }
        }
    }
}

/// The three characters that end a label's value early.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
