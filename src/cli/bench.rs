//! `bench`: what this machine does with the model in force.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{self, Global};
use super::output::Output;
use super::places;
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop};
use crate::board::Board;
use crate::classifier::Classifier;
use crate::encoder::{Encoder, Feature, resolve_threads};
use crate::frame::Frame;
use crate::head::Scratch;
use crate::preprocess::Preprocessor;

/// Classes that the head is timed with.
const CLASSES: usize = 100;

/// Times of one stage, in milliseconds.
#[derive(Serialize)]
struct Stage {
    stage: String,
    p50_ms: f64,
    p99_ms: f64,
    per_s: f64,
}

pub(super) fn run(global: &Global, args: &args::Bench, out: &mut Output) -> Result<Done, Stop> {
    let settings = Settings::gather(global, VerbFlags::default())?;
    let start = Instant::now();
    let model = places::open_model(&settings)?;
    let threads = resolve_threads(settings.threads.value);
    let mut encoder = Encoder::open(&model, threads)?;
    let load = start.elapsed();
    let frame = pattern(args.size)?;
    let classifier = classes(&model)?;

    let mut preprocessor = Preprocessor::new(model.preprocess().clone())?;
    let (w, h) = preprocessor.input_size();
    let mut tensor = vec![0.0; 3 * w as usize * h as usize];
    let mut feature = Feature::default();
    encoder.encode_into(&frame, &mut feature)?;
    let (mut scratch, mut scores) = (Scratch::default(), Vec::new());

    let board = Board::here();
    let cool = board.degrees();
    let size = format!("{}x{}", args.size.0, args.size.1);
    let mut stages = vec![time(format!("preprocess {size}"), args.runs, || {
        preprocessor.tensor_into(&frame, &mut tensor)
    })?];
    stages.push(time(format!("head, {CLASSES} classes"), args.runs, || {
        classifier.scores_into(&feature, &mut scratch, &mut scores)
    })?);
    stages.push(time(
        format!("frame to answer, {threads} threads"),
        args.runs,
        || {
            encoder.encode_into(&frame, &mut feature)?;
            classifier.scores_into(&feature, &mut scratch, &mut scores)
        },
    )?);
    let (hot, held_back) = (board.degrees(), board.held_back());
    if threads > 1 {
        let mut one = Encoder::open(&model, 1)?;
        stages.push(time("frame to answer, 1 thread".into(), args.runs, || {
            one.encode_into(&frame, &mut feature)?;
            classifier.scores_into(&feature, &mut scratch, &mut scores)
        })?);
    }
    // Of the encoder alone, on one thread; none where the rest outweighs it.
    let rest_ms = stages[0].p50_ms + stages[1].p50_ms;
    let single_ms = stages[stages.len() - 1].p50_ms - rest_ms;
    let peak = encoder.peak().zip(encoder.products());
    let peak = peak.filter(|_| single_ms > 0.1 * rest_ms);
    let peak = peak.map(|(peak, (int8, _))| (peak, int8 as f64 / (single_ms / 1e3) / peak));
    let profile = match args.profile {
        true => encoder.profile(args.runs as usize),
        false => None,
    };
    let steps = profile.unwrap_or_default().into_iter();
    let steps: Vec<(String, f64)> = steps
        .map(|(step, time)| (step, ms(time) / f64::from(args.runs)))
        .collect();
    let load_ms = load.as_secs_f64() * 1e3;
    let peak_mb = peak_memory_mb();
    if out.json {
        out.object(&serde_json::json!({
            "model": model.card().name, "engine": encoder.engine(), "threads": threads, "processor": processor(), "runs": args.runs,
            "open_ms": load_ms, "peak_mb": peak_mb, "stages": stages, "steps": steps,
            "temperature_c": {"before": cool, "after": hot}, "held_back": held_back,
            "int8_peak_per_s": peak.map(|p| p.0), "share_of_peak": peak.map(|p| p.1),
            "products": encoder.products().map(|(int8, floats)| serde_json::json!({"int8": int8, "floats": floats})),
        }))?;
        return Ok(Done::Whole);
    }
    out.line(&format!(
        "{}, model {} on {}, opened in {load_ms:.0} ms",
        processor(),
        model.card().name,
        match encoder.engine() {
            "tract" => "tract's kernels".to_owned(),
            ours => format!("kernels of {ours}"),
        }
    ))?;
    let mut rows = vec![
        ["stage", "p50 ms", "p99 ms", "a second"]
            .map(String::from)
            .to_vec(),
    ];
    rows.extend(stages.iter().map(|s| {
        vec![
            s.stage.clone(),
            format!("{:.3}", s.p50_ms),
            format!("{:.3}", s.p99_ms),
            format!("{:.1}", s.per_s),
        ]
    }));
    out.table(&rows, &[1, 2, 3])?;
    if !steps.is_empty() {
        let header = ["step", "mean ms"].map(String::from).to_vec();
        let rows = steps
            .iter()
            .map(|(step, ms)| vec![step.clone(), format!("{ms:.3}")]);
        out.table(
            &std::iter::once(header).chain(rows).collect::<Vec<_>>(),
            &[1],
        )?;
    }
    if let Some((int8, floats)) = encoder.products() {
        let [int8, floats] = [int8, floats].map(|n| n as f64 / 1e9);
        out.line(&format!(
            "a frame takes {int8:.2} G products of 8 bits and {floats:.2} G of floats"
        ))?;
    }
    if let Some((peak, share)) = peak {
        out.line(&format!(
            "a core reaches {:.0} G products of 8 bits a second at most; the encoder on one thread {:.0} % of that",
            peak / 1e9,
            100.0 * share
        ))?;
    }
    if let (Some(cool), Some(hot)) = (cool, hot) {
        out.line(&format!(
            "temperature {cool:.0} °C before, {hot:.0} °C after"
        ))?;
    }
    if !held_back.is_empty() {
        out.line(&format!("the board is held back: {}", held_back.join(", ")))?;
    }
    if let Some(mb) = peak_mb {
        out.line(&format!("peak memory {mb:.0} MB"))?;
    }
    Ok(Done::Whole)
}

fn time(
    stage: String,
    runs: u32,
    mut work: impl FnMut() -> crate::Result<()>,
) -> Result<Stage, Stop> {
    work()?;
    let mut times = Vec::with_capacity(runs as usize);
    for _ in 0..runs {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |q: f64| ms(times[((times.len() - 1) as f64 * q).round() as usize]);
    let p50_ms = at(0.5);
    Ok(Stage {
        stage,
        p50_ms,
        p99_ms: at(0.99),
        per_s: 1e3 / p50_ms.max(1e-9),
    })
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// Smooth colours with detail, the same each time.
fn pattern((width, height): (u32, u32)) -> crate::Result<Frame> {
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let detail = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 27;
            pixels.extend(
                [
                    (x * 255 / width) as u8,
                    (y * 255 / height) as u8,
                    (x ^ y) as u8,
                ]
                .map(|c| c.wrapping_add(detail as u8)),
            );
        }
    }
    Frame::from_rgb(width, height, pixels)
}

/// A classifier of [`CLASSES`] directions; which ones does not matter to the clock.
fn classes(model: &crate::bundle::Bundle) -> Result<Classifier, Stop> {
    use crate::text::{Label, Origin, TextWeights};
    let dim = model.dim();
    let labels = (0..CLASSES)
        .map(|k| Label::new::<&str>(&format!("class {k}"), &[]))
        .collect::<crate::Result<_>>()?;
    let weights =
        ndarray::Array2::from_shape_fn(
            (CLASSES, dim),
            |(k, d)| if k % dim == d { 1.0 } else { 0.0 },
        );
    let origins = vec![Origin::Encoded; CLASSES];
    Ok(Classifier::from_labels(
        model,
        TextWeights {
            labels,
            weights,
            origins,
            feature_space: model.feature_space(),
        },
    )?)
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find(|l| l.starts_with(name))
            .and_then(|l| l.split_once(':'))
            .map(|(_, v)| v.trim().to_owned())
    };
    let board = std::fs::read_to_string("/proc/device-tree/model")
        .ok()
        .map(|m| m.trim_matches('\0').to_owned());
    board
        .or_else(|| field("model name"))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The most memory that this process ever held, where the system tells.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1024.0)
}
