//! The classifier in force: opening it, changing it, going back.

use std::path::Path;

use serde_json::json;

use super::args::{self, Global};
use super::output::{Output, count, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::bundle::Bundle;
use crate::classifier::{Classifier, Draft};
use crate::error::{Error, Result};
use crate::store::{Place, Saver};

/// How often a change is made again because others saved first.
const MOST_TRIES: usize = 50;

/// The classifier that must be there.
pub(super) fn open(path: &Path) -> Result<Classifier> {
    require(path)?;
    Classifier::open(path)
}

fn require(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let expected = "a classifier: make one with `edgeclip learn CLASS PHOTO…` or `edgeclip classes add NAME…`, \
                    or name one with --classifier";
    Err(Error::invalid("classifier", "no such file", expected).at(path))
}

/// The classifier at `path`, or a new one, in either case of the model's feature space.
pub(super) fn open_or_empty(path: &Path, model: &Bundle) -> Result<Classifier> {
    if !path.exists() {
        return Ok(Classifier::empty(model));
    }
    let classifier = Classifier::open(path)?;
    classifier.check_fits(model).map_err(|e| e.at(path))?;
    Ok(classifier)
}

pub(super) fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make", e)),
        None => Ok(()),
    }
}

/// A classifier as it stood and as it stands now, with what there is to tell of the change.
pub(super) struct Changed<T> {
    pub(super) before: Classifier,
    /// `None` where nothing changed and nothing was saved.
    pub(super) after: Option<Classifier>,
    pub(super) told: T,
}

/// Whether a change could be saved, before work that a person would have to do again.
#[cfg(feature = "camera")]
pub(super) fn check(path: &Path) -> Result<()> {
    make_folder(path)?;
    Saver::new(path).check()
}

/// Changes a classifier and saves what came of it. Where another process saved in the meantime,
/// the change is made again on what that one saved: neither is lost.
pub(super) fn change<T>(
    path: &Path,
    open: impl Fn() -> Result<Classifier>,
    mut make: impl FnMut(&Classifier) -> Result<(Option<Classifier>, T), Stop>,
) -> Result<Changed<T>, Stop> {
    // Each conflict is a save of somebody else's, so this many others may be at work.
    for tries_left in (0..MOST_TRIES).rev() {
        let before = open()?;
        let (mut after, told) = make(&before)?;
        let saved = after.as_mut().map_or(Ok(()), |after| {
            make_folder(path)?;
            after.save(path)
        });
        match saved {
            Err(Error::Conflict { .. }) if tries_left > 0 => log::info!(
                "{}: another process saved meanwhile; the change is made again on that",
                path.display()
            ),
            saved => {
                saved?;
                return Ok(Changed {
                    before,
                    after,
                    told,
                });
            }
        }
    }
    unreachable!("the last try returns")
}

/// Changes a classifier, saves it, and says what was done.
pub(super) fn save(
    path: &Path,
    out: &mut Output,
    open: impl Fn() -> Result<Classifier>,
    make: impl Fn(&Classifier) -> Result<Classifier>,
) -> Result<Done, Stop> {
    let made = |before: &Classifier| Ok((Some(make(before).map_err(|e| e.at(path))?), ()));
    let changed = change(path, open, made)?;
    let after = changed.after.unwrap_or(changed.before);
    let (classes, words) = (after.classes().len(), after.note());
    if out.json {
        out.object(&json!({ "classifier": path, "classes": classes, "done": words }))?;
    } else {
        out.line(&format!(
            "{}: {} in {}",
            printable(words),
            count(classes, "class", "classes"),
            path.display()
        ))?;
    }
    Ok(Done::Whole)
}

fn in_force(global: &Global, file: args::ClassifierFile) -> Result<std::path::PathBuf> {
    let verb = VerbFlags {
        classifier: file.classifier,
        top: None,
    };
    places::classifier_path(&Settings::gather(global, verb)?)
}

pub(super) fn forget(global: &Global, args: args::Forget, out: &mut Output) -> Result<Done, Stop> {
    let path = in_force(global, args.file)?;
    let forgotten = |before: &Classifier| {
        let mut draft = before.draft();
        let note = if args.shot.is_empty() {
            forget_class(&mut draft, args.class.as_deref())?
        } else {
            draft.forget(&args.shot)?;
            let ids: Vec<String> = args.shot.iter().map(u32::to_string).collect();
            format!("forgot shot {}", ids.join(", "))
        };
        draft.learn(&note)
    };
    save(&path, out, || open(&path), forgotten)
}

fn forget_class(draft: &mut Draft, class: Option<&str>) -> Result<String> {
    let forgotten = draft.forget_class(class)?;
    let of = class.map_or("the background".to_owned(), |c| format!("`{c}`"));
    if forgotten == 0 {
        let found = format!("none of {of}");
        return Err(Error::invalid(
            "shots to forget",
            found,
            "a class with shots",
        ));
    }
    Ok(format!(
        "forgot {} of {of}",
        count(forgotten, "shot", "shots")
    ))
}

pub(super) fn travel(
    global: &Global,
    args: args::Steps,
    back: bool,
    out: &mut Output,
) -> Result<Done, Stop> {
    let path = in_force(global, args.file)?;
    let saver = Saver::new(&path);
    // Of a file that is gone, earlier saves may be left.
    if !saver.history().is_ok_and(|saves| !saves.is_empty()) {
        require(&path)?;
    }
    let steps = args.steps as usize;
    if back {
        saver.undo(steps)?
    } else {
        saver.redo(steps)?
    };
    let now = Classifier::open(&path)?;
    let (did, opposite) = if back {
        ("undone", "redo")
    } else {
        ("redone", "undo")
    };
    if out.json {
        out.object(&json!({
            "classifier": path, "done": did, "steps": steps, "note": now.note(),
            "classes": now.classes().len(), "shots": now.shots().len(),
        }))?;
    } else {
        let times = if steps == 1 {
            String::new()
        } else {
            format!(" {steps} saves")
        };
        let note = if now.note().is_empty() {
            "an earlier save".to_owned()
        } else {
            now.note().to_owned()
        };
        out.line(&printable(&format!(
            "{did}{times}; now stands: {note} ({opposite} takes this back)"
        )))?;
    }
    Ok(Done::Whole)
}

pub(super) fn history(
    global: &Global,
    file: args::ClassifierFile,
    out: &mut Output,
) -> Result<Done, Stop> {
    let path = in_force(global, file)?;
    require(&path)?;
    let mut rows = vec![
        ["", "saved", "classes", "shots", "what for"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for generation in Saver::new(&path).history()? {
        let steps = generation.steps.unwrap_or(0);
        let way = match (generation.place, generation.steps) {
            (Place::Current, _) => "now".to_owned(),
            (_, None) => continue,
            (Place::Earlier(_), _) => format!("undo {steps}"),
            (Place::Undone(_), _) => format!("redo {steps}"),
        };
        let saved_s = generation
            .modified
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|d| d.as_secs());
        let opened = Classifier::open(&generation.path);
        if out.json {
            let (classes, shots, note, error) = match &opened {
                Ok(c) => (
                    Some(c.classes().len()),
                    Some(c.shots().len()),
                    Some(c.note().to_owned()),
                    None,
                ),
                Err(e) => (None, None, None, Some(e.to_string())),
            };
            out.object(&json!({
                "way": way, "path": generation.path, "saved_s": saved_s, "classes": classes, "shots": shots,
                "note": note, "error": error,
            }))?;
            continue;
        }
        let ago = saved_s.map_or("at an unknown time".to_owned(), ago);
        rows.push(match opened {
            Ok(c) => vec![
                way,
                ago,
                c.classes().len().to_string(),
                c.shots().len().to_string(),
                printable(c.note()),
            ],
            Err(e) => vec![way, ago, "?".into(), "?".into(), printable(&e.to_string())],
        });
    }
    if !out.json {
        out.table(&rows, &[2, 3])?;
    }
    Ok(Done::Whole)
}

fn ago(saved_s: u64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    match now.saturating_sub(saved_s) {
        0..60 => "just now".into(),
        s @ 60..3600 => format!("{} min ago", s / 60),
        s @ 3600..172_800 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    }
}
