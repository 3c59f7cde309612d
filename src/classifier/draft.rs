//! Changes to a classifier, gathered first and learned together in one step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ndarray::{Array2, Axis};

use super::shot::{self, NewShot, Shot};
use super::{Class, Classifier, Settings};
use crate::error::{Error, Result};
use crate::text::{self, Label, Origin, TextWeights};

/// Most shots of one classifier; 1,000 classes of 100.
pub(super) const MAX_SHOTS: usize = 100_000;

/// A classifier in the making. [`learn`](Draft::learn) ends it; dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Draft {
    made: Classifier,
    /// Whether there is something to learn: names alone change nothing.
    changed: bool,
}

impl Draft {
    pub(super) fn of(classifier: &Classifier) -> Self {
        Self {
            made: classifier.clone(),
            changed: false,
        }
    }

    /// Adds classes with text weights, at the end. A class of this name that had none gets one.
    ///
    /// # Errors
    /// The weights are of another feature space or width, or a name is there already.
    pub fn add_labels(&mut self, weights: TextWeights) -> Result<&mut Self> {
        self.changed = true;
        let made = &mut self.made;
        if weights.feature_space != made.feature_space {
            let expected = format!("{}, the classifier's", made.feature_space);
            return Err(Error::invalid(
                "feature space of the names",
                weights.feature_space.to_string(),
                expected,
            ));
        }
        if weights.weights.ncols() != made.dim() {
            let found = format!("{}-wide rows", weights.weights.ncols());
            return Err(Error::invalid(
                "text weights",
                found,
                format!("{}-wide rows", made.dim()),
            ));
        }
        for ((label, origin), row) in weights
            .labels
            .iter()
            .zip(&weights.origins)
            .zip(weights.weights.rows())
        {
            let estimated = matches!(origin, Origin::Estimated(_));
            let prompts = label.prompts().to_vec();
            match made
                .position(label.name())
                .ok()
                .filter(|at| !made.is_named(*at))
            {
                Some(at) => {
                    made.text.row_mut(at).assign(&row);
                    let class = &mut made.classes[at];
                    (class.prompts, class.estimated) = (prompts, estimated);
                }
                None => made.push_class(label.name(), prompts, estimated, Some(row)),
            }
        }
        text::check(made.labels()?)?;
        Ok(self)
    }

    /// Adds a class that only its shots describe; there may be one of this name already.
    ///
    /// # Errors
    /// A name that no label may have.
    pub fn add_class(&mut self, name: &str) -> Result<&mut Self> {
        self.changed = true;
        let label = Label::new::<&str>(name, &[])?;
        if self.made.position(label.name()).is_err() {
            self.made.push_class(label.name(), Vec::new(), false, None);
            text::check(self.made.labels()?)?;
        }
        Ok(self)
    }

    /// Removes a class with its shots.
    ///
    /// # Errors
    /// No such class, or it is the last one.
    pub fn remove_class(&mut self, name: &str) -> Result<&mut Self> {
        self.changed = true;
        let at = self.made.position(name)?;
        if self.made.classes.len() == 1 {
            return Err(Error::invalid(
                "classes",
                "none left",
                "at least one class: add another first",
            ));
        }
        let class = self.made.classes.remove(at);
        self.made.text.remove_index(Axis(0), at);
        self.keep_shots(|shot| shot.class != Some(class.id));
        Ok(self)
    }

    /// Calls the class `name` by `new_name`; what it looks like stays.
    ///
    /// # Errors
    /// No such class, a bad name, or one that is taken.
    pub fn rename(&mut self, name: &str, new_name: &str) -> Result<&mut Self> {
        let at = self.made.position(name)?;
        self.made.classes[at].name = Label::new::<&str>(new_name, &[])?.name().to_owned();
        text::check(self.made.labels()?)?;
        Ok(self)
    }

    /// Adds shots to the class `class`, or to the background; returns their ids.
    ///
    /// # Errors
    /// No such class, a feature of another width, [`Error::Known`] for a photo that is a shot
    /// already, or too many.
    pub fn add_shots(&mut self, class: Option<&str>, shots: Vec<NewShot>) -> Result<Vec<u32>> {
        self.changed = true;
        let made = &mut self.made;
        let class = class
            .map(|name| Ok::<_, Error>(made.classes[made.position(name)?].id))
            .transpose()?;
        let total = made.shots.len() + shots.len();
        if total > MAX_SHOTS {
            return Err(Error::Limit {
                what: "shots",
                found: total as u64,
                limit: MAX_SHOTS as u64,
            });
        }
        // All are checked before the first is taken, so that a refusal changes nothing.
        let mut taken: BTreeMap<_, _> = made
            .shots
            .iter()
            .map(|s| ((s.source, s.view), s.id))
            .collect();
        for new in &shots {
            if new.feature.dim() != made.dim() {
                let found = new.feature.dim().to_string();
                return Err(Error::invalid(
                    "feature width",
                    found,
                    made.dim().to_string(),
                ));
            }
            match taken.entry((new.source, new.view)) {
                Entry::Occupied(there) => return Err(made.known_already(*there.get(), class)),
                Entry::Vacant(place) => place.insert(u32::MAX),
            };
        }
        let mut ids = Vec::with_capacity(shots.len());
        for new in shots {
            let (shot, feature, thumbnail) = new.into_shot(made.next_shot, class);
            made.next_shot += 1;
            ids.push(shot.id);
            made.halves.extend(feature);
            made.thumbnails.push(thumbnail.unwrap_or_default());
            made.shots.push(shot);
        }
        Ok(ids)
    }

    /// How many shots the class `name` has by now.
    ///
    /// # Errors
    /// No such class.
    pub fn shots_of(&self, name: &str) -> Result<usize> {
        Ok(self.made.shots_of(self.made.position(name)?))
    }

    /// Forgets shots by their ids.
    ///
    /// # Errors
    /// No such shot.
    pub fn forget(&mut self, ids: &[u32]) -> Result<&mut Self> {
        self.changed = true;
        for id in ids {
            self.made.shot_at(*id)?;
        }
        self.keep_shots(|shot| !ids.contains(&shot.id));
        Ok(self)
    }

    /// Forgets all shots of a class, or all background shots; returns how many there were. A class
    /// without a text weight is nothing without its shots and goes with them.
    ///
    /// # Errors
    /// No such class, or nothing would be left.
    pub fn forget_class(&mut self, name: Option<&str>) -> Result<usize> {
        self.changed = true;
        let before = self.made.shots.len();
        match name {
            None => self.keep_shots(|shot| shot.class.is_some()),
            Some(name) => {
                let at = self.made.position(name)?;
                let id = self.made.classes[at].id;
                if self.made.is_named(at) {
                    self.keep_shots(|shot| shot.class != Some(id));
                } else {
                    self.remove_class(name)?;
                }
            }
        }
        Ok(before - self.made.shots.len())
    }

    /// Moves shots to the class `class`, or to the background.
    ///
    /// # Errors
    /// No such class or shot.
    pub fn move_shots(&mut self, ids: &[u32], class: Option<&str>) -> Result<&mut Self> {
        self.changed = true;
        let made = &mut self.made;
        let class = class
            .map(|name| Ok::<_, Error>(made.classes[made.position(name)?].id))
            .transpose()?;
        for id in ids {
            let at = made.shot_at(*id)?;
            made.shots[at].class = class;
        }
        Ok(self)
    }

    /// How to learn from now on.
    pub fn set(&mut self, settings: Settings) -> &mut Self {
        self.changed = true;
        self.made.settings = settings;
        self
    }

    /// Learns the head from all shots and says in `note` what for, as `history` will show it.
    ///
    /// What is learned is a function of the feature space, the ordered classes and shots, and the
    /// settings: the same input gives the same bits.
    ///
    /// # Errors
    /// A class has neither a text weight nor shots, or the head cannot be learned from them.
    pub fn learn(mut self, note: &str) -> Result<Classifier> {
        let made = &mut self.made;
        if let Some(at) =
            (0..made.classes.len()).find(|at| !made.is_named(*at) && made.shots_of(*at) == 0)
        {
            let found = format!(
                "`{}`, with neither text weight nor shots",
                made.classes[at].name
            );
            return Err(Error::invalid(
                "class",
                found,
                "photos of it (`edgeclip learn`), or no such class (`edgeclip forget`, `classes remove`)",
            ));
        }
        made.note = note.to_owned();
        if self.changed {
            made.relearn()?;
        }
        Ok(self.made)
    }

    fn keep_shots(&mut self, keep: impl Fn(&Shot) -> bool) {
        let made = &mut self.made;
        let dim = made.dim();
        let kept: Vec<bool> = made.shots.iter().map(keep).collect();
        let mut at = kept.iter();
        made.shots
            .retain(|_| *at.next().expect("a word for each shot"));
        let mut at = kept.iter();
        made.thumbnails
            .retain(|_| *at.next().expect("a word for each shot"));
        let rows = made
            .halves
            .chunks(dim)
            .zip(&kept)
            .filter(|(_, kept)| **kept);
        made.halves = rows.flat_map(|(row, _)| row.iter().copied()).collect();
    }
}

impl Classifier {
    fn push_class(
        &mut self,
        name: &str,
        prompts: Vec<String>,
        estimated: bool,
        weight: Option<ndarray::ArrayView1<'_, f32>>,
    ) {
        self.classes.push(Class {
            id: self.next_id,
            name: name.to_owned(),
            prompts,
            estimated,
        });
        self.next_id += 1;
        let none = Array2::zeros((1, self.dim()));
        let row = weight.map_or(none.row(0), |w| w);
        self.text.push_row(row).expect("the width was checked");
    }

    fn known_already(&self, id: u32, wanted: Option<u32>) -> Error {
        let Ok(at) = self.shot_at(id) else {
            return Error::invalid("photo", "the same one twice", "each photo once");
        };
        let name = |class: Option<u32>| {
            let class = self.classes.iter().find(|c| Some(c.id) == class);
            class.map(|c| c.name.clone())
        };
        Error::Known {
            shots: self.photo_of(at),
            of: name(self.shots[at].class),
            wanted: name(wanted),
        }
    }

    /// Ids of the views of the photo that the shot at `at` is of.
    pub(super) fn photo_of(&self, at: usize) -> Vec<u32> {
        let shot = &self.shots[at];
        let views = self.shots.iter();
        let views = views.filter(|s| s.source == shot.source && s.class == shot.class);
        views.map(|s| s.id).collect()
    }

    /// Features of all shots, N×D unit rows.
    pub(super) fn rows(&self) -> Result<Array2<f32>> {
        shot::unit_rows(&self.halves, self.dim())
    }
}
