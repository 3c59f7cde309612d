//! Classifiers, `NAME.ecclass`: all that is learned, as one value that is swapped whole.
//!
//! A classifier names its feature space, not a file: a repacked or requantized bundle of the
//! same space keeps it, another space is refused. Changing one gives a new one, through a
//! [`Draft`] where several changes belong together; saving goes through
//! [`store::Saver`](crate::store::Saver), which keeps what stood there before and refuses to
//! overwrite what somebody else saved in the meantime.

mod audit;
mod change;
mod decide;
mod draft;
mod file;
mod shot;

use half::f16;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
pub(crate) use audit::shots_in_words;
pub use audit::{Audit, ClassAudit, Doubt, Twins};
pub use change::Change;
pub use decide::{Answer, Decision, Judged};
pub use draft::Draft;
pub use shot::{NewShot, Shot, Source};

use crate::bundle::{Bundle, FeatureSpace, Score};
use crate::error::{Error, Result};
use crate::head::{self, Learned, Settings};
use crate::store::Stamp;
use crate::text::{Label, TextWeights};

/// What stands for the background among the names of a head's rows; no class can be called so.
pub const BACKGROUND: &str = "(background)\n";

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

/// Classes of one feature space and how to tell them apart. Immutable: share it in an `Arc`.
#[derive(Clone, Debug)]
pub struct Classifier {
    feature_space: FeatureSpace,
    model: String,
    score: Score,
    classes: Vec<Class>,
    next_id: u32,
    /// K×D, a row of zeros where a class has no text weight.
    text: Array2<f32>,
    shots: Vec<Shot>,
    next_shot: u32,
    /// N×D, as files hold them.
    halves: Vec<f16>,
    /// One a shot, empty where photos are not kept.
    thumbnails: Vec<Vec<u8>>,
    settings: Settings,
    note: String,
    learned: Option<Learned>,
    stamp: Option<Stamp>,
}

impl Classifier {
    /// A classifier of `bundle`'s feature space with no class yet.
    #[must_use]
    pub fn empty(bundle: &Bundle) -> Self {
        Self {
            feature_space: bundle.feature_space(),
            model: bundle.card().name.clone(),
            score: bundle.score(),
            classes: Vec::new(),
            next_id: 0,
            text: Array2::zeros((0, bundle.dim())),
            shots: Vec::new(),
            next_shot: 0,
            halves: Vec::new(),
            thumbnails: Vec::new(),
            settings: Settings::default(),
            note: String::new(),
            learned: None,
            stamp: None,
        }
    }

    /// A zero-shot classifier of the labels in `weights`, for features of `bundle`.
    ///
    /// # Errors
    /// The weights are of another feature space, or a label stands twice.
    pub fn from_labels(bundle: &Bundle, weights: TextWeights) -> Result<Self> {
        Self::empty(bundle).with_labels(weights)
    }

    /// The same with the labels in `weights` added at the end.
    ///
    /// # Errors
    /// The weights are of another feature space, or a name is there already.
    pub fn with_labels(&self, weights: TextWeights) -> Result<Self> {
        let names: Vec<String> = weights
            .labels
            .iter()
            .map(|l| format!("`{}`", l.name()))
            .collect();
        let mut draft = self.draft();
        draft.add_labels(weights)?;
        draft.learn(&format!("added {}", names.join(", ")))
    }

    /// The same without the class `name`, its shots included.
    ///
    /// # Errors
    /// No such class, or it is the last one.
    pub fn without(&self, name: &str) -> Result<Self> {
        let mut draft = self.draft();
        draft.remove_class(name)?;
        draft.learn(&format!("removed `{name}`"))
    }

    /// The same with the class `name` called `new_name`; what it looks like stays.
    ///
    /// # Errors
    /// No such class, a bad name, or one that is taken.
    pub fn renamed(&self, name: &str, new_name: &str) -> Result<Self> {
        let mut draft = self.draft();
        draft.rename(name, new_name)?;
        draft.learn(&format!("called `{name}` `{new_name}`"))
    }

    /// Begins changes that are learned together.
    #[must_use]
    pub fn draft(&self) -> Draft {
        Draft::of(self)
    }

    /// The classes in the order of the scores.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Text weights, K×D, unit rows; a row of zeros where a class has none.
    #[must_use]
    pub fn text(&self) -> ArrayView2<'_, f32> {
        self.text.view()
    }

    /// All shots in the order in which they were learned.
    #[must_use]
    pub fn shots(&self) -> &[Shot] {
        &self.shots
    }

    /// The small JPEG of the shot `id`, where photos are kept.
    #[must_use]
    pub fn thumbnail(&self, id: u32) -> Option<&[u8]> {
        let at = self.shot_at(id).ok()?;
        Some(&*self.thumbnails[at]).filter(|jpeg| !jpeg.is_empty())
    }

    /// How it learns.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What was learned from the shots; `None` where there are none and names alone decide.
    #[must_use]
    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// What the last change was for.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
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

    /// Position of the class `name`, whatever its case.
    ///
    /// # Errors
    /// No such class; the words list those that there are.
    pub fn position(&self, name: &str) -> Result<usize> {
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

    /// Names of the rows of its head: the classes, then [`BACKGROUND`] where there are such shots.
    #[must_use]
    pub fn row_names(&self) -> Vec<String> {
        let names = self.classes.iter().map(|c| c.name.clone());
        let background = (self.kinds() > self.classes.len()).then(|| BACKGROUND.to_owned());
        names.chain(background).collect()
    }

    /// The same with another head, learned elsewhere from whatever shots; the next lesson replaces it.
    /// `names` are those of its rows.
    ///
    /// # Errors
    /// It has other classes, the same in another order, or another width: answers would be swapped.
    pub fn with_head(&self, head: head::Head, names: &[String]) -> Result<Self> {
        let own = self.row_names();
        if names != own || head.classes() != own.len() {
            let expected = format!("those of the classifier in its order: {}", own.join(", "));
            return Err(Error::invalid(
                "classes of the head",
                names.join(", "),
                expected,
            ));
        }
        if head.dim() != self.dim() {
            let found = head.dim().to_string();
            return Err(Error::invalid(
                "width of the head",
                found,
                self.dim().to_string(),
            ));
        }
        let mut new = self.clone();
        new.learned = Some(Learned::elsewhere(head));
        new.note = "took a head that was learned elsewhere".to_owned();
        Ok(new)
    }

    /// Whether the class at `at` has a text weight.
    #[must_use]
    pub fn is_named(&self, at: usize) -> bool {
        self.text.row(at).iter().any(|v| *v != 0.0)
    }

    /// How many shots the class at `at` has.
    #[must_use]
    pub fn shots_of(&self, at: usize) -> usize {
        let id = self.classes[at].id;
        self.shots.iter().filter(|s| s.class == Some(id)).count()
    }

    fn labels(&self) -> Result<Vec<Label>> {
        self.classes
            .iter()
            .map(|c| Label::new(&c.name, &c.prompts))
            .collect()
    }

    fn shot_at(&self, id: u32) -> Result<usize> {
        let at = self.shots.binary_search_by_key(&id, |s| s.id);
        at.map_err(|_| {
            let expected = "one that `edgeclip classes list --shots` shows";
            Error::invalid("shot", format!("no {id}"), expected)
        })
    }

    /// Classes as heads count them: the background stands last where it has shots.
    fn kinds(&self) -> usize {
        self.classes.len() + usize::from(self.shots.iter().any(|s| s.class.is_none()))
    }

    /// Where a class stands among heads' classes; the background stands last.
    fn kind_of(&self, class: Option<u32>) -> usize {
        let at = class.and_then(|id| self.classes.iter().position(|c| c.id == id));
        at.unwrap_or(self.classes.len())
    }

    fn relearn(&mut self) -> Result<()> {
        self.learned = None;
        if self.shots.is_empty() {
            return Ok(());
        }
        let features = self.rows()?;
        let bursts = shot::bursts(&self.shots, &features);
        let background = self.classes.len();
        let labels: Vec<usize> = self.shots.iter().map(|s| self.kind_of(s.class)).collect();
        let mut text = Array2::zeros((self.kinds(), self.dim()));
        text.slice_mut(ndarray::s![..background, ..])
            .assign(&self.text);
        let shots = head::Shots {
            features: features.view(),
            labels: &labels,
            bursts: &bursts,
        };
        let support = head::Support::new(shots, text.view(), self.score.scale)?;
        self.learned = Some(head::learn(
            &support,
            &self.settings,
            self.kinds() - background,
        )?);
        Ok(())
    }
}
