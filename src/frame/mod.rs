//! Pixels: one RGB8 picture, from a file, a camera or a program.
//!
//! A [`Frame`] is upright, three bytes a pixel, rows from top to bottom; rows may be padded,
//! as cameras deliver them. [`Decode`] makes one from the bytes of a file within stated limits.
//! It refuses what it cannot show truthfully, by name, and never guesses from a file's extension.

mod blend;
mod decode;
mod huffman;
mod jpeg;
mod sniff;
mod taken;
mod views;
mod write;

use crate::error::{Error, Result};

#[cfg(feature = "cli")]
pub(crate) use decode::PIXELS;
pub use decode::{Decode, Photo};

/// How the names of pictures end, by which folders are searched; what a file is, its bytes tell.
#[cfg(any(feature = "cli", feature = "camera"))]
pub(crate) const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "jfif"];

/// Bytes of one pixel.
pub(crate) const PIXEL_BYTES: usize = 3;

/// One RGB8 picture, height × width × 3 bytes, whose rows may be padded.
#[derive(Clone)]
pub struct Frame {
    width: u32,
    height: u32,
    stride: usize,
    bytes: Vec<u8>,
}

impl Frame {
    /// The longest side in pixels: what JPEG can hold, and more than any camera gives.
    /// It bounds the tables and buffers that a resize needs.
    pub const MAX_SIDE: u32 = 65_535;

    /// A frame of `width × height` pixels without padding.
    ///
    /// # Errors
    ///
    /// If a side is 0 or above [`Frame::MAX_SIDE`], or `bytes` does not hold exactly
    /// `width × height × 3` bytes.
    pub fn from_rgb(width: u32, height: u32, bytes: Vec<u8>) -> Result<Self> {
        check_sides(width, height)?;
        let stride = width as usize * PIXEL_BYTES;
        let expected = stride as u64 * u64::from(height);
        if bytes.len() as u64 != expected {
            return Err(Error::invalid(
                "frame bytes",
                bytes.len().to_string(),
                format!("{expected} for {width}x{height} RGB pixels"),
            ));
        }
        Ok(Self {
            width,
            height,
            stride,
            bytes,
        })
    }

    /// A frame whose rows start every `stride` bytes; what follows the last row's pixels may be
    /// missing, as some drivers leave it out, or longer.
    ///
    /// # Errors
    ///
    /// If a side is 0 or above [`Frame::MAX_SIDE`], a row does not fit into `stride`, or `bytes`
    /// ends before the last pixel.
    pub fn with_stride(width: u32, height: u32, stride: usize, bytes: Vec<u8>) -> Result<Self> {
        check_sides(width, height)?;
        let row = width as usize * PIXEL_BYTES;
        if stride < row {
            return Err(Error::invalid(
                "frame stride",
                format!("{stride} bytes"),
                format!("at least {row} bytes for rows of {width} RGB pixels"),
            ));
        }
        let expected = stride as u128 * u128::from(height - 1) + row as u128;
        if (bytes.len() as u128) < expected {
            return Err(Error::invalid(
                "frame bytes",
                bytes.len().to_string(),
                format!(
                    "at least {expected} for {width}x{height} RGB pixels in rows of {stride} bytes"
                ),
            ));
        }
        Ok(Self {
            width,
            height,
            stride,
            bytes,
        })
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `(width, height)` in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Bytes from the start of one row to the start of the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All bytes, padding included; row `y` starts at `y × stride`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, to be filled again and made into the next frame without allocating.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The `width × 3` bytes of row `y`, padding left out.
    ///
    /// # Panics
    ///
    /// If `y` is not below the height.
    #[must_use]
    pub fn row(&self, y: u32) -> &[u8] {
        assert!(y < self.height, "row {y} of {}", self.height);
        let start = y as usize * self.stride;
        &self.bytes[start..start + self.width as usize * PIXEL_BYTES]
    }

    /// All rows from top to bottom, padding left out.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.height).map(|y| self.row(y))
    }
}

/// Equal pixels, whatever pads the rows.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.size() == other.size() && self.rows().eq(other.rows())
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Frame({}x{}, stride {})",
            self.width, self.height, self.stride
        )
    }
}

/// Refuses empty and endless pictures.
pub(crate) fn check_sides(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::invalid(
            "picture size",
            format!("{width}x{height}"),
            "at least one pixel each way",
        ));
    }
    let longest = width.max(height);
    if longest > Frame::MAX_SIDE {
        return Err(Error::Limit {
            what: "pixels along one side",
            found: longest.into(),
            limit: Frame::MAX_SIDE.into(),
        });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_the_padding_out() {
        let frame = Frame::with_stride(2, 2, 8, (0..14).collect()).unwrap();
        assert_eq!(frame.row(0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(frame.row(1), [8, 9, 10, 11, 12, 13]);
        assert_eq!(frame.rows().count(), 2);
        let packed = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13].to_vec();
        assert_eq!(frame, Frame::from_rgb(2, 2, packed).unwrap());
    }

    #[test]
    fn wrong_lengths_and_sides_are_refused() {
        assert!(Frame::from_rgb(2, 2, vec![0; 11]).is_err());
        assert!(Frame::from_rgb(2, 2, vec![0; 13]).is_err());
        assert!(Frame::from_rgb(0, 2, vec![]).is_err());
        assert!(Frame::from_rgb(70_000, 1, vec![0; 210_000]).is_err());
        assert!(Frame::with_stride(2, 2, 5, vec![0; 100]).is_err());
        assert!(Frame::with_stride(2, 2, 8, vec![0; 13]).is_err());
        assert!(Frame::with_stride(2, 2, usize::MAX, vec![0; 13]).is_err());
    }
}
