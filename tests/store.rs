//! Envelopes and saving from outside: damaged files, golden files, real processes.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgeclip::error::Error;
use edgeclip::store::{self, Builder, Envelope, Kind, Place, Saver, Stamp};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

// The fuzz target includes the same file, so what it offers is public.
#[allow(unreachable_pub)]
#[path = "fuzz/envelope.rs"]
mod fuzz;

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

fn counter(n: u64, filler: usize) -> Builder<'static> {
    Envelope::builder(Kind::Classifier)
        .section("count", n.to_le_bytes().to_vec())
        .section("filler", vec![n as u8; filler])
}

fn count(path: &Path) -> (u64, Stamp) {
    let envelope = Envelope::read(path, Kind::Classifier).unwrap();
    let n = u64::from_le_bytes(envelope.section("count").unwrap().try_into().unwrap());
    assert!(
        envelope
            .section("filler")
            .unwrap()
            .iter()
            .all(|&b| b == n as u8)
    );
    (n, envelope.stamp())
}

/// Counts one up, again and again until nobody came in between; gives the conflicts met.
fn count_up(path: &Path) -> usize {
    for conflicts in 0.. {
        let (n, base) = count(path);
        match Saver::new(path)
            .wait(Duration::from_secs(60))
            .save(Some(base), &counter(n + 1, 100))
        {
            Ok(_) => return conflicts,
            Err(Error::Conflict {
                found, expected, ..
            }) => assert_ne!(found, expected),
            Err(e) => panic!("{e}"),
        }
    }
    unreachable!("conflicts are counted upwards");
}

fn count_up_often(path: &Path) {
    for _ in 0..25 {
        count_up(path);
    }
}

fn fresh(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("mug.ecclass");
    Saver::new(&path).save(None, &counter(0, 100)).unwrap();
    path
}

#[test]
fn of_two_saves_from_one_state_the_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let (_, base) = count(&path);
    let saver = Saver::new(&path);
    saver.save(Some(base), &counter(1, 100)).unwrap();
    let e = saver
        .save(Some(base), &counter(2, 100))
        .unwrap_err()
        .to_string();
    assert!(
        e.ends_with(
            "found generation 2, expected generation 1; read it again, then repeat the change"
        ),
        "{e}"
    );
    let e = saver.save(None, &counter(2, 100)).unwrap_err().to_string();
    assert!(e.contains("found generation 2, expected no file"), "{e}");
    assert_eq!(count(&path).0, 1);
    assert_eq!(litter(&folder), Vec::<String>::new());
}

#[test]
fn no_update_is_lost_between_threads_and_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let mut children: Vec<_> = (0..2).map(|_| child("counts_up", &path)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| count_up_often(&path));
        }
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(count(&path).0, 100);
}

/// This test program once more, running only the test `name`, as another process.
fn child(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("child_{name}"),
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env("EDGECLIP_TEST_FILE", path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn file_of_child() -> Option<PathBuf> {
    std::env::var_os("EDGECLIP_TEST_FILE").map(PathBuf::from)
}

#[test]
#[ignore = "the other process of a test"]
fn child_counts_up() {
    if let Some(path) = file_of_child() {
        count_up_often(&path);
    }
}

#[test]
#[ignore = "the other process of a test"]
fn child_saves_until_killed() {
    let Some(path) = file_of_child() else { return };
    let saver = Saver::new(&path).keep(3);
    loop {
        let (n, base) = count(&path);
        let base = saver.save(Some(base), &counter(n + 1, 300_000)).unwrap();
        if n % 3 == 0 {
            assert_ne!(saver.undo(1).unwrap(), base);
            saver.redo(1).unwrap();
        }
    }
}

#[test]
#[ignore = "the other process of a test"]
fn child_holds_the_lock() {
    let Some(path) = file_of_child() else { return };
    let lock = std::fs::File::create(path.with_extension("ecclass.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(path.with_extension("held"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{} never came",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let mut last = 0;
    for round in 0u64..40 {
        let began = Instant::now();
        let mut child = child("saves_until_killed", &path);
        while count(&path).0 == last && began.elapsed() < Duration::from_secs(10) {}
        // Odd steps of some ten microseconds meet every act sooner or later.
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let (n, _) = count(&path);
        assert!(n + 1 >= last, "{n} after {last}");
        last = n;
        for entry in Saver::new(&path).history().unwrap() {
            entry.stamp.unwrap();
        }
    }
    assert!(last > 0, "the other process never saved");
    count_up(&path);
    assert_eq!(litter(&folder), Vec::<String>::new());
}

#[test]
fn a_lock_times_out_and_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let mut holder = child("holds_the_lock", &path);
    wait_for(&path.with_extension("held"));
    let saver = Saver::new(&path).wait(Duration::from_millis(60));
    let (_, base) = count(&path);
    let refused = saver.save(Some(base), &counter(1, 1));
    assert!(
        matches!(
            refused,
            Err(Error::Locked {
                waited_ms: 60..,
                ..
            })
        ),
        "{refused:?}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    saver.save(Some(base), &counter(1, 1)).unwrap();
}

/// Temporaries left in a folder.
fn litter(folder: &tempfile::TempDir) -> Vec<String> {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains(".tmp-")).collect()
}

#[test]
fn temporaries_of_dead_processes_are_swept_and_those_of_living_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let dead = format!(".mug.ecclass.tmp-{}-0", dead.id());
    let living = format!(".mug.ecclass.tmp-{}-7", std::process::id());
    for name in [&dead, &living] {
        std::fs::write(folder.path().join(name), b"half").unwrap();
    }
    count_up(&path);
    assert_eq!(litter(&folder), [living.clone()]);
    let old = std::time::SystemTime::now() - Duration::from_secs(3601);
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path().join(&living));
    file.unwrap().set_modified(old).unwrap();
    count_up(&path);
    assert_eq!(litter(&folder), Vec::<String>::new());
}

#[test]
fn history_lists_undo_goes_back_and_redo_returns() {
    let folder = tempfile::tempdir().unwrap();
    let path = fresh(&folder);
    let stamps: Vec<_> = (0..3)
        .map(|_| (count_up(&path), count(&path).1).1)
        .collect();
    let saver = Saver::new(&path);
    let undone = saver.undo(2).unwrap();
    assert_eq!((undone, count(&path)), (stamps[0], (1, stamps[0])));
    let seen: Vec<_> = saver
        .history()
        .unwrap()
        .iter()
        .map(|g| (g.place, g.steps))
        .collect();
    let expected = [
        (Place::Current, None),
        (Place::Earlier(3), Some(1)),
        (Place::Undone(1), Some(1)),
        (Place::Undone(2), Some(2)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(saver.redo(2).unwrap(), stamps[2]);
    let history = saver.history().unwrap();
    assert!(
        history
            .iter()
            .all(|g| g.stamp.is_ok() && g.modified.is_some() && g.len_bytes > 64)
    );
    let e = saver.redo(1).unwrap_err().to_string();
    assert!(
        e.ends_with("steps: found 1, expected none, for no whole save lies that way"),
        "{e}"
    );
}

#[cfg(unix)]
#[test]
fn a_linked_file_stays_linked_and_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = fresh(&elsewhere);
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.ecclass");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    count_up(&link);
    assert!(link.is_symlink());
    assert_eq!(count(&real).0, 1);
    assert_eq!(
        std::fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing lies beside the link"
    );
    let dangling = folder.path().join("new.ecclass");
    std::os::unix::fs::symlink("to-come.ecclass", &dangling).unwrap();
    store::replace(&dangling, b"x").unwrap();
    assert!(dangling.is_symlink() && folder.path().join("to-come.ecclass").exists());
}

#[test]
fn a_replacement_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.npy");
    store::replace(&path, b"old").unwrap();
    let failed = store::replace_with(&path, |out| {
        out.write_all(b"half a").unwrap();
        Err::<(), _>(Error::Limit {
            what: "rows",
            found: 2,
            limit: 1,
        })
    });
    assert!(failed.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(litter(&folder), Vec::<String>::new());
    let nowhere = folder.path().join("none/features.npy");
    let e = store::replace(&nowhere, b"x").unwrap_err().to_string();
    assert!(e.starts_with(&*nowhere.to_string_lossy()), "{e}");
    assert!(e.contains("cannot write beside it: No such file"), "{e}");
}
