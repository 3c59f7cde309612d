//! Prompt templates: the sentences that a name is put into before it is encoded.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::{MAX_NAME_BYTES, MAX_PROMPTS};
use crate::error::{Error, Result};

const SHIPPED: &str = include_str!("../../configs/prompts.toml");

/// Named sets of templates; `{}` stands for the class name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Prompts {
    sets: BTreeMap<String, Set>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    about: String,
    templates: Vec<String>,
}

impl Prompts {
    /// The names of the sets that edgeclip ships.
    pub const NAMES: [&'static str; 8] = [
        "plain",
        "general",
        "pets",
        "food",
        "texture",
        "flower",
        "workbench",
        "scene",
    ];

    /// The sets that edgeclip ships (configs/prompts.toml).
    #[must_use]
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("the shipped prompts are tested")
    }

    /// Sets from the text of a TOML file of the same form.
    ///
    /// # Errors
    /// No TOML, a set without templates, or a template without `{}`.
    pub fn parse(text: &str) -> Result<Self> {
        let prompts: Self = toml::from_str(text).map_err(|e| {
            Error::invalid(
                "prompts",
                e.message().to_owned(),
                "sets with `about` and `templates`",
            )
        })?;
        for (name, set) in &prompts.sets {
            if set.templates.is_empty() || set.templates.len() > MAX_PROMPTS {
                let found = format!("{} templates in `{name}`", set.templates.len());
                return Err(Error::invalid(
                    "prompts",
                    found,
                    format!("1 to {MAX_PROMPTS}"),
                ));
            }
            if let Some(t) = set
                .templates
                .iter()
                .find(|t| !t.contains("{}") || t.len() > MAX_NAME_BYTES)
            {
                return Err(Error::invalid(
                    "prompts",
                    format!("{t:?} in `{name}`"),
                    "{} where the name goes",
                ));
            }
        }
        Ok(prompts)
    }

    /// The templates of one set.
    ///
    /// # Errors
    /// No set of that name; the words list those there are.
    pub fn set(&self, name: &str) -> Result<&[String]> {
        let set = self.sets.get(name).ok_or_else(|| {
            let known: Vec<_> = self.sets.keys().map(String::as_str).collect();
            Error::invalid(
                "prompt set",
                format!("`{name}`"),
                format!("one of {}", known.join(", ")),
            )
        })?;
        Ok(&set.templates)
    }

    /// Name and purpose of each set.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sets
            .iter()
            .map(|(name, set)| (name.as_str(), set.about.as_str()))
    }
}

/// `template` with `name` in its place.
#[must_use]
pub fn fill(template: &str, name: &str) -> String {
    template.replace("{}", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_sets_parse_and_fill() {
        let prompts = Prompts::shipped();
        assert_eq!(prompts.set("plain").unwrap(), ["{}"]);
        assert!(prompts.set("general").unwrap().len() >= 7);
        let mut names = Prompts::NAMES;
        names.sort_unstable();
        assert!(prompts.list().map(|(name, _)| name).eq(names));
        assert_eq!(fill("a photo of a {}.", "mug"), "a photo of a mug.");
    }

    #[test]
    fn unknown_sets_and_templates_without_a_place_are_refused() {
        let error = Prompts::shipped().set("genral").unwrap_err().to_string();
        assert!(error.contains("general"), "{error}");
        assert!(Prompts::parse("[x]\nabout='a'\ntemplates=['a photo']").is_err());
        assert!(Prompts::parse("[x]\nabout='a'\ntemplates=[]").is_err());
    }
}
