//! Reads the records that pillow_reference.py writes: files, Pillow's pixels, Pillow's results.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use edgeclip::frame::Frame;
use serde_json::Value;

/// One file and what Pillow makes of it.
pub struct Record {
    pub name: String,
    /// Decoding involves no choice of the decoder.
    pub exact: bool,
    pub file: Vec<u8>,
    pub frame: Frame,
    /// Each with the request as JSON and the bytes of the answer.
    pub results: Vec<(Value, Vec<u8>)>,
}

/// The next record, or none at the end.
pub fn next(from: &mut dyn BufRead) -> Option<Record> {
    let mut line = String::new();
    if from.read_line(&mut line).unwrap() == 0 {
        return None;
    }
    let head: Value = serde_json::from_str(&line).unwrap();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let (width, height) = (number(&head["width"]), number(&head["height"]));
    let file = take(from, number(&head["file"]));
    let pixels = take(from, width * height * 3);
    let results = head["results"].as_array().unwrap().iter();
    Some(Record {
        name: head["name"].as_str().unwrap().into(),
        exact: head["exact"].as_bool().unwrap(),
        file,
        frame: Frame::from_rgb(width as u32, height as u32, pixels).unwrap(),
        results: results
            .map(|want| (want.clone(), take(from, number(&want["len"]))))
            .collect(),
    })
}

fn take(from: &mut dyn BufRead, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The committed records.
pub fn golden() -> Vec<Record> {
    let bytes = std::fs::read(tests().join("golden/preprocess.bin")).unwrap();
    let mut from = bytes.as_slice();
    std::iter::from_fn(|| next(&mut from)).collect()
}

/// Records streamed by Python over all photos, or none, with the reason said.
pub fn photos(mode: &str) -> Option<impl Iterator<Item = Record>> {
    let (Some(python), Some(data)) = (var("EDGECLIP_PYTHON"), var("EDGECLIP_DATA")) else {
        eprintln!(
            "skipped: set EDGECLIP_PYTHON (with pillow 11.3.0, numpy) and EDGECLIP_DATA (holding photos/)"
        );
        return None;
    };
    let mut child = Command::new(python)
        .arg(tests().join("parity/pillow_reference.py"))
        .arg(mode)
        .arg(Path::new(&data).join("photos"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut from = BufReader::with_capacity(1 << 20, child.stdout.take().unwrap());
    Some(std::iter::from_fn(move || {
        next(&mut from).or_else(|| finish(&mut child))
    }))
}

fn finish(child: &mut Child) -> Option<Record> {
    assert!(
        child.wait().unwrap().success(),
        "the reference program failed"
    );
    None
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How far two equally long runs of levels lie apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    pub bytes: u64,
    pub differing: u64,
    pub sum: u64,
    pub max: u8,
}

impl Distance {
    pub fn between(a: &[u8], b: &[u8]) -> Self {
        assert_eq!(a.len(), b.len());
        let mut distance = Self::default();
        for (a, b) in a.iter().zip(b) {
            let levels = a.abs_diff(*b);
            distance.bytes += 1;
            distance.differing += u64::from(levels != 0);
            distance.sum += u64::from(levels);
            distance.max = distance.max.max(levels);
        }
        distance
    }

    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.differing += other.differing;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.bytes.max(1) as f64
    }
}
