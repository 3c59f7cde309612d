//! Loops over bytes against plain arithmetic in wide numbers.

use super::bytes::{ByteRows, Piece, ToBytes};
use super::rows::{Columns, MOST};
use super::tests::random;
use super::*;

/// Bytes with the extremes among them.
fn pieces_of(count: usize, next: &mut impl FnMut() -> u32) -> Vec<Piece> {
    let byte = |n: u32| match n % 8 {
        0 => 0,
        1 => 255,
        _ => (n >> 3) as u8,
    };
    let piece = |_| std::array::from_fn(|_| byte(next()));
    (0..count).map(piece).collect()
}

/// Scale, sum and bias of columns, as `ToBytes` takes them.
struct Facts {
    scale: [f32; COLUMNS],
    sum: [i32; COLUMNS],
    bias: [f32; COLUMNS],
}

impl Facts {
    fn of(next: &mut impl FnMut() -> u32) -> Self {
        Self {
            scale: std::array::from_fn(|_| (next() % 1000 + 1) as f32 * 3e-6),
            sum: std::array::from_fn(|_| (next() % 2000) as i32 - 1000),
            bias: std::array::from_fn(|_| (next() % 400) as f32 - 100.3),
        }
    }

    fn to(&self, low: u8, high: u8) -> ToBytes<'_> {
        let columns = Columns {
            scale: &self.scale,
            sum: &self.sum,
            zero: None,
            bias: &self.bias,
        };
        ToBytes { columns, low, high }
    }

    /// What a sum becomes; none where it lies so near the middle of two bytes that a float's last bit decides.
    fn byte(&self, c: usize, sum: i64, low: u8, high: u8) -> Option<u8> {
        let v = sum as f64 * f64::from(self.scale[c]) + f64::from(self.bias[c]);
        let is_clear = (v - v.floor() - 0.5).abs() > 1e-3;
        is_clear.then(|| v.round().clamp(low.into(), high.into()) as u8)
    }
}

#[test]
fn sums_become_the_nearest_bytes_within_bounds() {
    let mut next = random(1);
    let facts = Facts::of(&mut next);
    let sums: Vec<[i32; COLUMNS]> = (0..12)
        .map(|_| std::array::from_fn(|_| next() as i32 % 200_000 - 100_000))
        .collect();
    for set in Kernels::all() {
        for (low, high, offset) in [(0, 255, 0), (3, 200, 128)] {
            let mut out = vec![[0; COLUMNS]; sums.len()];
            set.loops()
                .finish_bytes(&sums, facts.to(low, high), offset, &mut out);
            for (sums, out) in sums.iter().zip(&out) {
                for c in 0..COLUMNS {
                    let sum = i64::from(sums[c]) + i64::from(offset * facts.sum[c]);
                    let expected = facts.byte(c, sum, low, high);
                    assert!(expected.is_none_or(|e| e == out[c]), "{set:?}");
                }
            }
        }
    }
}

#[test]
fn bytes_are_packed_as_rounded_floats_are() {
    let mut next = random(2);
    let (blocks, total) = (3, 20);
    let given = pieces_of(blocks * total, &mut next);
    for set in Kernels::all() {
        let (first, count) = (5, set.rows.min(MOST));
        let rows = ByteRows {
            pieces: &given[first..],
            step: total,
            blocks,
            count,
        };
        let groups = blocks * GROUPS;
        let mut bytes = vec![0; set.block_bytes(count, groups)];
        let to = set.packed(&mut bytes, count);
        set.loops().pack_bytes(rows, to);
        // A tile of ones adds a row's bytes up.
        let weights = vec![1; groups * GROUP * COLUMNS];
        let of = Operands {
            rows: count,
            groups,
            activations: &bytes,
            step: set.block_step(count),
            weights: &weights,
            ahead: &[],
        };
        let mut sums = Tile::default();
        set.tile(of, &mut sums);
        // And one that makes bytes says the same of its sums.
        let facts = Facts::of(&mut next);
        let (mut made, mut expected) = ([[0; COLUMNS]; MOST], [[0; COLUMNS]; MOST]);
        set.tile_of_bytes(of, facts.to(3, 250), &mut made[..count]);
        let loops = set.loops();
        loops.finish_bytes(&sums, facts.to(3, 250), set.offset, &mut expected[..count]);
        assert_eq!(made, expected, "{set:?}");
        for r in 0..count {
            let row = (0..blocks).flat_map(|b| given[b * total + first + r]);
            let sum: i32 = row.map(|b| i32::from(b) - set.offset).sum();
            assert_eq!(sums[r], [sum; COLUMNS], "{set:?}");
        }
    }
}

#[test]
fn windows_of_each_channel_are_weighed_as_by_hand() {
    let mut next = random(3);
    for (side, stride) in [(3_usize, 1_usize), (3, 2), (5, 1), (5, 2), (7, 1), (2, 2)] {
        for width in [1_usize, 3, 4, 9, 14] {
            let facts = Facts::of(&mut next);
            let across = (width - 1) * stride + side;
            let lines: Vec<Vec<Piece>> = (0..side).map(|_| pieces_of(across, &mut next)).collect();
            let weights: Vec<[i32; COLUMNS]> = (0..side * side)
                .map(|_| std::array::from_fn(|_| i32::from(next() as i8)))
                .collect();
            let views: Vec<&[Piece]> = lines.iter().map(|l| &l[..]).collect();
            for set in Kernels::all() {
                let mut out = vec![[7; COLUMNS]; width];
                let to = facts.to(1, 250);
                set.loops()
                    .depthwise(&views, &weights, (side, stride), to, &mut out);
                for (x, out) in out.iter().enumerate() {
                    for c in 0..COLUMNS {
                        let taps = (0..side * side).map(|t| {
                            let pixel = lines[t / side][x * stride + t % side][c];
                            i64::from(pixel) * i64::from(weights[t][c])
                        });
                        let expected = facts.byte(c, taps.sum(), 1, 250);
                        assert!(
                            expected.is_none_or(|e| e == out[c]),
                            "{set:?}, {side}, {stride}, {width}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bytes_are_added_and_averaged_as_by_hand() {
    let mut next = random(4);
    let (a, b) = (pieces_of(9, &mut next), pieces_of(9, &mut next));
    let factors = [0.37, 0.81, -40.2];
    for set in Kernels::all() {
        let mut out = vec![[0; COLUMNS]; 9];
        set.loops().add_bytes([&a, &b], factors, (2, 240), &mut out);
        for (out, (a, b)) in out
            .as_flattened()
            .iter()
            .zip(a.as_flattened().iter().zip(b.as_flattened()))
        {
            let v = f64::from(*a) * 0.37 + f64::from(*b) * 0.81 - 40.2;
            let is_clear = (v - v.floor() - 0.5).abs() > 1e-3;
            assert!(
                !is_clear || *out == v.round().clamp(2.0, 240.0) as u8,
                "{set:?}"
            );
        }
        let mut sums = [0; COLUMNS];
        set.loops().sum_bytes(&a, &mut sums);
        for c in 0..COLUMNS {
            assert_eq!(sums[c], a.iter().map(|p| i32::from(p[c])).sum::<i32>());
        }
    }
}

#[test]
fn floats_become_bytes_as_onnx_says() {
    let mut next = random(5);
    for length in [1_usize, 15, 16, 50] {
        let values: Vec<f32> = (0..length).map(|_| next() as f32 / 4e6 - 2.0).collect();
        for set in Kernels::all() {
            let mut out = vec![0; length];
            set.loops()
                .bytes_from_floats(&values, (0.0075, 117), (2, 240), &mut out);
            for (v, out) in values.iter().zip(&out) {
                let q = (v / 0.0075).round_ties_even() + 117.0;
                assert_eq!(*out, q.clamp(2.0, 240.0) as u8, "{set:?}");
            }
        }
    }
}

#[test]
fn a_row_of_floats_times_bytes_is_what_wide_floats_say() {
    let mut next = random(6);
    for inputs in [1_usize, 4, 30, 1000] {
        let row: Vec<f32> = (0..inputs).map(|_| next() as f32 / 8e6 - 1.0).collect();
        let whole: Vec<i8> = (0..inputs * COLUMNS).map(|_| next() as i8).collect();
        let packed = pack(&whole, COLUMNS, inputs);
        for set in Kernels::all() {
            let mut out = [0.0; COLUMNS];
            set.loops().multiply_floats(&row, &packed, &mut out);
            for c in 0..COLUMNS {
                let column = &whole[c * inputs..][..inputs];
                let terms = row.iter().zip(column);
                let sum: f64 = terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                assert!(
                    (f64::from(out[c]) - sum).abs() < 1e-4 * inputs as f64,
                    "{set:?}"
                );
            }
        }
    }
}
