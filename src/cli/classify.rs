//! `classify`: what photos show, out of given names.

use std::path::{Path, PathBuf};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::args::{self, Global};
use super::output::{Output, align, class_cell, padded, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, photos, places};
use crate::bundle::Bundle;
use crate::classifier::{Classifier, Decision};
use crate::text::Label;

/// What the table answers where nothing known is seen.
const UNKNOWN: &str = "unknown";

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Top<'a>>>,
    /// Whether it looks like none of the classes; only where shots taught what they look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Top<'a> {
    label: &'a str,
    score: f32,
    p: f32,
}

pub(super) fn run(global: &Global, args: args::Classify, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.classifier.clone(),
        top: args.top,
    };
    let settings = Settings::gather(global, verb)?;
    let top = settings.top.value.max(1);
    let labels = args.names.given()?;
    let photos = photos::gather(&args.photos)?;
    let model = places::open_model(&settings)?;
    let classifier = classifier(&args, labels, &model, &settings)?;
    let threads = settings.threads.value;
    let encoder = photos::open_encoder(&model, photos.len(), &settings.threads)?;

    let shown: Vec<String> = photos
        .iter()
        .map(|p| printable(&p.to_string_lossy()))
        .collect();
    let answers = top.min(classifier.classes().len());
    let table = Table::new(&shown, &classifier, answers, out.colours());
    if !out.json {
        let head = table.head();
        out.line(&head)?;
    }
    let mut unreadable = 0;
    photos::encode_all(
        &encoder,
        &photos,
        &args.decode.rules(),
        threads,
        out.quiet,
        |path, result| {
            let answered = result.and_then(|e| Ok((classifier.decide(&e.feature, top)?, e.took)));
            match answered {
                Ok((decision, took)) => {
                    let ms = took.as_secs_f64() * 1e3;
                    if out.json {
                        json(path, &decision, ms, out)
                    } else {
                        out.line(&table.row(path, &decision, ms))
                    }
                }
                Err(e) => {
                    unreadable += 1;
                    if out.json {
                        let path = &*path.to_string_lossy();
                        out.object(&Line {
                            path,
                            top: None,
                            unknown: None,
                            ms: None,
                            error: Some(e.to_string()),
                        })
                    } else {
                        log::error!("{e}; skipped");
                        Ok(())
                    }
                }
            }
        },
    )?;
    Ok(report(unreadable, photos.len()))
}

/// Says how many photos were left out.
pub(super) fn report(unreadable: usize, photos: usize) -> Done {
    if unreadable == 0 {
        return Done::Whole;
    }
    log::error!("{unreadable} of {photos} photos could not be read");
    Done::InPart
}

fn classifier(
    args: &args::Classify,
    labels: Option<Vec<Label>>,
    model: &Bundle,
    settings: &Settings,
) -> Result<Classifier, Stop> {
    if let Some(labels) = labels {
        return Ok(Classifier::from_labels(
            model,
            args.names.weights(&labels, model, settings)?,
        )?);
    }
    open_classifier(model, settings).map(|(classifier, _)| classifier)
}

/// The classifier in force, and where it lies.
pub(super) fn open_classifier(
    model: &Bundle,
    settings: &Settings,
) -> Result<(Classifier, PathBuf), Stop> {
    let path = places::classifier_path(settings)?;
    if !path.is_file() {
        return Err(Stop::Usage(format!(
            "no names to choose from: give --labels \"mug, cat\", or make a classifier with `edgeclip learn mug PHOTO…` \
             ({} is not there)",
            path.display()
        )));
    }
    let classifier = Classifier::open(&path)?;
    classifier.check_fits(model).map_err(|e| e.at(&path))?;
    log::info!(
        "{} classes from {}",
        classifier.classes().len(),
        path.display()
    );
    Ok((classifier, path))
}

fn json(path: &Path, decision: &Decision<'_>, ms: f64, out: &mut Output) -> Result<(), Stop> {
    let top = decision
        .answers
        .iter()
        .map(|a| Top {
            label: a.label,
            score: a.score,
            p: a.p,
        })
        .collect();
    let ms = Some((ms * 1e3).round() / 1e3);
    out.object(&Line {
        path: &path.to_string_lossy(),
        top: Some(top),
        unknown: decision.unknown,
        ms,
        error: None,
    })
}

/// Columns that are known before the first photo is read, so that rows can flow.
struct Table {
    widths: Vec<usize>,
    right: Vec<usize>,
    bold: bool,
    answers: usize,
}

impl Table {
    fn new(photos: &[String], classifier: &Classifier, answers: usize, bold: bool) -> Self {
        let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let photo = longest(&mut photos.iter().map(|p| p.width())).max("photo".len());
        let label = longest(
            &mut classifier
                .classes()
                .iter()
                .map(|c| class_cell(c.name()).width()),
        )
        .max(UNKNOWN.len());
        let mut widths = vec![photo];
        for _ in 0..answers {
            widths.extend([label, 5]);
        }
        widths.push(6);
        let right = (0..answers)
            .map(|a| 2 + 2 * a)
            .chain([1 + 2 * answers])
            .collect();
        Self {
            widths,
            right,
            bold,
            answers,
        }
    }

    fn head(&self) -> String {
        let mut cells = vec!["photo".to_owned()];
        for a in 0..self.answers {
            cells.extend([
                ["answer", "second", "third"]
                    .get(a)
                    .map_or("", |w| w)
                    .to_owned(),
                "p".to_owned(),
            ]);
        }
        cells.push("ms".into());
        align(&cells, &self.widths, &self.right)
    }

    fn row(&self, path: &Path, decision: &Decision<'_>, ms: f64) -> String {
        let mut cells = vec![printable(&path.to_string_lossy())];
        if decision.unknown == Some(true) {
            // What it looks like most is still worth a look, one place further.
            cells.extend([UNKNOWN.to_owned(), String::new()]);
        }
        for a in decision
            .answers
            .iter()
            .take(self.answers - (cells.len() - 1) / 2)
        {
            cells.extend([class_cell(a.label), format!("{:.1}%", 100.0 * a.p)]);
        }
        cells.push(format!("{ms:.1}"));
        let mut cells = padded(&cells, &self.widths, &self.right);
        if self.bold {
            cells[1] = format!("\u{1b}[1m{}\u{1b}[0m", cells[1]);
        }
        cells.join("  ")
    }
}
