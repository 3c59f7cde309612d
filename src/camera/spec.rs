//! What a person writes for a source, and opening it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::clip::Clip;
use super::exec::Exec;
use super::http::{self, Http};
use super::pattern::Pattern;
use super::pictures::Pictures;
use super::stdin::Stdin;
use super::{Source, Wish, listing};
use crate::error::{Error, Result};

/// A source as it is named, not yet open.
///
/// Written and printed, it is what [`Spec::parse`] reads, except that a password in an address
/// is left out.
#[derive(Clone, PartialEq, Eq)]
pub enum Spec {
    /// A camera of V4L2: `/dev/video0`, `/dev/v4l/by-id/…`, or its number.
    Device(PathBuf),
    /// Pictures of a folder or a pattern (`shots/*.jpg`), in the order of their names, once.
    Pictures(PathBuf),
    /// JPEGs one after the other in a file, once: `clip.mjpeg`.
    Stream(PathBuf),
    /// Pictures or such a file over and over, at a steady rate: `replay:FOLDER`. Where the folder
    /// holds a file `times.txt` with a line `NAME SECONDS` for each picture, it gives the rate.
    Replay(PathBuf),
    /// JPEGs one after the other on standard input: `-`.
    Stdin,
    /// The same over HTTP: `http://HOST/PATH`, as cameras and streamers serve it, or one JPEG
    /// that is asked for again and again.
    Http(String),
    /// The same from a program that is started again when it ends: `exec:PROGRAM ARGUMENT…`.
    /// No shell reads it; quotes keep an argument together as they do there.
    Exec(Vec<String>),
    /// A moving test pattern: `test`.
    Pattern,
}

const REPLAY_FPS: f32 = 10.0;
const WHAT: &str = "camera";
const FORMS: &str = "a camera (`/dev/video0`, or `0`), a folder of pictures or a pattern (`shots/*.jpg`), JPEGs in a row in a file (`clip.mjpeg`) or on standard input (`-`), `http://HOST/PATH`, `exec:PROGRAM ARGUMENT…`, `replay:FOLDER`, or `test`";

impl Spec {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// It names no source; the words list the forms.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        match text {
            "-" => return Ok(Self::Stdin),
            "test" => return Ok(Self::Pattern),
            _ => {}
        }
        if let Ok(number) = text.parse::<u16>() {
            return Ok(Self::Device(format!("/dev/video{number}").into()));
        }
        if let Some(command) = text.strip_prefix("exec:") {
            return arguments(command).map(Self::Exec);
        }
        if let Some(path) = text.strip_prefix("replay:").filter(|p| !p.is_empty()) {
            return Ok(Self::Replay(path.into()));
        }
        match text.split_once("://") {
            Some((scheme, _)) => address(scheme, text),
            None => file(text),
        }
    }

    /// Whether it shows what is in front of a camera now, so that frames which never change mean a fault.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(
            self,
            Self::Device(_) | Self::Stdin | Self::Http(_) | Self::Exec(_)
        )
    }

    /// Whether it is gone through once, so that each frame waits until it is taken.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        matches!(self, Self::Pictures(_) | Self::Stream(_))
    }

    /// Opens the source.
    ///
    /// # Errors
    /// It is not there, busy, not permitted, or cannot run as wished; the words say what to do.
    pub fn open(&self, wish: &Wish) -> Result<Box<dyn Source>> {
        Ok(match self {
            #[cfg(target_os = "linux")]
            Self::Device(path) => Box::new(super::v4l::Device::open(path, wish)?),
            #[cfg(not(target_os = "linux"))]
            Self::Device(path) => {
                return Err(
                    Error::invalid(WHAT, "a system without V4L2", "another source").at(path),
                );
            }
            Self::Pictures(path) => Box::new(Pictures::once(path, wish)?),
            Self::Stream(path) => Box::new(Clip::open(path, wish, None, false)?),
            Self::Replay(path) if is_stream(path) => {
                Box::new(Clip::open(path, wish, Some(REPLAY_FPS), true)?)
            }
            Self::Replay(path) => Box::new(Pictures::again(path, wish, REPLAY_FPS)?),
            Self::Stdin => Box::new(Stdin::open()?),
            Self::Exec(command) => Box::new(Exec::open(command)?),
            Self::Http(address) => Box::new(Http::open(address, wish)?),
            Self::Pattern => Box::new(Pattern::open(wish)?),
        })
    }
}

/// The program and its arguments.
fn arguments(command: &str) -> Result<Vec<String>> {
    let words = shlex::split(command).filter(|w| w.first().is_some_and(|p| !p.is_empty()));
    words.ok_or_else(|| {
        let expected = "exec:PROGRAM ARGUMENT…, with quotes in pairs";
        Error::invalid(WHAT, format!("exec:{command}"), expected)
    })
}

fn address(scheme: &str, text: &str) -> Result<Spec> {
    if scheme.eq_ignore_ascii_case("http") {
        http::check(text)?;
        return Ok(Spec::Http(text.to_owned()));
    }
    let expected = match &*scheme.to_ascii_lowercase() {
        "https" => "http://, as cameras are not asked over TLS here; or `exec:curl -sN ADDRESS`",
        "rtsp" => "http://; or `exec:ffmpeg -loglevel error -i ADDRESS -f mjpeg -`",
        _ => FORMS,
    };
    Err(Error::invalid(WHAT, http::without_login(text), expected))
}

fn file(text: &str) -> Result<Spec> {
    let path = Path::new(text);
    // Shared memory is a place for files like any other.
    if text.starts_with("/dev/") && !text.starts_with("/dev/shm/") {
        return Ok(Spec::Device(path.into()));
    }
    if is_stream(path) {
        return Ok(Spec::Stream(path.into()));
    }
    let is_picture = listing::is_picture(path) && path.is_file();
    if path.is_dir() || is_picture || listing::is_pattern(path.as_os_str()) {
        return Ok(Spec::Pictures(path.into()));
    }
    let found = match path.exists() {
        _ if text.is_empty() => "no word".to_owned(),
        true => format!("{text}, which is no folder, picture or .mjpeg file"),
        false => format!("{text}, where there is no file or folder"),
    };
    Err(Error::invalid(WHAT, found, FORMS))
}

/// Whether the end of its name says that a file holds JPEGs in a row.
fn is_stream(path: &Path) -> bool {
    let end = path.extension().and_then(|e| e.to_str());
    end.is_some_and(|e| e.eq_ignore_ascii_case("mjpeg") || e.eq_ignore_ascii_case("mjpg"))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) | Self::Pictures(path) | Self::Stream(path) => {
                write!(f, "{}", path.display())
            }
            Self::Replay(path) => write!(f, "replay:{}", path.display()),
            Self::Stdin => f.write_str("-"),
            Self::Http(address) => f.write_str(&http::without_login(address)),
            Self::Exec(words) => {
                let quoted = shlex::try_join(words.iter().map(String::as_str));
                write!(f, "exec:{}", quoted.unwrap_or_else(|_| words.join(" ")))
            }
            Self::Pattern => f.write_str("test"),
        }
    }
}

/// As it is written: a password stays out of logs.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Spec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_form_is_read_and_given_back() {
        let exec = |words: &[&str]| Spec::Exec(words.iter().map(ToString::to_string).collect());
        for (text, spec) in [
            ("-", Spec::Stdin),
            ("test", Spec::Pattern),
            ("/dev/video2", Spec::Device("/dev/video2".into())),
            ("/dev/v4l/by-id/a", Spec::Device("/dev/v4l/by-id/a".into())),
            ("/dev/shm/*.jpg", Spec::Pictures("/dev/shm/*.jpg".into())),
            ("src", Spec::Pictures("src".into())),
            ("shots/?.png", Spec::Pictures("shots/?.png".into())),
            ("a/clip.MJPG", Spec::Stream("a/clip.MJPG".into())),
            ("clip.mjpeg", Spec::Stream("clip.mjpeg".into())),
            ("replay:a b", Spec::Replay("a b".into())),
            (
                "http://h:80/?a=b@c",
                Spec::Http("http://h:80/?a=b@c".into()),
            ),
            ("exec:cam -n 1", exec(&["cam", "-n", "1"])),
            ("exec:cam 'a b;c' ''", exec(&["cam", "a b;c", ""])),
        ] {
            assert_eq!(Spec::parse(text).unwrap(), spec);
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn a_number_is_a_camera() {
        let spec = Spec::parse(" 3 ").unwrap();
        assert_eq!(spec.to_string(), "/dev/video3");
    }

    #[test]
    fn quotes_keep_arguments_together_and_nothing_else_is_special() {
        let Spec::Exec(words) = Spec::parse(r#"exec:a "b c" d\ e $F *;>x"#).unwrap() else {
            panic!("no program");
        };
        assert_eq!(words, ["a", "b c", "d e", "$F", "*;>x"]);
        for text in ["exec:", "exec:  ", "exec:'' a", "exec:a 'b"] {
            assert!(refusal(text).contains("quotes in pairs"), "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_answered_with_all_forms() {
        for text in ["", "nowhere", "Cargo.toml", "replay:", "ftp://h", "70000"] {
            let words = refusal(text);
            assert!(words.contains("`exec:PROGRAM"), "{text}: {words}");
        }
        assert!(refusal("nowhere").contains("no file or folder"));
        assert!(refusal("Cargo.toml").contains("no folder, picture"));
    }

    #[test]
    fn addresses_that_are_not_http_get_a_way_out() {
        assert!(refusal("https://h/a").contains("exec:curl"));
        assert!(refusal("rtsp://h/a").contains("exec:ffmpeg"));
    }

    #[test]
    fn passwords_are_never_shown() {
        for login in ["me:secret@", "me:s%2Fcret@", "me:s@cret@"] {
            let text = format!("http://{login}host/path");
            let spec = Spec::parse(&text).unwrap();
            assert_eq!(spec.to_string(), "http://host/path");
            assert_eq!(format!("{spec:?}"), "`http://host/path`");
        }
        for text in [
            "https://me:secret@h",
            "http://me:se/cret@h",
            "rtsp://me:se?cret@h",
        ] {
            let words = refusal(text);
            assert!(!words.contains("cret") && !words.contains("me:"), "{words}");
        }
    }
}
