//! Every pixel layout to RGB8.
//!
//! 16 bits become 8 by their high byte, as Pillow reads 16-bit colour. Transparent pixels are
//! laid on a background, as Pillow's `alpha_composite` does on an opaque one.

use image::DynamicImage;

/// The RGB bytes of a decoded picture; `None` where its layout is not known here.
pub(super) fn to_rgb(picture: DynamicImage, background: [u8; 3]) -> Option<Vec<u8>> {
    Some(match picture {
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        DynamicImage::ImageLuma8(grey) => grey.as_raw().iter().flat_map(|&l| [l; 3]).collect(),
        DynamicImage::ImageLuma16(grey) => {
            grey.as_raw().iter().flat_map(|&l| [high(l); 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.as_raw().iter().map(|&l| high(l)).collect(),
        DynamicImage::ImageRgba8(rgba) => lay(rgba.as_raw(), background, |l| l),
        DynamicImage::ImageRgba16(rgba) => lay(rgba.as_raw(), background, high),
        DynamicImage::ImageLumaA8(grey) => lay_grey(grey.as_raw(), background, |l| l),
        DynamicImage::ImageLumaA16(grey) => lay_grey(grey.as_raw(), background, high),
        _ => return None,
    })
}

fn high(level: u16) -> u8 {
    (level >> 8) as u8
}

fn lay<T: Copy>(rgba: &[T], background: [u8; 3], byte: impl Fn(T) -> u8) -> Vec<u8> {
    let over = |p: &[T]| over([p[0], p[1], p[2]].map(&byte), byte(p[3]), background);
    rgba.chunks_exact(4).flat_map(over).collect()
}

fn lay_grey<T: Copy>(grey: &[T], background: [u8; 3], byte: impl Fn(T) -> u8) -> Vec<u8> {
    let over = |p: &[T]| over([byte(p[0]); 3], byte(p[1]), background);
    grey.chunks_exact(2).flat_map(over).collect()
}

/// One pixel on an opaque background: the division by 255 and its rounding are Pillow's.
fn over(colour: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|channel| {
        let (alpha, opaque) = (u32::from(alpha), 255 - u32::from(alpha));
        let sum = u32::from(colour[channel]) * alpha + u32::from(background[channel]) * opaque;
        // Seven more bits, as Pillow carries them.
        let sum = (sum << 7) + (0x80 << 7);
        ((((sum >> 8) + sum) >> 8) >> 7) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_alpha_keeps_the_colour_and_none_shows_the_background() {
        for level in 0..=255 {
            assert_eq!(over([level; 3], 255, [7; 3]), [level; 3]);
            assert_eq!(over([7; 3], 0, [level; 3]), [level; 3]);
        }
    }
}
