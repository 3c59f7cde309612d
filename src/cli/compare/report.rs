//! What a comparison found, as a table, as JSON, and as a verdict.

use serde_json::{Value, json};

use super::{Asked, Comparison};
use crate::bundle::Score;
use crate::cli::Stop;
use crate::cli::output::{Output, count};
use crate::error::Error;
use crate::import::PixelsFrom;

/// Least mean cosine that counts as the same: what int8 is allowed to turn features by.
const SAME: f64 = 0.999;
/// Scales nearer than this, as a share, are the same.
const SCALE_ROUNDING: f32 = 1e-3;

impl Comparison {
    fn same_images(&self) -> bool {
        self.images.0 >= SAME
    }

    fn same_texts(&self) -> bool {
        self.text_likeness.is_none_or(|(mean, _)| mean >= SAME)
    }

    pub(super) fn show(&self, asked: &Asked<'_>, out: &mut Output) -> Result<(), Stop> {
        if out.json {
            return out.object(&self.figures(asked));
        }
        let mut rows = self.pixel_rows();
        let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
        let photos = count(self.photos, "photo", "photos");
        row("images", format!("{photos}: {}", cosine_words(self.images)));
        row(
            "neighbours",
            format!(
                "the likest other photo is the same for {} of {}",
                self.same_nearest, self.photos
            ),
        );
        row("texts", self.text_words());
        row("answers", self.answer_words());
        if let Some(stated) = self.other_scale() {
            row(
                "scale",
                format!(
                    "{}, the reference states {stated}; answers above are by the former on both sides",
                    self.score.scale
                ),
            );
        }
        if let Some(words) = self.other_form() {
            row("score", words);
        }
        row(
            "verdict",
            match (self.same_images(), self.same_texts()) {
                (true, true) => "the same".to_owned(),
                (false, true) => "other images".to_owned(),
                (true, false) => "other texts".to_owned(),
                (false, false) => "other images and other texts".to_owned(),
            },
        );
        out.table(&rows, &[])
    }

    fn pixel_rows(&self) -> Vec<Vec<String>> {
        let first = match (&self.pixels, self.differences.is_empty()) {
            (PixelsFrom::Own(file), true) => format!("the same as in {}", file.display()),
            (PixelsFrom::Own(file), false) => {
                format!("not as in {}; each side goes by its own:", file.display())
            }
            (PixelsFrom::Given, _) => {
                "of the bundle on both sides: the reference has none beside it".into()
            }
            (PixelsFrom::Unfit(_, why), _) => format!("of the bundle on both sides: {why}"),
        };
        let cells =
            std::iter::once(("pixels", &first)).chain(self.differences.iter().map(|d| ("", d)));
        cells
            .map(|(key, value)| vec![key.to_owned(), value.clone()])
            .collect()
    }

    fn text_words(&self) -> String {
        match self.text_likeness {
            Some(cosines) => {
                let ready = if self.texts.ready {
                    ", ready vectors beside encoded ones"
                } else {
                    ""
                };
                format!(
                    "{}{ready}: {}{}",
                    self.texts.words(),
                    cosine_words(cosines),
                    self.left_out_words()
                )
            }
            None => format!("not compared: {}", self.lacking()),
        }
    }

    /// Which side has no texts to compare.
    fn lacking(&self) -> String {
        let why = self
            .textless
            .as_ref()
            .map_or(String::new(), |why| format!(" ({why})"));
        match (&self.texts.ours, &self.texts.theirs) {
            (None, None) => format!("neither side has a text encoder{why}"),
            (None, Some(_)) => "the bundle has no text encoder".into(),
            _ => format!("the reference has no text encoder{why}"),
        }
    }

    fn left_out_words(&self) -> String {
        match self.texts.left_out {
            0 => String::new(),
            n => format!("; {n} more are not in the vocabulary"),
        }
    }

    fn answer_words(&self) -> String {
        let Some(answers) = &self.answers else {
            return "not compared by name: no texts on either side".into();
        };
        let from = match self.text_side() {
            "own" => "",
            "bundle" => ", by the bundle's text weights on both sides",
            _ => ", by the reference's text weights on both sides",
        };
        format!(
            "the same best of {} for {} of {}{from}; a probability differs by {:.4} at most",
            self.texts.words(),
            answers.same,
            self.photos,
            answers.widest
        )
    }

    /// Whose text weights answer.
    fn text_side(&self) -> &'static str {
        match (&self.texts.ours, &self.texts.theirs) {
            (Some(_), Some(_)) => "own",
            (Some(_), None) => "bundle",
            _ => "reference",
        }
    }

    /// Where one side gives probabilities to each name alone and the other one does not.
    fn other_form(&self) -> Option<String> {
        let (ours, theirs) = (self.score, self.their_score);
        let far = (ours.bias - theirs.bias).abs() > 1e-3;
        (ours.form != theirs.form || far).then(|| {
            let words = |s: Score| format!("{:?}, bias {}", s.form, s.bias).to_lowercase();
            format!("{}; the reference: {}", words(ours), words(theirs))
        })
    }

    fn other_scale(&self) -> Option<f32> {
        let far = |stated: &f32| (stated / self.score.scale - 1.0).abs() > SCALE_ROUNDING;
        self.stated_scale.filter(far)
    }

    fn figures(&self, asked: &Asked<'_>) -> Value {
        let (from, why) = match &self.pixels {
            PixelsFrom::Own(file) => (Some(file), None),
            PixelsFrom::Given => (None, None),
            PixelsFrom::Unfit(file, why) => (Some(file), Some(why.to_string())),
        };
        let names: Vec<&str> = self.texts.labels().iter().map(|l| l.name()).collect();
        let text = self.text_likeness.map(|(mean, least)| {
            json!({ "cosine_mean": mean, "cosine_min": least, "ready_vectors": self.texts.ready })
        });
        let lacking = text.is_none().then(|| self.lacking());
        let answers = self.answers.as_ref().map(|a| {
            json!({ "same": a.same, "p_difference_max": a.widest, "text_weights": self.text_side() })
        });
        json!({
            "path": asked.bundle, "against": asked.against, "photos": self.photos,
            "cosine_mean": self.images.0, "cosine_min": self.images.1, "same_nearest": self.same_nearest,
            "preprocessing": { "from": from, "not_used": why, "differences": self.differences },
            "names": names, "names_left_out": self.texts.left_out,
            "text": text, "text_lacking": lacking, "answers": answers,
            "scale": self.score.scale, "scale_of_reference": self.stated_scale,
            "score": self.score, "score_of_reference": self.their_score,
            "same": self.same_images() && self.same_texts(),
        })
    }

    /// # Errors
    /// The sides are not the same.
    pub(super) fn verdict(&self, asked: &Asked<'_>) -> Result<(), Error> {
        let mut found = Vec::new();
        if !self.same_images() {
            found.push(format!(
                "image features that differ, cosine {:.4} in the mean",
                self.images.0
            ));
        }
        if let Some((mean, _)) = self.text_likeness.filter(|_| !self.same_texts()) {
            found.push(format!(
                "text vectors that differ, cosine {mean:.4} in the mean"
            ));
        }
        if found.is_empty() {
            return Ok(());
        }
        let advice = match (self.same_images(), self.differences.is_empty()) {
            (true, _) => "has it another text tower or tokenizer?",
            (false, true) => "is it another model?",
            (false, false) => {
                "is it another model, or is the preprocessing above wrong? `model import` without flags takes what lies beside the model"
            }
        };
        let expected = format!("{SAME} or more: {advice}");
        Err(Error::invalid("bundle", found.join("; "), expected).at(asked.bundle))
    }
}

fn cosine_words((mean, least): (f64, f64)) -> String {
    format!("cosine {mean:.6} in the mean, {least:.6} at least")
}
