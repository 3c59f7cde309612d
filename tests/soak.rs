//! Weeks in minutes: frames at full speed through a cheap encoder, with lessons saved meanwhile and
//! sinks that fail, hang and panic. Memory and files must not grow, and no lesson may be missed.
//!
//! `make soak` takes a million frames; the quick suite takes the first of them.

#![cfg(all(feature = "camera", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod graph;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeclip::camera::Captured;
use edgeclip::classifier::NewShot;
use edgeclip::import::{Options, Pixels, import};
use edgeclip::live::{Counters, Options as Looks, Reload, Watch};
use edgeclip::preprocess::Resize;
use edgeclip::sink::{Detail, Lines, News, Outlets, Refused, Sink};
use edgeclip::{Bundle, Classifier, Encoder, Frame};
use graph::{F32, bytes, floats, node, tensor_info};
use tract_onnx::pb::GraphProto;

const SIDE: u32 = 16;

/// The mean colour of a picture, turned a little: four floats.
fn cheap_encoder(folder: &Path) -> Bundle {
    let side = i64::from(SIDE);
    let graph = GraphProto {
        name: "cheap".into(),
        node: vec![
            node("GlobalAveragePool", &["pixel_values"], "pooled"),
            node("Flatten", &["pooled"], "flat"),
            node("MatMul", &["flat", "w"], "turned"),
            node("Add", &["turned", "b"], "image_embeds"),
        ],
        initializer: vec![
            floats(
                "w",
                &[3, 4],
                &[1.0, 0.2, 0.0, 0.1, 0.0, 1.0, 0.2, 0.3, 0.1, 0.0, 1.0, 0.7],
            ),
            floats("b", &[4], &[0.1, 0.2, 0.1, 0.3]),
        ],
        input: vec![tensor_info("pixel_values", F32, &[-1, 3, side, side])],
        output: vec![tensor_info("image_embeds", F32, &[-1, 4])],
        ..Default::default()
    };
    let path = folder.join("cheap.onnx");
    std::fs::write(&path, bytes(graph)).unwrap();
    let options = Options {
        pixels: Pixels {
            resize: Some(Resize::Exact {
                width: SIDE,
                height: SIDE,
            }),
            ..Pixels::default()
        },
        ..Options::default()
    };
    let out = folder.join("cheap.ecmodel");
    let made = import(&[path], &options, &out, &mut |_, _| {});
    made.unwrap().bundle
}

/// Sinks with the faults that sinks have.
enum Bad {
    Failing,
    Slow,
    Panicking(u32),
}

impl Sink for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }

    fn wants_frames(&self) -> bool {
        true
    }

    fn take(&mut self, _: &News) -> Result<(), Refused> {
        match self {
            Self::Failing => Err(Refused::Failed("as ever".into())),
            Self::Slow => {
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            }
            Self::Panicking(count) => {
                *count += 1;
                assert!(!count.is_multiple_of(10_000), "now and then");
                Ok(())
            }
        }
    }
}

struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Resident bytes, and open files.
fn held() -> (f64, usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (pages * 4096.0, files)
}

fn colour(i: u64) -> Frame {
    let level = |shift: u64| (((i * 37) >> shift) % 256) as u8;
    let pixel = [level(0), level(3), level(6)];
    Frame::from_rgb(32, 24, pixel.repeat(32 * 24)).unwrap()
}

struct Soak {
    watch: Watch,
    encoder: Encoder,
    reload: Reload,
    outlets: Outlets,
    file: std::path::PathBuf,
    taken: u64,
}

impl Soak {
    fn start(folder: &Path) -> Self {
        let bundle = cheap_encoder(folder);
        let mut encoder = Encoder::open(&bundle, 1).unwrap();
        let file = folder.join("soak.ecclass");
        let mut draft = Classifier::empty(&bundle).draft();
        for name in ["one", "two", "three"] {
            draft.add_class(name).unwrap();
        }
        for i in 0..6 {
            let shot = NewShot::of(encoder.encode(&colour(i * 9)).unwrap());
            let class = ["one", "two", "three"][i as usize % 3];
            draft.add_shots(Some(class), vec![shot]).unwrap();
        }
        let mut classifier = draft.learn("first").unwrap();
        classifier.save(&file).unwrap();
        let counters = Arc::<Counters>::default();
        let reload = Reload::start(&file, &classifier, Arc::clone(&counters)).unwrap();
        let fork = encoder.fork().unwrap();
        let watch = Watch::new(fork, Arc::new(classifier), Looks::default(), counters);
        let sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(Lines::new("json", Nowhere, Detail::Frames)),
            Box::new(Bad::Failing),
            Box::new(Bad::Slow),
            Box::new(Bad::Panicking(0)),
        ];
        Self {
            watch,
            encoder,
            reload,
            outlets: Outlets::start(sinks).unwrap(),
            file,
            taken: 0,
        }
    }

    fn frames(&mut self, count: u64) {
        for _ in 0..count {
            let captured = Captured {
                frame: colour(self.taken / 50),
                taken: Instant::now(),
                sequence: self.taken,
            };
            self.taken += 1;
            let (reading, events) = self.watch.answer(&captured).unwrap();
            self.outlets.offer(&News::Frame(reading.clone()));
            for event in events.into_iter().flatten() {
                self.outlets.offer(&News::Event(event));
            }
        }
    }

    /// A lesson that another process saves, which must be taken while frames go on.
    fn lesson(&mut self, number: u64) {
        let before = Classifier::open(&self.file).unwrap();
        let mut draft = before.draft();
        // As many shots as before: what grows is no fault of the loop.
        let oldest = before.shots()[0].id();
        let class = before.classes()[number as usize % 3].name().to_owned();
        let shot = NewShot::of(self.encoder.encode(&colour(1000 + number)).unwrap());
        draft.add_shots(Some(&class), vec![shot]).unwrap();
        if before.shots().len() > 12 {
            draft.forget(&[oldest]).unwrap();
        }
        let note = format!("lesson {number}");
        let mut after = draft.learn(&note).unwrap();
        after.save(&self.file).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.frames(100);
            if let Some(classifier) = self.reload.taken() {
                let found = classifier.note().to_owned();
                self.watch.swap(classifier);
                if found == note {
                    return;
                }
            }
            assert!(Instant::now() < until, "{note} was never taken");
        }
    }
}

fn soak(frames: u64, lessons: u64) {
    std::panic::set_hook(Box::new(|info| {
        // The sink's panics are part of the trial.
        if !info.to_string().contains("now and then") {
            eprintln!("{info}");
        }
    }));
    let folder = tempfile::tempdir().unwrap();
    let mut soak = Soak::start(folder.path());
    // Buffers, generations of the file and the allocator's own stock fill up first.
    for number in 0..4 {
        soak.frames(5_000);
        soak.lesson(number);
    }
    let (before, files) = held();
    let began = soak.taken;
    for number in 4..4 + lessons {
        soak.frames(frames / lessons);
        soak.lesson(number);
    }
    let (after, files_after) = held();
    let passed = (soak.taken - began) as f64;
    let slope = (after - before) / passed;
    let snapshot = soak.watch.snapshot();
    println!(
        "{passed} frames, {} reloads: {:+.3} MB, {:+.3} MB a million; {files} files open, then {files_after}",
        snapshot.reloads,
        (after - before) / 1e6,
        slope
    );
    assert_eq!((files_after, snapshot.refused), (files, 0));
    assert_eq!(snapshot.answered, soak.taken);
    let losses = soak.outlets.close(snapshot);
    assert!(
        losses[1].failed > 0 && losses[2].lost > 0 && losses[3].failed > 0,
        "{losses:?}"
    );
    // A page here and there is the allocator's; a leak would go on.
    assert!(after - before < 0.5e6 + passed, "{slope} bytes a frame");
}

#[test]
fn frames_reloads_and_bad_sinks_leave_no_trace() {
    soak(40_000, 4);
}

#[test]
#[ignore = "a million frames: make soak"]
fn a_million_frames_leave_no_trace() {
    soak(1_000_000, 50);
}
