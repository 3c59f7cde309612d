//! Every set against plain loops over wide numbers, at ragged sizes and extreme values.

use super::rows::{
    Activation, Columns, MOST, Moments, Normed, Packed, Rows, Scale, ToFloats, scale_of,
};
use super::*;

/// Numbers of 24 bits (Marsaglia 2003).
pub(super) fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u32
    }
}

fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut next = random(seed);
    move || next() as f32 / (1 << 23) as f32 - 1.0
}

/// Where an input of a row lies among a block's packed activations.
fn place(set: &Kernels, rows: usize, row: usize, input: usize) -> usize {
    let piece = (input / COLUMNS * rows + row) * COLUMNS + input % COLUMNS;
    match set.layout {
        Layout::Pieces => piece,
        Layout::Shorts => piece * 2,
        Layout::Groups => (input / 4 * rows + row) * 4 + input % 4,
        Layout::Pairs => (input / 8 * rows + row) * 8 + input % 8,
    }
}

/// Packs rows of whole numbers as activations, as `quantize` does, by another way.
fn packed(set: &Kernels, rows: &[Vec<u8>], groups: usize) -> Vec<u8> {
    let size = if set.layout == Layout::Shorts { 2 } else { 1 };
    let mut bytes = vec![0; set.block_bytes(rows.len(), groups)];
    for (r, row) in rows.iter().enumerate() {
        for (i, q) in row.iter().enumerate() {
            let at = place(set, rows.len(), r, i);
            let value = i32::from(*q) - set.offset;
            let value = (value as i16).to_ne_bytes();
            bytes[at..at + size].copy_from_slice(&value[..size]);
        }
    }
    bytes
}

#[test]
fn tiles_equal_plain_sums_whatever_is_multiplied() {
    for (set, count) in Kernels::all().into_iter().flat_map(|set| {
        let fewest = if set.is_flexible { 1 } else { set.rows };
        (fewest..=set.rows).map(move |count| (set, count))
    }) {
        for (case, inputs) in [1_usize, 3, 4, 5, 31, 64, 147, 768, 3072]
            .into_iter()
            .enumerate()
        {
            let groups = inputs.div_ceil(GROUP);
            let mut next = noise(case as u64 + 1);
            let mut extreme = |most: f32, least: f32| match (next() * 8.0) as i32 {
                -7..-3 => most,
                3..7 => least,
                _ => ((most - least) / 2.0 * (next() + 1.0) + least).round(),
            };
            let rows: Vec<Vec<u8>> = (0..count)
                .map(|r| {
                    (0..inputs)
                        .map(|_| {
                            if r == 1 {
                                255
                            } else {
                                extreme(255.0, 0.0) as u8
                            }
                        })
                        .collect()
                })
                .collect();
            let weights: Vec<i8> = (0..COLUMNS * inputs)
                .map(|i| {
                    if i < inputs {
                        -128
                    } else {
                        extreme(127.0, -128.0) as i8
                    }
                })
                .collect();
            let mut sums = [[7; COLUMNS]; MOST_ROWS];
            let weights_packed = pack(&weights, COLUMNS, inputs);
            let of = Operands {
                rows: count,
                groups,
                activations: &packed(&set, &rows, groups),
                step: set.block_bytes(count, GROUPS),
                weights: &weights_packed,
                ahead: &weights_packed,
            };
            set.tile(of, &mut sums);
            values_of_tiles_are_those_of_their_sums(&set, of, &sums);
            for (r, row) in rows.iter().enumerate() {
                for c in 0..COLUMNS {
                    let column = &weights[c * inputs..][..inputs];
                    let sum: i64 = row
                        .iter()
                        .zip(column)
                        .map(|(a, w)| (i64::from(*a) - i64::from(set.offset)) * i64::from(*w))
                        .sum();
                    assert_eq!(
                        i64::from(sums[r][c]),
                        sum,
                        "{set:?}, {inputs} inputs, row {r} of {count}, column {c}"
                    );
                }
            }
        }
    }
}

/// A tile that makes values says what its sums finished say.
fn values_of_tiles_are_those_of_their_sums(set: &Kernels, of: Operands<'_>, sums: &Tile) {
    let scales: Vec<Scale> = (0..MOST)
        .map(|r| Scale {
            scale: 0.01 * r as f32,
            zero: r as i32 - 3,
            sum: 7,
        })
        .collect();
    let added = [[0.5; COLUMNS]; MOST];
    for residual in [None, Some(&added[..])] {
        for (activation, count) in [
            (Activation::None, of.rows),
            (Activation::None, of.rows.div_ceil(2)),
            (Activation::QuickGelu, of.rows),
        ] {
            let to = ToFloats {
                rows: &scales,
                columns: Columns {
                    scale: &std::array::from_fn(|c| c as f32 / 7.0),
                    sum: &std::array::from_fn(|c| c as i32 * 11),
                    zero: Some(&[1; COLUMNS]),
                    bias: &[0.3; COLUMNS],
                },
                activation,
                residual,
            };
            let mut made = [[0.0; COLUMNS]; MOST];
            let mut expected = made;
            set.tile_of_floats(of, to, &mut made[..count]);
            set.loops().finish(sums, to, &mut expected[..count]);
            assert_eq!(made, expected, "{set:?}");
        }
    }
}

#[test]
fn blocks_hold_every_row_once_and_none_is_longer_than_a_tile() {
    for set in Kernels::all() {
        for total in 1_usize..200 {
            let mut next = 0;
            for at in 0..total.div_ceil(set.rows) {
                let (first, rows) = set.block(at, total);
                assert_eq!(first, next, "{set:?}, {total} rows");
                assert!((1..=set.rows).contains(&rows));
                next += rows;
            }
            assert!(if set.is_flexible {
                next == total
            } else {
                next >= total
            });
        }
    }
}

#[test]
fn tiles_of_floats_equal_wide_sums() {
    for set in Kernels::all() {
        for inputs in [1_usize, 7, 64, 197, 768] {
            let mut next = noise(inputs as u64);
            let rows: Vec<f32> = (0..set.rows * inputs).map(|_| next()).collect();
            let columns: Vec<f32> = (0..COLUMNS * inputs).map(|_| next()).collect();
            let mut sums = FloatTile::default();
            set.float_tile(inputs, &rows, &columns, &mut sums);
            for r in 0..set.rows {
                for c in 0..COLUMNS {
                    let terms = (0..inputs).map(|i| {
                        f64::from(rows[r * inputs + i]) * f64::from(columns[i * COLUMNS + c])
                    });
                    let sum: f64 = terms.sum();
                    assert!(
                        (f64::from(sums[r][c]) - sum).abs() < 1e-5 * inputs as f64,
                        "{set:?}"
                    );
                }
            }
        }
    }
}

/// A row in blocks, with rubbish where no column is.
fn laid_out(values: &[f32]) -> Vec<f32> {
    rows_laid_out(&[values.to_vec()])
}

/// Rows in blocks, with rubbish where no column is.
fn rows_laid_out(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows[0].len();
    let mut all = vec![f32::NAN; rows.len() * width.next_multiple_of(COLUMNS)];
    for (r, row) in rows.iter().enumerate() {
        for (i, v) in row.iter().enumerate() {
            all[(i / COLUMNS * rows.len() + r) * COLUMNS + i % COLUMNS] = *v;
        }
    }
    all
}

#[test]
fn rows_are_normed_and_rounded_alike_by_every_set_and_as_onnx_says() {
    for (case, width) in [1_usize, 3, 16, 50, 256, 768].into_iter().enumerate() {
        let mut next = noise(case as u64 + 9);
        let scale = [1.0, 1e-20, 1e20, 0.0, 3.0, 0.01][case];
        let count = [1, 3, MOST, 12, 5, 2][case];
        let given: Vec<Vec<f32>> = (0..count)
            .map(|_| (0..width).map(|_| scale * (next() + 0.3)).collect())
            .collect();
        let (gain, bias): (Vec<f32>, Vec<f32>) = (0..width).map(|_| (next(), next())).unzip();
        let (gain, bias) = (laid_out(&gain), laid_out(&bias));
        let values = rows_laid_out(&given);
        let rows = Rows {
            values: &values,
            step: count * COLUMNS,
            width,
            count,
        };
        let plain = *portable::SET.loops();
        for set in Kernels::all() {
            let loops = set.loops();
            let [mut moments, mut same] = [[Moments::default(); MOST]; 2];
            loops.moments(rows, 1e-5, &mut moments);
            plain.moments(rows, 1e-5, &mut same);
            assert_eq!(moments, same, "{set:?}");
            for (row, moments) in given.iter().zip(&moments) {
                let exact = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                assert!((f64::from(moments.mean) - exact).abs() <= 1e-5 * f64::from(scale.abs()));
            }
            let norm = Normed {
                moments: &moments,
                gain: &gain,
                bias: &bias,
            };
            for norm in [None, Some(&norm)] {
                let (mut extents, mut same) = ([(0.0, 0.0); MOST], [(0.0, 0.0); MOST]);
                loops.extents(rows, norm, &mut extents);
                plain.extents(rows, norm, &mut same);
                assert_eq!(extents, same, "{set:?}");
                let mut scales = extents.map(scale_of);
                let of_row = |r: usize, i: usize| {
                    let v = given[r][i];
                    norm.map_or(v, |n| {
                        let Moments { mean, factor } = n.moments[r];
                        (v - mean) * factor * n.gain[i] + n.bias[i]
                    })
                };
                let mut floats = vec![0.0; count * width];
                loops.floats(rows, norm, &mut floats);
                let groups = width.div_ceil(GROUP);
                // Before a row that is not written.
                let block = count + 1;
                let mut bytes = vec![0; set.block_bytes(block, groups)];
                let to = Packed {
                    bytes: &mut bytes,
                    rows: block,
                    layout: set.layout,
                    offset: set.offset,
                };
                loops.quantize(rows, norm, &mut scales, (0, 255), to);
                for (r, scale) in scales.iter().enumerate().take(count) {
                    let mut added = 0;
                    for i in 0..width {
                        let x = of_row(r, i);
                        assert!(floats[r * width + i] == x, "{set:?}");
                        let at = place(&set, block, r, i);
                        let q = match set.layout == Layout::Shorts {
                            true => i32::from(i16::from_ne_bytes([bytes[at], bytes[at + 1]])),
                            false if set.offset == 128 => i32::from(bytes[at] as i8),
                            false => i32::from(bytes[at]),
                        } + set.offset;
                        assert!((0..=255).contains(&q));
                        added += q - scale.zero;
                        let back = scale.scale * (q - scale.zero) as f32;
                        assert!(
                            (back - x).abs() <= 0.51 * scale.scale,
                            "{set:?}: {x} became {back}"
                        );
                    }
                    assert_eq!(scale.sum, added, "{set:?}");
                }
            }
        }
    }
}

#[test]
fn products_are_finished_alike_by_every_set_and_as_the_formulas_say() {
    let mut next = noise(5);
    let mut lanes = |size: f32| std::array::from_fn::<f32, COLUMNS, _>(|_| size * next());
    let (scale, bias, residual) = (lanes(0.001), lanes(1.0), lanes(3.0));
    let sums: [i32; COLUMNS] = lanes(30_000.0).map(|v| v as i32);
    let sum: [i32; COLUMNS] = lanes(500.0).map(|v| v as i32);
    let row = Scale {
        scale: 0.25,
        zero: 117,
        sum: -1234,
    };
    let zeros: [i32; COLUMNS] = std::array::from_fn(|i| i as i32 - 7);
    let columns = Columns {
        scale: &scale,
        sum: &sum,
        zero: Some(&zeros),
        bias: &bias,
    };
    let erf = |x: f64| {
        // Its series, which needs no table.
        let term =
            |n: i32| (0..n).fold(1.0, |t, k| t * -x * x / f64::from(k + 1)) / f64::from(2 * n + 1);
        2.0 / std::f64::consts::PI.sqrt() * x * (0..60).map(term).sum::<f64>()
    };
    for activation in [
        Activation::None,
        Activation::QuickGelu,
        Activation::Gelu,
        Activation::GeluTanh,
    ] {
        for set in Kernels::all() {
            let (mut out, mut plain) = ([0.0; COLUMNS], [0.0; COLUMNS]);
            for (set, out) in [(set, &mut out), (portable::SET, &mut plain)] {
                let to = ToFloats {
                    rows: &[row],
                    columns,
                    activation,
                    residual: Some(&[residual]),
                };
                set.loops().finish(&[sums], to, std::slice::from_mut(out));
            }
            assert_eq!(out, plain, "{set:?}");
            for i in 0..COLUMNS {
                let x = f64::from(sums[i] - 117 * sum[i] + 1234 * zeros[i])
                    * 0.25
                    * f64::from(scale[i])
                    + f64::from(bias[i]);
                let y = match activation {
                    Activation::None => x,
                    Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
                    Activation::Gelu if x.abs() > 3.5 => x.max(0.0),
                    Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
                    Activation::GeluTanh => {
                        let t = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                        0.5 * x * (1.0 + t.tanh())
                    }
                } + f64::from(residual[i]);
                assert!(
                    (f64::from(out[i]) - y).abs() < 2e-3,
                    "{activation:?} of {x}: {} for {y}",
                    out[i]
                );
            }
        }
    }
}

#[test]
fn softmax_is_that_of_wide_floats_and_leaves_nothing_behind_its_width() {
    for width in [1_usize, 15, 16, 50, 197] {
        let mut next = noise(width as u64);
        let values: Vec<f32> = (0..width).map(|_| 30.0 * next()).collect();
        let most = values.iter().fold(f64::MIN, |m, v| m.max(f64::from(*v)));
        let raised: Vec<f64> = values
            .iter()
            .map(|v| (0.5 * (f64::from(*v) - most)).exp())
            .collect();
        let sum: f64 = raised.iter().sum();
        for set in Kernels::all() {
            let mut row = laid_out(&values);
            set.loops().softmax(&mut row, width, 0.5);
            for (got, exact) in row.iter().zip(&raised) {
                assert!((f64::from(*got) - exact / sum).abs() < 1e-6, "{set:?}");
            }
            assert!(row[width..].iter().all(|v| *v == 0.0), "{set:?}");
        }
    }
}

/// Bytes of a row, as whole numbers above its zero.
fn unpacked(set: &Kernels, bytes: &[u8], rows: usize, row: usize, inputs: usize) -> Vec<i32> {
    let of = |i: usize| {
        let at = place(set, rows, row, i);
        set.offset
            + match set.layout == Layout::Shorts {
                true => i32::from(i16::from_ne_bytes([bytes[at], bytes[at + 1]])),
                false if set.offset == 128 => i32::from(bytes[at] as i8),
                false => i32::from(bytes[at]),
            }
    };
    (0..inputs).map(of).collect()
}

#[test]
fn shares_are_softmax_in_16_bits() {
    for width in [1_usize, 15, 16, 50, 197] {
        let mut next = noise(width as u64);
        let given: Vec<Vec<f32>> = (0..3)
            .map(|r| (0..width).map(|_| 10.0 * r as f32 * next()).collect())
            .collect();
        let values = rows_laid_out(&given);
        let rows = Rows {
            values: &values,
            step: 3 * COLUMNS,
            width,
            count: 3,
        };
        for set in Kernels::all() {
            let length = set.block_bytes(3, width.div_ceil(GROUP));
            let mut bytes = [vec![0; length], vec![0; length]];
            let mut scales = [Scale::default(); 3];
            let to = bytes.each_mut().map(|bytes| Packed {
                bytes,
                rows: 3,
                layout: set.layout,
                offset: set.offset,
            });
            set.loops().shares(rows, 0.5, &mut scales, to);
            for (r, row) in given.iter().enumerate() {
                let raised = row.iter().map(|v| (0.5 * f64::from(*v)).exp());
                let sum: f64 = raised.clone().sum();
                let greatest = raised.clone().fold(0.0, f64::max);
                let [first, rest] = [0, 1].map(|n| unpacked(&set, &bytes[n], 3, r, width));
                for (i, exact) in raised.enumerate() {
                    assert!((0..=255).contains(&first[i]) && (0..=255).contains(&rest[i]));
                    let got = f64::from(first[i]) + f64::from(rest[i]) / 255.0;
                    let got = got * f64::from(scales[r].scale);
                    let step = greatest / sum / 65025.0;
                    assert!((got - exact / sum).abs() < 0.6 * step + 1e-6, "{set:?}");
                }
            }
        }
    }
}

#[test]
fn columns_are_rounded_by_their_greatest_and_packed_as_weights() {
    for count in [1_usize, 4, 50, 197] {
        let mut next = noise(count as u64);
        let rows: Vec<[f32; COLUMNS]> = (0..count)
            .map(|_| std::array::from_fn(|c| if c == 3 { 0.0 } else { 5.0 * next() }))
            .collect();
        for set in Kernels::all() {
            let groups = count.div_ceil(GROUP);
            let mut to = vec![1; groups * GROUP * COLUMNS];
            let (mut scale, mut sums, mut added) = ([0.0; COLUMNS], [0; COLUMNS], [0.0; COLUMNS]);
            set.loops()
                .pack_columns(&rows, &mut to, &mut scale, &mut sums);
            set.loops().column_sums(&rows, &mut added);
            let mut whole = Vec::new();
            for c in 0..COLUMNS {
                let column = rows.iter().map(|row| row[c]);
                let most = column.clone().fold(0.0, |m: f32, v| m.max(v.abs()));
                assert!((scale[c] - most / 127.0).abs() <= 1e-6 * most);
                let q: Vec<i8> = column
                    .clone()
                    .map(|v| {
                        if most > 0.0 {
                            (v * (127.0 / most)).round_ties_even() as i8
                        } else {
                            0
                        }
                    })
                    .collect();
                assert_eq!(
                    sums[c],
                    q.iter().map(|q| i32::from(*q)).sum::<i32>(),
                    "{set:?}"
                );
                assert!((added[c] - column.sum::<f32>()).abs() < 1e-3);
                whole.extend(q);
            }
            let to: Vec<i8> = to.iter().map(|b| *b as i8).collect();
            assert_eq!(to, pack(&whole, COLUMNS, count), "{set:?}");
        }
    }
}

#[test]
fn a_fixed_grid_clamps() {
    let values = laid_out(&[0.24, 0.76, 1000.0, -1000.0]);
    let rows = Rows {
        values: &values,
        step: COLUMNS,
        width: 4,
        count: 1,
    };
    let set = portable::SET;
    let mut bytes = vec![0; set.block_bytes(set.rows, 1)];
    let to = Packed {
        bytes: &mut bytes,
        rows: set.rows,
        layout: Layout::Groups,
        offset: 0,
    };
    let scale = Scale {
        scale: 0.5,
        zero: 10,
        sum: 0,
    };
    set.loops().quantize(rows, None, &mut [scale], (0, 255), to);
    assert_eq!(bytes[..4], [10, 12, 255, 0]);
}
