//! From flags to the settings of learning.

use super::Stop;
use super::args::HeadFlags;
use crate::head::{Method, Settings, Training};

impl HeadFlags {
    /// `before`, with what the flags say changed.
    pub(super) fn over(&self, before: &Settings) -> Result<Settings, Stop> {
        let mut settings = *before;
        if let Some(name) = &self.head {
            settings.method = name.parse()?;
        }
        let given = [
            self.alpha.is_some(),
            self.beta.is_some(),
            self.training.is_some(),
        ];
        match &mut settings.method {
            Method::ClipAdapter(adapter) => {
                adapter.alpha = self.alpha.unwrap_or(adapter.alpha);
                adapter.beta = self.beta.unwrap_or(adapter.beta);
                if let Some(how) = &self.training {
                    adapter.training = training(how);
                }
                if let Some(seed) = self.seed {
                    adapter.seed = seed;
                }
            }
            other if given.contains(&true) => {
                let words = format!(
                    "--alpha, --beta and --training belong to --head clip-adapter, not to {other}"
                );
                return Err(Stop::Usage(words));
            }
            _ => {}
        }
        Ok(settings)
    }
}

/// One of the words that clap let through.
fn training(word: &str) -> Training {
    match word {
        "authors" => Training::Authors,
        "lbfgs" => Training::FAST,
        _ => Training::FULL_BATCH,
    }
}
