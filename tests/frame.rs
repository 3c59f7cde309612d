//! Decoding against Pillow's pixels, and every way in which a file can be wrong.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

#[path = "parity/pillow.rs"]
mod pillow;

use std::collections::BTreeMap;
use std::path::Path;

use edgeclip::frame::{Decode, Frame};
use pillow::{Distance, Record};
use proptest::prelude::*;

/// Lossy decoders round in their own ways: JPEG photos lie 0.13 levels from Pillow's on average,
/// most of it from the chroma of 4:2:0. No single file may lie further than this.
const MEAN_BOUND: f64 = 1.0;

fn file(name: &str) -> Vec<u8> {
    let record = pillow::golden()
        .into_iter()
        .find(|record| record.name == name);
    record.unwrap().file
}

fn refusal(bytes: &[u8]) -> String {
    Decode::default().decode(bytes).unwrap_err().to_string()
}

/// Compares a record with our decoding; lossless ones must be equal.
fn compare(record: &Record, totals: &mut BTreeMap<String, Distance>) {
    let found = match Decode::default().decode(&record.file) {
        Ok(found) => found,
        Err(error) => {
            let known = ["a GIF", "a TIFF"]
                .iter()
                .any(|name| error.to_string().contains(name));
            assert!(known, "{}: {error}", record.name);
            return;
        }
    };
    assert_eq!(found.size(), record.frame.size(), "{}", record.name);
    let distance = Distance::between(found.bytes(), record.frame.bytes());
    let kind = record.name.rsplit('.').next().unwrap_or_default();
    assert!(
        !record.exact || distance.max == 0,
        "{}: {distance:?}",
        record.name
    );
    assert!(
        distance.mean() < MEAN_BOUND,
        "{}: mean {}",
        record.name,
        distance.mean()
    );
    let name = format!("{kind}{}", if record.exact { ", lossless" } else { "" });
    totals.entry(name).or_default().add(distance);
}

fn report(totals: &BTreeMap<String, Distance>) {
    for (kind, distance) in totals {
        let share = 100.0 * distance.differing as f64 / distance.bytes as f64;
        let (mean, max) = (distance.mean(), distance.max);
        eprintln!("{kind}: mean {mean:.3} levels, {share:.1} % of bytes, at most {max}");
    }
}

#[test]
fn lossless_files_decode_as_pillow_does() {
    let mut totals = BTreeMap::new();
    pillow::golden()
        .iter()
        .for_each(|record| compare(record, &mut totals));
    report(&totals);
    assert!(totals.contains_key("png, lossless") && totals.contains_key("webp, lossless"));
}

#[test]
fn photos_decode_near_pillow() {
    let Some(records) = pillow::photos("decode") else {
        return;
    };
    let mut totals = BTreeMap::new();
    for record in records {
        compare(&record, &mut totals);
    }
    report(&totals);
    assert!(
        totals["jpg"].mean() < 0.25,
        "JPEG: mean {}",
        totals["jpg"].mean()
    );
}

#[test]
fn transparent_pixels_show_the_chosen_background() {
    let decode = Decode {
        background: [10, 20, 30],
        ..Decode::default()
    };
    let (white, dark) = (
        Decode::default().decode(&file("rgba.png")),
        decode.decode(&file("rgba.png")),
    );
    assert_ne!(white.unwrap(), dark.unwrap());
    let (white, dark) = (
        Decode::default().decode(&file("rgb.png")),
        decode.decode(&file("rgb.png")),
    );
    assert_eq!(white.unwrap(), dark.unwrap());
}

#[test]
fn strangers_are_refused_by_name() {
    for (bytes, name) in [
        (b"GIF89a\x01\0\x01\0".as_slice(), "a GIF"),
        (b"II*\0\x08\0\0\0", "a TIFF"),
        (b"MM\0*\0\0\0\x08", "a TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "an SVG"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"this is not an image", "plain text"),
        (b"", "an empty file"),
        (b"\x01\x02\x03", "3 bytes that start with 01 02 03"),
    ] {
        let error = refusal(bytes);
        assert!(error.contains(&format!("found {name}")), "{error}");
        assert!(error.ends_with("convert it to JPEG or PNG"), "{error}");
    }
}

#[test]
fn files_that_break_off_are_errors_not_grey() {
    for name in [
        "rgb.png",
        "chroma420.jpg",
        "progressive.jpg",
        "rgb.bmp",
        "rgba.webp",
        "lossy.webp",
    ] {
        let whole = file(name);
        for len in [30, whole.len() / 2, whole.len() * 9 / 10] {
            let error = refusal(&whole[..len]);
            assert!(
                error.starts_with("picture: found a "),
                "{name}, {len} bytes: {error}"
            );
            assert!(
                error.contains("expected a whole file"),
                "{name}, {len} bytes: {error}"
            );
        }
    }
}

#[test]
fn limits_hold_before_pixels_are_made() {
    let decode = Decode {
        max_pixels: 100,
        ..Decode::default()
    };
    for name in ["rgb.png", "grey.jpg", "rgb.bmp", "rgba.webp", "lossy.webp"] {
        let error = decode.decode(&file(name)).unwrap_err().to_string();
        assert_eq!(
            error, "pixels of one picture: found 117, at most 100 is allowed",
            "{name}"
        );
    }
    // A header that promises 65,500 x 65,500 pixels costs nothing.
    let mut bomb = file("rgb.bmp");
    bomb[18..20].copy_from_slice(&65_500_u16.to_le_bytes());
    bomb[22..24].copy_from_slice(&65_500_u16.to_le_bytes());
    assert!(refusal(&bomb).starts_with("pixels of one picture: found 4290250000"));
}

#[test]
fn errors_of_files_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    let decode = Decode {
        max_bytes: 50,
        ..Decode::default()
    };
    let error = |decode: &Decode| decode.load(&path).unwrap_err().to_string();
    assert!(
        error(&decode).contains("photo.jpg: cannot open"),
        "{}",
        error(&decode)
    );
    std::fs::write(&path, [0; 51]).unwrap();
    assert!(
        error(&decode)
            .ends_with("photo.jpg: bytes of one picture file: found 51, at most 50 is allowed")
    );
    std::fs::write(&path, "").unwrap();
    assert!(error(&decode).contains("photo.jpg: picture: found an empty file"));
    assert!(decode.load(folder.path()).is_err());
    // The content counts, not the name.
    std::fs::write(&path, file("rgb.png")).unwrap();
    assert!(Decode::default().load(&path).is_ok());
}

/// A device without an end is cut off at the limit.
#[test]
#[cfg(unix)]
fn endless_files_are_cut_off() {
    let error = Decode::default().load(Path::new("/dev/zero")).unwrap_err();
    assert!(error.to_string().contains("at most 67108864"), "{error}");
}

fn real_files() -> Vec<Vec<u8>> {
    let names = [
        "rgb.png",
        "palette_alpha.png",
        "rgba16.png",
        "bits2.png",
        "turned6.png",
        "chroma420.jpg",
        "progressive.jpg",
        "grey.jpg",
        "turned6.jpg",
        "rgb.bmp",
        "palette.bmp",
        "bits1.bmp",
        "rgba.webp",
        "lossy.webp",
        "lossy_alpha.webp",
        "turned6.webp",
    ];
    let mut records = pillow::golden();
    records.retain(|record| names.contains(&record.name.as_str()));
    records.into_iter().map(|record| record.file).collect()
}

/// Small limits keep the cases fast; any answer but a panic is right.
fn survives(bytes: &[u8]) {
    let decode = Decode {
        max_pixels: 1_000_000,
        ..Decode::default()
    };
    if let Ok(frame) = decode.decode(bytes) {
        assert!(Frame::from_rgb(frame.width(), frame.height(), frame.into_bytes()).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        // A found case becomes a test of its own, by hand.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_never_panic(start in 0_usize..6, mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let starts: [&[u8]; 6] = [
            b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8L", b"BM",
        ];
        bytes.splice(0..0, starts[start].iter().copied());
        survives(&bytes);
    }

    #[test]
    fn damaged_files_never_panic(
        which: prop::sample::Index,
        cut: prop::sample::Index,
        cuts: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let files = real_files();
        let mut bytes = files[which.index(files.len())].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes);
    }
}
