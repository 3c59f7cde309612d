//! Nearest mean: a class is the mean of its shots.
//!
//! `score_k = scale·f·m_k`, m_k the weighted mean of the features of class k, of unit length
//! (Mensink et al., 2013, "Distance-based image classification", with cosines for distances). A class without shots borrows its text weight, moved to the images' side.

use super::support::move_across;
use super::{Head, Linear, Support};
use crate::error::Result;
use crate::head::linalg::{unit_rows, widen};

pub(super) fn learn(support: &Support<'_>) -> Result<Head> {
    support.require_shots("nearest-mean")?;
    let mut means = support.means();
    unit_rows(&mut means);
    let weights = support.class_weights();
    let (shot, bare): (Vec<usize>, Vec<usize>) =
        (0..support.classes()).partition(|k| weights[*k] > 0.0);
    if !bare.is_empty() {
        support.start()?;
        let mut text = widen(support.text());
        unit_rows(&mut text);
        let named: Vec<usize> = (0..support.classes())
            .filter(|k| support.has_text(*k))
            .collect();
        move_across(&mut text, &named, &means, &shot);
        bare.iter()
            .for_each(|k| means.row_mut(*k).assign(&text.row(*k)));
    }
    let bias = vec![0.0; support.classes()];
    Linear::trained(&means, support.scale(), &bias).map(Head::Linear)
}
