//! Memory that frames ask for: none by the live loop, none by the fused encoder.

#![cfg(feature = "camera")]
#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use edgeclip::camera::Captured;
use edgeclip::frame::Decode;
use edgeclip::live::{Counters, Options, View, Watch};
use edgeclip::sink::{Detail, Lines, News, Outlets, Sink};
use edgeclip::text::{TextTower, parse_labels};
use edgeclip::{Bundle, Classifier, Encoder, Feature, Frame};

/// Counts every request for memory.
struct Counting;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps dealloc's contract.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        REQUESTS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps realloc's contract.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A writer that keeps nothing.
struct Nowhere;

impl std::io::Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn photo() -> Frame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/photos/cat.jpg");
    Decode::default().load(&path).unwrap()
}

/// Requests are counted for the whole program, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[cfg(feature = "import")]
#[test]
fn the_fused_encoder_asks_for_no_memory_once_it_ran() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = edgeclip::import::Options {
        no_text: true,
        int8: true,
        logit_scale: Some(100.0),
        ..Default::default()
    };
    let onnx = root.join("tests/golden/vit/vit.onnx");
    let out = folder.path().join("vit.ecmodel");
    let made = edgeclip::import::import(&[onnx], &options, &out, &mut |_, _| {}).unwrap();
    for threads in [1, 3] {
        let mut encoder = Encoder::open(&made.bundle, threads).unwrap();
        assert_ne!(encoder.engine(), "tract");
        let (frame, mut feature) = (photo(), Feature::default());
        encoder.encode_into(&frame, &mut feature).unwrap();
        let before = REQUESTS.load(Relaxed);
        for _ in 0..20 {
            encoder.encode_into(&frame, &mut feature).unwrap();
        }
        assert_eq!(REQUESTS.load(Relaxed) - before, 0, "on {threads} threads");
    }
}

#[test]
fn a_frame_asks_for_no_memory_but_the_encoders() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/starter.ecmodel");
    let bundle = Bundle::open(&bundle).unwrap();
    let tower = TextTower::open(&bundle, None).unwrap();
    let labels = parse_labels("cat, dog, mug, rocket, screwdriver, bicycle, lamp").unwrap();
    let weights = tower.weights(&labels, &mut |_, _| {}).unwrap();
    let classifier = Arc::new(Classifier::from_labels(&bundle, weights).unwrap());
    let mut encoder = Encoder::open(&bundle, 1).unwrap();
    let view = View {
        crop: Some((10, 10, 200, 200)),
        turns: 1,
        mirror: true,
    };
    let frame = photo();
    let seen = view.of(&frame, Vec::new()).unwrap();
    let options = Options {
        view,
        unchanged: Some(0.0),
        ..Options::default()
    };
    let counters = Arc::<Counters>::default();
    let mut watch = Watch::new(encoder.fork().unwrap(), classifier, options, counters);
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Lines::new("json", Nowhere, Detail::Frames))];
    let outlets = Outlets::start(sinks).unwrap();
    let mut captured = Captured {
        frame,
        taken: Instant::now(),
        sequence: 0,
    };
    let mut feature = Feature::default();
    let mut requests = |rounds: u64, with_loop: bool| {
        let before = REQUESTS.load(Relaxed);
        for _ in 0..rounds {
            captured.taken = Instant::now();
            captured.sequence += 1;
            if with_loop {
                let (reading, _) = watch.answer(&captured).unwrap();
                outlets.offer(&News::Frame(reading.clone()));
            } else {
                encoder.encode_into(&seen, &mut feature).unwrap();
            }
        }
        // The sink works on a thread of its own, and is to ask for nothing either.
        std::thread::sleep(std::time::Duration::from_millis(50));
        REQUESTS.load(Relaxed) - before
    };
    // Memory grows to what it needs in the first frames.
    requests(10, true);
    requests(3, false);
    let (encoder_alone, whole) = (requests(20, false), requests(20, true));
    assert_eq!(whole, encoder_alone, "of 20 frames each");
}
