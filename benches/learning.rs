//! What a lesson and a frame cost: `cargo bench --bench learning`, one thread, made-up features of
//! 512 floats as far apart as CLIP's. Prints a table; judge ratios, machines are noisy.

use std::time::Instant;

use edgeclip::head::{Method, Scratch, Settings, Shots, Support, learn};
use ndarray::Array2;

const DIM: usize = 512;

/// Rows around a centre of their class, and classes around a common one, at unit length.
struct Made {
    features: Array2<f32>,
    labels: Vec<usize>,
    bursts: Vec<u32>,
    text: Array2<f32>,
}

impl Made {
    fn new(classes: usize, shots: usize) -> Self {
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut rows = |n: usize| Array2::from_shape_simple_fn((n, DIM), &mut random);
        let (centre, mut means) = (rows(1) * 1.5, rows(classes));
        let labels: Vec<usize> = (0..classes * shots).map(|i| i % classes).collect();
        let mut features = rows(labels.len());
        for (mut row, label) in features.rows_mut().into_iter().zip(&labels) {
            row += &centre.row(0);
            row += &means.row(*label);
        }
        for mut row in features.rows_mut().into_iter().chain(means.rows_mut()) {
            let length = row.dot(&row).sqrt();
            row /= length;
        }
        Self {
            bursts: (0..labels.len() as u32).collect(),
            features,
            labels,
            text: means,
        }
    }

    fn support(&self) -> Support<'_> {
        let shots = Shots {
            features: self.features.view(),
            labels: &self.labels,
            bursts: &self.bursts,
        };
        Support::new(shots, self.text.view(), 100.0).expect("made to fit")
    }
}

fn median_ms(runs: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!(
        "learning, ms (median): all that `learn` does after features, calibration and held-out answers included"
    );
    println!(
        "{:16} {:>8} {:>8} {:>9}",
        "head", "10x16", "100x16", "1000x16"
    );
    let sizes = [(10, 5), (100, 3), (1000, 1)];
    for name in [
        "auto",
        "nearest-mean",
        "gda",
        "tip",
        "taskres",
        "clip-adapter",
    ] {
        let method: Method = name.parse().expect("a known head");
        let settings = Settings {
            method,
            ..Settings::default()
        };
        let mut row = format!("{name:16}");
        for (classes, runs) in sizes {
            // The others take minutes at a thousand classes.
            let slow =
                classes == 1000 && name != "auto" || classes == 100 && name == "clip-adapter";
            if slow {
                row += "        –";
                continue;
            }
            let made = Made::new(classes, 16);
            let support = made.support();
            let ms = median_ms(runs, || {
                learn(&support, &settings, 0).expect("made to be learned");
            });
            row += &format!("{ms:9.0}");
        }
        println!("{row}");
    }
    println!("\none frame, ms (median of 200)");
    for classes in [10, 100, 1000] {
        let made = Made::new(classes, 4);
        let learned = learn(&made.support(), &Settings::default(), 0).expect("made to be learned");
        let feature = made.features.row(0).to_vec();
        let (mut scratch, mut scores) = (Scratch::default(), Vec::new());
        let ms = median_ms(200, || {
            learned
                .head
                .scores_into(&feature, &mut scratch, &mut scores);
            std::hint::black_box(learned.probabilities(&scores));
        });
        println!("auto, {classes:4} classes {ms:8.4}");
    }
    let peak = std::fs::read_to_string("/proc/self/status").ok();
    let peak = peak
        .as_deref()
        .and_then(|s| s.lines().find(|l| l.starts_with("VmHWM")));
    println!("\npeak memory of this run: {}", peak.unwrap_or("unknown"));
}
