//! What a lesson did to the classes that were there before.

use super::Classifier;

/// A drop of more than this share of the old shots is worth a warning.
const WORTH_A_WARNING: f64 = 0.005;

/// Answers to old shots, each while its burst was left out, before and after a lesson.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Shots that were there, and judged, before and after.
    pub judged: usize,
    /// Of these, how many were answered right before.
    pub right_before: usize,
    /// And after.
    pub right_after: usize,
    /// Those that were right and now are wrong: id of the shot, and the class it is taken for.
    pub lost: Vec<(u32, String)>,
}

impl Classifier {
    /// Whether the shot `id` was answered right while its burst was left out; none where that could not
    /// be judged.
    #[must_use]
    pub fn held_out_right(&self, id: u32) -> Option<bool> {
        let at = self.shot_at(id).ok()?;
        let held = self.learned.as_ref()?.held_out.get(at)?.as_ref()?;
        Some(held.best == self.kind_of(self.shots[at].class))
    }
}

impl Change {
    /// From `before` to `after`, by the shots that both have.
    #[must_use]
    pub fn between(before: &Classifier, after: &Classifier) -> Self {
        let mut change = Self::default();
        let (Some(old), Some(new)) = (&before.learned, &after.learned) else {
            return change;
        };
        for (shot, held) in before.shots.iter().zip(&old.held_out) {
            let Ok(at) = after.shot_at(shot.id) else {
                continue;
            };
            let (Some(held), Some(now)) = (held, new.held_out.get(at).and_then(Option::as_ref))
            else {
                continue;
            };
            if after.shots[at].class != shot.class {
                continue;
            }
            let was_right = before.kind_of(shot.class) == held.best;
            let is_right = after.kind_of(shot.class) == now.best;
            change.judged += 1;
            change.right_before += usize::from(was_right);
            change.right_after += usize::from(is_right);
            if was_right && !is_right {
                let taken_for = after
                    .classes
                    .get(now.best)
                    .map_or("background", |c| c.name());
                change.lost.push((shot.id, taken_for.to_owned()));
            }
        }
        change
    }

    /// Whether the old classes are answered clearly worse than before.
    #[must_use]
    pub fn is_for_the_worse(&self) -> bool {
        let drop = self.right_before as f64 - self.right_after as f64;
        drop > WORTH_A_WARNING * self.judged as f64
    }
}
