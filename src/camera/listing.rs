//! Which pictures a folder or a pattern means, in which order, and when each was taken.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::frame::EXTENSIONS;

/// What a recorder leaves beside its pictures.
pub(super) const TIMES: &str = "times.txt";
/// A week of ten frames a second with names of twenty letters fits.
const TIMES_BYTES: u64 = 256 << 20;

/// The pictures that `path` means, sorted by name: those right in a folder, those that a pattern
/// matches, or the one that it names.
///
/// # Errors
/// A folder cannot be read, or there is no picture.
pub(super) fn pictures(path: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, what) = if path.is_dir() {
        (entries(path)?, "folder")
    } else if is_pattern(path.as_os_str()) {
        (expand(path)?, "pattern")
    } else if path.is_file() {
        return Ok(vec![path.to_owned()]);
    } else {
        let expected = "a folder of pictures, a picture, or a pattern (`shots/*.jpg`)";
        return Err(Error::invalid("pictures", "no such file or folder", expected).at(path));
    };
    found.retain(|p| is_picture(p) && p.is_file());
    found.sort();
    if found.is_empty() {
        let expected = format!("files ending in {}", EXTENSIONS.join(", "));
        return Err(Error::invalid(what, "no picture", expected).at(path));
    }
    Ok(found)
}

/// Whether the end of its name says that a file is a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let end = path.extension().and_then(OsStr::to_str);
    end.is_some_and(|end| EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(end)))
}

/// Whether a name stands for several: `*` for any letters, `?` for any one.
pub(super) fn is_pattern(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.contains(&b'*') || bytes.contains(&b'?')
}

/// What lies right in a folder and is not hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = |e| Error::io(folder, "read", e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// All that a pattern matches; each of its parts may hold `*` and `?`.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|p| p.push(part));
            continue;
        };
        if !is_pattern(name) {
            found.iter_mut().for_each(|p| p.push(name));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let here = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            if here.is_dir() {
                let below = entries(here)?.into_iter().filter_map(|p| {
                    let file = p.file_name()?;
                    is_match(name, file).then(|| folder.join(file))
                });
                next.extend(below);
            }
        }
        found = next;
    }
    Ok(found)
}

fn is_match(pattern: &OsStr, name: &OsStr) -> bool {
    let pattern: Vec<char> = pattern.to_string_lossy().chars().collect();
    let name: Vec<char> = name.to_string_lossy().chars().collect();
    let (mut p, mut n) = (0, 0);
    // The last star, and how much of the name it has taken: only that one need ever take more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || *c == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Pictures with the time from each to the one after it.
pub(super) type Timed = Vec<(PathBuf, Duration)>;

/// Reads `times.txt` of a folder where there is one: a line `NAME SECONDS` a picture, in order.
///
/// # Errors
/// It is too large, or a line is none.
pub(super) fn times(folder: &Path) -> Result<Option<Timed>> {
    let path = folder.join(TIMES);
    if !path.is_file() {
        return Ok(None);
    }
    let read = |e| Error::io(&path, "read", e);
    let file = std::fs::File::open(&path).map_err(read)?;
    let mut text = String::new();
    let length = file.take(TIMES_BYTES + 1).read_to_string(&mut text);
    let found = length.map_err(read)? as u64;
    if found > TIMES_BYTES {
        let (what, limit) = ("bytes of a list of times", TIMES_BYTES);
        return Err(Error::Limit { what, found, limit }.at(&path));
    }
    let lines = read_times(&text).map_err(|e| e.at(&path))?;
    Ok(Some(with_gaps(folder, &lines)))
}

fn read_times(text: &str) -> Result<Vec<(&str, f64)>> {
    let mut lines: Vec<(&str, f64)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let expected =
            "NAME SECONDS: a picture of this folder, and when it was taken, from earlier to later";
        let wrong = || Error::invalid("list of times", format!("line {number}: {line}"), expected);
        let (name, seconds) = line
            .trim_end()
            .rsplit_once(char::is_whitespace)
            .ok_or_else(wrong)?;
        let (name, seconds) = (name.trim(), seconds.parse::<f64>().map_err(|_| wrong())?);
        // A path would lead out of the folder.
        let is_name = Path::new(name).file_name() == Some(OsStr::new(name));
        let earlier = lines.last().map_or(seconds, |l| l.1);
        if !is_name || !seconds.is_finite() || seconds < earlier {
            return Err(wrong());
        }
        lines.push((name, seconds));
    }
    if lines.is_empty() {
        return Err(Error::invalid("list of times", "no line", "NAME SECONDS"));
    }
    Ok(lines)
}

/// After the last picture passes as much time as lies between two on average.
fn with_gaps(folder: &Path, lines: &[(&str, f64)]) -> Timed {
    let span = |from: f64, to: f64| Duration::try_from_secs_f64(to - from).unwrap_or_default();
    let (first, last) = (lines[0].1, lines[lines.len() - 1].1);
    let pause = match u32::try_from(lines.len() - 1) {
        Ok(0) | Err(_) => Duration::from_secs(1),
        Ok(gaps) => span(first, last) / gaps,
    };
    let after = lines.iter().skip(1).map(|l| Some(l.1)).chain([None]);
    let gaps = lines.iter().zip(after).map(|((name, at), after)| {
        let gap = after.map_or(pause, |after| span(*at, after));
        (folder.join(name), gap)
    });
    gaps.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        dir
    }

    fn found(dir: &tempfile::TempDir, pattern: &str) -> Vec<String> {
        let found = pictures(&dir.path().join(pattern)).unwrap();
        let name = |p: &PathBuf| p.strip_prefix(dir.path()).unwrap().display().to_string();
        found.iter().map(name).collect()
    }

    #[test]
    fn a_folder_means_its_own_pictures_by_name() {
        let dir = folder(&[
            "b.png",
            "a.JPG",
            ".c.jpg",
            "d.txt",
            "below/e.jpg",
            "x.jpg/f",
        ]);
        assert_eq!(found(&dir, ""), ["a.JPG", "b.png"]);
        assert_eq!(found(&dir, "b.png"), ["b.png"]);
    }

    #[test]
    fn a_pattern_may_stand_in_every_part() {
        let dir = folder(&["b/2.png", "a/1.jpg", "a/22.jpg", "c/2.txt", "a/.3.jpg"]);
        assert_eq!(found(&dir, "*/*.*"), ["a/1.jpg", "a/22.jpg", "b/2.png"]);
        assert_eq!(found(&dir, "?/?.*"), ["a/1.jpg", "b/2.png"]);
        assert_eq!(found(&dir, "a/*2*"), ["a/22.jpg"]);
    }

    #[test]
    fn where_there_is_no_picture_the_words_say_so() {
        let dir = folder(&["d.txt"]);
        let words = |p: &str| pictures(&dir.path().join(p)).unwrap_err().to_string();
        assert!(words("").contains("folder: found no picture"));
        assert!(words("*.jpg").contains("pattern: found no picture"));
        assert!(words("none/*.jpg").contains("pattern: found no picture"));
        assert!(words("none").contains("no such file"));
    }

    #[test]
    fn stars_take_as_much_as_they_need() {
        let is = |p: &str, n: &str| is_match(OsStr::new(p), OsStr::new(n));
        assert!(is("*", "") && is("**", "ab") && is("a*b*c", "aXbYbZc") && is("?é", "aé"));
        assert!(!is("a*b", "ac") && !is("?", "") && !is("a", "ab") && !is("[ab]", "a"));
        // Would take ages if each star were tried anew.
        assert!(!is(&"*a".repeat(40), &"a".repeat(39)));
    }

    #[test]
    fn times_become_gaps() {
        let dir = folder(&[]);
        let list = "a b.jpg 1.5\nc.jpg 2\n\nd.jpg   4.5\r\n";
        std::fs::write(dir.path().join(TIMES), list).unwrap();
        let ms = Duration::from_millis;
        let expected = [("a b.jpg", 500), ("c.jpg", 2500), ("d.jpg", 1500)];
        let expected: Timed = expected
            .iter()
            .map(|(n, gap)| (dir.path().join(n), ms(*gap)))
            .collect();
        assert_eq!(times(dir.path()).unwrap(), Some(expected));
    }

    #[test]
    fn a_list_of_times_that_is_none_is_refused() {
        for list in [
            "",
            "a.jpg",
            "a.jpg x",
            "a.jpg nan",
            "../a.jpg 1",
            "/a.jpg 1",
            "a.jpg 2\nb.jpg 1",
        ] {
            assert!(read_times(list).is_err(), "{list}");
        }
        assert_eq!(times(folder(&[]).path()).unwrap(), None);
    }
}
