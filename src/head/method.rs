//! The heads by name, with their settings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    ClipAdapter, Gda, Head, LinearProbe, Penalty, Support, Tip, auto, nearest_mean, zero_shot,
};
use crate::error::{Error, Result};

/// How a head is learned. A name alone, as [`FromStr`] takes it, means the usual settings.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Method {
    /// `auto`: names and photos mixed by what the shots themselves say.
    Auto,
    /// `zero-shot`: the text weights alone.
    ZeroShot,
    /// `nearest-mean`: the means of the shots.
    NearestMean,
    /// `linear-probe`: regression from zero.
    LinearProbe(LinearProbe),
    /// `clip-adapter`: a bottleneck beside the frozen feature.
    ClipAdapter(ClipAdapter),
    /// `taskres`, `clap` or `residual-linear`, by the penalty: regression tied to the text weights.
    ResidualLinear(Penalty),
    /// `gda`: text score and Gaussian discriminant.
    Gda(Gda),
    /// `tip`, or `tip-f` where the keys are trained: text score and a cache of shots.
    Tip(Tip),
}

impl Method {
    /// Every name that [`FromStr`] takes.
    pub const NAMES: [&'static str; 11] = [
        "auto",
        "zero-shot",
        "nearest-mean",
        "linear-probe",
        "clip-adapter",
        "taskres",
        "clap",
        "residual-linear",
        "gda",
        "tip",
        "tip-f",
    ];

    /// The name, whatever the settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroShot => "zero-shot",
            Self::NearestMean => "nearest-mean",
            Self::LinearProbe(_) => "linear-probe",
            Self::ClipAdapter(_) => "clip-adapter",
            Self::ResidualLinear(Penalty::Fixed(_)) => "taskres",
            Self::ResidualLinear(Penalty::PerClass) => "clap",
            Self::ResidualLinear(Penalty::Falling(_)) => "residual-linear",
            Self::Gda(_) => "gda",
            Self::Tip(Tip { training: None, .. }) => "tip",
            Self::Tip(_) => "tip-f",
        }
    }

    /// Refuses settings that lead nowhere, as a file might hold them.
    ///
    /// # Errors
    /// Training without end, or a number that is none or negative.
    pub fn check(&self) -> Result<()> {
        const MOST_STEPS: usize = 100_000;
        let (numbers, steps): (Vec<f64>, usize) = match self {
            Self::Auto | Self::ZeroShot | Self::NearestMean => (vec![], 0),
            Self::LinearProbe(s) => (vec![s.penalty], s.steps),
            Self::ClipAdapter(s) => s.numbers(),
            Self::ResidualLinear(Penalty::Fixed(penalty) | Penalty::Falling(penalty)) => {
                (vec![*penalty], 0)
            }
            Self::ResidualLinear(Penalty::PerClass) => (vec![], 0),
            Self::Gda(s) => (vec![s.mix], 0),
            Self::Tip(s) => {
                let training = s.training.map_or((0.0, 0), |t| (t.rate, t.steps));
                (vec![s.sharpness, s.strength, training.0], training.1)
            }
        };
        match numbers.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            Some(number) => Err(Error::invalid(
                "setting of a head",
                number.to_string(),
                "a finite number from 0 up",
            )),
            None if steps > MOST_STEPS => Err(Error::invalid(
                "steps of training",
                steps.to_string(),
                format!("at most {MOST_STEPS}"),
            )),
            None => Ok(()),
        }
    }

    /// The head that `support` teaches.
    ///
    /// # Errors
    /// No shots, but for zero-shot; a class of which nothing is known that the method needs;
    /// settings that lead to values that are not finite.
    pub fn learn(&self, support: &Support<'_>) -> Result<Head> {
        match self {
            Self::Auto => Ok(Head::Linear(auto::learn(support, 0)?.linear)),
            Self::ZeroShot => zero_shot::learn(support),
            Self::NearestMean => nearest_mean::learn(support),
            Self::LinearProbe(settings) => settings.learn(support),
            Self::ClipAdapter(settings) => settings.learn(support),
            Self::ResidualLinear(penalty) => penalty.learn(support),
            Self::Gda(settings) => settings.learn(support),
            Self::Tip(settings) => settings.learn(support),
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "auto" => Self::Auto,
            "zero-shot" => Self::ZeroShot,
            "nearest-mean" => Self::NearestMean,
            "linear-probe" => Self::LinearProbe(LinearProbe::default()),
            "clip-adapter" => Self::ClipAdapter(ClipAdapter::default()),
            "taskres" => Self::ResidualLinear(Penalty::TASKRES),
            "clap" => Self::ResidualLinear(Penalty::PerClass),
            "residual-linear" => Self::ResidualLinear(Penalty::FALLING),
            "gda" => Self::Gda(Gda::default()),
            "tip" => Self::Tip(Tip::default()),
            "tip-f" => Self::Tip(Tip::trained()),
            _ => {
                return Err(Error::invalid(
                    "head",
                    format!("`{name}`"),
                    Self::NAMES.join(", "),
                ));
            }
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for name in Method::NAMES {
            assert_eq!(name.parse::<Method>().unwrap().to_string(), name);
        }
        let words = "gad".parse::<Method>().unwrap_err().to_string();
        assert!(words.contains("`gad`") && words.contains("gda"), "{words}");
    }
}
