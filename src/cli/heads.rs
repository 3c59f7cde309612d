//! From flags to the settings of learning.

use super::Stop;
use super::args::HeadFlags;
use crate::head::{Method, Settings, Share, Training};

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
                if let Some(alpha) = &self.alpha {
                    adapter.alpha = share("--alpha", alpha)?;
                }
                if let Some(beta) = &self.beta {
                    adapter.beta = share("--beta", beta)?;
                }
                if let Some(how) = &self.training {
                    adapter.training = training(how)?;
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

fn share(flag: &str, text: &str) -> Result<Share, Stop> {
    if text == "search" {
        return Ok(Share::Searched);
    }
    let number = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    number
        .map(Share::Fixed)
        .ok_or_else(|| Stop::Usage(format!("{flag} {text}: a share from 0 to 1, or `search`")))
}

fn training(text: &str) -> Result<Training, Stop> {
    match text {
        "full-batch" => Ok(Training::FULL_BATCH),
        "authors" => Ok(Training::Authors),
        "lbfgs" => Ok(Training::FAST),
        _ => Err(Stop::Usage(format!(
            "--training {text}: full-batch, authors or lbfgs"
        ))),
    }
}
