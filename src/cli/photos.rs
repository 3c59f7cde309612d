//! Photos from files and folders, through decoding and encoding on all cores, in order.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args;
use super::settings::{Set, Source};
use crate::bundle::Bundle;
use crate::encoder::{Encoder, Feature, resolve_threads};
use crate::error::{Error, Result};
use crate::frame::{Decode, EXTENSIONS, PIXELS};

/// Most million pixels that `--max-megapixels` allows.
pub(super) const MAX_MEGAPIXELS: u64 = 1000;

impl args::Decode {
    pub(super) fn rules(&self) -> Decode {
        Decode {
            max_pixels: self.max_megapixels * 1_000_000,
            background: self.backdrop,
            ..Decode::default()
        }
    }
}

/// Files as named, there or not, and all photos below folders, sorted by name.
///
/// # Errors
/// A folder cannot be read, or holds no photo.
pub(super) fn gather(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    for path in named {
        // What is missing is named when its turn comes, as what cannot be read is.
        if path.is_dir() {
            let before = photos.len();
            search(path, &mut Visited::default(), &mut photos)?;
            if photos.len() == before {
                let expected = format!("files ending in {}", EXTENSIONS.join(", "));
                return Err(Error::invalid("folder", "no photo", expected).at(path));
            }
        } else {
            photos.push(path.clone());
        }
    }
    Ok(photos)
}

/// The folders below `folder`, each a class with its photos, sorted by name.
///
/// # Errors
/// `folder` cannot be read, or holds no folder with photos.
pub(super) fn gather_classes(folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let read = |e| Error::io(folder, "read", e);
    let mut below = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') {
            below.push((name.replace('_', " "), path));
        }
    }
    below.sort();
    // A link in one class to another, or back up, brings no photo twice.
    let mut visited = Visited::default();
    visited.is_new(folder)?;
    let mut own = Vec::new();
    for (name, path) in below {
        let is_new = visited.is_new(&path)?;
        own.push((name, path, is_new));
    }
    let mut classes = Vec::new();
    for (name, path, is_new) in own {
        let mut photos = Vec::new();
        if is_new {
            list(&path, &mut visited, &mut photos)?;
        }
        if photos.is_empty() {
            log::warn!("{}: no photo, passed over", path.display());
        } else {
            classes.push((name, photos));
        }
    }
    if classes.is_empty() {
        let expected = "a folder for each class, named after it, with photos inside";
        return Err(
            Error::invalid("folder of classes", "no folder with photos", expected).at(folder),
        );
    }
    Ok(classes)
}

/// The folders that a search has entered, by what they really are: links may lead in a circle.
#[derive(Default)]
struct Visited(HashSet<PathBuf>);

impl Visited {
    fn is_new(&mut self, folder: &Path) -> Result<bool> {
        let real = folder.canonicalize();
        Ok(self
            .0
            .insert(real.map_err(|e| Error::io(folder, "read", e))?))
    }
}

fn search(folder: &Path, visited: &mut Visited, photos: &mut Vec<PathBuf>) -> Result<()> {
    match visited.is_new(folder)? {
        true => list(folder, visited, photos),
        false => Ok(()),
    }
}

fn list(folder: &Path, visited: &mut Visited, photos: &mut Vec<PathBuf>) -> Result<()> {
    let read = |e| Error::io(folder, "read", e);
    let entries = std::fs::read_dir(folder).map_err(read)?;
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(read)?;
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            search(&path, visited, photos)?;
        } else if path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(is_photo)
        {
            photos.push(path);
        }
    }
    Ok(())
}

fn is_photo(extension: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// A photo's feature and how long it took from file to feature.
pub(super) struct Encoded {
    pub(super) feature: Feature,
    pub(super) took: Duration,
}

/// Opens the encoder for `photos` photos. Many go one to a thread; a single one is split among
/// threads only if somebody asked for them, since tract's products gain little from it.
pub(super) fn open_encoder(
    bundle: &Bundle,
    photos: usize,
    threads: &Set<usize>,
) -> Result<Encoder> {
    let asked = photos == 1 && threads.source != Source::Default;
    Encoder::open(bundle, if asked { threads.value } else { 1 })
}

/// Encodes `photos` and hands each result over in the order of the list.
///
/// `each` hears what became of a photo; an error from it ends the work.
pub(super) fn encode_all<E: From<Error>>(
    encoder: &Encoder,
    photos: &[PathBuf],
    rules: &Decode,
    threads: usize,
    quiet: bool,
    each: impl FnMut(&Path, Result<Encoded>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let encode = |encoder: &mut Encoder, path: &Path| encode_one(encoder, path, rules);
    work_through(encoder, photos, threads, quiet, encode, each)
}

/// Does `work` on each of `photos`, a thread for each of some of them, and hands each result over
/// in the order of the list.
pub(super) fn work_through<T: Send, E: From<Error>>(
    encoder: &Encoder,
    photos: &[PathBuf],
    threads: usize,
    quiet: bool,
    work: impl Fn(&mut Encoder, &Path) -> Result<T> + Sync,
    mut each: impl FnMut(&Path, Result<T>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let bar = progress_bar(photos.len(), "photos", quiet);
    let workers = resolve_threads(threads).min(photos.len()).max(1);
    let forks = (0..workers)
        .map(|_| encoder.fork())
        .collect::<Result<Vec<_>>>()?;
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    // Bounded, so that decoded answers cannot pile up behind a slow reader.
    let (sender, receiver) = std::sync::mpsc::sync_channel(2 * workers);
    std::thread::scope(|scope| {
        for mut encoder in forks {
            let (sender, next, stopped, work) = (sender.clone(), &next, &stopped, &work);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = photos.get(at) else { break };
                    let result = work(&mut encoder, path).map_err(with_way_out);
                    if sender.send((at, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (at, result) in receiver {
            waiting.insert(at, result);
            while let Some(result) = waiting.remove(&due) {
                let told = bar.suspend(|| each(&photos[due], result));
                if let Err(e) = told {
                    // Dropping the receiver wakes workers that wait to send.
                    stopped.store(true, Ordering::Relaxed);
                    return Err(e);
                }
                due += 1;
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(())
    })
}

/// The limit of pixels is a flag of ours.
fn with_way_out(error: Error) -> Error {
    let Error::File { path, cause } = error else {
        return error;
    };
    match *cause {
        Error::Limit {
            what: PIXELS,
            found,
            limit,
        } if found <= MAX_MEGAPIXELS * 1_000_000 => {
            let enough = found.div_ceil(1_000_000);
            let expected = format!("at most {limit}: allow more with --max-megapixels {enough}");
            Error::invalid(PIXELS, found.to_string(), expected).at(&path)
        }
        cause => cause.at(&path),
    }
}

fn encode_one(encoder: &mut Encoder, path: &Path, rules: &Decode) -> Result<Encoded> {
    let start = Instant::now();
    let frame = rules.load(path)?;
    let feature = encoder.encode(&frame).map_err(|e| e.at(path))?;
    Ok(Encoded {
        feature,
        took: start.elapsed(),
    })
}

/// A bar with rate and time left on a terminal; nothing elsewhere or for a thing or two.
pub(super) fn progress_bar(count: usize, noun: &str, quiet: bool) -> ProgressBar {
    if quiet || count < 3 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let words = format!("{{bar:30}} {{pos}}/{{len}} {noun}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&words).expect("the template is tested");
    ProgressBar::new(count as u64).with_style(style)
}
