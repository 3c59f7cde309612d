//! The inner loops of the fused encoder, chosen once for the processor that runs.
//!
//! Every set gives the same bits: integer sums are exact, and what is done in floats is written once
//! ([`rows`]) and compiled for each processor, without contraction. Only products of floats
//! (attention, products that stay in floats) use fused multiply-adds where a set has them.
//!
//! **Weights** are s8, one scale per output column, packed as `[block of 16 columns][group of 4
//! inputs][column][input]`, which every set reads well: 64 bytes are what one AVX-512, two AVX2 or four
//! NEON registers take at once. **Activations** are 8 bits without sign, one scale and zero point per
//! row, packed by blocks of rows in whichever [`Layout`] the set reads best.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "one number counts rows, sums and scales alike"
)]

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod bed;
pub(crate) mod bytes;
#[cfg(test)]
mod bytes_tests;
mod lanes;
mod loops;
mod pool;
mod portable;
pub(crate) mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;
use std::time::Instant;

use bytes::{Piece, ToBytes};
use lanes::Lanes;
pub(crate) use lanes::WholeLanes;
pub(crate) use loops::Loops;
pub(crate) use pool::Pool;
use rows::{Activation, Packed, ToFloats};

/// Columns of a block of packed weights.
pub(crate) const COLUMNS: usize = 16;
/// Inputs that lie side by side for each row and column.
pub(crate) const GROUP: usize = 4;
/// Groups of a block of 16 inputs.
const GROUPS: usize = COLUMNS / GROUP;
/// Most rows of a tile of any set.
pub(crate) const MOST_ROWS: usize = 12;

/// Sums of a tile, row by row.
pub(crate) type Tile = [WholeLanes; MOST_ROWS];
/// The same of products of floats.
pub(crate) type FloatTile = [lanes::Lanes; MOST_ROWS];

/// How a block of rows of activations is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[block of 16 inputs][row][input]`, in bytes: as rows of bytes lie anyway.
    Pieces,
    /// The same in i16, for multipliers of 16 bits.
    Shorts,
    /// `[group of 4 inputs][row][input]`, in bytes: a group of several rows is one register.
    Groups,
    /// `[pair of groups][row][group][input]`, for multipliers of 8 inputs at once.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "i8mm alone"))]
    Pairs,
}

impl Layout {
    /// Bytes of a block of `rows` rows, `groups` groups wide.
    pub(crate) fn bytes(self, rows: usize, groups: usize) -> usize {
        match self {
            Self::Pieces => rows * groups.next_multiple_of(GROUPS) * GROUP,
            Self::Shorts => rows * groups.next_multiple_of(GROUPS) * GROUP * 2,
            Self::Groups => groups * rows * GROUP,
            Self::Pairs => groups.next_multiple_of(2) * rows * GROUP,
        }
    }
}

/// What a tile multiplies: a block of rows with a block of columns.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) rows: usize,
    pub(crate) groups: usize,
    pub(crate) activations: &'a [u8],
    /// Bytes from one block of 16 inputs to the next, where activations lie so.
    pub(crate) step: usize,
    pub(crate) weights: &'a [i8],
    /// Weights that are needed soon: to be brought nearer meanwhile.
    pub(crate) ahead: &'a [i8],
}

type ValueTile = unsafe fn(Operands<'_>, (ToFloats<'_>, &mut [Lanes]));
type ByteTile = unsafe fn(Operands<'_>, (ToBytes<'_>, &mut [Piece]));

/// One set of inner loops.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// Rows of a tile, at most.
    pub(crate) rows: usize,
    /// Whether a tile may have fewer rows; else what is missing is computed in vain.
    pub(crate) is_flexible: bool,
    /// How activations are packed.
    pub(crate) layout: Layout,
    /// What is taken off activations so that the multiplier can take them: 0 or 128.
    pub(crate) offset: i32,
    /// Sums of products over `groups` groups.
    tile: unsafe fn(Operands<'_>, sums: &mut Tile),
    /// The same with the sums made bytes at once, where that saves their way through memory.
    byte_tile: Option<ByteTile>,
    /// And with the sums made values.
    value_tile: Option<ValueTile>,
    /// The same of floats: `rows` rows of `inputs` values one after the other, and `inputs` × 16 weights.
    float_tile: unsafe fn(inputs: usize, rows: &[f32], columns: &[f32], sums: &mut FloatTile),
    /// The loops, compiled for this set.
    loops: Loops,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kernels {
    /// The fastest set that this processor runs; `EDGECLIP_KERNEL` names another one, for comparisons.
    pub(crate) fn chosen() -> Self {
        static CHOSEN: OnceLock<Kernels> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let all = Self::all();
            let asked = std::env::var("EDGECLIP_KERNEL").unwrap_or_default();
            let named = all.iter().find(|k| k.name == asked);
            *named.unwrap_or(&all[0])
        })
    }

    /// Every set that this processor runs, the fastest first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        all.extend(x86_64::sets());
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        all.extend(aarch64::sets());
        all.push(portable::SET);
        all
    }

    /// First row and rows of block `at` of the blocks that `total` rows make, as even as can be.
    pub(crate) fn block(&self, at: usize, total: usize) -> (usize, usize) {
        if !self.is_flexible {
            return (at * self.rows, self.rows);
        }
        let count = total.div_ceil(self.rows);
        let (rows, more) = (total / count, total % count);
        (at * rows + at.min(more), rows + usize::from(at < more))
    }

    /// Bytes of the packed activations of a block of `rows` rows, `groups` groups wide.
    pub(crate) fn block_bytes(&self, rows: usize, groups: usize) -> usize {
        self.layout.bytes(rows, groups)
    }

    /// Bytes from one block of 16 inputs to the next, where `rows` rows are packed alone.
    pub(crate) fn block_step(&self, rows: usize) -> usize {
        self.block_bytes(rows, GROUPS)
    }

    /// Where a block of `rows` rows goes that is packed in `bytes`.
    pub(crate) fn packed<'a>(&self, bytes: &'a mut [u8], rows: usize) -> Packed<'a> {
        Packed {
            bytes,
            rows,
            layout: self.layout,
            offset: self.offset,
        }
    }

    /// Sums of products of a block of rows with a block of columns.
    ///
    /// # Panics
    /// A slice is not as long as `rows`, `groups` and `step` say, or the set has no tile of so many rows.
    pub(crate) fn tile(&self, of: Operands<'_>, sums: &mut Tile) {
        self.check(&of);
        // SAFETY: the set was made for a processor with its instructions; rows and lengths were checked.
        unsafe { (self.tile)(of, sums) }
    }

    /// The same, with the sums of the first `out.len()` rows made bytes.
    ///
    /// # Panics
    /// As [`tile`](Self::tile), or there are fewer rows.
    pub(crate) fn tile_of_bytes(&self, of: Operands<'_>, to: ToBytes<'_>, out: &mut [Piece]) {
        assert!(out.len() <= of.rows);
        match self.byte_tile {
            Some(byte_tile) => {
                self.check(&of);
                // SAFETY: as above.
                unsafe { byte_tile(of, (to, out)) }
            }
            None => {
                let mut sums: Tile = [[0; COLUMNS]; MOST_ROWS];
                self.tile(of, &mut sums);
                self.loops.finish_bytes(&sums, to, self.offset, out);
            }
        }
    }

    /// The same, with the sums of the first `out.len()` rows made values.
    ///
    /// # Panics
    /// As [`tile`](Self::tile), or there are fewer rows.
    pub(crate) fn tile_of_floats(&self, of: Operands<'_>, to: ToFloats<'_>, out: &mut [Lanes]) {
        assert!(out.len() <= of.rows);
        // What is activated goes through memory as well.
        match self
            .value_tile
            .filter(|_| to.activation == Activation::None)
        {
            Some(value_tile) => {
                self.check(&of);
                // SAFETY: as above.
                unsafe { value_tile(of, (to, out)) }
            }
            None => {
                let mut sums: Tile = [[0; COLUMNS]; MOST_ROWS];
                self.tile(of, &mut sums);
                self.loops.finish(&sums, to, out);
            }
        }
    }

    fn check(&self, of: &Operands<'_>) {
        let fewest = if self.is_flexible { 1 } else { self.rows };
        assert!((fewest..=self.rows).contains(&of.rows));
        let needed = match self.layout {
            Layout::Pieces | Layout::Shorts => {
                let block = self.block_bytes(of.rows, GROUPS);
                assert!(of.step >= block);
                of.groups.div_ceil(GROUPS).saturating_sub(1) * of.step + block
            }
            Layout::Groups | Layout::Pairs => self.block_bytes(of.rows, of.groups),
        };
        assert!(of.activations.len() >= needed);
        assert_eq!(of.weights.len(), of.groups * GROUP * COLUMNS);
    }

    /// Sums of products of `self.rows` rows of floats, `inputs` wide, with `inputs` × 16 weights.
    ///
    /// # Panics
    /// A slice is not as long as `inputs` says.
    pub(crate) fn float_tile(
        &self,
        inputs: usize,
        rows: &[f32],
        columns: &[f32],
        sums: &mut FloatTile,
    ) {
        assert_eq!(rows.len(), inputs * self.rows);
        assert_eq!(columns.len(), inputs * COLUMNS);
        // SAFETY: as in `tile`.
        unsafe { (self.float_tile)(inputs, rows, columns, sums) }
    }

    /// Products of bytes a second of one core: tiles whose operands stay in its first cache, the best of some bursts.
    pub(crate) fn peak(&self) -> f64 {
        const WIDE: usize = 64;
        const TILES: u32 = 2000;
        const BURSTS: usize = 5;
        let activations = vec![1; self.block_bytes(self.rows, WIDE)];
        let weights = vec![1; WIDE * GROUP * COLUMNS];
        let of = Operands {
            rows: self.rows,
            groups: WIDE,
            activations: &activations,
            step: self.block_step(self.rows),
            weights: &weights,
            ahead: &[],
        };
        let mut sums: Tile = [[0; COLUMNS]; MOST_ROWS];
        let mut burst = || {
            let start = Instant::now();
            for _ in 0..TILES {
                self.tile(std::hint::black_box(of), &mut sums);
                std::hint::black_box(&sums);
            }
            start.elapsed()
        };
        let best = (0..BURSTS).map(|_| burst()).min().unwrap_or_default();
        let products = (self.rows * COLUMNS * WIDE * GROUP) as f64 * f64::from(TILES);
        products / best.as_secs_f64().max(1e-9)
    }

    /// The loops that need no set of their own, compiled for this one.
    pub(crate) fn loops(&self) -> &Loops {
        &self.loops
    }
}

/// Weights in the packed order: `columns` × `inputs` values, given column by column.
#[allow(dead_code, reason = "builds that import nothing pack nothing")]
pub(crate) fn pack(weights: &[i8], columns: usize, inputs: usize) -> Vec<i8> {
    let groups = inputs.div_ceil(GROUP);
    let mut packed = vec![0; columns.div_ceil(COLUMNS) * groups * GROUP * COLUMNS];
    for (column, row) in weights.chunks_exact(inputs).enumerate().take(columns) {
        let block = column / COLUMNS * groups * GROUP * COLUMNS;
        let at = block + column % COLUMNS * GROUP;
        for (g, group) in row.chunks(GROUP).enumerate() {
            let to = at + g * GROUP * COLUMNS;
            packed[to..to + group.len()].copy_from_slice(group);
        }
    }
    packed
}

/// Floats as pieces of bytes, four to a float, for values that are kept where floats are.
pub(crate) fn pieces(values: &[f32]) -> &[bytes::Piece] {
    // SAFETY: every byte of a float is a byte, bytes need no alignment, and the length is that of the same memory.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len() * 4) };
    <[u8]>::as_chunks(bytes).0
}

/// The same to be written: whatever the bytes, they are floats again.
pub(crate) fn pieces_mut(values: &mut [f32]) -> &mut [bytes::Piece] {
    let length = values.len() * 4;
    // SAFETY: as above, and every four bytes are a float.
    let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), length) };
    <[u8]>::as_chunks_mut(bytes).0
}
