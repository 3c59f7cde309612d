//! Class names as people type them: trimmed, bounded, each once.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store;

/// Longest name or prompt, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Most classes of one classifier.
pub const MAX_LABELS: usize = 10_000;
/// Most prompts of one class.
pub const MAX_PROMPTS: usize = 64;
/// Largest labels file, in bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// One class name, with prompts of its own where the templates would not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    name: String,
    prompts: Vec<String>,
}

impl Label {
    /// A label; spaces around and within the name are tidied.
    ///
    /// # Errors
    /// An empty or over-long name or prompt, or one with control characters.
    pub fn new<P: AsRef<str>>(name: &str, prompts: &[P]) -> Result<Self> {
        if prompts.len() > MAX_PROMPTS {
            let (found, limit) = (prompts.len() as u64, MAX_PROMPTS as u64);
            return Err(Error::Limit {
                what: "prompts of one label",
                found,
                limit,
            });
        }
        let name = tidy("label", name)?;
        let prompts = prompts
            .iter()
            .map(|p| tidy("prompt", p.as_ref()))
            .collect::<Result<_>>()?;
        Ok(Self { name, prompts })
    }

    /// The name as answers give it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whole prompts that stand in for the templates; mostly none.
    #[must_use]
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }
}

fn tidy(what: &'static str, text: &str) -> Result<String> {
    if text.len() > MAX_NAME_BYTES {
        let start: String = text.chars().take(24).collect();
        let found = format!("{} bytes, starting {start:?}", text.len());
        return Err(Error::invalid(
            what,
            found,
            format!("at most {MAX_NAME_BYTES} bytes"),
        ));
    }
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Err(Error::invalid(
            what,
            format!("{text:?}"),
            "no control characters",
        ));
    }
    let tidied = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if tidied.is_empty() {
        return Err(Error::invalid(what, "nothing", "a name"));
    }
    Ok(tidied)
}

/// Labels from one line: `mug, screwdriver, cat`. Names with commas belong in a file.
///
/// # Errors
/// No label, a bad one, or one that stands twice.
pub fn parse_labels(list: &str) -> Result<Vec<Label>> {
    let parts = list.split(',').filter(|part| !part.trim().is_empty());
    check(
        parts
            .map(|name| Label::new::<&str>(name, &[]))
            .collect::<Result<_>>()?,
    )
}

/// Labels from a file: one a line, `name` or `name | prompt | prompt`; `#` starts a comment line.
///
/// # Errors
/// The file cannot be read, is too large or no UTF-8, or holds a bad or repeated label; the
/// words name the file and the line.
pub fn read_labels(path: &Path) -> Result<Vec<Label>> {
    let text = store::read_text_bounded(path, "bytes of a labels file", MAX_FILE_BYTES)?;
    let mut labels = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.split('|').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let prompts: Vec<&str> = parts.filter(|p| !p.is_empty()).collect();
        labels.push(Label::new(name, &prompts).map_err(|e| at_line(e, i + 1).at(path))?);
    }
    check(labels).map_err(|e| e.at(path))
}

fn at_line(error: Error, line: usize) -> Error {
    match error {
        Error::Invalid {
            what,
            found,
            expected,
        } => Error::Invalid {
            what,
            found: format!("{found} in line {line}"),
            expected,
        },
        other => other,
    }
}

/// Refuses an empty list, too many labels, and names that differ by case or spaces only.
///
/// # Errors
/// As said; a repeated name is given as it stands in both places.
pub fn check(labels: Vec<Label>) -> Result<Vec<Label>> {
    if labels.is_empty() {
        return Err(Error::invalid(
            "labels",
            "none",
            "at least one name, as in `mug, screwdriver, cat`",
        ));
    }
    if labels.len() > MAX_LABELS {
        return Err(Error::Limit {
            what: "labels",
            found: labels.len() as u64,
            limit: MAX_LABELS as u64,
        });
    }
    let mut seen = HashMap::new();
    for label in &labels {
        if let Some(first) = seen.insert(label.name.to_lowercase(), &label.name) {
            let found = format!("`{first}` and again `{}`", label.name);
            return Err(Error::invalid("labels", found, "each name once"));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(e: &Error) -> String {
        e.to_string()
    }

    #[test]
    fn names_are_trimmed_and_kept_in_order() {
        let labels = parse_labels(" mug ,  my  blue mug,cat,").unwrap();
        let names: Vec<_> = labels.iter().map(Label::name).collect();
        assert_eq!(names, ["mug", "my blue mug", "cat"]);
    }

    #[test]
    fn a_name_twice_is_refused_whatever_its_case() {
        let error = words(&parse_labels("Cat,dog,cat").unwrap_err());
        assert!(error.contains("`Cat` and again `cat`"), "{error}");
    }

    #[test]
    fn empty_and_over_long_names_are_refused() {
        assert!(words(&parse_labels(" , ").unwrap_err()).contains("at least one"));
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert!(words(&parse_labels(&long).unwrap_err()).contains("201 bytes"));
        assert!(parse_labels("a\u{7}b").is_err());
    }

    #[test]
    fn a_file_holds_names_prompts_and_comments() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.txt");
        std::fs::write(
            &path,
            "\u{feff}# tools\nmug | a photo of a mug. | a cup\n\n bolt \r\n",
        )
        .unwrap();
        let labels = read_labels(&path).unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(labels[0].prompts(), ["a photo of a mug.", "a cup"]);
        assert_eq!(labels[1].name(), "bolt");
        std::fs::write(&path, "ok\n | prompt\n").unwrap();
        let error = words(&read_labels(&path).unwrap_err());
        assert!(
            error.contains("labels.txt") && error.contains("line 2"),
            "{error}"
        );
    }
}
