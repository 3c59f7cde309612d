//! What cameras send, as RGB: four forms of pixels, rows of any length, into memory that is used
//! again. JPEGs are decoded by [`Decode::jpeg_into`](crate::frame::Decode::jpeg_into).
//!
//! Colour cameras send brightness between 16 and 235 and the matrix of BT.601 unless their driver
//! says otherwise; grey ones use the whole range.

use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvGrayImage, YuvRange, YuvStandardMatrix};

use super::Format;
use crate::error::{Error, Result};
use crate::frame::{Decode, Frame, check_sides};

/// Pixels that are taken apart at a time, on the stack; even.
const STRETCH: usize = 1024;

/// How the bytes of one frame lie, and what their colours mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// Form of the pixels; not [`Format::Mjpg`], which has no rows.
    pub format: Format,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Bytes from the start of a row to the start of the next.
    pub stride: usize,
    /// What brightness and colour difference mean.
    pub shades: Shades,
}

/// What brightness and colour difference mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shades {
    /// Weights of red, green and blue.
    pub matrix: Matrix,
    /// Whether the whole range of a byte is used; `None` is as usual for the form.
    pub full: Option<bool>,
}

/// Weights of red, green and blue in the brightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matrix {
    /// Webcams and what is not told.
    #[default]
    Bt601,
    /// High definition.
    Bt709,
    /// Ultra-high definition.
    Bt2020,
}

impl Layout {
    /// Bytes of one row of pixels, without padding.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        let w = self.size.0 as usize;
        match self.format {
            Format::Yuyv => w.div_ceil(2) * 4,
            Format::Nv12 => w.div_ceil(2) * 2,
            Format::Rgb3 => w * 3,
            Format::Grey => w,
            Format::Mjpg => 0,
        }
    }

    /// Rows of `stride` bytes; those of colour count too.
    #[must_use]
    pub fn rows(&self) -> usize {
        let h = self.size.1 as usize;
        match self.format {
            Format::Nv12 => h + h.div_ceil(2),
            _ => h,
        }
    }

    /// Bytes of a whole frame up to its last pixel; padding after it may be missing.
    #[must_use]
    pub fn least_bytes(&self) -> usize {
        self.stride * self.rows().saturating_sub(1) + self.row_bytes()
    }

    /// Takes a layout for true that a driver tells.
    ///
    /// # Errors
    /// Sides are 0 or beyond what a frame may have, or rows are shorter than their pixels or much
    /// longer.
    pub fn check(&self) -> Result<()> {
        let (w, h) = self.size;
        check_sides(w, h)?;
        let limit = Decode::default().max_pixels;
        let pixels = u64::from(w) * u64::from(h);
        if pixels > limit {
            let what = "pixels of a camera";
            return Err(Error::Limit {
                what,
                found: pixels,
                limit,
            });
        }
        let row = self.row_bytes();
        // Drivers pad to some power of two; more is a mistake, and costs memory.
        if self.stride < row || self.stride > row + (1 << 16) {
            let found = format!("rows of {} bytes", self.stride);
            let expected = format!("{row} or a little more for {w} pixels");
            return Err(Error::invalid("camera", found, expected));
        }
        Ok(())
    }

    /// The frame as RGB, in `buffer`, which is used as it is where it is large enough.
    ///
    /// # Errors
    /// As [`Layout::check`], and where `bytes` end before the last pixel.
    pub fn rgb(&self, bytes: &[u8], mut buffer: Vec<u8>) -> Result<Frame> {
        self.check()?;
        if bytes.len() < self.least_bytes() {
            let found = format!("{} bytes", bytes.len());
            let expected = format!("{} for a whole frame", self.least_bytes());
            return Err(Error::invalid("camera frame", found, expected));
        }
        let (w, h) = self.size;
        // Only what is new is zeroed; the rest is written over anyway.
        buffer.resize(w as usize * h as usize * 3, 0);
        match self.format {
            Format::Rgb3 => self.each_row(bytes, &mut buffer, |from, to| to.copy_from_slice(from)),
            Format::Grey if self.shades.full != Some(false) => {
                self.each_row(bytes, &mut buffer, grey);
            }
            Format::Grey => self.limited_grey(bytes, &mut buffer)?,
            Format::Yuyv => self.yuyv(bytes, &mut buffer)?,
            Format::Nv12 => self.nv12(bytes, &mut buffer)?,
            Format::Mjpg => {
                let expected = "pixels in rows; JPEGs are decoded elsewhere";
                return Err(Error::invalid("camera frame", "a JPEG", expected));
            }
        }
        Frame::from_rgb(w, h, buffer)
    }

    fn each_row(&self, bytes: &[u8], buffer: &mut [u8], row: impl Fn(&[u8], &mut [u8])) {
        let into = buffer.chunks_exact_mut(self.size.0 as usize * 3);
        for (from, to) in bytes.chunks(self.stride).zip(into) {
            row(&from[..self.row_bytes()], to);
        }
    }

    /// By way of two planes: the direct conversion counts in 6 bits and is 3 levels off.
    fn yuyv(&self, bytes: &[u8], buffer: &mut [u8]) -> Result<()> {
        let width = self.size.0 as usize;
        let (mut y, mut uv) = ([0; STRETCH], [0; STRETCH]);
        let into = buffer.chunks_exact_mut(width * 3);
        for (from, to) in bytes.chunks(self.stride).zip(into) {
            let from = from[..self.row_bytes()].chunks(2 * STRETCH);
            for (from, to) in from.zip(to.chunks_mut(3 * STRETCH)) {
                for ((pair, y), uv) in from.as_chunks::<2>().0.iter().zip(&mut y).zip(&mut uv) {
                    [*y, *uv] = *pair;
                }
                self.stretch(&y, &uv, to)?;
            }
        }
        Ok(())
    }

    /// Pixels of one row, with a pair of colours for every two.
    fn stretch(&self, y: &[u8; STRETCH], uv: &[u8; STRETCH], to: &mut [u8]) -> Result<()> {
        let image = YuvBiPlanarImage {
            y_plane: y,
            y_stride: STRETCH as u32,
            uv_plane: uv,
            uv_stride: STRETCH as u32,
            width: (to.len() / 3) as u32,
            height: 1,
        };
        let (range, matrix) = self.meaning();
        let mode = YuvConversionMode::Balanced;
        yuv::yuv_nv16_to_rgb(&image, to, to.len() as u32, range, matrix, mode).map_err(refused)
    }

    fn nv12(&self, bytes: &[u8], buffer: &mut [u8]) -> Result<()> {
        let (width, height) = self.size;
        let (y_plane, uv_plane) = bytes.split_at(self.stride * height as usize);
        let row_rgb = width as usize * 3;
        let (range, matrix) = self.meaning();
        let mut convert = |first: u32, height: u32, stride: usize| {
            if height == 0 {
                return Ok(());
            }
            let y = &y_plane[first as usize * self.stride..][..height as usize * self.stride];
            let pairs = height.div_ceil(2) as usize;
            let image = YuvBiPlanarImage {
                y_plane: y,
                y_stride: self.stride as u32,
                uv_plane: &uv_plane[first as usize / 2 * self.stride..][..pairs * stride],
                uv_stride: stride as u32,
                width,
                height,
            };
            let into = &mut buffer[first as usize * row_rgb..][..height as usize * row_rgb];
            let mode = YuvConversionMode::Balanced;
            yuv::yuv_nv12_to_rgb(&image, into, row_rgb as u32, range, matrix, mode).map_err(refused)
        };
        // As above: the last row of colour, with its one or two rows of brightness, by itself.
        let last = (height - 1) / 2 * 2;
        convert(0, last, self.stride)?;
        convert(last, height - last, self.row_bytes())
    }

    fn limited_grey(&self, bytes: &[u8], buffer: &mut [u8]) -> Result<()> {
        let (width, height) = self.size;
        let row_rgb = width as usize * 3;
        let (range, matrix) = self.meaning();
        let rows = bytes.chunks(self.stride).take(height as usize);
        for (from, to) in rows.zip(buffer.chunks_exact_mut(row_rgb)) {
            let image = YuvGrayImage {
                y_plane: &from[..width as usize],
                y_stride: width,
                width,
                height: 1,
            };
            yuv::yuv400_to_rgb(&image, to, row_rgb as u32, range, matrix).map_err(refused)?;
        }
        Ok(())
    }

    fn meaning(&self) -> (YuvRange, YuvStandardMatrix) {
        let range = match self.shades.full {
            Some(true) => YuvRange::Full,
            _ => YuvRange::Limited,
        };
        let matrix = match self.shades.matrix {
            Matrix::Bt601 => YuvStandardMatrix::Bt601,
            Matrix::Bt709 => YuvStandardMatrix::Bt709,
            Matrix::Bt2020 => YuvStandardMatrix::Bt2020,
        };
        (range, matrix)
    }
}

fn grey(from: &[u8], to: &mut [u8]) {
    for (y, rgb) in from.iter().zip(to.as_chunks_mut::<3>().0) {
        *rgb = [*y; 3];
    }
}

/// Lengths are checked before; this speaks where the check and the conversion disagree.
fn refused(e: yuv::YuvError) -> Error {
    Error::invalid("camera frame", e.to_string(), "a frame as the driver told")
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
