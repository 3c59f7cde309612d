//! Time from a decoded RGB frame to the encoder's tensor, beside Pillow's for the same work.
//!
//! `cargo bench --bench preprocess`. With EDGECLIP_PYTHON set (Pillow 11.3.0 and numpy) Pillow
//! runs in turns with us; the ratios say how many times longer it takes. Decoding is not timed.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use edgeclip::frame::Frame;
use edgeclip::preprocess::{Filter, Preprocess, Preprocessor, Resize, kernel_name};

const RUNS: usize = 41;
const SHORTEST: u32 = 256;
const CROP: u32 = 224;
const SHAPES: [(u32, u32); 6] = [
    (1280, 720),
    (640, 480),
    (1920, 1080),
    (4000, 3000),
    (500, 375),
    (256, 341),
];

fn main() {
    println!(
        "frame to 3x{CROP}x{CROP}, shortest {SHORTEST}, bicubic, {} body, one thread",
        kernel_name()
    );
    println!("medians of {RUNS} runs in turns, milliseconds");
    println!(
        "{:>11} {:>8} {:>8} | {:>8} {:>6} | {:>9} {:>6}",
        "frame", "tensor", "least", "Pillow", "ratio", "and numpy", "ratio"
    );
    let mut pillow = Pillow::start();
    for shape in SHAPES {
        let row = measure(shape, pillow.as_mut());
        println!("{row}");
    }
    if pillow.is_none() {
        println!("Pillow not timed: set EDGECLIP_PYTHON to a Python with pillow==11.3.0 and numpy");
    }
}

fn measure((width, height): (u32, u32), mut pillow: Option<&mut Pillow>) -> String {
    let frame = Frame::from_rgb(width, height, noise((width * height * 3) as usize)).unwrap();
    let mut preprocessor = Preprocessor::new(Preprocess {
        resize: Resize::Shortest(SHORTEST),
        filter: Filter::Bicubic,
        crop: Some((CROP, CROP)),
        mean: [0.5; 3],
        std: [0.25; 3],
    })
    .unwrap();
    let mut tensor = vec![0.0; preprocessor.tensor_len()];
    preprocessor.tensor_into(&frame, &mut tensor).unwrap();
    let (mut ours, mut theirs, mut with_numpy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        preprocessor.tensor_into(&frame, &mut tensor).unwrap();
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        if let Some(pillow) = pillow.as_deref_mut() {
            let (plain, normalised) = pillow.time(width, height);
            theirs.push(plain);
            with_numpy.push(normalised);
        }
    }
    let middle = median(&mut ours);
    let row = format!(
        "{:>11} {middle:>8.3} {:>8.3} |",
        format!("{width}x{height}"),
        ours[0]
    );
    if theirs.is_empty() {
        return row;
    }
    let (plain, normalised) = (median(&mut theirs), median(&mut with_numpy));
    let ratio = |time: f64| time / middle;
    format!(
        "{row} {plain:>8.3} {:>6.1} | {normalised:>9.3} {:>6.1}",
        ratio(plain),
        ratio(normalised)
    )
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// The reference program in its timing mode.
struct Pillow {
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Pillow {
    fn start() -> Option<Self> {
        let python = std::env::var_os("EDGECLIP_PYTHON")?;
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/parity/pillow_reference.py"
        );
        let mut child = Command::new(python)
            .args([script, "time"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Self {
            ask: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        })
    }

    /// Milliseconds of resize and crop to bytes, and of the same with normalising to floats.
    fn time(&mut self, width: u32, height: u32) -> (f64, f64) {
        writeln!(
            self.ask.as_mut().unwrap(),
            "{width} {height} {SHORTEST} {CROP}"
        )
        .unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut times = line
            .split_whitespace()
            .map(|ns| ns.parse::<f64>().unwrap() / 1e6);
        (times.next().unwrap(), times.next().unwrap())
    }
}

impl Drop for Pillow {
    fn drop(&mut self) {
        // The program ends when its input does.
        self.ask = None;
        let _ = self.child.wait();
    }
}
