//! `head`: learned heads to safetensors and back.

use serde_json::json;

use super::args::{self, Global};
use super::output::Output;
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places, saving};
use crate::classifier::Classifier;
use crate::error::Error;
use crate::eval::{Exchanged, read_head, write_head};
use crate::store;

pub(super) fn run(global: &Global, verb: args::Head, out: &mut Output) -> Result<Done, Stop> {
    let file = match &verb {
        args::Head::Export { file, .. } | args::Head::Import { file, .. } => {
            file.classifier.clone()
        }
    };
    let path = places::classifier_path(&Settings::gather(
        global,
        VerbFlags {
            classifier: file,
            top: None,
        },
    )?)?;
    match verb {
        args::Head::Export { output, .. } => {
            let classifier = saving::open(&path)?;
            let Some(learned) = classifier.learned() else {
                let expected = "a head learned from shots: `edgeclip learn CLASS PHOTO…`";
                return Err(Error::invalid("classifier", "names alone", expected)
                    .at(&path)
                    .into());
            };
            let exchanged = Exchanged {
                head: learned.head.clone(),
                classes: classifier.row_names(),
                feature_space: Some(classifier.feature_space().to_string()),
            };
            let (names, kind) = (&exchanged.classes, learned.head.kind());
            store::replace(&output, &write_head(&exchanged)?)?;
            if out.json {
                out.object(&json!({ "head": output, "kind": kind, "classes": names }))?;
            } else {
                out.line(&format!(
                    "{} head of {} classes in {}",
                    kind,
                    names.len(),
                    output.display()
                ))?;
            }
            Ok(Done::Whole)
        }
        args::Head::Import { input, .. } => {
            let Exchanged {
                head,
                classes,
                feature_space,
            } = read_head(&input)?;
            let changed = |before: &Classifier| {
                let own = before.feature_space().to_string();
                if let Some(other) = feature_space.as_ref().filter(|space| **space != own) {
                    let expected = format!("{own}, the classifier's");
                    let wrong = Error::invalid("feature space of the head", other, expected);
                    return Err(wrong.at(&input));
                }
                before
                    .with_head(head.clone(), &classes)
                    .map_err(|e| e.at(&input))
            };
            saving::save(&path, out, || saving::open(&path), changed)
        }
    }
}
