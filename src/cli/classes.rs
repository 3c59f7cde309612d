//! `classes`: the classes of a classifier file.

use std::path::Path;

use super::args::{self, Global};
use super::output::{Output, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::bundle::Bundle;
use crate::classifier::Classifier;
use crate::error::Error;
use crate::text::{self, Label};

pub(super) fn run(global: &Global, verb: args::Classes, out: &mut Output) -> Result<Done, Stop> {
    let file = match &verb {
        args::Classes::List { file }
        | args::Classes::Add { file, .. }
        | args::Classes::Remove { file, .. }
        | args::Classes::Rename { file, .. } => file.classifier.clone(),
    };
    let settings = Settings::gather(
        global,
        VerbFlags {
            classifier: file,
            top: None,
        },
    )?;
    let path = places::classifier_path(&settings)?;
    match verb {
        args::Classes::List { .. } => list(&open(&path)?, out),
        args::Classes::Add { names, more, .. } => {
            let mut labels = more.given()?.unwrap_or_default();
            for name in &names {
                labels.push(Label::new::<&str>(name, &[])?);
            }
            add(&text::check(labels)?, &more, &path, &settings, out)
        }
        args::Classes::Remove { names, .. } => {
            let mut classifier = open(&path)?;
            for name in &names {
                classifier = classifier.without(name).map_err(|e| e.at(&path))?;
            }
            save(
                classifier,
                &path,
                &format!("removed {}", names.join(", ")),
                out,
            )
        }
        args::Classes::Rename { name, new_name, .. } => {
            let classifier = open(&path)?
                .renamed(&name, &new_name)
                .map_err(|e| e.at(&path))?;
            save(
                classifier,
                &path,
                &format!("`{name}` is now `{new_name}`"),
                out,
            )
        }
    }
}

fn open(path: &Path) -> Result<Classifier, Stop> {
    if path.exists() {
        return Ok(Classifier::open(path)?);
    }
    let expected =
        "a classifier: make one with `edgeclip classes add NAME…`, or name one with --classifier";
    Err(Error::Invalid {
        what: "classifier",
        found: "no such file".into(),
        expected: expected.into(),
    }
    .at(path)
    .into())
}

fn add(
    labels: &[Label],
    names: &args::Names,
    path: &Path,
    settings: &Settings,
    out: &mut Output,
) -> Result<Done, Stop> {
    let model: Bundle = places::open_model(settings)?;
    let there = path.exists().then(|| Classifier::open(path)).transpose()?;
    if let Some(classifier) = &there {
        classifier.check_fits(&model).map_err(|e| e.at(path))?;
    }
    let weights = names.weights(labels, &model, settings)?;
    let classifier = match there {
        Some(classifier) => classifier.with_labels(weights).map_err(|e| e.at(path))?,
        None => Classifier::from_labels(&model, weights)?,
    };
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make", e))?;
    }
    let added: Vec<_> = labels.iter().map(Label::name).collect();
    save(
        classifier,
        path,
        &format!("added {}", added.join(", ")),
        out,
    )
}

fn save(
    mut classifier: Classifier,
    path: &Path,
    words: &str,
    out: &mut Output,
) -> Result<Done, Stop> {
    classifier.save(path)?;
    let classes = classifier.classes().len();
    if out.json {
        out.object(&serde_json::json!({ "classifier": path, "classes": classes, "done": words }))?;
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

fn list(classifier: &Classifier, out: &mut Output) -> Result<Done, Stop> {
    for class in classifier.classes() {
        if out.json {
            out.object(&serde_json::json!({
                "label": class.name(), "id": class.id(), "prompts": class.prompts(), "estimated": class.is_estimated(),
            }))?;
        } else {
            out.line(&printable(class.name()))?;
        }
    }
    Ok(Done::Whole)
}
