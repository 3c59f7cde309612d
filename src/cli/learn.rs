//! `learn`: photos become shots, shots a better classifier, and the answer says how much better.

use std::path::{Path, PathBuf};

use super::args::{self, Global};
use super::output::Output;
use super::saving;
use super::settings::{Settings, VerbFlags};
use super::told::Told;
use super::{Done, Stop, photos, places};
use crate::bundle::Bundle;
use crate::classifier::{Classifier, Draft, NewShot};
use crate::encoder::{Encoder, Feature};
use crate::error::{Error, Result};
use crate::frame::{Decode, Photo};
use crate::head::Settings as Learning;
use crate::text::Label;

/// Longer side of the small pictures that `--keep-photos` keeps.
const THUMBNAIL_PX: u32 = 160;

/// What is to be learned: the photos of each class, or of the background.
struct Lesson {
    /// `None` for the background.
    class: Option<String>,
    photos: Vec<PathBuf>,
}

pub(super) fn run(global: &Global, args: &args::Learn, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.file.classifier.clone(),
        top: None,
    };
    let settings = Settings::gather(global, verb)?;
    let lessons = lessons(args)?;
    let model = places::open_model(&settings)?;
    let path = places::classifier_path(&settings)?;
    let before = saving::open_or_empty(&path, &model)?;
    let learning = learning(args, before.settings())?;
    let mut draft = before.draft();
    draft.set(learning);
    if before.classes().is_empty() && args.background {
        return Err(Stop::Usage(
            "a background needs a class to stand behind: learn one first".into(),
        ));
    }
    let new_names = add_new_classes(&lessons, args, &before, &mut draft, (&model, &settings))?;
    let taken = add_photos(
        &lessons, args, &before, &mut draft, &model, &settings, out.quiet,
    )?;
    let note = note(&lessons, taken.photos.len());
    if taken.photos.is_empty() {
        let found = format!("none of {} photos", taken.skipped.len());
        return Err(Error::invalid(
            "photos to learn from",
            found,
            "at least one new, readable photo: nothing was changed",
        )
        .into());
    }
    let new_names = drop_empty(new_names, &mut draft)?;
    let started = std::time::Instant::now();
    let mut after = draft.learn(&note)?;
    let seconds = started.elapsed().as_secs_f64();
    saving::make_folder(&path)?;
    after.save(&path)?;
    let told = Told {
        note: &note,
        taken: &taken,
        before: &before,
        after: &after,
        new_names: &new_names,
        path: &path,
        seconds,
    };
    told.show(out)?;
    Ok(if taken.skipped.is_empty() {
        Done::Whole
    } else {
        Done::InPart
    })
}

fn lessons(args: &args::Learn) -> Result<Vec<Lesson>, Stop> {
    if let Some(folder) = &args.from {
        let classes = photos::gather_classes(folder)?;
        return Ok(classes
            .into_iter()
            .map(|(class, photos)| Lesson {
                class: Some(class),
                photos,
            })
            .collect());
    }
    let (class, named) = if args.background {
        (None, &args.what[..])
    } else {
        let (first, rest) = args.what.split_first().expect("clap asks for one at least");
        // As labels are kept: trimmed, with single spaces.
        let label = Label::new::<&str>(&first.to_string_lossy(), &[])?;
        (Some(label.name().to_owned()), rest)
    };
    if let Some(path) = class.as_deref().filter(|name| Path::new(name).is_file()) {
        return Err(Stop::Usage(format!(
            "`{path}` is a file, not the name of a class: edgeclip learn CLASS PHOTO…"
        )));
    }
    if named.is_empty() {
        let class = class.unwrap_or_default();
        return Err(Stop::Usage(format!(
            "no photos of `{class}`: edgeclip learn \"{class}\" PHOTO…"
        )));
    }
    Ok(vec![Lesson {
        class,
        photos: photos::gather(named)?,
    }])
}

fn learning(args: &args::Learn, before: &Learning) -> Result<Learning, Stop> {
    let mut learning = args.head.over(before)?;
    if let Some(share) = args.false_accept {
        if !(0.0 < share && share < 1.0) {
            return Err(Stop::Usage(format!(
                "--false-accept {share}: a share between 0 and 1, as 0.05"
            )));
        }
        learning.false_accept = share;
    }
    Ok(learning)
}

/// Adds the classes that are not there yet, with text weights where their names are understood.
fn add_new_classes(
    lessons: &[Lesson],
    args: &args::Learn,
    before: &Classifier,
    draft: &mut Draft,
    (model, settings): (&Bundle, &Settings),
) -> Result<Vec<String>, Stop> {
    let mut labels = Vec::new();
    for name in lessons.iter().filter_map(|l| l.class.as_deref()) {
        let label = Label::new::<&str>(name, &[])?;
        if before.position(label.name()).is_err() {
            labels.push(label);
        }
    }
    let new = labels.iter().map(|l| l.name().to_owned()).collect();
    if args.no_name {
        for label in &labels {
            draft.add_class(label.name())?;
        }
        return Ok(new);
    }
    let names = args::Names::default();
    let (known, nameless) = names.understood(labels, model, settings)?;
    if let Some(weights) = known {
        draft.add_labels(weights)?;
    }
    for label in &nameless {
        log::warn!(
            "`{}` says nothing to the model: its photos alone decide",
            label.name()
        );
        draft.add_class(label.name())?;
    }
    Ok(new)
}

/// Takes back the new classes of which no photo could be learned.
fn drop_empty(new: Vec<String>, draft: &mut Draft) -> Result<Vec<String>, Stop> {
    let mut kept = Vec::new();
    for name in new {
        if draft.shots_of(&name)? > 0 || draft.remove_class(&name).is_err() {
            kept.push(name);
        } else {
            log::warn!("`{name}`: none of its photos could be learned; no such class was made");
        }
    }
    Ok(kept)
}

/// What became of the photos.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) photos: Vec<Learned>,
    pub(super) skipped: Vec<(PathBuf, String)>,
}

/// A photo that became a shot.
pub(super) struct Learned {
    /// The shot of its whole view.
    pub(super) shot: u32,
    /// Whether the classifier answered it right before it was learned.
    pub(super) right_before: bool,
}

/// A photo and its views, encoded.
struct Seen {
    source: [u8; 16],
    taken_s: Option<u64>,
    features: Vec<Feature>,
    thumbnail: Option<Vec<u8>>,
}

fn add_photos(
    lessons: &[Lesson],
    args: &args::Learn,
    before: &Classifier,
    draft: &mut Draft,
    model: &Bundle,
    settings: &Settings,
    quiet: bool,
) -> Result<Taken, Stop> {
    let all: Vec<(Option<&str>, &PathBuf)> = lessons
        .iter()
        .flat_map(|l| l.photos.iter().map(|p| (l.class.as_deref(), p)))
        .collect();
    let paths: Vec<PathBuf> = all.iter().map(|(_, p)| (*p).clone()).collect();
    let encoder = photos::open_encoder(model, paths.len(), &settings.threads)?;
    let rules = args.decode.rules();
    let mut taken = Taken::default();
    let mut at = 0;
    let see = |encoder: &mut Encoder, path: &Path| see(encoder, path, &rules, args);
    photos::work_through(
        &encoder,
        &paths,
        settings.threads.value,
        quiet,
        see,
        |path, result| {
            let class = all[at].0;
            at += 1;
            let added = result.and_then(|seen| {
                let right_before = answers_right(before, class, &seen.features[0])?;
                let name = path
                    .file_name()
                    .map_or(String::new(), |n| n.to_string_lossy().into_owned());
                let ids = draft
                    .add_shots(class, seen.into_shots(&name))
                    .map_err(|e| e.at(path))?;
                Ok(Learned {
                    shot: ids[0],
                    right_before,
                })
            });
            match added {
                Ok(learned) => taken.photos.push(learned),
                Err(e) => {
                    log::error!("{e}; skipped");
                    taken.skipped.push((path.to_owned(), e.to_string()));
                }
            }
            Ok::<(), Stop>(())
        },
    )?;
    Ok(taken)
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

fn see(encoder: &mut Encoder, path: &Path, rules: &Decode, args: &args::Learn) -> Result<Seen> {
    let Photo {
        frame,
        source,
        taken_s,
    } = rules.photo(path)?;
    let mut encode = |view| match view {
        0 => encoder.encode(&frame),
        view => encoder.encode(&frame.view(view)),
    };
    let encode = |view| encode(view).map_err(|e| e.at(path));
    let features = (0..args.views).map(encode).collect::<Result<_>>()?;
    let thumbnail = args
        .keep_photos
        .then(|| frame.to_thumbnail(THUMBNAIL_PX))
        .transpose()?;
    Ok(Seen {
        source,
        taken_s,
        features,
        thumbnail,
    })
}

impl Seen {
    fn into_shots(self, name: &str) -> Vec<NewShot> {
        let mut thumbnail = self.thumbnail;
        let views = self.features.into_iter().zip(0..);
        let shot = |(feature, view)| NewShot {
            feature,
            source: self.source,
            view,
            capture: None,
            taken_s: self.taken_s,
            name: name.to_owned(),
            thumbnail: thumbnail.take(),
        };
        views.map(shot).collect()
    }
}

fn note(lessons: &[Lesson], learned: usize) -> String {
    let photos = if learned == 1 { "photo" } else { "photos" };
    match lessons {
        [Lesson { class: None, .. }] => format!("learned {learned} {photos} of the background"),
        [
            Lesson {
                class: Some(class), ..
            },
        ] => format!("learned {learned} {photos} of `{class}`"),
        many => format!("learned {learned} {photos} of {} classes", many.len()),
    }
}
