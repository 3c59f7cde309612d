//! `audit`: what the classifier thinks of its own shots.

use serde_json::json;

use super::args::{self, Global};
use super::output::{Output, class_cell, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places, saving};
use crate::classifier::{Audit, ClassAudit, shots_in_words};
use crate::error::Error;
use crate::eval;

/// Lines of a list before the rest is only counted.
const SHOWN: usize = 10;

pub(super) fn run(global: &Global, args: &args::Audit, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.file.classifier.clone(),
        top: None,
    };
    let path = places::classifier_path(&Settings::gather(global, verb)?)?;
    let classifier = saving::open(&path)?;
    if classifier.shots().is_empty() {
        let expected = "shots to look into: `edgeclip learn CLASS PHOTO…`";
        return Err(Error::invalid("classifier", "names alone", expected)
            .at(&path)
            .into());
    }
    let audit = classifier.audit().map_err(|e| e.at(&path))?;
    if let Some(picture) = &args.picture {
        let names: Vec<String> = audit.classes.iter().map(|c| c.name.clone()).collect();
        eval::confusion(
            "shots, each answered while left out",
            &names,
            &audit.confusions,
        )
        .write(picture)?;
    }
    if out.json {
        objects(&audit, out)?
    } else {
        words(&audit, out)?
    }
    if let Some(picture) = &args.picture {
        out.say(&format!("confusion matrix in {}", picture.display()));
    }
    Ok(Done::Whole)
}

fn objects(audit: &Audit, out: &mut Output) -> Result<(), Stop> {
    let k = audit.classes.len();
    for (at, class) in audit.classes.iter().enumerate() {
        let row = &audit.confusions[at * k..(at + 1) * k];
        let taken_for: serde_json::Map<String, serde_json::Value> = (0..k)
            .filter(|other| *other != at && row[*other] > 0)
            .map(|other| (audit.classes[other].name.clone(), row[other].into()))
            .collect();
        out.object(&json!({
            "label": class.name, "named": class.named, "shots": class.shots, "bursts": class.bursts,
            "judged": class.judged, "right": class.right, "taken_for": taken_for,
        }))?;
    }
    for d in &audit.doubts {
        out.object(&json!({ "doubt": { "shot": d.shot, "views": d.views, "photo": d.photo, "label": d.class, "looks_like": d.looks_like, "p": d.p } }))?;
    }
    for t in &audit.twins {
        out.object(&json!({ "twins": {
            "shots": [t.shots.0, t.shots.1], "views": [t.views.0, t.views.1], "photos": [t.photos.0, t.photos.1],
            "labels": [t.classes.0, t.classes.1], "cosine": t.cosine,
        } }))?;
    }
    for words in &audit.advice {
        out.object(&json!({ "advice": words }))?;
    }
    Ok(())
}

fn words(audit: &Audit, out: &mut Output) -> Result<(), Stop> {
    let mut rows = vec![
        ["class", "shots", "views", "right", "taken for"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (at, class) in audit.classes.iter().enumerate() {
        rows.push(vec![
            class_cell(&class.name),
            class.shots.to_string(),
            class.bursts.to_string(),
            right(class),
            taken_for(audit, at),
        ]);
    }
    out.table(&rows, &[1, 2, 3])?;
    section("Likely wrong labels", &audit.doubts, out, |d| {
        format!(
            "{} {}: `{}`, looks like `{}` ({:.0}%)",
            shots_in_words(&d.views),
            d.photo,
            d.class,
            d.looks_like,
            100.0 * d.p
        )
    })?;
    section("Nearly the same", &audit.twins, out, |t| {
        let (a, b) = (&t.photos.0, &t.photos.1);
        format!(
            "{} {a} and {} {b}, cosine {:.3}",
            shots_in_words(&t.views.0),
            shots_in_words(&t.views.1),
            t.cosine
        )
    })?;
    section("What to do next", &audit.advice, out, Clone::clone)
}

fn right(class: &ClassAudit) -> String {
    if class.judged == 0 {
        return "–".into();
    }
    format!("{} of {}", class.right, class.judged)
}

fn taken_for(audit: &Audit, at: usize) -> String {
    let k = audit.classes.len();
    let row = &audit.confusions[at * k..(at + 1) * k];
    let mut others: Vec<usize> = (0..k)
        .filter(|other| *other != at && row[*other] > 0)
        .collect();
    others.sort_by_key(|other| std::cmp::Reverse(row[*other]));
    let named = others.iter().take(3).map(|other| {
        format!(
            "{} {}",
            class_cell(&audit.classes[*other].name),
            row[*other]
        )
    });
    named.collect::<Vec<_>>().join(", ")
}

fn section<T>(
    title: &str,
    items: &[T],
    out: &mut Output,
    show: impl Fn(&T) -> String,
) -> Result<(), Stop> {
    if items.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line(title)?;
    for item in items.iter().take(SHOWN) {
        out.line(&format!("  {}", printable(&show(item))))?;
    }
    if items.len() > SHOWN {
        out.line(&format!(
            "  and {} more (--json lists all)",
            items.len() - SHOWN
        ))?;
    }
    Ok(())
}
