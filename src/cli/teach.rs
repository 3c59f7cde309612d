//! Teaching a classifier what was seen: quick, for it may be done again where others save meanwhile.

use std::path::PathBuf;

use super::Stop;
use super::args;
use super::learn::{Lesson, Looked};
use super::names;
use super::output::count;
use super::settings::Settings;
use crate::bundle::Bundle;
use crate::classifier::{Classifier, Draft};
use crate::encoder::Feature;
use crate::error::{Error, Result};
use crate::head::Settings as Learning;
use crate::text::{Label, TextWeights};

/// The classes that were not there yet, with text weights where their names are understood.
pub(super) struct NewNames {
    known: Option<TextWeights>,
    /// Known by photos alone.
    nameless: Vec<Label>,
}

impl NewNames {
    pub(super) fn of(
        lessons: &[Lesson],
        args: &args::Learn,
        first: &Classifier,
        (model, settings): (&Bundle, &Settings),
    ) -> Result<Self, Stop> {
        let mut labels = Vec::new();
        for name in lessons.iter().filter_map(|l| l.class.as_deref()) {
            let label = names::label(name)?;
            if first.position(label.name()).is_err() {
                labels.push(label);
            }
        }
        if args.no_name {
            return Ok(Self {
                known: None,
                nameless: labels,
            });
        }
        let (known, nameless) = args::Names::default().understood(labels, model, settings)?;
        for label in &nameless {
            log::warn!(
                "`{}` says nothing to the model: its photos alone decide",
                label.name()
            );
        }
        Ok(Self { known, nameless })
    }

    /// Adds those that `before` lacks; their names come back.
    fn add(&self, before: &Classifier, draft: &mut Draft) -> Result<Vec<String>> {
        let lacks = |label: &&Label| before.position(label.name()).is_err();
        let mut added = Vec::new();
        if let Some(weights) = &self.known {
            let new = weights.only(|label| lacks(&label));
            added.extend(new.labels.iter().map(|l| l.name().to_owned()));
            if !added.is_empty() {
                draft.add_labels(new)?;
            }
        }
        for label in self.nameless.iter().filter(lacks) {
            draft.add_class(label.name())?;
            added.push(label.name().to_owned());
        }
        Ok(added)
    }
}

/// What became of a lesson.
#[derive(Default)]
pub(super) struct Taught {
    /// What it was for, as `history` will show it.
    pub(super) note: String,
    pub(super) photos: Vec<Learned>,
    /// Photos that were shots of just this class before.
    pub(super) known: usize,
    pub(super) skipped: Vec<(PathBuf, String)>,
    pub(super) new_names: Vec<String>,
    pub(super) seconds: f64,
    /// Words on what was not learned, not yet said.
    refused: Vec<String>,
}

/// A photo that became a shot.
pub(super) struct Learned {
    /// The shot of its whole view.
    pub(super) shot: u32,
    /// Whether the classifier answered it right before it was learned.
    pub(super) right_before: bool,
}

impl Taught {
    /// Says what was not learned and why.
    pub(super) fn say_refused(&self, level: log::Level) {
        for words in &self.refused {
            log::log!(level, "{words}");
        }
    }
}

/// What is taught.
pub(super) struct Teaching<'a> {
    pub(super) lessons: &'a [Lesson],
    pub(super) names: &'a NewNames,
    pub(super) seen: &'a [Looked<'a>],
}

impl Teaching<'_> {
    /// `before` with what was seen learned, `None` where there was nothing new to learn.
    pub(super) fn teach(
        &self,
        before: &Classifier,
        learning: Learning,
    ) -> Result<(Option<Classifier>, Taught), Stop> {
        let mut draft = before.draft();
        draft.set(learning);
        let mut taught = Taught::default();
        let new_names = self.names.add(before, &mut draft)?;
        for looked in self.seen {
            taught.add(looked, before, &mut draft)?;
        }
        if taught.photos.is_empty() && taught.known == 0 {
            taught.say_refused(log::Level::Error);
            let found = format!("none of {}", count(self.seen.len(), "photo", "photos"));
            let expected = "at least one new, readable photo: nothing was changed";
            return Err(Error::invalid("photos to learn from", found, expected).into());
        }
        taught.drop_empty(new_names, &mut draft)?;
        let learned = taught.photos.len();
        if learned == 0 && learning == *before.settings() {
            taught.note = "nothing new to learn".into();
            return Ok((None, taught));
        }
        taught.note = match learned {
            0 => format!("learned the same photos by head {}", learning.method),
            n => note(self.lessons, n),
        };
        let started = std::time::Instant::now();
        let after = draft.learn(&taught.note)?;
        taught.seconds = started.elapsed().as_secs_f64();
        Ok((Some(after), taught))
    }
}

impl Taught {
    fn add(&mut self, looked: &Looked<'_>, before: &Classifier, draft: &mut Draft) -> Result<()> {
        let Looked { class, path, seen } = looked;
        let seen = match seen {
            Ok(seen) => seen,
            Err(words) => {
                self.skipped.push((path.to_path_buf(), words.clone()));
                return Ok(());
            }
        };
        match draft.add_shots(*class, seen.shots(path)) {
            Ok(ids) => self.photos.push(Learned {
                shot: ids[0],
                right_before: answers_right(before, *class, &seen.features[0])?,
            }),
            Err(Error::Known { of, wanted, .. }) if of == wanted => self.known += 1,
            Err(e) => {
                let words = e.at(path).to_string();
                self.refused.push(format!("{words}; skipped"));
                self.skipped.push((path.to_path_buf(), words));
            }
        }
        Ok(())
    }

    /// Takes back the new classes of which no photo could be learned.
    fn drop_empty(&mut self, new: Vec<String>, draft: &mut Draft) -> Result<()> {
        for name in new {
            if draft.shots_of(&name)? > 0 || draft.remove_class(&name).is_err() {
                self.new_names.push(name);
            } else {
                let words = "none of its photos could be learned; no such class was made";
                self.refused.push(format!("`{name}`: {words}"));
            }
        }
        Ok(())
    }
}

/// Whether a photo is answered by its class, or, of the background, by `unknown`.
fn answers_right(classifier: &Classifier, class: Option<&str>, feature: &Feature) -> Result<bool> {
    if classifier.classes().is_empty() {
        return Ok(false);
    }
    let decision = classifier.decide(feature, 1)?;
    Ok(match class {
        None => decision.unknown == Some(true),
        Some(class) => {
            let answer = classifier.position(decision.answers[0].label)?;
            classifier.position(class).is_ok_and(|own| own == answer)
        }
    })
}

fn note(lessons: &[Lesson], learned: usize) -> String {
    let photos = count(learned, "photo", "photos");
    match lessons {
        [Lesson { class: None, .. }] => format!("learned {photos} of the background"),
        [
            Lesson {
                class: Some(class), ..
            },
        ] => format!("learned {photos} of `{class}`"),
        many => format!("learned {photos} of {} classes", many.len()),
    }
}
