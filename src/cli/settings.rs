//! Settings: a flag beats the environment beats the config file beats the default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::args::{Global, MAX_THREADS, MAX_TOP};
use crate::error::{Error, Result};
use crate::store;

const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// What `--top` is when nobody says.
const DEFAULT_TOP: usize = 3;

/// The config file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    model: Option<PathBuf>,
    text_model: Option<PathBuf>,
    classifier: Option<PathBuf>,
    threads: Option<usize>,
    top: Option<usize>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    Flag,
    Environment(&'static str),
    File(PathBuf),
    Default,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Set<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

/// Every setting in force; `None` where the usual places are to be searched.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Option<PathBuf>,
    pub(super) model: Set<Option<PathBuf>>,
    pub(super) text_model: Set<Option<PathBuf>>,
    pub(super) classifier: Set<Option<PathBuf>>,
    pub(super) threads: Set<usize>,
    pub(super) top: Set<usize>,
}

/// Flags that only some verbs have.
#[derive(Debug, Default)]
pub(super) struct VerbFlags {
    pub(super) classifier: Option<PathBuf>,
    pub(super) top: Option<u16>,
}

impl Settings {
    /// Gathers flags, environment and config file.
    ///
    /// # Errors
    /// A config file that was named is missing, or one is unreadable or holds unknown keys;
    /// a variable that should be a number is none.
    pub(super) fn gather(global: &Global, verb: VerbFlags) -> Result<Self> {
        let (path, file) = read_file(global.config.as_deref())?;
        let from = |flag: Option<PathBuf>, name: &'static str, in_file: Option<PathBuf>| {
            let env = std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from);
            choose(flag, (env, name), (in_file, &path))
        };
        Ok(Self {
            model: from(global.model.clone(), "EDGECLIP_MODEL", file.model),
            text_model: from(
                global.text_model.clone(),
                "EDGECLIP_TEXT_MODEL",
                file.text_model,
            ),
            classifier: from(verb.classifier, "EDGECLIP_CLASSIFIER", file.classifier),
            threads: number(
                global.threads.map(usize::from),
                "EDGECLIP_THREADS",
                (file.threads, &path),
                0,
                MAX_THREADS,
            )?,
            top: number(
                verb.top.map(usize::from),
                "EDGECLIP_TOP",
                (file.top, &path),
                DEFAULT_TOP,
                MAX_TOP,
            )?,
            config: path,
        })
    }
}

fn choose<T>(
    flag: Option<T>,
    env: (Option<T>, &'static str),
    file: (Option<T>, &Option<PathBuf>),
) -> Set<Option<T>> {
    let source = match (&flag, &env.0, &file) {
        (Some(_), ..) => Source::Flag,
        (_, Some(_), _) => Source::Environment(env.1),
        (_, _, (Some(_), Some(path))) => Source::File(path.clone()),
        _ => Source::Default,
    };
    Set {
        value: flag.or(env.0).or(file.0),
        source,
    }
}

fn number(
    flag: Option<usize>,
    name: &'static str,
    file: (Option<usize>, &Option<PathBuf>),
    default: usize,
    most: usize,
) -> Result<Set<usize>> {
    let env = match std::env::var(name).ok().filter(|v| !v.is_empty()) {
        None => None,
        Some(text) => Some(
            text.trim()
                .parse()
                .map_err(|_| Error::invalid(name, format!("{text:?}"), "a whole number"))?,
        ),
    };
    let Set { value, source } = choose(flag, (env, name), file);
    let value = value.unwrap_or(default);
    if value > most {
        return Err(Error::invalid(
            name,
            format!("{value} ({source})"),
            format!("at most {most}"),
        ));
    }
    Ok(Set { value, source })
}

fn read_file(flag: Option<&Path>) -> Result<(Option<PathBuf>, File)> {
    let env = std::env::var_os("EDGECLIP_CONFIG")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let named = flag.map(Path::to_owned).or(env);
    let user =
        super::places::user_folder("XDG_CONFIG_HOME", ".config").map(|d| d.join("config.toml"));
    let usual = user
        .into_iter()
        .chain([PathBuf::from("/etc/edgeclip/config.toml")]);
    let Some(path) = named.or_else(|| usual.into_iter().find(|p| p.is_file())) else {
        return Ok((None, File::default()));
    };
    let text = store::read_text_bounded(&path, "bytes of a config file", MAX_CONFIG_BYTES)?;
    let file = toml::from_str(&text).map_err(|e| {
        let found = e.to_string().trim_end().replace('\n', "\n  ");
        Error::invalid(
            "config",
            found,
            "model, text-model, classifier, threads, top",
        )
        .at(&path)
    })?;
    Ok((Some(path), file))
}
