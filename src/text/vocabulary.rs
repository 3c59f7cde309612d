//! Ready text vectors of common names: lookup that forgives case, plural and spelling.

use std::collections::HashMap;

use crate::bundle::{VocabularyName, VocabularySections};
use crate::encoder::normalise;
use crate::error::{Error, Result};
use crate::store::SectionRef;

/// The names that a bundle knows by heart.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    names: Vec<VocabularyName>,
    by_key: HashMap<String, usize>,
    rows: SectionRef,
    scales: SectionRef,
    dim: usize,
}

impl Vocabulary {
    /// Indexes the names; the vectors stay in the map.
    #[must_use]
    pub fn new(sections: VocabularySections, dim: usize) -> Self {
        let VocabularySections {
            names,
            rows,
            scales,
        } = sections;
        let mut by_key = HashMap::new();
        for (i, n) in names.iter().enumerate() {
            by_key.insert(key(&n.name), i);
        }
        for (i, n) in names.iter().enumerate() {
            for alias in &n.aliases {
                by_key.entry(key(alias)).or_insert(i);
            }
        }
        Self {
            names,
            by_key,
            rows,
            scales,
            dim,
        }
    }

    /// How many names it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names in order, each with its aliases.
    #[must_use]
    pub fn names(&self) -> &[VocabularyName] {
        &self.names
    }

    /// The row of `name`, as it stands or in another case, spelling, number or with an article.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        let whole = self.by_key.get(&key(name)).copied();
        whole.or_else(|| {
            forms(&key(strip_article(name)))
                .iter()
                .find_map(|form| self.by_key.get(form).copied())
        })
    }

    /// The text weight of row `at`: D floats of unit length.
    ///
    /// # Errors
    /// The stored row is damaged (all zero, or a scale that is no number).
    pub fn vector(&self, at: usize) -> Result<Vec<f32>> {
        let mut values = self.raw(at);
        normalise(&mut values)?;
        Ok(values)
    }

    fn raw(&self, at: usize) -> Vec<f32> {
        let s = &self.scales[at * 4..at * 4 + 4];
        let scale = f32::from_le_bytes([s[0], s[1], s[2], s[3]]);
        let row = &self.rows[at * self.dim..(at + 1) * self.dim];
        row.iter()
            .map(|q| scale * f32::from(q.cast_signed()))
            .collect()
    }

    /// The `count` names whose letters are nearest to `name`: what a person may have meant.
    #[must_use]
    pub fn nearest_by_letters(&self, name: &str, count: usize) -> Vec<&str> {
        let wanted = name.to_lowercase();
        let words: Vec<&str> = wanted.split_whitespace().collect();
        let likeness = |known: &str| {
            let known = known.to_lowercase();
            let shared = known
                .split_whitespace()
                .filter(|w| words.contains(w))
                .count() as f64;
            strsim::sorensen_dice(&known, &wanted) + 0.5 * shared / words.len().max(1) as f64
        };
        let score = |n: &VocabularyName| {
            let forms = std::iter::once(&n.name).chain(&n.aliases);
            forms.map(|f| likeness(f)).fold(0.0, f64::max)
        };
        self.top(count, score)
    }

    /// The `count` names whose vectors are nearest to `vector`: what it was understood as.
    #[must_use]
    pub fn nearest_by_meaning(&self, vector: &[f32], count: usize) -> Vec<&str> {
        let cosines: Vec<f64> = (0..self.len())
            .map(|i| {
                self.raw(i)
                    .iter()
                    .zip(vector)
                    .map(|(a, b)| f64::from(a * b))
                    .sum()
            })
            .collect();
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
        order
            .into_iter()
            .take(count)
            .map(|i| self.names[i].name.as_str())
            .collect()
    }

    fn top(&self, count: usize, score: impl Fn(&VocabularyName) -> f64) -> Vec<&str> {
        let mut scored: Vec<(f64, &str)> = self
            .names
            .iter()
            .map(|n| (score(n), n.name.as_str()))
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored
            .into_iter()
            .take(count)
            .map(|(_, name)| name)
            .collect()
    }

    /// The error for a name that nothing here can serve.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let near = self.nearest_by_letters(name, 5).join(", ");
        Error::invalid(
            "label",
            format!(
                "`{name}`, which is not among the {} known names",
                self.len()
            ),
            format!(
                "a known name (nearest: {near}), or a text encoder: --text-model with a bundle that has one (`make text` installs the starter's)"
            ),
        )
    }
}

/// Letters and digits in lower case: `T-Shirt`, `t shirt` and `tshirt` are one.
pub(crate) fn key(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn strip_article(name: &str) -> &str {
    let name = name.trim();
    ["a ", "an ", "the ", "A ", "An ", "The "]
        .iter()
        .find_map(|a| name.strip_prefix(a))
        .unwrap_or(name)
}

/// The key itself, then its regular singulars, then its regular plurals.
fn forms(key: &str) -> Vec<String> {
    let mut forms = vec![key.to_owned()];
    if key.len() > 3 {
        if let Some(stem) = key.strip_suffix("ies") {
            forms.push(format!("{stem}y"));
        }
        if let Some(stem) = key.strip_suffix("es") {
            forms.push(stem.to_owned());
        }
        if let Some(stem) = key.strip_suffix('s') {
            forms.push(stem.to_owned());
        }
    }
    forms.push(format!("{key}s"));
    forms.push(format!("{key}es"));
    if let Some(stem) = key.strip_suffix('y') {
        forms.push(format!("{stem}ies"));
    }
    forms
}
