//! Each conversion beside the formula of its standard, over odd sizes and padded rows.

use proptest::prelude::*;

use super::*;

/// Red, green and blue of the standard's formula, in f64 and without tricks.
fn formula(y: u8, cb: u8, cr: u8, shades: Shades) -> [f64; 3] {
    let (kr, kb) = match shades.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let full = shades.full == Some(true);
    let (black, light, colour) = if full {
        (0.0, 255.0, 255.0)
    } else {
        (16.0, 219.0, 224.0)
    };
    let y = (f64::from(y) - black) / light;
    let b = (f64::from(cb) - 128.0) / colour * 2.0 * (1.0 - kb);
    let r = (f64::from(cr) - 128.0) / colour * 2.0 * (1.0 - kr);
    let g = -(kb * b + kr * r) / (1.0 - kr - kb);
    [y + r, y + g, y + b].map(|v| (v * 255.0).clamp(0.0, 255.0))
}

/// The pixel at `x`, `y` by hand.
fn expected(layout: &Layout, bytes: &[u8], x: usize, y: usize) -> [f64; 3] {
    let row = y * layout.stride;
    match layout.format {
        Format::Rgb3 => [0, 1, 2].map(|c| f64::from(bytes[row + x * 3 + c])),
        Format::Grey if layout.shades.full != Some(false) => [f64::from(bytes[row + x]); 3],
        Format::Grey => formula(bytes[row + x], 128, 128, layout.shades),
        Format::Yuyv => {
            let four = &bytes[row + x / 2 * 4..][..4];
            formula(four[x % 2 * 2], four[1], four[3], layout.shades)
        }
        Format::Nv12 => {
            let colours = layout.stride * (layout.size.1 as usize + y / 2) + x / 2 * 2;
            formula(
                bytes[row + x],
                bytes[colours],
                bytes[colours + 1],
                layout.shades,
            )
        }
        Format::Mjpg => unreachable!(),
    }
}

/// The largest difference of a channel from the formula.
fn worst(layout: &Layout, bytes: &[u8]) -> f64 {
    let frame = layout.rgb(bytes, Vec::new()).unwrap();
    let mut worst = 0.0_f64;
    for y in 0..layout.size.1 {
        for (x, rgb) in frame.row(y).chunks(3).enumerate() {
            let wanted = expected(layout, bytes, x, y as usize);
            for c in 0..3 {
                worst = worst.max((f64::from(rgb[c]) - wanted[c]).abs());
            }
        }
    }
    worst
}

fn layout(format: Format, size: (u32, u32), padding: usize, shades: Shades) -> Layout {
    let mut layout = Layout {
        format,
        size,
        stride: 0,
        shades,
    };
    layout.stride = layout.row_bytes() + padding;
    layout
}

fn noise(n: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn any_layout() -> impl Strategy<Value = Layout> {
    let format = prop_oneof![
        Just(Format::Yuyv),
        Just(Format::Nv12),
        Just(Format::Rgb3),
        Just(Format::Grey)
    ];
    let matrix = prop_oneof![
        Just(Matrix::Bt601),
        Just(Matrix::Bt709),
        Just(Matrix::Bt2020)
    ];
    let shades = (matrix, any::<Option<bool>>()).prop_map(|(matrix, full)| Shades { matrix, full });
    let padding = prop_oneof![Just(0_usize), 1..70_usize];
    (format, 1..150_u32, 1..12_u32, padding, shades)
        .prop_map(|(f, w, h, padding, shades)| layout(f, (w, h), padding, shades))
}

proptest! {
    #[test]
    fn every_form_is_within_two_levels_of_its_formula(layout in any_layout(), seed: u64, cut: bool) {
        let whole = layout.stride * layout.rows();
        let bytes = noise(if cut { layout.least_bytes() } else { whole }, seed);
        let worst = worst(&layout, &bytes);
        prop_assert!(worst <= 2.0, "{layout:?}: {worst}");
    }

    #[test]
    fn lies_about_layout_and_length_are_refused(
        w: u32, h: u32, stride in 0..200_000_usize, n in 0..5000_usize
    ) {
        let told = Layout { format: Format::Nv12, size: (w, h), stride, shades: Shades::default() };
        // Nothing panics; what passes holds every pixel.
        if told.rgb(&vec![0; n], Vec::new()).is_ok() {
            prop_assert!(told.least_bytes() <= n);
        }
    }
}

#[test]
fn the_usual_size_is_within_two_levels_with_the_widest_kernels() {
    for format in [Format::Yuyv, Format::Nv12, Format::Rgb3, Format::Grey] {
        for full in [None, Some(false), Some(true)] {
            let shades = Shades {
                matrix: Matrix::Bt601,
                full,
            };
            let layout = layout(format, (640, 480), 0, shades);
            let bytes = noise(layout.least_bytes(), 7);
            let worst = worst(&layout, &bytes);
            assert!(worst <= 2.0, "{format:?} {full:?}: {worst}");
        }
    }
}

#[test]
fn a_steady_stream_allocates_nothing() {
    let layout = layout(Format::Yuyv, (64, 48), 0, Shades::default());
    let bytes = noise(layout.least_bytes(), 1);
    let first = layout.rgb(&bytes, Vec::new()).unwrap().into_bytes();
    let (at, capacity) = (first.as_ptr(), first.capacity());
    let second = layout.rgb(&bytes, first).unwrap().into_bytes();
    assert_eq!((second.as_ptr(), second.capacity()), (at, capacity));
}

#[test]
fn cut_frames_are_refused() {
    for format in [Format::Yuyv, Format::Nv12, Format::Rgb3, Format::Grey] {
        let layout = layout(format, (7, 5), 3, Shades::default());
        let bytes = noise(layout.least_bytes(), 1);
        assert!(layout.rgb(&bytes, Vec::new()).is_ok());
        let error = layout.rgb(&bytes[1..], Vec::new()).unwrap_err().to_string();
        assert!(error.contains("for a whole frame"), "{error}");
    }
}
