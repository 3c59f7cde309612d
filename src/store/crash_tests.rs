//! Saving on a simulated disk that loses power, or refuses, at every act.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::envelope::Envelope;
use super::fs::Target;
use super::generations::{Place, Row, Shelf};
use super::layout::{Kind, Stamp};
use super::save::{replace_in, save, travel};
use super::simulated::{Disk, Fault, Unsynced};
use super::{Builder, Saver};
use crate::error::{Error, Result};

const NAME: &str = "/disk/mug.ecclass";

fn target() -> Target {
    Target::plain(PathBuf::from(NAME)).unwrap()
}

fn contents(text: &str) -> Builder<'_> {
    Envelope::builder(Kind::Classifier).section("text", text.as_bytes())
}

/// The text inside one of our files, if it is whole.
fn text(disk: &Disk, path: &Path) -> Option<String> {
    let whole = Envelope::from_bytes(disk.content(path)?, Kind::Classifier).ok()?;
    whole.verify().ok()?;
    Some(String::from_utf8(whole.section("text").unwrap().to_vec()).unwrap())
}

fn current(disk: &Disk) -> Option<String> {
    text(disk, Path::new(NAME))
}

fn stamp(disk: &Disk) -> Option<Stamp> {
    Shelf {
        fs: disk,
        target: &target(),
    }
    .current()
    .unwrap()
}

fn save_text(disk: &Disk, keep: usize, new: &str) -> Result<Stamp> {
    let target = target();
    let shelf = Shelf {
        fs: disk,
        target: &target,
    };
    let base = shelf.current()?;
    save(&shelf, keep, base, &contents(new))
}

fn walk(disk: &Disk, steps: usize, row: Row) -> Result<Stamp> {
    let target = target();
    travel(
        &Shelf {
            fs: disk,
            target: &target,
        },
        3,
        steps,
        row,
    )
}

/// A disk that holds these saves, the last one current.
fn disk(without_links: bool, saves: &[&str]) -> Disk {
    let disk = Disk::new(without_links);
    for text in saves {
        save_text(&disk, 3, text).unwrap();
    }
    disk
}

/// The texts of all whole states that the history lists.
fn listed(disk: &Disk) -> BTreeSet<String> {
    let history = Shelf {
        fs: disk,
        target: &target(),
    }
    .history()
    .unwrap();
    let whole = history.iter().filter(|entry| entry.stamp.is_ok());
    whole
        .map(|entry| text(disk, &entry.path).expect("listed as whole"))
        .collect()
}

/// Every combination of lasting changes where there are few; else all beginnings, and all
/// but one, and one alone.
fn combinations(pending: usize) -> Vec<u64> {
    let all = (1u64 << pending) - 1;
    if pending <= 8 {
        return (0..=all).collect();
    }
    let single = |i: usize| [1 << i, all ^ 1 << i, (1 << i) - 1];
    (0..pending).flat_map(single).chain([all]).collect()
}

/// Runs `act` with the power going at each of its acts in turn, and `check` on the disk
/// after every way in which that can end; the flag tells whether changes lasted in order.
fn cut_everywhere(
    start: &Disk,
    act: impl Fn(&Disk) -> Result<Stamp>,
    check: impl Fn(&Disk, bool),
) -> usize {
    let mut cuts = 0;
    for at in 0.. {
        let disk = start.copy();
        disk.arm(Fault::Crash(at));
        let done = act(&disk);
        for kept in combinations(disk.pending()) {
            for unsynced in Unsynced::ALL {
                check(
                    &disk.after_cut(kept, unsynced),
                    (kept + 1).is_power_of_two(),
                );
                cuts += 1;
            }
        }
        if !disk.struck() {
            done.unwrap();
            return cuts;
        }
        assert!(done.is_err(), "act {at} failed silently");
    }
    unreachable!("acts are counted upwards until none is left");
}

fn texts(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_cut_at_any_act_of_a_save_leaves_the_old_or_the_new_file() {
    for without_links in [false, true] {
        for saves in [
            &[][..],
            &["a"],
            &["a", "b"],
            &["a", "b", "c", "d"],
            &["a", "b", "c", "d", "e"],
        ] {
            let start = disk(without_links, saves);
            let old = saves.last().map(|&text| text.to_owned());
            let earlier = &saves[saves.len().saturating_sub(3)..];
            let cuts = cut_everywhere(
                &start,
                |disk| save_text(disk, 3, "new"),
                |disk, in_order| {
                    let now = current(disk);
                    assert!(now == old || now.as_deref() == Some("new"), "{now:?}");
                    let listed = listed(disk);
                    assert!(
                        old.iter().all(|old| listed.contains(old)),
                        "the old state is out of reach"
                    );
                    if in_order {
                        assert!(
                            texts(earlier).is_subset(&listed),
                            "{listed:?} misses some of {earlier:?}"
                        );
                    }
                    steps_back_lead_elsewhere(disk);
                    continues(disk);
                },
            );
            assert!(cuts > 20);
        }
    }
}

/// No step of undo leads to the same state again, though a cut may leave it there twice.
fn steps_back_lead_elsewhere(disk: &Disk) {
    let disk = disk.copy();
    let mut before = current(&disk);
    while walk(&disk, 1, Row::Earlier).is_ok() {
        let now = current(&disk);
        assert!(now.is_some() && now != before, "{now:?} twice");
        before = now;
    }
}

/// Whatever a cut left: saving goes on, sweeps up, and can be undone.
fn continues(disk: &Disk) {
    let before = current(disk);
    let first = save_text(disk, 3, "later").unwrap();
    assert_eq!(current(disk).as_deref(), Some("later"));
    assert!(
        !disk
            .paths()
            .iter()
            .any(|path| path.to_string_lossy().contains(".tmp-"))
    );
    if before.is_some() {
        walk(disk, 1, Row::Earlier).unwrap();
        assert_eq!(current(disk), before);
        assert_eq!(walk(disk, 1, Row::Undone).unwrap(), first);
    }
}

#[test]
fn a_cut_at_any_act_of_an_undo_leaves_the_old_or_the_earlier_file() {
    for (without_links, steps) in [(false, 1), (false, 2), (false, 3), (true, 1), (true, 2)] {
        let start = disk(without_links, &["a", "b", "c", "d"]);
        let aim = ["d", "c", "b", "a"][steps];
        cut_everywhere(
            &start,
            |disk| walk(disk, steps, Row::Earlier),
            |disk, in_order| {
                let now = current(disk).expect("a whole file");
                assert!(now == "d" || now == aim, "{now}");
                if in_order {
                    assert_eq!(listed(disk), texts(&["a", "b", "c", "d"]));
                    goes_on_from(disk, &now);
                }
                continues(disk);
            },
        );
    }
}

/// Undo and redo lead where they should from a state that a cut left behind.
fn goes_on_from(disk: &Disk, now: &str) {
    let disk = disk.copy();
    let order = ["a", "b", "c", "d"];
    let at = order.iter().position(|&text| text == now).unwrap();
    if at + 1 < order.len() {
        walk(&disk, 1, Row::Undone).unwrap();
        assert_eq!(current(&disk).as_deref(), Some(order[at + 1]));
        walk(&disk, 1, Row::Earlier).unwrap();
    }
    for expected in order[..at].iter().rev() {
        walk(&disk, 1, Row::Earlier).unwrap();
        assert_eq!(current(&disk).as_deref(), Some(*expected));
    }
}

#[test]
fn a_cut_at_any_act_of_a_redo_leaves_the_old_or_the_later_file() {
    let start = disk(false, &["a", "b", "c", "d"]);
    walk(&start, 3, Row::Earlier).unwrap();
    cut_everywhere(
        &start,
        |disk| walk(disk, 2, Row::Undone),
        |disk, in_order| {
            let now = current(disk).expect("a whole file");
            assert!(now == "a" || now == "c", "{now}");
            if in_order {
                goes_on_from(disk, &now);
            }
        },
    );
}

#[test]
fn a_cut_at_any_act_of_a_plain_replace_leaves_the_old_or_the_new_file() {
    let start = Disk::new(false);
    start.put(Path::new(NAME), b"old");
    let write = |out: &mut dyn std::io::Write| {
        out.write_all(b"a new one").unwrap();
        Ok(Stamp {
            generation: 0,
            checksum: 0,
        })
    };
    cut_everywhere(
        &start,
        |disk| replace_in(disk, &target(), write),
        |disk, _| {
            let now = disk.content(Path::new(NAME)).unwrap();
            assert!(now == b"old" || now == b"a new one", "{now:?}");
        },
    );
}

#[test]
fn a_refusal_at_any_act_leaves_a_whole_file_and_no_litter() {
    for without_links in [false, true] {
        for at in 0.. {
            let disk = disk(without_links, &["a", "b", "c", "d"]);
            disk.arm(Fault::Refuse(at));
            let done = save_text(&disk, 3, "new");
            let now = current(&disk).unwrap();
            match done {
                Ok(_) => assert_eq!(now, "new"),
                Err(_) => assert!(now == "d" || now == "new"),
            }
            assert!(
                !disk
                    .paths()
                    .iter()
                    .any(|path| path.to_string_lossy().contains(".tmp-"))
            );
            if !disk.struck() {
                break;
            }
        }
    }
}

#[test]
fn undo_and_redo_walk_the_same_road() {
    let disk = disk(false, &["a", "b", "c", "d"]);
    for (steps, row, expected) in [
        (2, Row::Earlier, "b"),
        (1, Row::Undone, "c"),
        (2, Row::Earlier, "a"),
        (3, Row::Undone, "d"),
        (1, Row::Earlier, "c"),
    ] {
        walk(&disk, steps, row).unwrap();
        assert_eq!(current(&disk).as_deref(), Some(expected));
    }
    let e = walk(&disk, 3, Row::Earlier).unwrap_err().to_string();
    assert!(
        e.contains("cannot undo 3 times: only 2 earlier states are kept"),
        "{e}"
    );
    save_text(&disk, 3, "x").unwrap();
    assert!(
        walk(&disk, 1, Row::Undone).is_err(),
        "a new save ends what can be redone"
    );
    let left = disk.paths();
    assert!(
        left.iter()
            .all(|path| !path.to_string_lossy().contains(".undone.")),
        "{left:?}"
    );
    walk(&disk, 1, Row::Earlier).unwrap();
    assert_eq!(current(&disk).as_deref(), Some("c"));
}

#[test]
fn undo_leaves_a_damaged_file_behind() {
    let disk = disk(false, &["a", "b", "c"]);
    disk.put(Path::new(NAME), b"rubbish");
    disk.put(Path::new("/disk/mug.ecclass.1"), b"rubbish, too");
    let history = Shelf {
        fs: &disk,
        target: &target(),
    }
    .history()
    .unwrap();
    let steps: Vec<_> = history
        .iter()
        .map(|g| (g.place, g.stamp.is_ok(), g.steps))
        .collect();
    let expected = [
        (Place::Current, false, None),
        (Place::Earlier(1), false, None),
        (Place::Earlier(2), true, Some(1)),
    ];
    assert_eq!(steps, expected);
    assert!(
        save_text(&disk, 3, "new").is_err(),
        "nothing is saved over what cannot be read"
    );
    walk(&disk, 1, Row::Earlier).unwrap();
    assert_eq!(current(&disk).as_deref(), Some("a"));
}

#[test]
fn a_state_that_came_back_by_undo_is_no_other_state() {
    let disk = disk(false, &["a", "b"]);
    let b = stamp(&disk);
    walk(&disk, 1, Row::Earlier).unwrap();
    save_text(&disk, 3, "not b").unwrap();
    let target = target();
    let lost = save(
        &Shelf {
            fs: &disk,
            target: &target,
        },
        3,
        b,
        &contents("from b"),
    );
    assert!(
        matches!(
            lost,
            Err(Error::Conflict {
                found: Some(3),
                expected: Some(2),
                ..
            })
        ),
        "{lost:?}"
    );
}

#[test]
fn another_file_of_the_same_generation_is_another_state() {
    let disk = disk(false, &["a"]);
    let base = stamp(&disk);
    let other = contents("b").generation(1).to_bytes().unwrap();
    disk.put(Path::new(NAME), &other);
    let target = target();
    let shelf = Shelf {
        fs: &disk,
        target: &target,
    };
    let lost = save(&shelf, 3, base, &contents("from a")).unwrap_err();
    let words = "found another generation 1, expected generation 1";
    assert!(lost.to_string().contains(words), "{lost}");
}

#[test]
fn only_the_newest_are_kept() {
    let disk = disk(false, &["a", "b", "c", "d", "e", "f"]);
    assert_eq!(listed(&disk), texts(&["c", "d", "e", "f"]));
    save_text(&disk, 1, "g").unwrap();
    assert_eq!(listed(&disk), texts(&["f", "g"]));
    save_text(&disk, 0, "h").unwrap();
    assert_eq!(listed(&disk), texts(&["h"]));
}

#[test]
fn a_saver_is_told_what_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mug.ecclass");
    let saver = Saver::new(&path).keep(1);
    let mut base = None;
    for text in ["a", "b", "c"] {
        base = Some(saver.save(base, &contents(text)).unwrap());
    }
    assert_eq!(saver.history().unwrap().len(), 2);
}
