//! `eval`: how right a classifier is on labelled photos, and heads on draws of shots.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use serde_json::json;

use super::args::{self, Global};
use super::judge::{self, Seen};
use super::output::Output;
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::error::Result;
use crate::eval::{self, Cell, Draw, Labelled, Line, OpenSet, Pack};
use crate::head::{self, Method};

pub(super) fn run(global: &Global, args: &args::Eval, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.file.classifier.clone(),
        top: None,
    };
    for (flag, path) in [("--plot", &args.plot), ("--picture", &args.picture)] {
        if path.as_ref().is_some_and(|p| !eval::Picture::knows(p)) {
            return Err(Stop::Usage(format!(
                "{flag}: a name that ends in .svg or .png"
            )));
        }
    }
    let settings = Settings::gather(global, verb)?;
    let drawn = !args.head.is_empty()
        || args.plot.is_some()
        || args.draw.is_some()
        || args.uncalibrated
        || args.open_set;
    if args.shots.is_empty() && drawn {
        let words = "--head, --plot, --draw, --open-set and --uncalibrated go with --shots K: how many shots a class to learn from";
        return Err(Stop::Usage(words.into()));
    }
    if args.shots.is_empty() {
        return match &args.photos {
            Some(folder) => judge::run(folder, args, &settings, out),
            None => Err(Stop::Usage(
                "--features PACK goes with --shots K: how many shots a class to learn from".into(),
            )),
        };
    }
    if args.shots.contains(&0) {
        return Err(Stop::Usage("--shots 0: at least one shot a class".into()));
    }
    let (pack, unreadable, total) = match (&args.features, &args.photos) {
        (Some(path), _) => (Pack::open(path)?, 0, 0),
        (None, Some(folder)) => pool(folder, args, &settings, out.quiet)?,
        (None, None) => unreachable!("clap asks for one"),
    };
    let pack = if args.text == "ignore" {
        pack.without_text()
    } else {
        pack
    };
    heads(&pack, args, out)?;
    Ok(super::classify::report(unreadable, total))
}

/// A line for each head and number of shots.
fn heads(pack: &Pack, args: &args::Eval, out: &mut Output) -> Result<(), Stop> {
    let methods = methods(args, pack.is_named())?;
    let count = args
        .draw
        .map_or(args.draws as usize, |i| usize::from(i) + 1);
    let rows = Rows::new(out.json, pack.is_named());
    rows.head(out)?;
    let mut lines: Vec<Line> = methods
        .iter()
        .map(|m| Line {
            name: m.to_string(),
            points: Vec::new(),
        })
        .collect();
    for &shots in &args.shots {
        let mut draws: Vec<Draw> = pack.draw(shots, count)?;
        if let Some(i) = args.draw.map(usize::from) {
            if i >= draws.len() {
                return Err(Stop::Usage(format!(
                    "--draw {i}: there are {} draws of {shots} shots",
                    draws.len()
                )));
            }
            draws = vec![draws.swap_remove(i)];
        }
        for (method, line) in methods.iter().zip(&mut lines) {
            let settings = head::Settings {
                method: *method,
                ..head::Settings::default()
            };
            let cell = eval::measure(pack, shots, &settings, &draws, args.uncalibrated)?;
            line.points.push((shots, cell.top1));
            let open = if args.open_set {
                eval::open_set(pack, &settings, &draws)?
            } else {
                None
            };
            rows.show(&method.to_string(), &cell, &pack.classes, open, out)?;
        }
    }
    if let Some(path) = &args.plot {
        let title = args
            .features
            .as_ref()
            .or(args.photos.as_ref())
            .and_then(|p| p.file_stem());
        let title = title.map_or("accuracy".into(), |t| t.to_string_lossy());
        lines
            .iter_mut()
            .for_each(|l| l.points.sort_unstable_by_key(|p| p.0));
        eval::curve(&format!("{title}: top-1 on what was not learned"), &lines).write(path)?;
        out.say(&format!("curve in {}", path.display()));
    }
    Ok(())
}

fn methods(args: &args::Eval, named: bool) -> Result<Vec<Method>, Stop> {
    let chosen: Vec<&str> = match args.head.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => vec!["auto"],
        // Without names there is no zero-shot to draw.
        ["all"] => Method::NAMES
            .into_iter()
            .filter(|n| named || *n != "zero-shot")
            .collect(),
        ref names => names.to_vec(),
    };
    let flags = |name: &str| args::HeadFlags {
        head: Some(name.to_owned()),
        seed: args.seed,
        ..Default::default()
    };
    chosen
        .into_iter()
        .map(|name| Ok(flags(name).over(&head::Settings::default())?.method))
        .collect()
}

struct Rows {
    json: bool,
    named: bool,
}

const COLUMNS: [(&str, usize); 9] = [
    ("head", 16),
    ("shots", 5),
    ("top-1", 6),
    ("by class", 8),
    ("zero-shot", 9),
    ("own estimate", 16),
    ("ECE", 5),
    ("log-loss", 8),
    ("s", 6),
];

impl Rows {
    fn new(json: bool, named: bool) -> Self {
        Self { json, named }
    }

    fn head(&self, out: &mut Output) -> Result<(), Stop> {
        if self.json {
            return Ok(());
        }
        let cells = COLUMNS.map(|(name, _)| name.to_owned());
        self.row(&cells, out)
    }

    fn row(&self, cells: &[String], out: &mut Output) -> Result<(), Stop> {
        let widths = COLUMNS.map(|(_, width)| width);
        out.line(&super::output::align(
            cells,
            &widths,
            &[1, 2, 3, 4, 5, 6, 7, 8],
        ))
    }

    fn show(
        &self,
        method: &str,
        cell: &Cell,
        classes: &[String],
        open: Option<OpenSet>,
        out: &mut Output,
    ) -> Result<(), Stop> {
        if self.json {
            let interval = cell.estimate.map(|(_, low, high)| [low, high]);
            return out.object(&json!({
                "head": method, "shots": cell.shots, "draws": cell.draws, "top1": cell.top1, "balanced": cell.balanced,
                "log_loss": cell.log_loss, "ece": cell.ece, "ece_floor": cell.ece_floor, "zero_shot": cell.zero_shot,
                "estimate": cell.estimate.map(|e| e.0), "estimate_interval": interval, "seconds": cell.seconds,
                "auroc": open.map(|o| o.auroc), "auroc_max_softmax": open.map(|o| o.max_softmax),
                "per_class": classes.iter().zip(&cell.per_class).map(|(name, (right, asked))| {
                    json!({ "label": name, "right": right, "asked": asked })
                }).collect::<Vec<_>>(),
                "words": cell.words,
            }));
        }
        let percent = |v: f64| format!("{:.1}", 100.0 * v);
        let zero = if self.named {
            cell.zero_shot.map_or("–".into(), percent)
        } else {
            "–".into()
        };
        let estimate = cell.estimate.map_or("–".into(), |(at, low, high)| {
            format!("{} ({:.0}–{:.0})", percent(at), 100.0 * low, 100.0 * high)
        });
        let cells = [
            method.to_owned(),
            cell.shots.to_string(),
            percent(cell.top1),
            percent(cell.balanced),
            zero,
            estimate,
            percent(cell.ece),
            format!("{:.3}", cell.log_loss),
            format!("{:.2}", cell.seconds),
        ];
        self.row(&cells, out)?;
        match open {
            Some(o) => out.line(&format!(
                "    things of no class: AUROC {:.3}, by the largest probability alone {:.3}",
                o.auroc, o.max_softmax
            )),
            None => Ok(()),
        }
    }
}

/// A folder of photos as a pool to draw from.
fn pool(
    folder: &Path,
    args: &args::Eval,
    settings: &Settings,
    quiet: bool,
) -> Result<(Pack, usize, usize), Stop> {
    let model = places::open_model(settings)?;
    let seen = Seen::gather(folder, &args.decode, settings, quiet)?;
    let mut text = Array2::zeros((seen.classes.len(), model.dim()));
    if args.text == "use" {
        let labels: Vec<_> = seen
            .classes
            .iter()
            .map(|n| crate::text::Label::new::<&str>(n, &[]))
            .collect::<Result<_>>()?;
        text.assign(
            &args::Names::default()
                .weights(&labels, &model, settings)?
                .weights,
        );
    }
    let none = Labelled {
        features: Array2::zeros((0, model.dim())),
        labels: Vec::new(),
    };
    let pack = Pack {
        classes: seen.classes,
        support: seen.labelled,
        query: none,
        text,
        scale: model.score().scale,
        draws: BTreeMap::new(),
    };
    Ok((pack, seen.unreadable, seen.total))
}
