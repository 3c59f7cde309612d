//! `head`: learned heads to safetensors and back.

use serde_json::json;

use super::args::{self, Global};
use super::output::Output;
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places, saving};
use crate::error::Error;
use crate::{eval, store};

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
    let classifier = saving::open(&path)?;
    match verb {
        args::Head::Export { output, .. } => {
            let Some(learned) = classifier.learned() else {
                let expected = "a head learned from shots: `edgeclip learn CLASS PHOTO…`";
                return Err(Error::invalid("classifier", "names alone", expected)
                    .at(&path)
                    .into());
            };
            let names: Vec<&str> = classifier
                .classes()
                .iter()
                .map(crate::classifier::Class::name)
                .collect();
            store::replace(&output, &eval::write_head(&learned.head, &names)?)?;
            if out.json {
                out.object(
                    &json!({ "head": output, "kind": learned.head.kind(), "classes": names }),
                )?;
            } else {
                out.line(&format!(
                    "{} head of {} classes in {}",
                    learned.head.kind(),
                    names.len(),
                    output.display()
                ))?;
            }
            Ok(Done::Whole)
        }
        args::Head::Import { input, .. } => {
            let head = eval::read_head(&input)?;
            let changed = classifier.with_head(head).map_err(|e| e.at(&input))?;
            saving::save(changed, &path, out)
        }
    }
}
