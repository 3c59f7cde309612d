//! Preprocessing against Pillow's bytes, and its promises: fixed shapes, clear refusals, no
//! allocation from frame to frame.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::print_stderr)]

#[path = "parity/pillow.rs"]
mod pillow;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use edgeclip::frame::Frame;
use edgeclip::preprocess::{Filter, Preprocess, Preprocessor, Resize, resize};
use pillow::{Distance, Record};
use serde_json::Value;

fn clip() -> Preprocess {
    Preprocess {
        resize: Resize::Shortest(256),
        filter: Filter::Bicubic,
        crop: Some((224, 224)),
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    }
}

fn side(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn filter(want: &Value) -> Filter {
    serde_json::from_value(want["filter"].clone()).unwrap()
}

/// Our answer to a request for which Pillow's is known, as the bytes to compare.
fn answer(frame: &Frame, want: &Value) -> Vec<u8> {
    if want["shortest"].is_null() {
        let (width, height) = (side(&want["width"]), side(&want["height"]));
        let frame = resize(frame, width, height, filter(want)).unwrap();
        return frame.into_bytes();
    }
    let spec = Preprocess {
        resize: Resize::Shortest(side(&want["shortest"])),
        filter: filter(want),
        crop: Some((side(&want["crop"][0]), side(&want["crop"][1]))),
        ..clip()
    };
    let mut preprocessor = Preprocessor::new(spec).unwrap();
    let mut tensor = vec![0.0; preprocessor.tensor_len()];
    preprocessor.tensor_into(frame, &mut tensor).unwrap();
    if want["tensor"] == true {
        return tensor
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
    }
    preprocessor.pixels().to_vec()
}

/// Compares all results of a record; tensors must be equal to the bit.
fn compare(record: &Record, total: &mut Distance) {
    for (want, expected) in &record.results {
        let found = answer(&record.frame, want);
        let distance = Distance::between(&found, expected);
        assert_eq!(distance.max, 0, "{}: {want}: {distance:?}", record.name);
        total.add(distance);
    }
}

#[test]
fn small_pictures_are_pillows_to_the_bit() {
    let mut total = Distance::default();
    let records = pillow::golden();
    records
        .iter()
        .for_each(|record| compare(record, &mut total));
    assert!(total.bytes > 50_000, "{total:?}");
}

#[test]
fn photos_are_pillows_to_the_bit() {
    let Some(records) = pillow::photos("photos") else {
        return;
    };
    let mut total = Distance::default();
    let mut results = 0;
    for record in records {
        compare(&record, &mut total);
        results += record.results.len();
    }
    assert!(results > 0, "no photo found");
    eprintln!(
        "{results} results, {} bytes, largest difference {}",
        total.bytes, total.max
    );
}

/// The frame inside rows of `padding` more bytes, which must not show.
fn padded(frame: &Frame, padding: usize) -> Frame {
    let stride = frame.width() as usize * 3 + padding;
    let mut bytes = vec![0xa5; stride * frame.height() as usize - padding];
    for (row, from) in bytes.chunks_mut(stride).zip(frame.rows()) {
        row[..from.len()].copy_from_slice(from);
    }
    Frame::with_stride(frame.width(), frame.height(), stride, bytes).unwrap()
}

#[test]
fn padding_between_rows_does_not_show() {
    for record in pillow::golden() {
        for (want, expected) in &record.results {
            assert_eq!(
                answer(&padded(&record.frame, 13), want),
                *expected,
                "{want}"
            );
        }
    }
}

#[test]
fn the_sides_follow_hugging_face() {
    let spec = clip();
    for (source, resized) in [
        ((1280, 720), (455, 256)),
        ((720, 1280), (256, 455)),
        ((256, 341), (256, 341)),
        ((500, 375), (341, 256)),
        ((7, 7), (256, 256)),
        ((1, 65_535), (256, 16_776_960)),
    ] {
        assert_eq!(spec.resized_size(source), resized, "{source:?}");
    }
}

#[test]
fn a_strip_of_one_pixel_costs_no_more_than_its_centre() {
    for (width, height) in [(1, 65_535), (65_535, 1), (1, 1)] {
        let frame =
            Frame::from_rgb(width, height, vec![77; (width * height * 3) as usize]).unwrap();
        let mut preprocessor = Preprocessor::new(clip()).unwrap();
        let mut tensor = vec![0.0; preprocessor.tensor_len()];
        preprocessor.tensor_into(&frame, &mut tensor).unwrap();
        assert!(preprocessor.pixels().iter().all(|&level| level == 77));
    }
}

#[test]
fn specs_without_one_finite_shape_are_refused() {
    let refused = |change: &dyn Fn(&mut Preprocess), word: &str| {
        let mut spec = clip();
        change(&mut spec);
        let error = Preprocessor::new(spec).unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    };
    refused(&|s| s.resize = Resize::Shortest(0), "resize");
    refused(&|s| s.resize = Resize::Shortest(5000), "resize");
    refused(
        &|s| {
            s.resize = Resize::Exact {
                width: 224,
                height: 0,
            }
        },
        "resize",
    );
    refused(
        &|s| {
            s.resize = Resize::Exact {
                width: 300,
                height: 200,
            }
        },
        "crop",
    );
    refused(&|s| s.crop = Some((257, 224)), "crop");
    refused(&|s| s.crop = Some((0, 224)), "crop");
    refused(&|s| s.crop = None, "crop: found none");
    refused(&|s| s.mean[1] = f32::NAN, "mean");
    refused(&|s| s.std[2] = 0.0, "std");
    refused(&|s| s.std[0] = f32::INFINITY, "std");
    refused(&|s| s.std[0] = 1e-40, "std");
    let exact = Preprocess {
        resize: Resize::Exact {
            width: 30,
            height: 20,
        },
        crop: None,
        ..clip()
    };
    assert_eq!(Preprocessor::new(exact).unwrap().input_size(), (30, 20));
}

#[test]
fn wrong_tensors_and_sizes_are_refused() {
    let frame = Frame::from_rgb(4, 4, vec![0; 48]).unwrap();
    let error = Preprocessor::new(clip())
        .unwrap()
        .tensor_into(&frame, &mut [0.0; 7])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor length: found 7, expected 150528 for 3x224x224"
    );
    for (width, height) in [(0, 5), (5, 0), (70_000, 1), (65_535, 65_535)] {
        assert!(
            resize(&frame, width, height, Filter::Bicubic).is_err(),
            "{width}x{height}"
        );
    }
}

#[test]
fn a_spec_survives_being_written_down() {
    let exact = Resize::Exact {
        width: 240,
        height: 240,
    };
    for spec in [
        clip(),
        Preprocess {
            resize: exact,
            crop: None,
            filter: Filter::Bilinear,
            ..clip()
        },
    ] {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            serde_json::from_str::<Preprocess>(&text).unwrap(),
            spec,
            "{text}"
        );
    }
}

/// Counts what this thread asks for; other tests run beside.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn known_sizes_need_no_allocation() {
    let frame = |width: u32, height: u32| {
        Frame::from_rgb(width, height, vec![9; (width * height * 3) as usize]).unwrap()
    };
    let frames = [
        frame(640, 480),
        frame(480, 640),
        frame(300, 301),
        frame(256, 256),
    ];
    let mut preprocessor = Preprocessor::new(clip()).unwrap();
    let mut tensor = vec![0.0; preprocessor.tensor_len()];
    let mut pass = || {
        for frame in &frames {
            preprocessor.tensor_into(frame, &mut tensor).unwrap();
        }
    };
    pass();
    let before = ALLOCATIONS.get();
    pass();
    pass();
    assert_eq!(ALLOCATIONS.get(), before);
}
