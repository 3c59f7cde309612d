//! From names on the command line to text weights, with a word on names that were guessed.

use super::args::Names;
use super::settings::Settings;
use super::{Stop, places};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::text::{self, Label, Origin, Prompts, TextTower, TextWeights};

impl Names {
    /// The labels given, if any.
    pub(super) fn given(&self) -> Result<Option<Vec<Label>>, Stop> {
        match (&self.labels, &self.labels_file) {
            (Some(list), _) => text::parse_labels(list).map(Some).map_err(wrong),
            (_, Some(path)) => Ok(Some(text::read_labels(path)?)),
            _ => Ok(None),
        }
    }

    /// The templates of the prompt set that was chosen, if one was.
    fn templates(&self) -> Result<Option<Vec<String>>> {
        let Some(set) = &self.prompts else {
            return Ok(None);
        };
        Ok(Some(Prompts::shipped().set(set)?.to_vec()))
    }

    /// Text weights of those of `labels` that the model understands, and the others.
    pub(super) fn understood(
        &self,
        labels: Vec<Label>,
        model: &Bundle,
        settings: &Settings,
    ) -> Result<(Option<TextWeights>, Vec<Label>)> {
        let tower = self.tower(&labels, model, settings)?;
        let mut known = Vec::with_capacity(labels.len());
        let mut nameless = Vec::new();
        for label in labels {
            if tower.understands(&label)? {
                known.push(label)
            } else {
                nameless.push(label)
            }
        }
        let weights = if known.is_empty() {
            None
        } else {
            Some(self.weights_by(&tower, &known)?)
        };
        Ok((weights, nameless))
    }

    /// Text weights of `labels` in the chosen prompts.
    pub(super) fn weights(
        &self,
        labels: &[Label],
        model: &Bundle,
        settings: &Settings,
    ) -> Result<TextWeights> {
        let tower = self.tower(labels, model, settings)?;
        self.weights_by(&tower, labels)
    }

    /// What turns `labels` into weights. Names in the vocabulary need no text encoder of its own
    /// bundle, and opening one takes a while.
    fn tower(&self, labels: &[Label], model: &Bundle, settings: &Settings) -> Result<TextTower> {
        let known = TextTower::open(model, None)?;
        let by_heart = |l: &Label| {
            l.prompts().is_empty()
                && known
                    .vocabulary()
                    .is_some_and(|v| v.find(l.name()).is_some())
        };
        match places::open_text_model(settings, model)? {
            Some(text) if self.prompts.is_some() || !labels.iter().all(by_heart) => {
                TextTower::open(model, Some(&text))
            }
            _ => Ok(known),
        }
    }

    fn weights_by(&self, tower: &TextTower, labels: &[Label]) -> Result<TextWeights> {
        let templates = self.templates()?;
        let mut progress =
            |done: usize, total: usize| log::info!("{done} of {total} prompts encoded");
        let weights = tower.weights_in(labels, templates.as_deref(), &mut progress)?;
        say_origins(&weights);
        Ok(weights)
    }
}

/// A name from the command line as a label.
pub(super) fn label(name: &str) -> Result<Label, Stop> {
    Label::new::<&str>(name, &[]).map_err(wrong)
}

/// What is wrong with names on the command line is wrong usage.
fn wrong(error: Error) -> Stop {
    Stop::Usage(error.to_string())
}

/// Names that were understood from their words alone deserve a warning.
fn say_origins(weights: &TextWeights) {
    for (label, origin) in weights.labels.iter().zip(&weights.origins) {
        match origin {
            Origin::Estimated(near) if label.prompts().is_empty() => log::warn!(
                "`{}` is not in the vocabulary; estimated from its words, near {} (`make text` installs the starter's exact encoder)",
                label.name(),
                near.join(", ")
            ),
            Origin::Estimated(_) => log::info!(
                "`{}`: prompts estimated by the small text encoder",
                label.name()
            ),
            Origin::Vocabulary(known) if known != label.name() => {
                log::info!("`{}` is known as `{known}`", label.name())
            }
            Origin::Vocabulary(_) | Origin::Encoded => {}
        }
    }
}
