//! The classifier in force: opening it, changing it, going back.

use std::path::Path;

use serde_json::json;

use super::args::{self, Global};
use super::output::{Output, count, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::bundle::Bundle;
use crate::classifier::Classifier;
use crate::error::{Error, Result};
use crate::store::{Place, Saver};

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

/// Saves and says what was done.
pub(super) fn save(
    mut classifier: Classifier,
    path: &Path,
    out: &mut Output,
) -> Result<Done, Stop> {
    make_folder(path)?;
    classifier.save(path)?;
    let classes = classifier.classes().len();
    let words = classifier.note();
    if out.json {
        out.object(&json!({ "classifier": path, "classes": classes, "done": words }))?;
    } else {
        let plural = if classes == 1 { "class" } else { "classes" };
        out.line(&format!(
            "{}: {classes} {plural} in {}",
            printable(words),
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
    let before = open(&path)?;
    let mut draft = before.draft();
    let at = |e: Error| e.at(&path);
    let note = if args.shot.is_empty() {
        let forgotten = draft.forget_class(args.class.as_deref()).map_err(at)?;
        let of = args
            .class
            .map_or("the background".to_owned(), |c| format!("`{c}`"));
        if forgotten == 0 {
            return Err(at(Error::invalid(
                "shots to forget",
                format!("none of {of}"),
                "a class with shots",
            ))
            .into());
        }
        format!("forgot {} of {of}", count(forgotten, "shot", "shots"))
    } else {
        draft.forget(&args.shot).map_err(at)?;
        let ids: Vec<String> = args.shot.iter().map(u32::to_string).collect();
        format!("forgot shot {}", ids.join(", "))
    };
    save(draft.learn(&note).map_err(at)?, &path, out)
}

pub(super) fn travel(
    global: &Global,
    args: args::Steps,
    back: bool,
    out: &mut Output,
) -> Result<Done, Stop> {
    let path = in_force(global, args.file)?;
    let saver = Saver::new(&path);
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
