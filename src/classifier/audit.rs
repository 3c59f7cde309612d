//! What a classifier can say of its own shots: where it errs, what looks wrong, what is missing.
//!
//! Everything comes from the answers that were given to each burst while it was left out of
//! learning. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Axis;

use super::Classifier;
use super::shot;
use crate::error::Result;

/// A shot is doubted where, left out, its own class got less than this.
const DOUBTED_BELOW: f32 = 0.1;
/// … and another class at least this.
const SURE_OF_ANOTHER: f32 = 0.6;
/// Shots that are compared with all others at a time.
const BLOCK: usize = 256;
/// Bursts below which more photos are asked for: fewer than that and the learner leans on names.
const FEW_BURSTS: usize = 4;

/// What was found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// In class order; the background, where it has shots, stands last under the name `background`.
    pub classes: Vec<ClassAudit>,
    /// K×K row by row: shots of the row's class that were answered by the column's while left out.
    pub confusions: Vec<usize>,
    /// Photos that look like another class, the most doubtful first.
    pub doubts: Vec<Doubt>,
    /// Photos that are nearly the same.
    pub twins: Vec<Twins>,
    /// What to do next, in words, the most useful first.
    pub advice: Vec<String>,
}

/// One class's part.
#[derive(Clone, Debug)]
pub struct ClassAudit {
    /// Its name.
    pub name: String,
    /// Whether it has a text weight.
    pub named: bool,
    /// Its shots.
    pub shots: usize,
    /// The bursts that they form: how many different views were seen.
    pub bursts: usize,
    /// Shots that were judged while left out.
    pub judged: usize,
    /// Of these, how many were answered right.
    pub right: usize,
}

/// A photo whose label is likely wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// Id of the shot: the most doubtful view of the photo.
    pub shot: u32,
    /// Ids of all views of the photo.
    pub views: Vec<u32>,
    /// Name of its photo.
    pub photo: String,
    /// The class that it was given.
    pub class: String,
    /// The class that it looks like.
    pub looks_like: String,
    /// Probability of that while the shot was left out.
    pub p: f32,
}

/// Two photos that are nearly the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Twins {
    /// Ids of the two shots that are nearest.
    pub shots: (u32, u32),
    /// Ids of all views of each photo.
    pub views: (Vec<u32>, Vec<u32>),
    /// Names of their photos.
    pub photos: (String, String),
    /// Cosine of their features.
    pub cosine: f32,
    /// The classes that they were given: two different ones contradict each other.
    pub classes: (String, String),
}

impl Classifier {
    /// Looks into the shots.
    ///
    /// # Errors
    /// A shot's feature has no direction.
    pub fn audit(&self) -> Result<Audit> {
        let rows = self.rows()?;
        let bursts = shot::bursts(&self.shots, &rows);
        let kinds = self.kinds();
        let own: Vec<usize> = self.shots.iter().map(|s| self.kind_of(s.class)).collect();
        let mut classes: Vec<ClassAudit> = (0..kinds).map(|at| self.class_audit(at)).collect();
        let mut confusions = vec![0; kinds * kinds];
        let mut doubts = Vec::new();
        for (k, class) in classes.iter_mut().enumerate() {
            let mut own_bursts: Vec<u32> = (0..own.len())
                .filter(|i| own[*i] == k)
                .map(|i| bursts[i])
                .collect();
            class.shots = own_bursts.len();
            own_bursts.sort_unstable();
            own_bursts.dedup();
            class.bursts = own_bursts.len();
        }
        let held_out = self.learned.as_ref().map_or(&[][..], |l| &l.held_out);
        for (i, held) in held_out
            .iter()
            .enumerate()
            .filter_map(|(i, h)| Some((i, h.as_ref()?)))
        {
            let k = own[i];
            classes[k].judged += 1;
            classes[k].right += usize::from(held.best == k);
            confusions[k * kinds + held.best] += 1;
            if held.best != k && held.p_own < DOUBTED_BELOW && held.p_best >= SURE_OF_ANOTHER {
                doubts.push(Doubt {
                    shot: self.shots[i].id,
                    views: self.photo_of(i),
                    photo: self.shots[i].name.clone(),
                    class: classes[k].name.clone(),
                    looks_like: classes[held.best].name.clone(),
                    p: held.p_best,
                });
            }
        }
        doubts.sort_by(|a, b| b.p.total_cmp(&a.p));
        let mut photos = BTreeSet::new();
        doubts.retain(|d| photos.insert(d.views[0]));
        let twins = self.twins(&rows, &own, &classes);
        let mut advice = Vec::new();
        advise_on_photos(&doubts, &twins, &mut advice);
        // There is no photographing the background from other sides.
        let named = &classes[..self.classes.len()];
        advise_on_classes(named, &confusions, kinds, &mut advice);
        Ok(Audit {
            classes,
            confusions,
            doubts,
            twins,
            advice,
        })
    }

    fn class_audit(&self, at: usize) -> ClassAudit {
        let class = self.classes.get(at);
        ClassAudit {
            name: class.map_or_else(|| "background".to_owned(), |c| c.name.clone()),
            named: class.is_some() && self.is_named(at),
            shots: 0,
            bursts: 0,
            judged: 0,
            right: 0,
        }
    }

    /// Nearest neighbours that are nearly the same, each pair of photos once.
    fn twins(
        &self,
        rows: &ndarray::Array2<f32>,
        own: &[usize],
        classes: &[ClassAudit],
    ) -> Vec<Twins> {
        let mut found: Vec<Twins> = Vec::new();
        let mut known = BTreeMap::new();
        for (at, block) in rows.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
            let cosines = block.dot(&rows.t());
            for (row, cosines) in cosines.rows().into_iter().enumerate() {
                let j = at * BLOCK + row;
                let shot = &self.shots[j];
                let near = (0..j).filter(|i| {
                    cosines[*i] > shot::SAME_VIEW && self.shots[*i].source != shot.source
                });
                let Some(i) = near.max_by(|a, b| cosines[*a].total_cmp(&cosines[*b])) else {
                    continue;
                };
                let views = (self.photo_of(i), self.photo_of(j));
                let pair = (views.0[0].min(views.1[0]), views.0[0].max(views.1[0]));
                let place = *known.entry(pair).or_insert(found.len());
                if found.get(place).is_some_and(|t| t.cosine >= cosines[i]) {
                    continue;
                }
                let twins = Twins {
                    shots: (self.shots[i].id, shot.id),
                    views,
                    photos: (self.shots[i].name.clone(), shot.name.clone()),
                    cosine: cosines[i],
                    classes: (classes[own[i]].name.clone(), classes[own[j]].name.clone()),
                };
                match found.get_mut(place) {
                    Some(there) => *there = twins,
                    None => found.push(twins),
                }
            }
        }
        found
    }
}

/// `shot 3`, or the shots of a photo's views as commands take them: `shots 3 4 5`.
pub(crate) fn shots_in_words(ids: &[u32]) -> String {
    let listed: Vec<String> = ids.iter().map(u32::to_string).collect();
    let shots = if ids.len() == 1 { "shot" } else { "shots" };
    format!("{shots} {}", listed.join(" "))
}

fn advise_on_photos(doubts: &[Doubt], twins: &[Twins], advice: &mut Vec<String>) {
    for t in twins.iter().filter(|t| t.classes.0 != t.classes.1).take(3) {
        advice.push(format!(
            "{} (`{}`) and {} (`{}`) show the same: forget one of them",
            shots_in_words(&t.views.0),
            t.classes.0,
            shots_in_words(&t.views.1),
            t.classes.1
        ));
    }
    if let Some(d) = doubts.first() {
        advice.push(format!(
            "look at {}: is it `{}`, or `{}`?",
            shots_in_words(&d.views),
            d.class,
            d.looks_like
        ));
    }
}

/// `confusions` counts `kinds` rows and columns, of which `classes` are the first.
fn advise_on_classes(
    classes: &[ClassAudit],
    confusions: &[usize],
    kinds: usize,
    advice: &mut Vec<String>,
) {
    if let Some((a, b, times)) = most_confused(classes, confusions, kinds) {
        advice.push(format!(
            "photograph `{a}` and `{b}` in the same places and light: one was taken for the other {times} times"
        ));
    }
    let mut few: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for class in classes
        .iter()
        .filter(|c| c.bursts < FEW_BURSTS && !(c.named && c.shots == 0))
    {
        few.entry(class.bursts).or_default().push(&class.name);
    }
    for (bursts, names) in few {
        let listed: Vec<String> = names.iter().take(5).map(|n| format!("`{n}`")).collect();
        let more = if names.len() > 5 {
            format!(" and {} more", names.len() - 5)
        } else {
            String::new()
        };
        let views = if bursts == 1 { "view" } else { "views" };
        advice.push(format!(
            "take more photos of {}{more}, from other sides: {bursts} {views} so far, {FEW_BURSTS} tell much more",
            listed.join(", ")
        ));
    }
}

/// The pair of classes taken for each other most often, at least twice.
fn most_confused<'a>(
    classes: &'a [ClassAudit],
    confusions: &[usize],
    kinds: usize,
) -> Option<(&'a str, &'a str, usize)> {
    let pairs = (0..classes.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let counted = pairs.map(|(a, b)| (a, b, confusions[a * kinds + b] + confusions[b * kinds + a]));
    let (a, b, times) = counted.max_by_key(|(_, _, times)| *times)?;
    (times >= 2).then(|| (&*classes[b].name, &*classes[a].name, times))
}
