//! Classifiers, `NAME.ecclass`: all that is learned, as one value that is swapped whole.
//!
//! A classifier names its feature space, not a file: a repacked or requantized bundle of the
//! same space keeps it, another space is refused. Changing one gives a new one; saving goes
//! through [`store::Saver`](crate::store::Saver), which keeps what stood there before and
//! refuses to overwrite what somebody else saved in the meantime.

mod file;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, FeatureSpace, Score};
use crate::encoder::Feature;
use crate::error::{Error, Result};
use crate::head;
use crate::store::Stamp;
use crate::text::{self, Label, Origin, TextWeights};

/// One class: what answers call it, and how its text weight came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    id: u32,
    name: String,
    prompts: Vec<String>,
    estimated: bool,
}

impl Class {
    /// Number that stays with the class when it is renamed.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The name that answers give.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prompts of its own, where the templates were not used.
    #[must_use]
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// Whether its text weight is an estimate from the words, not the text encoder's.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.estimated
    }
}

/// One class with its score for a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// The class's name.
    pub label: &'a str,
    /// The head's score: cosine times the bundle's scale.
    pub score: f32,
    /// Probability by the bundle's score form.
    pub p: f32,
}

/// Classes of one feature space and how to tell them apart. Immutable: share it in an `Arc`.
#[derive(Clone, Debug)]
pub struct Classifier {
    feature_space: FeatureSpace,
    model: String,
    score: Score,
    classes: Vec<Class>,
    next_id: u32,
    text: Array2<f32>,
    stamp: Option<Stamp>,
}

impl Classifier {
    /// A zero-shot classifier of the labels in `weights`, for features of `bundle`.
    ///
    /// # Errors
    /// The weights are of another feature space, or a label stands twice.
    pub fn from_labels(bundle: &Bundle, weights: TextWeights) -> Result<Self> {
        let empty = Self {
            feature_space: bundle.feature_space(),
            model: bundle.card().name.clone(),
            score: bundle.score(),
            classes: Vec::new(),
            next_id: 0,
            text: Array2::zeros((0, bundle.dim())),
            stamp: None,
        };
        empty.with_labels(weights)
    }

    /// The same with the labels in `weights` added at the end.
    ///
    /// # Errors
    /// The weights are of another feature space, or a name is there already.
    pub fn with_labels(&self, weights: TextWeights) -> Result<Self> {
        if weights.feature_space != self.feature_space {
            let expected = format!("{}, the classifier's", self.feature_space);
            return Err(Error::invalid(
                "feature space of the names",
                weights.feature_space.to_string(),
                expected,
            ));
        }
        let mut names: Vec<Label> = self.labels()?;
        names.extend_from_slice(&weights.labels);
        text::check(names)?;
        let mut new = self.clone();
        for (label, origin) in weights.labels.iter().zip(&weights.origins) {
            new.classes.push(Class {
                id: new.next_id,
                name: label.name().to_owned(),
                prompts: label.prompts().to_vec(),
                estimated: matches!(origin, Origin::Estimated(_)),
            });
            new.next_id += 1;
        }
        new.text
            .append(Axis(0), weights.weights.view())
            .map_err(|_| {
                let expected = format!("{}-wide rows", self.dim());
                Error::invalid(
                    "text weights",
                    format!("{}-wide rows", weights.weights.ncols()),
                    expected,
                )
            })?;
        Ok(new)
    }

    /// The same without the class `name`.
    ///
    /// # Errors
    /// No such class, or it is the last one.
    pub fn without(&self, name: &str) -> Result<Self> {
        let at = self.position(name)?;
        if self.classes.len() == 1 {
            return Err(Error::invalid(
                "classes",
                "none left",
                "at least one class: add another first",
            ));
        }
        let mut new = self.clone();
        new.classes.remove(at);
        new.text.remove_index(Axis(0), at);
        Ok(new)
    }

    /// The same with the class `name` called `new_name`; its weight stays.
    ///
    /// # Errors
    /// No such class, a bad name, or one that is taken.
    pub fn renamed(&self, name: &str, new_name: &str) -> Result<Self> {
        let at = self.position(name)?;
        let mut new = self.clone();
        new.classes[at].name = Label::new::<&str>(new_name, &[])?.name().to_owned();
        text::check(new.labels()?)?;
        Ok(new)
    }

    /// The classes in the order of the scores.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Text weights, K×D, unit rows.
    #[must_use]
    pub fn text(&self) -> ArrayView2<'_, f32> {
        self.text.view()
    }

    /// Width D of the features that it takes.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.text.ncols()
    }

    /// Name of the bundle that it was made with.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The feature space that it belongs to.
    #[must_use]
    pub fn feature_space(&self) -> FeatureSpace {
        self.feature_space
    }

    /// How cosines become scores.
    #[must_use]
    pub fn score(&self) -> Score {
        self.score
    }

    /// Refuses a bundle of another feature space.
    ///
    /// # Errors
    /// The spaces differ; the words name both models.
    pub fn check_fits(&self, bundle: &Bundle) -> Result<()> {
        if self.feature_space == bundle.feature_space() {
            return Ok(());
        }
        let found = format!("{} of space {}", bundle.card().name, bundle.feature_space());
        let expected = format!(
            "a bundle of space {}, as {} is: choose it with --model",
            self.feature_space, self.model
        );
        Err(Error::invalid("model for this classifier", found, expected))
    }

    /// Scores of one feature, in class order, written over `scores`.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn scores_into(&self, feature: &Feature, scores: &mut Vec<f32>) -> Result<()> {
        if feature.dim() != self.dim() {
            return Err(Error::invalid(
                "feature width",
                feature.dim().to_string(),
                self.dim().to_string(),
            ));
        }
        head::zero_shot(feature, self.text.view(), self.score, scores);
        Ok(())
    }

    /// The `top` best classes for one feature, best first.
    ///
    /// # Errors
    /// The feature is of another width.
    pub fn answers(&self, feature: &Feature, top: usize) -> Result<Vec<Answer<'_>>> {
        let mut scores = Vec::new();
        self.scores_into(feature, &mut scores)?;
        let p = head::probabilities(&scores, self.score.form);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order.truncate(top);
        Ok(order
            .into_iter()
            .map(|i| Answer {
                label: &self.classes[i].name,
                score: scores[i],
                p: p[i],
            })
            .collect())
    }

    fn labels(&self) -> Result<Vec<Label>> {
        self.classes
            .iter()
            .map(|c| Label::new(&c.name, &c.prompts))
            .collect()
    }

    fn position(&self, name: &str) -> Result<usize> {
        let wanted = name.trim().to_lowercase();
        self.classes
            .iter()
            .position(|c| c.name.to_lowercase() == wanted)
            .ok_or_else(|| {
                let names: Vec<_> = self.classes.iter().take(20).map(Class::name).collect();
                let more = if self.classes.len() > 20 { ", …" } else { "" };
                Error::invalid(
                    "class",
                    format!("no `{name}`"),
                    format!("one of {}{more}", names.join(", ")),
                )
            })
    }
}
