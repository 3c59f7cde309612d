//! Envelopes from outside: damaged files, lying files, golden files; saving in `store/`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use edgeclip::error::Error;
use edgeclip::store::{self, Envelope, Kind};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

// The fuzz target includes the same file, so what it offers is public.
#[allow(unreachable_pub)]
#[path = "fuzz/envelope.rs"]
mod fuzz;
#[path = "store/saving.rs"]
mod saving;

/// Counts what this thread asks for, so that a claimed length cannot ask for much unseen.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// The trait can be implemented in no safe way; this one hands everything on to the system.
#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more.
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller keeps the contract of alloc.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of dealloc.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All bytes that `act` asks for, freed or not.
fn asked_by(act: impl FnOnce()) -> usize {
    let before = ASKED.get();
    act();
    ASKED.get() - before
}

fn small() -> Vec<u8> {
    let floats: Vec<u8> = (0..40)
        .flat_map(|i| (i as f32 / 8.0).to_le_bytes())
        .collect();
    Envelope::builder(Kind::Classifier)
        .generation(7)
        .section("about", b"mug".as_slice())
        .section("weights", floats)
        .section("nothing", b"".as_slice())
        .section("end", [1, 2, 3].as_slice())
        .to_bytes()
        .unwrap()
}

fn whole(bytes: &[u8]) -> Result<(), Error> {
    Envelope::from_bytes(bytes, Kind::Classifier)?.verify()
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = small();
    whole(&bytes).unwrap();
    for len in 0..bytes.len() {
        assert!(whole(&bytes[..len]).is_err(), "cut to {len}");
    }
    for extra in [1, 64, 4096] {
        let longer = [bytes.clone(), vec![0; extra]].concat();
        assert!(whole(&longer).is_err(), "{extra} zeros more");
    }
}

#[test]
fn every_single_flipped_bit_is_found() {
    let mut bytes = small();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(whole(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn random_damage_is_found_and_asks_for_little_memory() {
    let bytes = small();
    let mut runner = runner(10_000);
    let damage = prop::collection::vec((0..bytes.len(), 1u8..), 1..12);
    let outcome = runner.run(&damage, |places| {
        let mut bad = bytes.clone();
        for (at, change) in places {
            bad[at] ^= change;
        }
        prop_assume!(bad != bytes);
        let asked = asked_by(|| assert!(whole(&bad).is_err()));
        prop_assert!(asked < 4 * bytes.len() + 2000, "{asked} bytes asked for");
        fuzz::open_never_panics(&bad);
        fuzz::open_never_panics(&fuzz::sealed(&bad).unwrap_or_default());
        Ok(())
    });
    outcome.unwrap();
}

/// The same cases every time: a failure that comes and goes helps nobody.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })
}

#[test]
fn a_header_that_promises_much_asks_for_little() {
    let mut bytes = small();
    for (at, len) in [(24, 8), (32, 4), (64 + 32, 8), (64 + 40, 8)] {
        for fill in [0xff, 0x7f, 0x10] {
            let mut bad = bytes.clone();
            bad[at..at + len].fill(fill);
            reseal(&mut bad);
            let asked = asked_by(|| assert!(whole(&bad).is_err()));
            assert!(asked < 4 * bytes.len() + 2000, "{asked} bytes asked for");
        }
    }
    bytes.truncate(64);
    assert!(whole(&bytes).is_err());
}

/// Puts the checksums of table and header right, so that only what they cover is wrong.
fn reseal(bytes: &mut [u8]) {
    let table = crc32fast::hash(&bytes[64..64 + 4 * 64]).to_le_bytes();
    bytes[36..40].copy_from_slice(&table);
    let header = crc32fast::hash(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&header);
}

#[test]
fn tables_that_lie_are_refused_with_the_reason() {
    // In the table: name at 0, offset at 32, length at 40, checksum at 48; small() has four lines.
    let lies: [(usize, &[u8], &str); 8] = [
        (64 + 32, &[0x41], "expected offset 320"),
        (128 + 32, &[0x40], "expected offset 384"),
        (
            64 + 40,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "at most",
        ),
        (64 + 40, &[0x44], "expected offset 448"),
        (64 + 60, &[1], "reserved"),
        (64, b"end\0\0", "twice"),
        (64, &[0; 5], "section name"),
        (64, b"a b", "section name"),
    ];
    for (at, change, reason) in lies {
        let mut bytes = small();
        bytes[at..at + change.len()].copy_from_slice(change);
        reseal(&mut bytes);
        let e = whole(&bytes).unwrap_err().to_string();
        assert!(e.contains(reason), "{e:?} says nothing of {reason:?}");
    }
}

#[test]
fn data_in_the_padding_is_refused() {
    let mut bytes = small();
    // "about" is 3 bytes at 320.
    bytes[330] = 1;
    let envelope = Envelope::from_bytes(&bytes, Kind::Classifier).unwrap();
    let e = envelope.section("about").unwrap_err().to_string();
    assert!(e.contains("padding"), "{e}");
    envelope.section("weights").unwrap();
}

#[test]
fn strangers_are_called_by_their_name() {
    let refused = |bytes: &[u8]| whole(bytes).unwrap_err().to_string();
    assert!(refused(b"\x89PNG\r\n\x1a\n").contains("found a PNG image"));
    assert!(refused(b"").contains("found an empty file"));
    let mut newer = small();
    newer[8] = 2;
    reseal(&mut newer);
    let e = refused(&newer);
    assert_eq!(
        e,
        "format version 2 is newer than 1, the newest known here: update edgeclip"
    );
    let e = Envelope::from_bytes(small(), Kind::ModelBundle)
        .unwrap_err()
        .to_string();
    assert_eq!(e, "file: found a classifier, expected a model bundle");
}

#[test]
fn paths_that_are_no_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (path, reason) in [
        (path.to_owned(), "found a folder"),
        (PathBuf::from("/dev/zero"), "found a device or pipe"),
        (path.join("none"), "cannot open"),
    ] {
        for opened in [
            Envelope::open(&path, Kind::Classifier),
            Envelope::read(&path, Kind::Classifier),
        ] {
            let e = opened.unwrap_err().to_string();
            assert!(
                e.contains(reason) && e.starts_with(&*path.to_string_lossy()),
                "{e}"
            );
        }
    }
    std::fs::write(path.join("empty"), b"").unwrap();
    let e = Envelope::open(&path.join("empty"), Kind::Classifier)
        .unwrap_err()
        .to_string();
    assert!(e.contains("an empty file"), "{e}");
}

#[test]
fn whatever_goes_in_comes_out() {
    let name = "[!-~]{1,32}";
    let sections =
        prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..300), 0..12);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.ecmodel");
    let mut runner = runner(300);
    let outcome = runner.run(&(sections, any::<u64>()), |(sections, generation)| {
        let builder = Envelope::builder(Kind::ModelBundle).generation(generation);
        let builder = sections.iter().fold(builder, |b, (name, bytes)| {
            b.section(name, bytes.as_slice())
        });
        let bytes = builder.to_bytes().unwrap();
        let stamp = builder.replace(&path).unwrap();
        prop_assert_eq!(&std::fs::read(&path).unwrap(), &bytes);
        let opened = [
            Envelope::open(&path, Kind::ModelBundle).unwrap(),
            Envelope::read(&path, Kind::ModelBundle).unwrap(),
            Envelope::from_bytes(&bytes, Kind::ModelBundle).unwrap(),
        ];
        for envelope in opened {
            envelope.verify().unwrap();
            prop_assert_eq!(envelope.stamp(), stamp);
            prop_assert_eq!(stamp.generation, generation);
            prop_assert_eq!(envelope.sections().len(), sections.len());
            for (name, bytes) in &sections {
                prop_assert_eq!(envelope.section(name).unwrap(), bytes.as_slice());
            }
        }
        fuzz::open_never_panics(&bytes);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn names_that_do_not_fit_are_refused_when_writing() {
    for names in [
        &[""][..],
        &["a b"],
        &["größe"],
        &["x", "x"],
        &["123456789012345678901234567890123"],
    ] {
        let builder = Envelope::builder(Kind::Classifier);
        let builder = names
            .iter()
            .fold(builder, |b, name| b.section(name, b"".as_slice()));
        assert!(builder.to_bytes().is_err(), "{names:?}");
    }
}

#[test]
fn a_section_keeps_its_file_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ecclass");
    std::fs::write(&path, small()).unwrap();
    let envelope = Envelope::open(&path, Kind::Classifier).unwrap();
    let weights = envelope.section_ref("weights").unwrap();
    drop(envelope);
    store::replace(&path, b"something else").unwrap();
    assert_eq!(weights.f32s().unwrap()[39], 39.0 / 8.0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(weights.clone().len(), 160);
}

/// Made once by version 1 and never again; `EDGECLIP_WRITE_GOLDEN=1` makes a missing one.
#[test]
fn the_golden_file_of_version_1_opens_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-v1.ecclass");
    if std::env::var_os("EDGECLIP_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, small()).unwrap();
    }
    let envelope = Envelope::read(&path, Kind::Classifier).unwrap();
    assert_eq!(envelope.stamp().to_string(), "7-0b31eab2");
    assert_eq!(envelope.section("about").unwrap(), b"mug");
    assert_eq!(envelope.section("nothing").unwrap(), b"");
    assert_eq!(envelope.section("end").unwrap(), [1, 2, 3]);
    let weights = envelope.section_ref("weights").unwrap();
    assert!(
        weights
            .f32s()
            .unwrap()
            .iter()
            .zip(0..40)
            .all(|(&w, i)| w == i as f32 / 8.0)
    );
    // As long as version 1 is what is written, it is written to the same bytes.
    assert_eq!(
        store::FORMAT_VERSION,
        1,
        "a newer version needs a golden file of its own"
    );
    assert_eq!(std::fs::read(&path).unwrap(), small());
}
