//! Saving from outside: several processes, killed processes, links, permissions.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgeclip::error::Error;
use edgeclip::store::{self, Builder, Envelope, Kind, Place, Saver, Stamp};

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
            &format!("saving::child_{name}"),
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
    assert_eq!(litter(&folder), std::slice::from_ref(&living));
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
        e.ends_with("nothing to redo: no undone state is kept"),
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
