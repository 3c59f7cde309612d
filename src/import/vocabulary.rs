//! Text weights of a list of names, made ahead of time: a board that gets them in its bundle
//! needs no text encoder.

use std::collections::HashMap;

use ndarray::Array2;

use crate::bundle::VocabularyName;
use crate::error::{Error, Result};
use crate::text::{self, Label, TextEncoder};

/// Names that are to be known by heart, from lines as of `--labels-file`: a name, or `name | prompt |
/// prompt` where the prompts stand for it.
///
/// # Errors
/// The file cannot be read, or holds too many names, a bad one, or two that a lookup could
/// not tell apart.
pub(super) fn read_labels(path: &std::path::Path) -> Result<Vec<Label>> {
    let labels = text::read_labels(path)?;
    names(&labels).map_err(|e| e.at(path))?;
    Ok(labels)
}

/// The names of `labels` as a vocabulary lists them.
///
/// # Errors
/// Two names that a lookup could not tell apart, or one without letters and digits.
pub(super) fn names(labels: &[Label]) -> Result<Vec<VocabularyName>> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for label in labels {
        let key = text::key(label.name());
        if key.is_empty() {
            let expected = "a letter or digit: lookups pass over all else";
            return Err(Error::invalid(
                "vocabulary",
                format!("`{}`", label.name()),
                expected,
            ));
        }
        if let Some(first) = seen.insert(key, label.name()) {
            let found = format!("`{first}` and `{}`", label.name());
            let expected = "names that differ in letters: lookups pass over case, spaces and signs";
            return Err(Error::invalid("vocabulary", found, expected));
        }
    }
    let name = |label: &Label| VocabularyName {
        name: label.name().to_owned(),
        aliases: Vec::new(),
    };
    Ok(labels.iter().map(name).collect())
}

/// Text weights of `labels`, in their own prompts or in `templates`: a unit row of D each.
/// `progress` hears how many of how many texts are done.
///
/// # Errors
/// No names or no templates, or the encoder fails on a text.
pub(super) fn bake(
    labels: &[Label],
    templates: &[String],
    encoder: &TextEncoder,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array2<f32>> {
    if templates.is_empty() {
        let expected = "at least one template, such as `a photo of a {}.`";
        return Err(Error::invalid("templates", "none", expected));
    }
    if labels.is_empty() {
        return Err(Error::invalid("vocabulary", "no names", "a name a line"));
    }
    let rows = encoder.weights(&labels.iter().collect::<Vec<_>>(), templates, progress)?;
    let dim = rows.first().map_or(0, Vec::len);
    let flat = rows.concat();
    Ok(Array2::from_shape_vec((labels.len(), dim), flat).expect("each row holds D values"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ndarray::{Array1, ArrayView1};

    use super::*;
    use crate::bundle::{Bundle, Contents};
    use crate::text::{Prompts, TextTower, parse_labels};

    fn starter() -> Bundle {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/starter.ecmodel");
        Bundle::open(&path).unwrap()
    }

    #[test]
    fn a_baked_bundle_answers_as_its_text_encoder_does() {
        let starter = starter();
        let encoder = TextEncoder::open(&starter).unwrap().unwrap();
        let templates = Prompts::shipped().set("general").unwrap().to_vec();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.txt");
        let list = "# kitchen\nmug | a cup of tea | a beaker\ntea pot\nT-shirt\nnaïve café\n\nrusty pipe wrench\n";
        std::fs::write(&path, list).unwrap();
        let labels = read_labels(&path).unwrap();
        let names = names(&labels).unwrap();
        let mut told = Vec::new();
        let cosine = |a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>| {
            a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
        };
        let rows = bake(&labels, &templates, &encoder, &mut |n, of| {
            told.push((n, of))
        })
        .unwrap();
        let total = 2 + (names.len() - 1) * templates.len();
        assert_eq!(told.last(), Some(&(total, total)));
        assert!(told.is_sorted());

        let card = crate::bundle::Card {
            image: None,
            text: None,
            templates: templates.clone(),
            ..starter.card().clone()
        };
        let contents = Contents {
            card,
            image: None,
            text: None,
            vocabulary: Some((names.clone(), rows.clone())),
        };
        let baked = Bundle::from_bytes(&contents.to_bytes().unwrap()).unwrap();
        let tower = TextTower::open(&baked, None).unwrap();
        let asked =
            parse_labels("a mug, Tea Pots, t shirt, naïve café, rusty pipe wrench").unwrap();
        let weights = tower.weights(&asked, &mut |_, _| {}).unwrap();
        for (i, (name, label)) in names.iter().zip(&labels).enumerate() {
            let filled = templates.iter().map(|t| text::fill(t, &name.name));
            let texts: Vec<String> = match label.prompts() {
                [] => filled.collect(),
                own => own.to_vec(),
            };
            let vectors = encoder.encode(&texts, &mut |_| {}).unwrap();
            let sum = vectors.iter().fold(Array1::zeros(rows.ncols()), |sum, v| {
                sum + ndarray::aview1(v)
            });
            let exact = cosine(rows.row(i), sum.view());
            let stored = cosine(weights.weights.row(i), sum.view());
            assert!(exact > 0.99999, "{}: {exact}", name.name);
            // A row of int8 loses about (peak / rms / 127)² / 24, and peaks here are 6 to 10 times
            // the rms: 0.9998 to 0.9999 is what the form can hold.
            assert!(stored > 0.9995, "{}: {stored}", name.name);
        }
        let error = tower.weights(&parse_labels("spoon").unwrap(), &mut |_, _| {});
        assert!(error.unwrap_err().to_string().contains("5 known names"));
    }

    #[test]
    fn names_that_a_lookup_cannot_tell_apart_are_refused() {
        let refused = |list: &str| names(&parse_labels(list).unwrap()).unwrap_err().to_string();
        assert!(refused("T-shirt, mug, t shirt").contains("`T-shirt` and `t shirt`"));
        assert!(refused("mug, 😀").contains("`😀`"));
    }

    #[test]
    fn nothing_is_baked_from_nothing() {
        let encoder = TextEncoder::open(&starter()).unwrap().unwrap();
        let labels = parse_labels("mug").unwrap();
        assert!(bake(&labels, &[], &encoder, &mut |_, _| {}).is_err());
        assert!(bake(&[], &["{}".into()], &encoder, &mut |_, _| {}).is_err());
    }
}
