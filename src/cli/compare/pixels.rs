//! Where two sides preprocess photos differently, in words.

use crate::cli::model::resize_words;
use crate::preprocess::{Preprocess, Resize};

/// Levels nearer than this are the same, written with other digits.
const ROUNDING: f32 = 1e-4;

/// Each part that differs: `mean 0.5 0.5 0.5, the reference 0.481 0.458 0.408`.
pub(super) fn differences(ours: &Preprocess, theirs: &Preprocess) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |part: &str, own: String, other: String| {
        if own != other {
            found.push(format!("{part} {own}, the reference {other}"));
        }
    };
    differ(
        "resize",
        resize_words(ours.resize),
        resize_words(theirs.resize),
    );
    differ("crop", crop_words(ours), crop_words(theirs));
    let filter = |p: &Preprocess| format!("{:?}", p.filter).to_lowercase();
    differ("filter", filter(ours), filter(theirs));
    for (part, own, other) in [
        ("mean", ours.mean, theirs.mean),
        ("std", ours.std, theirs.std),
    ] {
        if own.iter().zip(other).any(|(a, b)| (a - b).abs() > ROUNDING) {
            differ(part, format!("{own:.4?}"), format!("{other:.4?}"));
        }
    }
    found
}

/// What is kept of the resized picture; a crop of all of it is none.
fn crop_words(p: &Preprocess) -> String {
    match (p.crop, p.resize) {
        (Some((w, h)), Resize::Exact { width, height }) if (w, h) == (width, height) => {
            "none".into()
        }
        (Some((width, height)), _) => format!("{width}×{height}"),
        (None, _) => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Filter;

    fn plain() -> Preprocess {
        Preprocess {
            resize: Resize::Exact {
                width: 16,
                height: 16,
            },
            filter: Filter::Bicubic,
            crop: None,
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }

    #[test]
    fn the_same_in_other_words_is_the_same() {
        let other = Preprocess {
            crop: Some((16, 16)),
            mean: [0.500_01, 0.5, 0.499_99],
            ..plain()
        };
        assert!(differences(&plain(), &other).is_empty());
    }

    #[test]
    fn each_part_is_told_by_its_name() {
        let other = Preprocess {
            resize: Resize::Shortest(20),
            filter: Filter::Bilinear,
            crop: Some((16, 16)),
            mean: [0.4815; 3],
            std: [0.25; 3],
        };
        let told = differences(&plain(), &other);
        let parts: Vec<&str> = told.iter().filter_map(|d| d.split(' ').next()).collect();
        assert_eq!(parts, ["resize", "crop", "filter", "mean", "std"]);
        assert_eq!(told[0], "resize 16×16, the reference shortest side 20");
        assert!(told[3].contains("0.4815"), "{told:?}");
    }
}
