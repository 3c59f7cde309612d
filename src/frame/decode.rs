//! Files to frames: JPEG, PNG, WebP and BMP, told apart by content.
//!
//! What is refused: everything else, by name; pictures and files above the limits, before memory
//! is asked for; and pictures that break off, which a decoder would fill up with grey.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::{bmp::BmpDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageResult, Limits, RgbImage};
use sha2::{Digest, Sha256};

use super::sniff::{self, Kind};
use super::{Frame, PIXEL_BYTES, blend, check_sides, jpeg, taken};
use crate::error::{Error, Result};
use crate::store;

/// What [`Decode::max_pixels`] bounds, in errors.
pub(crate) const PIXELS: &str = "pixels of one picture";

/// How files are decoded: the limits they must keep, and what shines through transparent pixels.
///
/// The turn that EXIF asks for is applied. Transparent pixels are laid on the background as
/// Pillow's `alpha_composite` does; 16 bits become 8 by their high byte, as Pillow reads 16-bit
/// colour; grey becomes three equal channels; of an animation the first picture counts. Colour
/// profiles are ignored, as the encoders' training ignored them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decode {
    /// The most pixels of one picture. The default, 50 million, takes what phones and board
    /// cameras make; as RGB that is 150 MB, about the most a board of 1 GB can lend.
    pub max_pixels: u64,
    /// The most bytes of one file. The default, 64 MiB, takes such a picture as PNG.
    pub max_bytes: u64,
    /// The RGB colour behind transparent pixels; white by default, as cut-outs are drawn for.
    pub background: [u8; 3],
}

impl Default for Decode {
    fn default() -> Self {
        Self {
            max_pixels: 50_000_000,
            max_bytes: 64 << 20,
            background: [255; 3],
        }
    }
}

/// A decoded file, and which photo it is.
#[derive(Clone, Debug)]
pub struct Photo {
    /// Its pixels.
    pub frame: Frame,
    /// First half of the SHA-256 of its file.
    pub source: [u8; 16],
    /// When it was taken, in seconds on the camera's own clock, where its EXIF tells.
    pub taken_s: Option<u64>,
}

impl Decode {
    /// Reads and decodes a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and those of [`Decode::decode`]; all name the path.
    pub fn load(&self, path: &Path) -> Result<Frame> {
        let bytes = self.read(path)?;
        self.decode(&bytes).map_err(|e| e.at(path))
    }

    /// Reads and decodes a file, and takes down which photo it is and when it was taken.
    ///
    /// # Errors
    ///
    /// As [`Decode::load`].
    pub fn photo(&self, path: &Path) -> Result<Photo> {
        let bytes = self.read(path)?;
        let (frame, exif) = self.decode_with_exif(&bytes).map_err(|e| e.at(path))?;
        Ok(Photo {
            frame,
            source: store::half(Sha256::new_with_prefix(&bytes)),
            taken_s: exif.and_then(taken::taken_s),
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, "read", e))?;
        self.check_bytes(meta.len()).map_err(|e| e.at(path))?;
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        // Pipes and devices tell no length, so the bound holds for reading too.
        file.take(self.max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(path, "read", e))?;
        Ok(bytes)
    }

    /// Decodes the bytes of a file.
    ///
    /// # Errors
    ///
    /// If there are more bytes or pixels than allowed, or the bytes are no whole JPEG, PNG, WebP
    /// or BMP; what was recognised instead is named.
    pub fn decode(&self, bytes: &[u8]) -> Result<Frame> {
        Ok(self.decode_with_exif(bytes)?.0)
    }

    /// Decodes the bytes of a file into memory of an earlier frame, where that is large enough.
    ///
    /// # Errors
    ///
    /// As [`Decode::decode`].
    #[cfg(feature = "camera")]
    pub(crate) fn decode_into(&self, bytes: &[u8], buffer: Vec<u8>) -> Result<Frame> {
        // Plain JPEGs, as cameras send them; all else takes the longer way.
        match sniff::kind(bytes) {
            Ok(Kind::Jpeg) => self.jpeg_into(bytes, buffer),
            _ => self.decode(bytes),
        }
    }

    /// Decodes a JPEG into `buffer`, which is used as it is where it is large enough: for cameras,
    /// whose frames may leave out the tables that all of them share.
    ///
    /// # Errors
    ///
    /// If there are more bytes or pixels than allowed, or the bytes are no whole JPEG.
    pub fn jpeg_into(&self, bytes: &[u8], mut buffer: Vec<u8>) -> Result<Frame> {
        self.check_bytes(bytes.len() as u64)?;
        if !bytes.starts_with(&[0xff, 0xd8]) {
            let expected = "a JPEG: look at the cable and power of the camera";
            return Err(Error::invalid("picture", "other bytes", expected));
        }
        jpeg::check(bytes)?;
        let bytes = jpeg::with_tables(bytes);
        let mut decoder =
            JpegDecoder::new(Cursor::new(&*bytes)).map_err(|e| broken(Kind::Jpeg, e))?;
        let (width, height) = decoder.dimensions();
        self.check_pixels((width, height))?;
        let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        if decoder.color_type() != ColorType::Rgb8 || turn != Orientation::NoTransforms {
            return self.decode(&bytes);
        }
        buffer.resize(width as usize * height as usize * PIXEL_BYTES, 0);
        decoder
            .read_image(&mut buffer)
            .map_err(|e| broken(Kind::Jpeg, e))?;
        Frame::from_rgb(width, height, buffer)
    }

    fn decode_with_exif(&self, bytes: &[u8]) -> Result<(Frame, Option<Vec<u8>>)> {
        self.check_bytes(bytes.len() as u64)?;
        let kind = sniff::kind(bytes).map_err(|found| {
            let expected = "a JPEG, PNG, WebP or BMP: convert it to JPEG or PNG";
            Error::invalid("picture", found, expected)
        })?;
        if kind == Kind::Jpeg {
            jpeg::check(bytes)?;
        }
        let mut decoder = self.open(kind, bytes).map_err(|e| broken(kind, e))?;
        self.check_pixels(decoder.dimensions())?;
        // A picture with unreadable EXIF is still a picture.
        let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let exif = decoder.exif_metadata().unwrap_or_default();
        let picture = DynamicImage::from_decoder(decoder).map_err(|e| broken(kind, e))?;
        Ok((self.finish(kind, picture, turn)?, exif))
    }

    /// Reads the header and no pixel.
    fn open<'a>(&self, kind: Kind, bytes: &'a [u8]) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
        let bytes = Cursor::new(bytes);
        Ok(match kind {
            Kind::Jpeg => Box::new(JpegDecoder::new(bytes)?),
            Kind::Png => Box::new(PngDecoder::with_limits(bytes, self.limits())?),
            Kind::WebP => Box::new(WebPDecoder::new(bytes)?),
            Kind::Bmp => Box::new(BmpDecoder::new(bytes)?),
        })
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::no_limits();
        // 16-bit RGBA, and as much again for what stands beside the pixels.
        limits.max_alloc = Some(self.max_pixels.saturating_mul(16));
        limits
    }

    fn finish(&self, kind: Kind, picture: DynamicImage, turn: Orientation) -> Result<Frame> {
        let (width, height) = (picture.width(), picture.height());
        let layout = picture.color();
        let rgb = blend::to_rgb(picture, self.background)
            .and_then(|rgb| RgbImage::from_raw(width, height, rgb))
            .ok_or_else(|| {
                let found = format!("a {} of {layout:?} pixels", kind.name());
                Error::invalid("picture", found, "grey or RGB: convert it to 8 bits")
            })?;
        let mut upright = DynamicImage::ImageRgb8(rgb);
        upright.apply_orientation(turn);
        let (width, height) = (upright.width(), upright.height());
        Frame::from_rgb(width, height, upright.into_rgb8().into_raw())
    }

    fn check_bytes(&self, found: u64) -> Result<()> {
        within("bytes of one picture file", found, self.max_bytes)
    }

    fn check_pixels(&self, (width, height): (u32, u32)) -> Result<()> {
        check_sides(width, height)?;
        let found = u64::from(width) * u64::from(height);
        within(PIXELS, found, self.max_pixels)
    }
}

fn within(what: &'static str, found: u64, limit: u64) -> Result<()> {
    if found > limit {
        return Err(Error::Limit { what, found, limit });
    }
    Ok(())
}

/// What a decoder stumbled over, in our words.
fn broken(kind: Kind, error: ImageError) -> Error {
    let name = kind.name();
    let (found, expected) = match error {
        ImageError::IoError(_) => (
            format!("a {name} that breaks off"),
            "a whole file: copy or take it again".into(),
        ),
        ImageError::Unsupported(e) => (
            format!("a {name} of an unusual kind ({e})"),
            format!("a usual {name}: save it again as JPEG or PNG"),
        ),
        e => (
            format!("a damaged {name} ({e})"),
            "a whole file: copy or take it again".into(),
        ),
    };
    Error::invalid("picture", found, expected)
}

#[cfg(all(test, feature = "camera"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_again_changes_no_pixel() {
        let pixels = (0..16 * 12 * 3).map(|i| (i * 7) as u8).collect();
        let frame = Frame::from_rgb(16, 12, pixels).unwrap();
        let rules = Decode::default();
        for bytes in [frame.to_thumbnail(16).unwrap(), frame.to_png().unwrap()] {
            for buffer in [vec![], vec![1; 9], vec![2; 9000]] {
                let found = rules.decode_into(&bytes, buffer).unwrap();
                assert_eq!(found, rules.decode(&bytes).unwrap());
            }
            let half = &bytes[..bytes.len() / 2];
            assert!(rules.decode_into(half, vec![]).is_err());
        }
    }
}
