//! What `learn` answers: what was learned, how right it was before and is now, why, and the way back.

use std::path::Path;

use serde_json::json;

use super::Stop;
use super::output::{Output, count, printable};
use super::teach::Taught;
use crate::classifier::{Change, Classifier};
use crate::head::Estimate;

/// All that the answer tells.
pub(super) struct Told<'a> {
    pub(super) taught: &'a Taught,
    pub(super) before: &'a Classifier,
    /// `None` where there was nothing new to learn.
    pub(super) after: Option<&'a Classifier>,
    pub(super) path: &'a Path,
}

/// How the new photos themselves are answered.
struct NewPhotos {
    right_before: usize,
    /// Photos that were judged while left out, and of these the ones answered right.
    judged: usize,
    right_after: usize,
}

impl Told<'_> {
    pub(super) fn show(&self, out: &mut Output) -> Result<(), Stop> {
        match self.after {
            _ if out.json => out.object(&self.object(self.after.unwrap_or(self.before))),
            Some(after) => self.words(after, out),
            None => out.line(&printable(&format!("{}{}", self.taught.note, self.apart()))),
        }
    }

    /// The photos that were not learned, by why.
    fn apart(&self) -> String {
        let known = self.taught.known;
        let counts = [
            (known, "already known"),
            (self.taught.skipped.len(), "skipped"),
        ];
        let apart = counts.iter().filter(|(n, _)| *n > 0);
        apart.map(|(n, why)| format!(", {n} {why}")).collect()
    }

    fn new_photos(&self, after: &Classifier) -> NewPhotos {
        let photos = &self.taught.photos;
        let answers = photos.iter().filter_map(|p| after.held_out_right(p.shot));
        let answers: Vec<bool> = answers.collect();
        NewPhotos {
            right_before: photos.iter().filter(|p| p.right_before).count(),
            judged: answers.len(),
            right_after: answers.iter().filter(|right| **right).count(),
        }
    }

    fn estimate(classifier: &Classifier) -> Option<&Estimate> {
        classifier.learned().and_then(|l| l.estimate.as_ref())
    }

    fn object(&self, after: &Classifier) -> serde_json::Value {
        let estimate = |c| {
            let found = Self::estimate(c);
            found.map(|e| json!({ "accuracy": e.accuracy, "low": e.low, "high": e.high }))
        };
        let change = Change::between(self.before, after);
        let new = self.new_photos(after);
        let taught = self.taught;
        let skipped = taught.skipped.iter();
        let skipped: Vec<_> = skipped
            .map(|(p, e)| json!({ "path": p, "error": e }))
            .collect();
        json!({
            "classifier": self.path, "done": taught.note, "learned": taught.photos.len(), "known": taught.known,
            "skipped": skipped, "classes": after.classes().len(), "new_classes": taught.new_names,
            "shots": after.shots().len(), "head": after.settings().method.to_string(), "seconds": taught.seconds,
            "before": estimate(self.before), "after": estimate(after),
            "new_photos": { "right_before": new.right_before, "judged": new.judged, "right_after": new.right_after },
            "old_shots": {
                "judged": change.judged, "right_before": change.right_before, "right_after": change.right_after,
            },
            "worse": change.is_for_the_worse(),
            "words": after.learned().map_or(&[][..], |l| &l.words),
        })
    }

    fn words(&self, after: &Classifier, out: &mut Output) -> Result<(), Stop> {
        let taught = self.taught;
        out.line(&printable(&format!(
            "{}{}, in {:.2} s",
            taught.note,
            self.apart(),
            taught.seconds
        )))?;
        if !taught.photos.is_empty() {
            self.words_on_new(after, out)?;
        }
        if let Some(e) = Self::estimate(after) {
            let was = Self::estimate(self.before).map_or(String::new(), |e| {
                format!("; was {:.0}%", 100.0 * e.accuracy)
            });
            let all = (0..after.classes().len()).all(|at| after.shots_of(at) > 0);
            let of = if all {
                "all classes"
            } else {
                "the classes shown"
            };
            out.line(&format!(
                "  in all  {:.0}% of new photos of {of} right, by its own estimate ({:.0} to {:.0}%){was}",
                100.0 * e.accuracy,
                100.0 * e.low,
                100.0 * e.high
            ))?;
        }
        let words = after.learned().map_or(&[][..], |l| &l.words);
        for (i, words) in words.iter().enumerate() {
            out.line(&format!(
                "  {}  {words}",
                if i == 0 { "why   " } else { "      " }
            ))?;
        }
        let change = Change::between(self.before, after);
        if change.is_for_the_worse() {
            log::warn!(
                "{} of {} earlier shots were answered right before, {} now: look with `edgeclip audit`, or take it back with `edgeclip undo`",
                change.right_before,
                change.judged,
                change.right_after
            );
        }
        let (classes, shots) = (after.classes().len(), after.shots().len());
        let held = format!(
            "{} and {}",
            count(classes, "class", "classes"),
            count(shots, "shot", "shots")
        );
        let first = self.before.classes().is_empty() && self.before.shots().is_empty();
        let back = match first {
            true => "the first of its versions",
            false => "`edgeclip undo` takes this back",
        };
        out.line(&format!(
            "  kept    {held} in {}; {back}",
            self.path.display()
        ))
    }

    fn words_on_new(&self, after: &Classifier, out: &mut Output) -> Result<(), Stop> {
        let taught = self.taught;
        let new = self.new_photos(after);
        let learned = taught.photos.len();
        let names: Vec<String> = taught
            .new_names
            .iter()
            .map(|n| format!("`{}`", printable(n)))
            .collect();
        out.line(&match &names[..] {
            [] => format!(
                "  before  {} of these {learned} photos answered right",
                new.right_before
            ),
            [name] => format!("  before  {name} was not a class yet"),
            names => format!(
                "  before  {} new classes: {}",
                names.len(),
                names.join(", ")
            ),
        })?;
        out.line(&match new.judged {
            0 => "  now     nothing to judge by: one view a class cannot be left out".to_owned(),
            judged => format!(
                "  now     {} of {judged} answered right, each while left out of learning",
                new.right_after
            ),
        })
    }
}
