//! `classes`: the classes of a classifier file.

use std::path::Path;

use super::args::{self, Global};
use super::output::{Output, class_cell, count, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, names, places, saving};
use crate::bundle::Bundle;
use crate::classifier::{Class, Classifier, Draft};
use crate::error::Result;
use crate::text::{self, Label};

pub(super) fn run(global: &Global, verb: args::Classes, out: &mut Output) -> Result<Done, Stop> {
    let file = match &verb {
        args::Classes::List { file, .. }
        | args::Classes::Move { file, .. }
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
    let mut change = |note: &str, make: &dyn Fn(&mut Draft) -> Result<()>| {
        let changed = |before: &Classifier| {
            let mut draft = before.draft();
            make(&mut draft)?;
            draft.learn(note)
        };
        saving::save(&path, out, || saving::open(&path), changed)
    };
    match verb {
        args::Classes::List { shots: true, .. } => list_shots(&saving::open(&path)?, out),
        args::Classes::List { .. } => list(&saving::open(&path)?, out),
        args::Classes::Add { names, more, .. } => {
            let mut labels = more.given()?.unwrap_or_default();
            for name in &names {
                labels.push(names::label(name)?);
            }
            add(&text::check(labels)?, &more, &path, &settings, out)
        }
        args::Classes::Move { shots, to, .. } => {
            let ids: Vec<String> = shots.iter().map(u32::to_string).collect();
            let place = to
                .as_ref()
                .map_or("the background".to_owned(), |c| format!("`{c}`"));
            let note = format!("moved shot {} to {place}", ids.join(", "));
            change(&note, &|draft| {
                draft.move_shots(&shots, to.as_deref()).map(drop)
            })
        }
        args::Classes::Remove { names, .. } => {
            let note = format!("removed {}", names.join(", "));
            change(&note, &|draft| {
                names
                    .iter()
                    .try_for_each(|name| draft.remove_class(name).map(drop))
            })
        }
        args::Classes::Rename { name, new_name, .. } => {
            let note = format!("`{name}` is now `{new_name}`");
            change(&note, &|draft| draft.rename(&name, &new_name).map(drop))
        }
    }
}

fn add(
    labels: &[Label],
    names: &args::Names,
    path: &Path,
    settings: &Settings,
    out: &mut Output,
) -> Result<Done, Stop> {
    let model: Bundle = places::open_model(settings)?;
    saving::open_or_empty(path, &model)?;
    let weights = names.weights(labels, &model, settings)?;
    let added: Vec<_> = labels.iter().map(Label::name).collect();
    let note = format!("added {}", added.join(", "));
    let changed = |before: &Classifier| {
        let mut draft = before.draft();
        draft.add_labels(weights.clone())?;
        draft.learn(&note)
    };
    saving::save(path, out, || saving::open_or_empty(path, &model), changed)
}

fn list(classifier: &Classifier, out: &mut Output) -> Result<Done, Stop> {
    let mut rows = Vec::new();
    for (at, class) in classifier.classes().iter().enumerate() {
        let shots = classifier.shots_of(at);
        if out.json {
            out.object(&serde_json::json!({
                "label": class.name(), "id": class.id(), "prompts": class.prompts(), "estimated": class.is_estimated(),
                "named": classifier.is_named(at), "shots": shots,
            }))?;
            continue;
        }
        let by = match (classifier.is_named(at), shots) {
            (true, 0) => "by its name".to_owned(),
            (true, n) => format!("by its name and {}", count(n, "shot", "shots")),
            (false, n) => format!("by {} alone", count(n, "shot", "shots")),
        };
        rows.push(vec![class_cell(class.name()), by]);
    }
    let background = classifier
        .shots()
        .iter()
        .filter(|s| s.class().is_none())
        .count();
    if background > 0 && !out.json {
        rows.push(vec![
            "(background)".into(),
            format!("by {}", count(background, "shot", "shots")),
        ]);
    }
    out.table(&rows, &[])?;
    Ok(Done::Whole)
}

fn list_shots(classifier: &Classifier, out: &mut Output) -> Result<Done, Stop> {
    let mut rows = vec![
        ["shot", "class", "photo", "view"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for shot in classifier.shots() {
        let class = shot
            .class()
            .and_then(|id| classifier.classes().iter().find(|c| c.id() == id));
        let class = class.map(Class::name);
        if out.json {
            out.object(&serde_json::json!({
                "shot": shot.id(), "label": class, "background": class.is_none(), "photo": shot.name(), "view": shot.view(),
            }))?;
            continue;
        }
        let view = if shot.view() == 0 {
            "whole".to_owned()
        } else {
            shot.view().to_string()
        };
        let class = class.unwrap_or("(background)");
        rows.push(vec![
            shot.id().to_string(),
            class_cell(class),
            printable(shot.name()),
            view,
        ]);
    }
    if !out.json {
        out.table(&rows, &[0])?;
    }
    Ok(Done::Whole)
}
