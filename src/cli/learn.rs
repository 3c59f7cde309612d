//! `learn`: photos become shots, shots a better classifier, and the answer says how much better.

use std::path::{Path, PathBuf};

use super::args::{self, Global};
use super::output::Output;
use super::saving;
use super::settings::{Settings, VerbFlags};
use super::teach::{NewNames, Teaching};
use super::told::Told;
use super::{Done, Stop, names, photos, places};
use crate::bundle::Bundle;
use crate::classifier::{Classifier, NewShot};
use crate::encoder::{Encoder, Feature};
use crate::error::Result;
use crate::frame::{Decode, Frame, Photo};
use crate::head::Settings as Learning;

/// Longer side of the small pictures that `--keep-photos` keeps.
const THUMBNAIL_PX: u32 = 160;

/// What is to be learned: the photos of each class, or of the background.
pub(super) struct Lesson {
    /// `None` for the background.
    pub(super) class: Option<String>,
    pub(super) photos: Vec<PathBuf>,
}

pub(super) fn run(global: &Global, args: &args::Learn, out: &mut Output) -> Result<Done, Stop> {
    let verb = VerbFlags {
        classifier: args.file.classifier.clone(),
        top: None,
    };
    let settings = Settings::gather(global, verb)?;
    if args.head.head.is_some() {
        // Wrong flags come to light before photos are looked for.
        args.head.over(&Learning::default())?;
    }
    let lessons = lessons(args)?;
    let model = places::open_model(&settings)?;
    let path = places::classifier_path(&settings)?;
    let open = || saving::open_or_empty(&path, &model);
    let first = open()?;
    args.head.over(first.settings())?;
    if first.classes().is_empty() && args.background {
        return Err(Stop::Usage(
            "a background needs a class to stand behind: learn one first".into(),
        ));
    }
    // What takes long, names and photos, is done once; teaching may have to be done again.
    let names = NewNames::of(&lessons, args, &first, (&model, &settings))?;
    #[cfg(feature = "camera")]
    let burst = match args.burst.camera {
        Some(_) => {
            saving::check(&path)?;
            Some(super::burst::take(args, &model, out.quiet)?)
        }
        None => None,
    };
    #[cfg(feature = "camera")]
    let lessons = match &burst {
        Some(burst) => burst.lessons(lessons),
        None => lessons,
    };
    #[cfg(feature = "camera")]
    let seen = match &burst {
        Some(burst) => {
            let mut encoder = Encoder::open(&model, settings.threads.value)?;
            let seen = burst.encode(&mut encoder, args)?;
            let all = lessons.iter().flat_map(|l| {
                let class = l.class.as_deref();
                l.photos.iter().map(move |path| (class, path.as_path()))
            });
            let looked = all.zip(seen);
            looked
                .map(|((class, path), seen)| Looked { class, path, seen })
                .collect()
        }
        None => see_all(&lessons, args, &model, &settings, out.quiet)?,
    };
    #[cfg(not(feature = "camera"))]
    let seen = see_all(&lessons, args, &model, &settings, out.quiet)?;
    let teach = |before: &Classifier| {
        let lesson = Teaching {
            lessons: &lessons,
            names: &names,
            seen: &seen,
        };
        lesson.teach(before, learning(args, before.settings())?)
    };
    let changed = saving::change(&path, open, teach)?;
    let taught = &changed.told;
    // Of a burst some frames are always worse than others.
    #[cfg(feature = "camera")]
    let is_burst = burst.is_some();
    #[cfg(not(feature = "camera"))]
    let is_burst = false;
    taught.say_refused(match is_burst {
        true => log::Level::Warn,
        false => log::Level::Error,
    });
    let told = Told {
        taught,
        before: &changed.before,
        after: changed.after.as_ref(),
        path: &path,
    };
    told.show(out)?;
    Ok(if is_burst || taught.skipped.is_empty() {
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
        let Some((first, rest)) = args.what.split_first() else {
            return Err(Stop::Usage("no class: edgeclip learn CLASS PHOTO…".into()));
        };
        // As labels are kept: trimmed, with single spaces.
        let label = names::label(&first.to_string_lossy())?;
        (Some(label.name().to_owned()), rest)
    };
    if let Some(path) = class.as_deref().filter(|name| Path::new(name).is_file()) {
        return Err(Stop::Usage(format!(
            "`{path}` is a file, not the name of a class: edgeclip learn CLASS PHOTO…"
        )));
    }
    #[cfg(feature = "camera")]
    if args.burst.camera.is_some() {
        if !named.is_empty() {
            let words = "photos and --camera: one of them";
            return Err(Stop::Usage(words.into()));
        }
        return Ok(vec![Lesson {
            class,
            photos: Vec::new(),
        }]);
    }
    if named.is_empty() && class.is_none() {
        let words = "no photos of the background: edgeclip learn --background PHOTO…";
        return Err(Stop::Usage(words.into()));
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
    learning.false_accept = args.false_accept.unwrap_or(learning.false_accept);
    Ok(learning)
}

/// A photo and its views, encoded.
pub(super) struct Seen {
    pub(super) source: [u8; 16],
    /// One number for the frames of one burst.
    pub(super) capture: Option<u32>,
    pub(super) taken_s: Option<u64>,
    pub(super) features: Vec<Feature>,
    pub(super) thumbnail: Option<Vec<u8>>,
}

/// A photo with the class to learn it as, and what came of looking at it.
pub(super) struct Looked<'a> {
    pub(super) class: Option<&'a str>,
    pub(super) path: &'a Path,
    pub(super) seen: Result<Seen, String>,
}

fn see_all<'a>(
    lessons: &'a [Lesson],
    args: &args::Learn,
    model: &Bundle,
    settings: &Settings,
    quiet: bool,
) -> Result<Vec<Looked<'a>>, Stop> {
    let all: Vec<(Option<&str>, &PathBuf)> = lessons
        .iter()
        .flat_map(|l| l.photos.iter().map(|p| (l.class.as_deref(), p)))
        .collect();
    let paths: Vec<PathBuf> = all.iter().map(|(_, p)| (*p).clone()).collect();
    let encoder = photos::open_encoder(model, paths.len(), &settings.threads)?;
    let rules = args.decode.rules();
    let mut looked = Vec::with_capacity(all.len());
    photos::work_through(
        &encoder,
        &paths,
        settings.threads.value,
        quiet,
        |encoder, path| see(encoder, path, &rules, args),
        |_, result| {
            let (class, path) = all[looked.len()];
            let seen = result.map_err(|e| {
                log::error!("{e}; skipped");
                e.to_string()
            });
            looked.push(Looked { class, path, seen });
            Ok::<(), Stop>(())
        },
    )?;
    Ok(looked)
}

fn see(encoder: &mut Encoder, path: &Path, rules: &Decode, args: &args::Learn) -> Result<Seen> {
    let Photo {
        frame,
        source,
        taken_s,
    } = rules.photo(path)?;
    let features = views(&frame, args.views, encoder).map_err(|e| e.at(path))?;
    let thumbnail = thumbnail(&frame, args.keep_photos)?;
    Ok(Seen {
        source,
        capture: None,
        taken_s,
        features,
        thumbnail,
    })
}

/// Features of the first `count` views of a frame.
pub(super) fn views(frame: &Frame, count: u8, encoder: &mut Encoder) -> Result<Vec<Feature>> {
    let encode = |view| match view {
        0 => encoder.encode(frame),
        view => encoder.encode(&frame.view(view)),
    };
    (0..count).map(encode).collect()
}

/// A small picture, where photos are kept.
pub(super) fn thumbnail(frame: &Frame, keep: bool) -> Result<Option<Vec<u8>>> {
    keep.then(|| frame.to_thumbnail(THUMBNAIL_PX)).transpose()
}

impl Seen {
    pub(super) fn shots(&self, path: &Path) -> Vec<NewShot> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let shot = |(feature, view): (&Feature, u8)| NewShot {
            feature: feature.clone(),
            source: self.source,
            view,
            capture: self.capture,
            taken_s: self.taken_s,
            name: name.clone().into_owned(),
            thumbnail: self.thumbnail.clone().filter(|_| view == 0),
        };
        self.features.iter().zip(0..).map(shot).collect()
    }
}
