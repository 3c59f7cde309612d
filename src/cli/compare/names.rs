//! The names that both sides are asked for, and their text weights on each side.

use std::path::Path;

use ndarray::Array2;

use crate::bundle::Bundle;
use crate::cli::output::count;
use crate::cli::photos;
use crate::encoder::{Feature, likeness};
use crate::error::Result;
use crate::text::{self, Label, TextEncoder, Vocabulary};

/// What is asked for where neither a file nor folders name anything.
const EVERYDAY: [&str; 16] = [
    "mug",
    "screwdriver",
    "cat",
    "dog",
    "car",
    "tree",
    "chair",
    "book",
    "telephone",
    "person",
    "bottle",
    "shoe",
    "hand",
    "house",
    "flower",
    "clock",
];
/// Names of a vocabulary that are taken where it knows too few of those wanted.
const MOST_READY: usize = 50;
/// One name alone is always the answer.
const LEAST: usize = 2;

#[derive(Clone, Copy)]
enum Kind {
    File,
    Folders,
    Everyday,
    Vocabulary,
}

/// Names, and where they are from.
pub(super) struct Wanted {
    labels: Vec<Label>,
    kind: Kind,
}

impl Wanted {
    /// The names of `file`, else of the class folders in `folder`, else everyday ones.
    pub(super) fn find(file: Option<&Path>, folder: &Path) -> Result<Self> {
        if let Some(file) = file {
            let (labels, kind) = (text::read_labels(file)?, Kind::File);
            return Ok(Self { labels, kind });
        }
        // What is wrong with the folder is told when its photos are gathered.
        let classes = photos::gather_classes(folder).unwrap_or_default();
        let labels: Vec<Label> = classes.iter().filter_map(|(name, _)| label(name)).collect();
        if labels.len() >= LEAST {
            let kind = Kind::Folders;
            return Ok(Self { labels, kind });
        }
        let labels = EVERYDAY.into_iter().filter_map(label).collect();
        let kind = Kind::Everyday;
        Ok(Self { labels, kind })
    }

    /// Those that `vocabulary` knows, as it calls them, with their rows; else some of its own. And how
    /// many it does not know of those that somebody chose.
    fn known_to(self, vocabulary: &Vocabulary) -> (Self, Vec<usize>, usize) {
        let own = |at: usize| Some((label(&vocabulary.names()[at].name)?, at));
        let found = self.labels.iter().map(|l| vocabulary.find(l.name()));
        let mut at: Vec<usize> = found.flatten().collect();
        let unknown = match self.kind {
            Kind::File | Kind::Folders => self.labels.len() - at.len(),
            Kind::Everyday | Kind::Vocabulary => 0,
        };
        at.sort_unstable();
        at.dedup();
        let known: Vec<_> = at.into_iter().filter_map(own).collect();
        let (kind, known) = if known.len() < LEAST {
            let some = (0..vocabulary.len()).take(MOST_READY);
            (Kind::Vocabulary, some.filter_map(own).collect())
        } else {
            (self.kind, known)
        };
        let (labels, at) = known.into_iter().unzip();
        (Self { labels, kind }, at, unknown)
    }
}

fn label(name: &str) -> Option<Label> {
    Label::new::<&str>(name, &[]).ok()
}

/// Text weights of the same names on each side, a unit row a name; none where a side has no texts.
pub(super) struct Texts {
    wanted: Wanted,
    pub(super) ours: Option<Array2<f32>>,
    pub(super) theirs: Option<Array2<f32>>,
    /// Whether ours are the ready vectors of the vocabulary.
    pub(super) ready: bool,
    /// Names that were wanted and that the vocabulary does not know.
    pub(super) left_out: usize,
}

impl Texts {
    /// Both sides' weights in the templates of `ours`.
    pub(super) fn of(ours: &Bundle, theirs: &Bundle, wanted: Wanted) -> Result<Self> {
        let templates = &ours.card().templates;
        let encode = |encoder: &TextEncoder, labels: &[Label]| {
            let labels: Vec<&Label> = labels.iter().collect();
            encoder.weights(&labels, templates, &mut |_, _| {})
        };
        // A small stand-in for the encoder is not the one that was published.
        let encoder = TextEncoder::open(ours)?.filter(TextEncoder::is_exact);
        let mut left_out = 0;
        let (wanted, own, ready) = match (encoder, ours.vocabulary()?) {
            (Some(encoder), _) => {
                let rows = encode(&encoder, &wanted.labels)?;
                (wanted, Some(rows), false)
            }
            (None, Some(sections)) => {
                let vocabulary = Vocabulary::new(sections, ours.dim());
                let (wanted, at, unknown) = wanted.known_to(&vocabulary);
                left_out = unknown;
                let rows: Result<_> = at.into_iter().map(|at| vocabulary.vector(at)).collect();
                (wanted, Some(rows?), true)
            }
            (None, None) => (wanted, None, false),
        };
        let other = match TextEncoder::open(theirs)? {
            Some(encoder) => Some(encode(&encoder, &wanted.labels)?),
            None => None,
        };
        let matrix = |rows: Vec<Vec<f32>>| {
            Array2::from_shape_vec((rows.len(), ours.dim()), rows.concat())
                .expect("both sides have one width")
        };
        Ok(Self {
            ours: own.map(matrix),
            theirs: other.map(matrix),
            ready,
            left_out,
            wanted,
        })
    }

    pub(super) fn labels(&self) -> &[Label] {
        &self.wanted.labels
    }

    /// `16 everyday names`, `2 names of the folders`.
    pub(super) fn words(&self) -> String {
        let n = count(self.labels().len(), "name", "names");
        match self.wanted.kind {
            Kind::File => format!("{n} of the file"),
            Kind::Folders => format!("{n} of the folders"),
            Kind::Everyday => format!("{} everyday names", self.labels().len()),
            Kind::Vocabulary => format!("{n} of the vocabulary"),
        }
    }

    /// Mean and least cosine of a name's weights, where both sides have them.
    pub(super) fn likeness(&self) -> Result<Option<(f64, f64)>> {
        let Some((ours, theirs)) = self.ours.as_ref().zip(self.theirs.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(likeness(&features(ours)?, &features(theirs)?)))
    }
}

fn features(weights: &Array2<f32>) -> Result<Vec<Feature>> {
    let rows = weights.rows().into_iter();
    rows.map(|row| Feature::from_values(row.to_vec())).collect()
}
