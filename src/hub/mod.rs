//! Models by name: a catalogue, and their files from a hub.

#[cfg(feature = "pull")]
mod body;
#[cfg(feature = "pull")]
mod cache;
#[cfg(feature = "pull")]
mod check;
#[cfg(feature = "pull")]
mod fetch;
#[cfg(feature = "pull")]
mod patience;
#[cfg(feature = "pull")]
mod proxy;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "pull")]
mod room;

use serde::Deserialize;

#[cfg(feature = "pull")]
pub use cache::{Pulled, cached};
#[cfg(feature = "pull")]
pub use fetch::Hub;
#[cfg(feature = "pull")]
pub use patience::Patience;
#[cfg(feature = "pull")]
pub use pull::{Progress, pull};

use crate::error::{Error, Result};

/// Files of a model that are fetched where the repository has them: weights in one of these ways, and what
/// goes with them.
pub const WEIGHTS: [&str; 5] = [
    "model.safetensors",
    INDEX,
    "open_clip_model.safetensors",
    "onnx/vision_model.onnx",
    "onnx/model.onnx",
];
/// Names the files of weights that are spread over several.
const INDEX: &str = "model.safetensors.index.json";
/// Files that go with weights, each where it is there.
pub const BESIDE: [&str; 11] = [
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "onnx/text_model.onnx",
    "LICENSE",
    "README.md",
];

/// A model that can be pulled by a short name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The short name.
    pub name: String,
    /// `OWNER/REPOSITORY` on the hub.
    pub repository: String,
    /// Licence, as its publisher states it.
    pub licence: String,
    /// Size of the download, in millions of bytes.
    pub download_mb: u32,
    /// Memory of an int8 bundle's image encoder, in millions of bytes.
    pub memory_mb: u32,
    /// Speed class: fast, medium, slow.
    pub speed: String,
    /// One line for people.
    pub about: String,
    /// Variant of ONNX files that is taken.
    #[serde(default)]
    pub variant: Option<String>,
    /// Whether it was fetched and run with this program.
    pub verified: bool,
}

/// The models known by name.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    #[derive(Deserialize)]
    struct List {
        model: Vec<Entry>,
    }
    let text = include_str!("../../configs/models.toml");
    let list: List = toml::from_str(text).expect("the shipped catalogue is tested");
    list.model
}

/// What is pulled: `NAME` of the catalogue or `OWNER/REPOSITORY`, each with `@REVISION` or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `OWNER/REPOSITORY`.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl Wanted {
    /// Reads what a person asks for.
    ///
    /// # Errors
    /// A name that the catalogue does not have, or parts that are no names.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let known = catalogue();
        let repository = match known.iter().find(|e| e.name == name) {
            Some(entry) => entry.repository.clone(),
            None if name.contains('/') => name.to_owned(),
            None => {
                let names: Vec<&str> = known.iter().map(|e| e.name.as_str()).collect();
                let expected = format!("one of {}, or OWNER/REPOSITORY", names.join(", "));
                return Err(Error::invalid("model", format!("`{name}`"), expected));
            }
        };
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|p| is_plain(p)) || !is_plain(revision) {
            let expected = "OWNER/REPOSITORY, maybe with @REVISION, of letters, digits, - _ .";
            return Err(Error::invalid("model", format!("`{text}`"), expected));
        }
        // Commits become names of folders, each in one spelling.
        let revision = if is_commit(revision) {
            revision.to_lowercase()
        } else {
            revision.to_owned()
        };
        Ok(Self {
            repository,
            revision,
        })
    }

    /// Whether the revision is a commit in full, which never becomes another.
    #[cfg(feature = "pull")]
    fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }

    /// Whether `commit` is known to be another than this one.
    #[cfg(feature = "pull")]
    fn is_other(&self, commit: &str) -> bool {
        self.is_commit() && self.revision != commit
    }
}

/// Whether a part of a path is safe in a URL and as a file name.
fn is_plain(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=96).contains(&part.len()) && part.chars().all(fits) && !part.starts_with('.')
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(feature = "pull")]
fn is_shard(name: &str) -> bool {
    is_plain(name) && name.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_reads_and_its_names_are_repositories() {
        for entry in catalogue() {
            let wanted = Wanted::parse(&entry.name).unwrap();
            assert_eq!(wanted.repository, entry.repository);
            assert_eq!(wanted.revision, "main");
        }
    }

    #[test]
    fn what_is_no_repository_is_refused() {
        assert_eq!(Wanted::parse("a/b@v1.0").unwrap().revision, "v1.0");
        for text in [
            "clip", "a/b/c", "../b", "a/..", "a/b@", "a/b@x/y", "a b/c", "/b", "a/b?c",
        ] {
            assert!(Wanted::parse(text).is_err(), "{text}");
        }
        assert!(
            Wanted::parse("clip")
                .unwrap_err()
                .to_string()
                .contains("tinyclip-8m-16")
        );
    }
}
