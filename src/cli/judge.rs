//! `eval FOLDER`: how right the classifier is, as it is, on labelled photos.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde_json::json;

use super::args;
use super::output::{Output, class_cell};
use super::settings::Settings;
use super::{Done, Stop, photos, places, saving};
use crate::classifier::Classifier;
use crate::error::{Error, Result};
use crate::eval::{self, Figures, Labelled};
use crate::head::{Scratch, metrics};

/// Photos by class as features.
pub(super) struct Seen {
    pub(super) classes: Vec<String>,
    pub(super) labelled: Labelled,
    pub(super) unreadable: usize,
    pub(super) total: usize,
}

impl Seen {
    /// The readable photos of `folder`, whose folders are their classes.
    pub(super) fn gather(
        folder: &Path,
        decode: &args::Decode,
        settings: &Settings,
        quiet: bool,
    ) -> Result<Self, Stop> {
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
            &decode.rules(),
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
        Ok(Self {
            classes: names,
            labelled: Labelled { features, labels },
            unreadable,
            total: paths.len(),
        })
    }

    /// Names the folders that count as things of no class.
    fn tell(&self, classifier: &Classifier, kinds: &[Option<usize>], out: &Output) {
        let strange: Vec<&str> = self
            .classes
            .iter()
            .zip(kinds)
            .filter(|(_, kind)| kind.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !strange.is_empty() {
            let many = classifier.classes().len();
            out.say(&format!(
                "note: none of the {many} classes is called {}: their photos count as things of no class",
                strange.join(", ")
            ));
        }
    }
}

/// The classifier as it is, on photos that it should know; folders of no class of its own count as
/// unknown things.
pub(super) fn run(
    folder: &Path,
    args: &args::Eval,
    settings: &Settings,
    out: &mut Output,
) -> Result<Done, Stop> {
    let path = places::classifier_path(settings)?;
    let classifier = saving::open(&path)?;
    let model = places::open_model(settings)?;
    classifier.check_fits(&model).map_err(|e| e.at(&path))?;
    let seen = Seen::gather(folder, &args.decode, settings, out.quiet)?;
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
        out.say(&format!("confusion matrix in {}", picture.display()));
    }
    seen.tell(&classifier, &kinds, out);
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
                "head": classifier.settings().method.to_string(), "shots": classifier.shots().len(),
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
                .map(|(n, right, total)| vec![class_cell(n), right.to_string(), total.to_string()]),
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
