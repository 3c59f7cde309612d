//! The plain form of each loop: what the others must equal, and what any processor runs.

use super::loops::{compile, loops};
use super::{COLUMNS, FloatTile, GROUP, Kernels, Layout, Operands, Tile};

loops!(compile plain crate::encoder::kernels::lanes::Plain<f32>, inline(never));

pub(super) const SET: Kernels = Kernels {
    name: "portable",
    rows: ROWS,
    is_flexible: false,
    layout: Layout::Groups,
    offset: 0,
    tile,
    byte_tile: None,
    value_tile: None,
    float_tile,
    loops: plain::LOOPS,
};

const ROWS: usize = 4;

fn tile(of: Operands<'_>, sums: &mut Tile) {
    *sums = Default::default();
    let groups = of.activations.chunks_exact(ROWS * GROUP);
    for (a, w) in groups.zip(of.weights.chunks_exact(COLUMNS * GROUP)) {
        for (sums, a) in sums.iter_mut().zip(a.chunks_exact(GROUP)) {
            for (sum, w) in sums.iter_mut().zip(w.chunks_exact(GROUP)) {
                let products = a.iter().zip(w).map(|(a, w)| i32::from(*a) * i32::from(*w));
                *sum += products.sum::<i32>();
            }
        }
    }
}

fn float_tile(inputs: usize, rows: &[f32], columns: &[f32], sums: &mut FloatTile) {
    *sums = Default::default();
    for (sums, row) in sums.iter_mut().zip(rows.chunks_exact(inputs)).take(ROWS) {
        for (x, w) in row.iter().zip(columns.chunks_exact(COLUMNS)) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum += x * w;
            }
        }
    }
}
