//! What a frame costs beside the encoder: from the camera's bytes to pixels, to the encoder's input, to
//! a settled answer. Prints a table; `cargo bench --bench live`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use edgeclip::camera::Format;
use edgeclip::camera::convert::{Layout, Shades};
use edgeclip::classifier::Judged;
use edgeclip::frame::Decode;
use edgeclip::live::{Rules, Steady};
use edgeclip::preprocess::Preprocessor;
use edgeclip::{Bundle, Classifier, Encoder};

const FRAMES: usize = 200;
const SIZE: (u32, u32) = (640, 480);

fn median(mut each: impl FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..FRAMES)
        .map(|_| {
            let began = Instant::now();
            each();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[FRAMES / 2].as_secs_f64() * 1e3
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bundle = Bundle::open(&root.join("models/starter.ecmodel")).unwrap();
    let photo = Decode::default()
        .load(&root.join("examples/photos/coffee.jpg"))
        .unwrap();
    let photo = edgeclip::preprocess::resize(
        &photo,
        SIZE.0,
        SIZE.1,
        edgeclip::preprocess::Filter::Bilinear,
    )
    .unwrap();
    let jpeg = photo.to_thumbnail(SIZE.0).unwrap();
    let mut preprocessor = Preprocessor::new(bundle.preprocess().clone()).unwrap();
    let mut tensor = vec![0.0; preprocessor.tensor_len()];
    let mut encoder = Encoder::open(&bundle, 1).unwrap();
    let feature = encoder.encode(&photo).unwrap();
    let tower = edgeclip::text::TextTower::open(&bundle, None).unwrap();
    let labels = edgeclip::text::parse_labels("cat, dog, mug, screwdriver, rocket").unwrap();
    let weights = tower.weights(&labels, &mut |_, _| {}).unwrap();
    let classifier = Classifier::from_labels(&bundle, weights).unwrap();
    let (mut judged, mut steady) = (Judged::default(), Steady::new(Rules::default()));
    println!("milliseconds of a 640×480 frame on one core, median of {FRAMES}");
    let mut whole = 0.0;
    let row = |what: &str, ms: f64| println!("{what:32} {ms:8.3}");
    for format in [Format::Yuyv, Format::Nv12, Format::Grey, Format::Rgb3] {
        let mut layout = Layout {
            format,
            size: SIZE,
            stride: 0,
            shades: Shades::default(),
        };
        layout.stride = layout.row_bytes();
        let bytes: Vec<u8> = (0..layout.least_bytes())
            .map(|i| (i * 31 % 200) as u8 + 20)
            .collect();
        let mut buffer = Vec::new();
        let ms = median(|| {
            let frame = layout.rgb(&bytes, std::mem::take(&mut buffer)).unwrap();
            buffer = frame.into_bytes();
        });
        if format == Format::Yuyv {
            whole += ms;
        }
        row(&format!("{} to RGB", format.name()), ms);
    }
    let mut buffer = Vec::new();
    let decode = Decode::default();
    let mjpg = median(|| {
        let frame = decode
            .jpeg_into(&jpeg, std::mem::take(&mut buffer))
            .unwrap();
        buffer = frame.into_bytes();
    });
    row("MJPG to RGB", mjpg);
    let pixels = median(|| preprocessor.tensor_into(&photo, &mut tensor).unwrap());
    row("RGB to the starter's input", pixels);
    let judging = median(|| {
        classifier.judge_into(&feature, &mut judged).unwrap();
        let p = &judged.p()[..5];
        steady.step(p, judged.unknown(), Duration::from_millis(33));
    });
    row("scores, probabilities, state", judging);
    row("all but the encoder, YUYV", whole + pixels + judging);
    row("all but the encoder, MJPG", mjpg + pixels + judging);
    row(
        "the starter's encoder, for scale",
        median(|| _ = encoder.encode(&photo).unwrap()),
    );
}
