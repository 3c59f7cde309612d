//! The confusion matrix as a picture: what is it (rows), what was answered (columns).

use super::picture::{Anchor, CHARACTER, Colour, Picture};

const INK: Colour = [30, 30, 30];
const PALE: Colour = [150, 150, 150];
/// Names are cut where they would push the matrix off the page.
const LONGEST_NAME: usize = 28;

/// Classes of one picture: more could not be told apart.
const MOST_CLASSES: usize = 60;

/// Draws `counts`, K×K row by row, with `names`; classes stand in the given order.
///
/// Columns bear the numbers that stand before the names. Of more than 60 classes those with the
/// most confusions are drawn, which the title then says.
#[must_use]
pub fn confusion(title: &str, names: &[String], counts: &[usize]) -> Picture {
    let k = names.len();
    if k <= MOST_CLASSES {
        return draw(title, names, counts);
    }
    let wrong = |class: usize| -> usize {
        let others = (0..k).filter(|o| *o != class);
        others
            .map(|o| counts[class * k + o] + counts[o * k + class])
            .sum()
    };
    let mut order: Vec<(usize, usize)> = (0..k).map(|class| (wrong(class), class)).collect();
    order.sort_by_key(|(wrong, class)| (std::cmp::Reverse(*wrong), *class));
    let mut worst: Vec<usize> = order[..MOST_CLASSES].iter().map(|o| o.1).collect();
    worst.sort_unstable();
    let cells = worst
        .iter()
        .flat_map(|row| worst.iter().map(move |column| counts[row * k + column]));
    let names: Vec<String> = worst.iter().map(|i| names[*i].clone()).collect();
    let title = format!("{title}: the {MOST_CLASSES} of {k} classes confused most");
    draw(&title, &names, &cells.collect::<Vec<_>>())
}

fn draw(title: &str, names: &[String], counts: &[usize]) -> Picture {
    let k = names.len();
    let cell = (640 / k.max(1) as i32).clamp(4, 36);
    let labelled = cell >= 14;
    let shown: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(i, n)| format!("{} {}", cut(n), i + 1))
        .collect();
    let longest = shown.iter().map(|n| n.chars().count()).max().unwrap_or(0) as i32;
    let left = if labelled {
        longest * CHARACTER + 16
    } else {
        24
    };
    let top = 64;
    let side = cell * k as i32;
    let mut picture = Picture::new(
        (left + side + 24).max(title.chars().count() as i32 * CHARACTER + 32),
        top + side + 24,
    );
    picture.words((12, 18), title, INK, Anchor::Start);
    picture.words((left, 38), "answered", PALE, Anchor::Start);
    for row in 0..k {
        let total: usize = counts[row * k..(row + 1) * k].iter().sum();
        let y = top + cell * row as i32;
        if labelled {
            picture.words((left - 8, y + cell / 2), &*shown[row], INK, Anchor::End);
            picture.words(
                (left + cell * row as i32 + cell / 2, top - 10),
                (row + 1).to_string(),
                INK,
                Anchor::Middle,
            );
        }
        for column in 0..k {
            let count = counts[row * k + column];
            let share = count as f64 / total.max(1) as f64;
            let x = left + cell * column as i32;
            picture.block((x, y), (cell - 1, cell - 1), shade(share, row == column));
            if labelled && count > 0 {
                let ink = if share > 0.55 { [255, 255, 255] } else { INK };
                picture.words(
                    (x + cell / 2, y + cell / 2),
                    count.to_string(),
                    ink,
                    Anchor::Middle,
                );
            }
        }
    }
    picture
}

/// Right answers in blue, wrong ones in orange, the stronger the larger their share.
fn shade(share: f64, right: bool) -> Colour {
    let full: Colour = if right { [0, 90, 160] } else { [200, 80, 0] };
    let none = 244.0;
    // A single wrong answer among many must still be seen.
    let strength = if share > 0.0 {
        0.12 + 0.88 * share
    } else {
        0.0
    };
    full.map(|c| (none + (f64::from(c) - none) * strength).round() as u8)
}

fn cut(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_drawn_and_many_classes_still_fit() {
        let names = ["mug".to_owned(), "a".repeat(60)];
        let svg = confusion("held out", &names, &[7, 1, 0, 9]).to_svg();
        for word in ["held out", "mug 1", "… 2", ">7<", ">9<"] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        let many: Vec<String> = (0..500).map(|i| format!("class {i}")).collect();
        let picture = confusion("many", &many, &vec![1; 500 * 500]);
        assert!(picture.to_png().unwrap().len() > 1000);
    }
}
