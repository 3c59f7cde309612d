//! Shots: labelled photos, kept as their features alone, and the bursts that they form.

use half::f16;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::encoder::{Feature, normalise};
use crate::error::{Error, Result};
use crate::frame::Photo;

/// Features nearer than this are nearly the same view. Of different photos of one class, 0.03 %
/// (textures, breeds, dishes) to 0.3 % (flowers) come as near in CLIP's ViT-B/32.
pub(super) const SAME_VIEW: f32 = 0.97;
/// Photos of one class taken within so many seconds are of one moment.
const SAME_MOMENT_S: u64 = 2;
/// Longest file name that a shot keeps.
const MAX_NAME_BYTES: usize = 80;

/// First half of the SHA-256 of a photo's file: the same photo is never learned twice.
pub type Source = [u8; 16];

/// One labelled photo, or one view of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    pub(super) id: u32,
    pub(super) class: Option<u32>,
    pub(super) source: Source,
    pub(super) view: u8,
    pub(super) capture: Option<u32>,
    pub(super) taken_s: Option<u64>,
    pub(super) name: String,
}

impl Shot {
    /// Number of the shot, never given again.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Id of its class; `None` for a background shot.
    #[must_use]
    pub fn class(&self) -> Option<u32> {
        self.class
    }

    /// Half a SHA-256 of the photo's file; views of one photo share it.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// 0 for the whole photo, else the number of the view (see [`Frame::view`](crate::Frame::view)).
    #[must_use]
    pub fn view(&self) -> u8 {
        self.view
    }

    /// When the photo was taken, in seconds on the camera's own clock.
    #[must_use]
    pub fn taken_s(&self) -> Option<u64> {
        self.taken_s
    }

    /// The name of the photo's file, its end cut where it is long.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A shot to be learned.
#[derive(Clone, Debug)]
pub struct NewShot {
    /// What the encoder says of it.
    pub feature: Feature,
    /// Half a SHA-256 of the photo's file.
    pub source: Source,
    /// Number of the view, 0 for the whole photo.
    pub view: u8,
    /// Frames of one capture share a number of the caller's choice; photos have none.
    pub capture: Option<u32>,
    /// When it was taken, in seconds on the camera's own clock.
    pub taken_s: Option<u64>,
    /// Name of the photo's file.
    pub name: String,
    /// A small JPEG, where photos are kept.
    pub thumbnail: Option<Vec<u8>>,
}

impl NewShot {
    /// The whole of a photo, whose file is called `name`.
    #[must_use]
    pub fn from_photo(photo: &Photo, feature: Feature, name: &str) -> Self {
        Self {
            feature,
            source: photo.source,
            view: 0,
            capture: None,
            taken_s: photo.taken_s,
            name: name.to_owned(),
            thumbnail: None,
        }
    }

    /// A shot of a feature alone, told from others by its bits.
    #[must_use]
    pub fn of(feature: Feature) -> Self {
        use sha2::{Digest, Sha256};
        let mut digest = Sha256::new();
        feature
            .values()
            .iter()
            .for_each(|v| digest.update(v.to_le_bytes()));
        Self {
            feature,
            source: crate::store::half(digest),
            view: 0,
            capture: None,
            taken_s: None,
            name: String::new(),
            thumbnail: None,
        }
    }

    pub(super) fn into_shot(
        self,
        id: u32,
        class: Option<u32>,
    ) -> (Shot, Vec<f16>, Option<Vec<u8>>) {
        let feature = self
            .feature
            .values()
            .iter()
            .map(|v| f16::from_f32(*v))
            .collect();
        let shot = Shot {
            id,
            class,
            source: self.source,
            view: self.view,
            capture: self.capture,
            taken_s: self.taken_s,
            name: short(&self.name),
        };
        (shot, feature, self.thumbnail)
    }
}

/// The end of a long name tells more than its start.
fn short(name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if clean.len() <= MAX_NAME_BYTES {
        return clean;
    }
    let from = clean.len() - (MAX_NAME_BYTES - '…'.len_utf8());
    let from = (from..clean.len())
        .find(|i| clean.is_char_boundary(*i))
        .unwrap_or(clean.len());
    format!("…{}", &clean[from..])
}

/// Unit rows from the half floats that files hold: learning sees just these, so that a classifier
/// learns the same before it is saved and after it is opened.
///
/// # Errors
/// A row that has no direction.
pub(super) fn unit_rows(halves: &[f16], dim: usize) -> Result<Array2<f32>> {
    let mut values: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
    for row in values.chunks_mut(dim) {
        normalise(row).map_err(|_| {
            Error::invalid(
                "shot",
                "a feature without direction",
                "finite numbers, not all zero",
            )
        })?;
    }
    let rows = values.len() / dim;
    Array2::from_shape_vec((rows, dim), values)
        .map_err(|e| Error::invalid("shots", e.to_string(), format!("rows of {dim} values")))
}

/// The burst of each shot: views of one photo, frames of one capture, photos of one moment, and
/// near-duplicates, as far as they are of one class. A function of the shots alone, so that
/// forgetting one leaves what never learning it would have left.
pub(super) fn bursts(shots: &[Shot], features: &Array2<f32>) -> Vec<u32> {
    let mut burst: Vec<usize> = (0..shots.len()).collect();
    let mut by_class: Vec<usize> = (0..shots.len()).collect();
    by_class.sort_by_key(|i| (shots[*i].class, *i));
    for members in by_class.chunk_by(|a, b| shots[*a].class == shots[*b].class) {
        for (at, &j) in members.iter().enumerate() {
            for &i in &members[..at] {
                let (a, b) = (root(&mut burst, i), root(&mut burst, j));
                if a != b
                    && (related(&shots[i], &shots[j])
                        || features.row(i).dot(&features.row(j)) > SAME_VIEW)
                {
                    burst[a.max(b)] = a.min(b);
                }
            }
        }
    }
    (0..shots.len())
        .map(|i| root(&mut burst, i) as u32)
        .collect()
}

fn related(a: &Shot, b: &Shot) -> bool {
    let moment = a
        .taken_s
        .zip(b.taken_s)
        .is_some_and(|(a, b)| a.abs_diff(b) <= SAME_MOMENT_S);
    a.source == b.source || moment || (a.capture.is_some() && a.capture == b.capture)
}

/// The least member of a set, with the way to it shortened.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shot(id: u32, class: u32, source: u8) -> Shot {
        let name = String::new();
        Shot {
            id,
            class: Some(class),
            source: [source; 16],
            view: 0,
            capture: None,
            taken_s: None,
            name,
        }
    }

    fn spread(n: usize) -> Array2<f32> {
        Array2::eye(n)
    }

    #[test]
    fn views_captures_moments_and_near_duplicates_are_bursts() {
        let mut shots: Vec<Shot> = (0..8).map(|i| shot(i, 0, i as u8)).collect();
        shots[1].source = shots[0].source;
        shots[2].capture = Some(5);
        shots[4].capture = Some(5);
        shots[3].taken_s = Some(100);
        shots[5].taken_s = Some(102);
        shots[7].taken_s = Some(103);
        let mut features = spread(8);
        let near = features.row(6).to_owned();
        features.row_mut(5).assign(&near);
        // 3 and 5 are of one moment, 7 within two seconds of 5, 6 looks like 5.
        assert_eq!(bursts(&shots, &features), [0, 0, 2, 3, 2, 3, 3, 3]);
    }

    #[test]
    fn shots_of_different_classes_are_never_one_burst() {
        let shots = [shot(0, 0, 1), shot(1, 1, 1)];
        let features = Array2::from_shape_vec((2, 1), vec![1.0, 1.0]).unwrap();
        assert_eq!(bursts(&shots, &features), [0, 1]);
    }

    #[test]
    fn long_names_keep_their_end() {
        let long = format!("{}é.jpg", "x".repeat(200));
        let kept = short(&long);
        assert!(
            kept.len() <= MAX_NAME_BYTES && kept.starts_with('…') && kept.ends_with("é.jpg"),
            "{kept}"
        );
        assert_eq!(short("a\u{7}.jpg"), "a\u{fffd}.jpg");
    }
}
