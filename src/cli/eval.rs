//! `eval`: how right a classifier is on labelled photos, and heads on draws of shots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde_json::json;

use super::args::{self, Global};
use super::output::{Output, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, photos, places, saving};
use crate::classifier::Classifier;
use crate::error::{Error, Result};
use crate::eval::{self, Cell, Draw, Figures, Labelled, Line, Pack};
use crate::head::{self, Method, Scratch, metrics};

pub(super) fn run(global: &Global, args: &args::Eval, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.file.classifier.clone(),
        top: None,
    };
    let settings = Settings::gather(global, verb)?;
    let drawn =
        !args.head.is_empty() || args.plot.is_some() || args.draw.is_some() || args.uncalibrated;
    if args.shots.is_empty() && drawn {
        let words = "--head, --plot, --draw and --uncalibrated go with --shots K: how many shots a class to learn from";
        return Err(Stop::Usage(words.into()));
    }
    if args.shots.is_empty() {
        return match &args.photos {
            Some(folder) => classifier_on(folder, args, &settings, out),
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
            rows.show(&method.to_string(), &cell, out)?;
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
        log::info!("curve in {}", path.display());
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

    fn show(&self, method: &str, cell: &Cell, out: &mut Output) -> Result<(), Stop> {
        if self.json {
            let interval = cell.estimate.map(|(_, low, high)| [low, high]);
            return out.object(&json!({
                "head": method, "shots": cell.shots, "draws": cell.draws, "top1": cell.top1, "balanced": cell.balanced,
                "log_loss": cell.log_loss, "ece": cell.ece, "ece_floor": cell.ece_floor, "zero_shot": cell.zero_shot,
                "estimate": cell.estimate.map(|e| e.0), "estimate_interval": interval, "seconds": cell.seconds,
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
        self.row(&cells, out)
    }
}

/// Photos by class as features.
struct Seen {
    classes: Vec<String>,
    labelled: Labelled,
    unreadable: usize,
    total: usize,
}

fn see(folder: &Path, args: &args::Eval, settings: &Settings, quiet: bool) -> Result<Seen, Stop> {
    let model = places::open_model(settings)?;
    let classes = photos::gather_classes(folder)?;
    let paths: Vec<PathBuf> = classes
        .iter()
        .flat_map(|(_, photos)| photos.clone())
        .collect();
    let own: Vec<usize> = classes
        .iter()
        .enumerate()
        .flat_map(|(k, (_, p))| vec![k; p.len()])
        .collect();
    let encoder = photos::open_encoder(&model, paths.len(), &settings.threads)?;
    let (mut values, mut labels, mut at, mut unreadable) = (Vec::new(), Vec::new(), 0, 0);
    let threads = settings.threads.value;
    photos::encode_all(
        &encoder,
        &paths,
        &args.decode.rules(),
        threads,
        quiet,
        |_, result| {
            match result {
                Ok(encoded) => {
                    values.extend_from_slice(encoded.feature.values());
                    labels.push(own[at]);
                }
                Err(e) => {
                    unreadable += 1;
                    log::error!("{e}; skipped");
                }
            }
            at += 1;
            Ok::<(), Stop>(())
        },
    )?;
    if labels.is_empty() {
        return Err(
            Error::invalid("photos", "none that can be read", "photos of each class")
                .at(folder)
                .into(),
        );
    }
    let features = Array2::from_shape_vec((labels.len(), model.dim()), values)
        .expect("rows of the model's width");
    let names = classes.into_iter().map(|(name, _)| name).collect();
    Ok(Seen {
        classes: names,
        labelled: Labelled { features, labels },
        unreadable,
        total: paths.len(),
    })
}

/// A folder of photos as a pool to draw from.
fn pool(
    folder: &Path,
    args: &args::Eval,
    settings: &Settings,
    quiet: bool,
) -> Result<(Pack, usize, usize), Stop> {
    let model = places::open_model(settings)?;
    let seen = see(folder, args, settings, quiet)?;
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

/// The classifier as it is, on photos that it should know; folders of no class of its own count as
/// unknown things.
fn classifier_on(
    folder: &Path,
    args: &args::Eval,
    settings: &Settings,
    out: &mut Output,
) -> Result<Done, Stop> {
    let path = places::classifier_path(settings)?;
    let classifier = saving::open(&path)?;
    let model = places::open_model(settings)?;
    classifier.check_fits(&model).map_err(|e| e.at(&path))?;
    let seen = see(folder, args, settings, out.quiet)?;
    let kinds: Vec<Option<usize>> = seen
        .classes
        .iter()
        .map(|n| classifier.position(n).ok())
        .collect();
    let result = Judged::of(&classifier, &seen, &kinds)?;
    if result.labels.is_empty() {
        let expected = "folders named like its classes: `edgeclip classes list`";
        return Err(
            Error::invalid("folder of classes", "no class of the classifier", expected)
                .at(folder)
                .into(),
        );
    }
    if let Some(picture) = &args.picture {
        let names: Vec<String> = classifier
            .classes()
            .iter()
            .map(|c| c.name().to_owned())
            .collect();
        eval::confusion(
            "photos and their answers",
            &names,
            &result.confusions(names.len()),
        )
        .write(picture)?;
    }
    result.show(&classifier, out)?;
    Ok(super::classify::report(seen.unreadable, seen.total))
}

/// Answers to labelled photos.
struct Judged {
    /// Class of each photo that has one.
    labels: Vec<usize>,
    p: Array2<f32>,
    zero_shot: Option<f64>,
    /// Whether photos of its classes, and of none of them, are called unknown.
    unknown_of_known: Vec<bool>,
    unknown_of_strange: Vec<bool>,
    auroc: Option<f64>,
}

impl Judged {
    fn of(classifier: &Classifier, seen: &Seen, kinds: &[Option<usize>]) -> Result<Self> {
        let k = classifier.classes().len();
        let (mut labels, mut p, mut zero_hits) = (Vec::new(), Vec::new(), 0);
        let (mut of_known, mut of_strange) = (Vec::new(), Vec::new());
        let (mut known_scores, mut own) = (Vec::new(), Vec::new());
        let named = (0..k).all(|at| classifier.is_named(at));
        let (mut scratch, mut scores) = (Scratch::default(), Vec::new());
        for (row, folder) in seen
            .labelled
            .features
            .rows()
            .into_iter()
            .zip(&seen.labelled.labels)
        {
            let feature = crate::Feature::from_values(row.to_vec())?;
            classifier.scores_into(&feature, &mut scratch, &mut scores)?;
            let learned = classifier.learned();
            let unknown = learned
                .and_then(|l| l.is_unknown(feature.values(), &scores, k))
                .unwrap_or(false);
            if let Some(known) = learned.and_then(|l| l.knownness(feature.values(), &scores, k)) {
                known_scores.push(known);
                own.push(kinds[*folder].is_some());
            }
            match kinds[*folder] {
                None => of_strange.push(unknown),
                Some(own) => {
                    of_known.push(unknown);
                    p.extend_from_slice(&classifier.probabilities(&scores)[..k]);
                    labels.push(own);
                    let text = classifier.text().dot(&row);
                    let best = (0..k).max_by(|a, b| text[*a].total_cmp(&text[*b]));
                    zero_hits += usize::from(best == Some(own));
                }
            }
        }
        let p = Array2::from_shape_vec((labels.len(), k), p).expect("a probability a class");
        let zero_shot =
            (named && !labels.is_empty()).then(|| zero_hits as f64 / labels.len() as f64);
        let auroc = (own.contains(&true) && own.contains(&false))
            .then(|| metrics::auroc(&known_scores, &own));
        Ok(Self {
            labels,
            p,
            zero_shot,
            unknown_of_known: of_known,
            unknown_of_strange: of_strange,
            auroc,
        })
    }

    fn confusions(&self, k: usize) -> Vec<usize> {
        let mut counts = vec![0; k * k];
        for (own, best) in self.labels.iter().zip(metrics::best(self.p.view())) {
            counts[own * k + best] += 1;
        }
        counts
    }

    fn show(&self, classifier: &Classifier, out: &mut Output) -> Result<(), Stop> {
        let figures = Figures::of(&self.p, &self.labels);
        let (ece, floor) = eval::calibration(&self.p, &self.labels);
        let share = |flags: &[bool]| {
            (!flags.is_empty())
                .then(|| flags.iter().filter(|u| **u).count() as f64 / flags.len() as f64)
        };
        let estimate = classifier.learned().and_then(|l| l.estimate.as_ref());
        let classes = self.by_class(classifier);
        if out.json {
            out.object(&json!({
                "photos": self.labels.len(), "top1": figures.top1, "balanced": figures.balanced,
                "log_loss": figures.log_loss, "ece": (ece - floor).max(0.0), "ece_floor": floor,
                "zero_shot": self.zero_shot, "estimate": estimate.map(|e| e.accuracy),
                "called_unknown": share(&self.unknown_of_known), "strange": self.unknown_of_strange.len(),
                "strange_called_unknown": share(&self.unknown_of_strange), "auroc": self.auroc,
            }))?;
            for (name, right, total) in classes {
                out.object(&json!({ "label": name, "right": right, "photos": total }))?;
            }
            return Ok(());
        }
        let mut rows = vec![["class", "right", "photos"].map(str::to_owned).to_vec()];
        rows.extend(
            classes
                .into_iter()
                .map(|(n, right, total)| vec![printable(n), right.to_string(), total.to_string()]),
        );
        out.table(&rows, &[1, 2])?;
        let percent = |v: f64| format!("{:.1}%", 100.0 * v);
        out.line("")?;
        out.line(&format!(
            "top-1      {} of {} photos",
            percent(figures.top1),
            self.labels.len()
        ))?;
        out.line(&format!("by class   {}", percent(figures.balanced)))?;
        if let Some(zero) = self.zero_shot {
            out.line(&format!("names only {}", percent(zero)))?;
        }
        if let Some(e) = estimate {
            out.line(&format!(
                "estimate   {} when it was learned",
                percent(e.accuracy)
            ))?;
        }
        out.line(&format!(
            "ECE        {} beyond the {} that so few photos show by chance",
            percent((ece - floor).max(0.0)),
            percent(floor)
        ))?;
        if let Some(unknown) = share(&self.unknown_of_strange) {
            let auroc = self
                .auroc
                .map_or(String::new(), |a| format!(", AUROC {a:.3}"));
            out.line(&format!(
                "unknown    {} of {} strange photos called so{auroc}",
                percent(unknown),
                self.unknown_of_strange.len()
            ))?;
        }
        let own = share(&self.unknown_of_known).filter(|_| classifier.learned().is_some());
        if let Some(unknown) = own {
            out.line(&format!(
                "unknown    {} of the photos of its classes called so, counted by their best class above",
                percent(unknown)
            ))?;
        }
        Ok(())
    }

    /// Name, right answers and photos of each class that has photos here.
    fn by_class<'a>(&self, classifier: &'a Classifier) -> Vec<(&'a str, usize, usize)> {
        let mut counts = vec![(0, 0); classifier.classes().len()];
        for (own, best) in self.labels.iter().zip(metrics::best(self.p.view())) {
            counts[*own].1 += 1;
            counts[*own].0 += usize::from(best == *own);
        }
        let named = classifier.classes().iter().zip(counts);
        named
            .filter(|(_, (_, total))| *total > 0)
            .map(|(c, (right, total))| (c.name(), right, total))
            .collect()
    }
}
