//! Frames to files: PNG without loss, and small JPEGs to recognise a photo by.

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::imageops::thumbnail;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::Frame;
use crate::error::{Error, Result};

impl Frame {
    /// The bytes of a PNG file.
    ///
    /// # Errors
    ///
    /// The encoder fails; it has no reason to.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut png = Vec::new();
        let pixels: Vec<u8> = self.rows().flatten().copied().collect();
        let wrote = PngEncoder::new(&mut png).write_image(
            &pixels,
            self.width,
            self.height,
            ExtendedColorType::Rgb8,
        );
        wrote.map_err(|e| failed(&e))?;
        Ok(png)
    }

    /// The bytes of a JPEG whose longer side is `side_px` at most.
    ///
    /// # Errors
    ///
    /// The encoder fails; it has no reason to.
    pub fn to_thumbnail(&self, side_px: u32) -> Result<Vec<u8>> {
        let pixels: Vec<u8> = self.rows().flatten().copied().collect();
        let whole =
            RgbImage::from_raw(self.width, self.height, pixels).expect("rows fill the frame");
        let longer = self.width.max(self.height);
        let scaled =
            |side: u32| (u64::from(side) * u64::from(side_px) / u64::from(longer)).max(1) as u32;
        let small = if longer > side_px {
            thumbnail(&whole, scaled(self.width), scaled(self.height))
        } else {
            whole
        };
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, 80);
        small.write_with_encoder(encoder).map_err(|e| failed(&e))?;
        Ok(jpeg)
    }
}

fn failed(e: &image::ImageError) -> Error {
    Error::invalid("picture to write", e.to_string(), "a frame of usual size")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Decode;

    #[test]
    fn png_comes_back_equal_and_thumbnails_small() {
        let bytes = (0..40 * 30 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let frame = Frame::from_rgb(40, 30, bytes).unwrap();
        assert_eq!(
            Decode::default().decode(&frame.to_png().unwrap()).unwrap(),
            frame
        );
        let small = Decode::default()
            .decode(&frame.to_thumbnail(20).unwrap())
            .unwrap();
        assert_eq!(small.size(), (20, 15));
        let same = Decode::default()
            .decode(&frame.to_thumbnail(99).unwrap())
            .unwrap();
        assert_eq!(same.size(), (40, 30));
    }
}
