//! The encoder's kernels alone: their tests, and each set run by name.
//!
//!     edgeclip-kernels sets                       which sets this processor runs, and the chosen one
//!     edgeclip-kernels tile SET GROUPS TIMES      a tile of bytes, for whoever counts instructions
//!     edgeclip-kernels floats SET INPUTS TIMES    the same of floats

mod encoder;

use std::hint::black_box;

use encoder::kernels::{COLUMNS, FloatTile, GROUP, Kernels, Operands, Tile};

/// Bytes like noise, the extremes included.
fn noise(length: usize) -> Vec<u8> {
    let byte = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    (0..length).map(byte).collect()
}

/// Activations and weights of a tile.
fn operands(set: &Kernels, groups: usize) -> (Vec<u8>, Vec<i8>) {
    let weights = noise(groups * GROUP * COLUMNS).into_iter();
    let weights = weights.map(|b| b as i8).collect();
    (noise(set.block_bytes(set.rows, groups)), weights)
}

fn tile_of<'a>(set: &Kernels, groups: usize, activations: &'a [u8], weights: &'a [i8]) -> Operands<'a> {
    Operands {
        rows: set.rows,
        groups,
        activations,
        step: set.block_step(set.rows),
        weights,
        ahead: &[],
    }
}

/// Sums of a tile of noise, without what a set takes off its activations.
fn ran(set: &Kernels, groups: usize) -> bool {
    let (activations, weights) = operands(set, groups);
    let mut sums = Tile::default();
    set.tile(tile_of(set, groups, &activations, &weights), &mut sums);
    sums.iter()
        .take(set.rows)
        .all(|row| row.iter().any(|sum| *sum != 0))
}

fn sets() {
    for set in Kernels::all() {
        assert!(ran(&set, 100), "{set:?} gives no sums");
        println!("ran: {set:?}, {} rows", set.rows);
    }
    println!("chosen: {:?}", Kernels::chosen());
}

fn tile(set: &Kernels, groups: usize, times: usize) {
    let (activations, weights) = operands(set, groups);
    let mut sums = Tile::default();
    for _ in 0..times {
        let of = tile_of(set, groups, black_box(&activations), black_box(&weights));
        set.tile(of, &mut sums);
        black_box(&sums);
    }
}

fn floats(set: &Kernels, inputs: usize, times: usize) {
    let rows = vec![0.5; inputs * set.rows];
    let columns = vec![0.25; inputs * COLUMNS];
    let mut sums = FloatTile::default();
    for _ in 0..times {
        set.float_tile(inputs, black_box(&rows), black_box(&columns), &mut sums);
        black_box(&sums);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, name, size, times) = match words[..] {
        ["sets"] => return sets(),
        [what, name, size, times] => (what, name, size, times),
        _ => panic!("usage: edgeclip-kernels sets | (tile | floats) SET SIZE TIMES"),
    };
    let all = Kernels::all();
    let set = all
        .iter()
        .find(|k| k.name == name)
        .expect("a set of this processor");
    let number = |word: &str| word.parse().expect("a whole number");
    match what {
        "tile" => tile(set, number(size), number(times)),
        _ => floats(set, number(size), number(times)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_set_of_this_processor_gives_sums() {
        super::sets();
    }
}
