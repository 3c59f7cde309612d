//! Cameras of the kernel's video interface, V4L2: webcams, capture sticks, boards that scale in
//! hardware. One plane a frame; sensors that give raw Bayer pictures are refused with what to do.

mod calls;
mod ring;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::convert::{Layout, Matrix, Shades};
use super::offer::{Mode, Offer, choose, shown};
use super::trouble::{Role, Trouble};
use super::{Captured, Fault, Format, Source, Wish};
use crate::error::{Error, Result};
use crate::frame::{Decode, Frame};
use ring::Ring;

/// Node of a device that is open and does not stream.
pub(super) struct Node(v4l::Device);

/// What a node is, as its driver says.
pub(super) struct Card {
    pub(super) card: String,
    pub(super) driver: String,
    pub(super) bus: String,
    pub(super) role: Role,
    /// Lists all that it might be sent, not what the sensor behind it sends.
    pub(super) receiver: bool,
}

/// Drivers of boards whose nodes look like cameras and are parts of a picture processor.
const PARTS: [&str; 4] = ["bcm2835-isp", "bcm2835-codec", "pispbe", "rpi-hevc-dec"];

impl Node {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // The crate takes for granted that no path holds a zero byte.
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        v4l::Device::with_path(path).map(Self)
    }

    pub(super) fn card(&self) -> io::Result<Card> {
        use ::v4l::v4l_sys as sys;
        let card = calls::card(&self.0.handle())?;
        let can = |bits: u32| card.can & bits != 0;
        let codec = can(sys::V4L2_CAP_VIDEO_M2M | sys::V4L2_CAP_VIDEO_M2M_MPLANE);
        let role = if codec || PARTS.contains(&&*card.driver) {
            Role::Other
        } else if can(sys::V4L2_CAP_VIDEO_CAPTURE) && can(sys::V4L2_CAP_STREAMING) {
            Role::Camera
        } else if can(sys::V4L2_CAP_META_CAPTURE) {
            Role::Metadata
        } else if can(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
            Role::Planes
        } else {
            Role::Other
        };
        Ok(Card {
            receiver: can(sys::V4L2_CAP_IO_MC) || card.driver == "rp1-cfe",
            card: card.card,
            driver: card.driver,
            bus: card.bus,
            role,
        })
    }

    pub(super) fn offers(&self) -> Vec<Offer> {
        let node = self.0.handle();
        let offer = |(fourcc, name)| Offer {
            fourcc,
            name,
            sizes: calls::sizes(&node, fourcc),
        };
        calls::formats(&node).into_iter().map(offer).collect()
    }
}

/// A camera that streams.
pub struct Device {
    path: PathBuf,
    driver: String,
    mode: Mode,
    layout: Layout,
    decode: Decode,
    /// Time between frames, or a guess.
    interval: Duration,
    /// `None` once the camera was lost: as long as its node is open, it cannot come back under its name.
    ring: Option<Ring>,
}

impl Device {
    /// Opens a camera in the mode that costs least for what is wished, and starts it.
    ///
    /// # Errors
    /// There is none, it is busy or not permitted, it is no camera, it has no form of pixels that is
    /// read here or not the one wished for, or it does not start; the words say what to do.
    pub fn open(path: &Path, wish: &Wish) -> Result<Self> {
        let at = |trouble: Trouble| trouble.error(path).at(path);
        let node = Node::open(path).map_err(|e| at(Trouble::of(path, e)))?;
        let card = node.card().map_err(|e| at(Trouble::of(path, e)))?;
        if let Some(trouble) = Trouble::of_role(path, card.role) {
            return Err(at(trouble));
        }
        let offers = node.offers();
        if let Some(trouble) = Trouble::of_offers(&card.driver, &offers) {
            return Err(at(trouble));
        }
        let mode = choose(&offers, wish).map_err(|e| e.at(path))?;
        let refused = |doing, e: io::Error| at(Trouble::refused(path, &card.driver, doing, e));
        let handle = node.0.handle();
        let fourcc = fourcc(&offers, mode.format);
        let form = calls::set_form(&handle, fourcc, mode.size).map_err(|e| refused("set up", e))?;
        let layout = layout(&form, fourcc, mode, &offers).map_err(|e| e.at(path))?;
        let rate = calls::set_rate(&handle, mode.rate).or(mode.rate);
        let ring = Ring::start(handle).map_err(|e| refused("start", e))?;
        let mode = Mode {
            size: form.size,
            rate,
            ..mode
        };
        note(path, wish, &mode);
        let seconds = rate.map_or(1.0 / 30.0, |r| 1.0 / f64::from(r.fps()));
        Ok(Self {
            path: path.to_owned(),
            driver: card.driver,
            mode,
            layout,
            decode: Decode::default(),
            interval: Duration::from_secs_f64(seconds.clamp(1e-3, 60.0)),
            ring: Some(ring),
        })
    }

    /// The mode that it runs in.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The frame in a buffer of the ring as RGB.
    fn frame(&self, bytes: &[u8], used: usize, buffer: Vec<u8>) -> Result<Frame> {
        let used = used.min(bytes.len());
        if self.layout.format == Format::Mjpg {
            return self.decode.jpeg_into(&bytes[..used], buffer);
        }
        self.layout.rgb(&bytes[..used], buffer)
    }

    fn lost(&mut self, e: io::Error) -> Fault {
        self.ring = None;
        let trouble = Trouble::refused(&self.path, &self.driver, "read", e);
        Fault::Lost(trouble.error(&self.path).at(&self.path))
    }
}

impl Source for Device {
    fn about(&self) -> String {
        format!("{}: {}", self.path.display(), self.mode)
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        let deadline = Instant::now() + patience.min(Duration::from_secs(3600));
        let Some(ring) = &mut self.ring else {
            return Err(self.lost(io::Error::from_raw_os_error(NO_DEVICE)));
        };
        let mut taken = match newest(ring, deadline, self.interval) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Err(Fault::Silent),
            Err(e) => return Err(self.lost(e)),
        };
        let captured = match &self.ring {
            Some(_) if taken.damaged => Err(damaged(&self.path)),
            Some(ring) => self
                .frame(ring.bytes(&taken), taken.used, buffer)
                .map_err(|e| e.at(&self.path)),
            None => Err(damaged(&self.path)),
        };
        let given = self.ring.as_ref().map(|ring| ring.give_back(&taken));
        if let Some(Err(e)) = given {
            // This frame is whole; that the next will not come is told with the next.
            log::debug!("{}: {e}", self.path.display());
            self.ring = None;
        }
        let frame = captured.map_err(Fault::Damaged)?;
        Ok(Captured {
            frame,
            taken: taken.time.take().map_or_else(Instant::now, calls::moment),
            sequence: taken.sequence.into(),
        })
    }
}

/// What the kernel answers for a device that is gone: ENODEV.
const NO_DEVICE: i32 = 19;

/// The newest frame; where all that were ready are old, since nobody asked for long, the next.
fn newest(
    ring: &mut Ring,
    deadline: Instant,
    interval: Duration,
) -> io::Result<Option<calls::Taken>> {
    let Some((taken, older)) = ring.newest(deadline)? else {
        return Ok(None);
    };
    let age = taken.time.map(|t| calls::moment(t).elapsed());
    if older == 0 || age.is_none_or(|age| age < interval * 3) {
        return Ok(Some(taken));
    }
    // The driver had no buffer left and stopped; now it has.
    ring.give_back(&taken)?;
    Ok(ring.newest(deadline)?.map(|(taken, _)| taken))
}

fn damaged(path: &Path) -> Error {
    let found = "a frame that the driver marks as damaged";
    Error::invalid(
        "camera frame",
        found,
        "a whole one: look at cable and power",
    )
    .at(path)
}

/// The letters by which this camera calls a form.
fn fourcc(offers: &[Offer], format: Format) -> [u8; 4] {
    let same = |o: &&Offer| o.format() == Some(format);
    offers.iter().find(same).map_or(*b"YUYV", |o| o.fourcc)
}

/// What the driver set, checked before it is believed.
fn layout(form: &calls::Form, asked: [u8; 4], mode: Mode, offers: &[Offer]) -> Result<Layout> {
    if form.fourcc != asked {
        let found = String::from_utf8_lossy(&form.fourcc).into_owned();
        let expected = format!(
            "{}, as asked for: name another with --format; the driver lists {}",
            mode.format.name(),
            super::offer::codes(offers)
        );
        return Err(Error::invalid("camera", found, expected));
    }
    let mut layout = Layout {
        format: mode.format,
        size: form.size,
        stride: form.stride,
        shades: shades(form),
    };
    if layout.stride == 0 {
        layout.stride = layout.row_bytes();
    }
    if mode.format != Format::Mjpg {
        layout.check()?;
    }
    Ok(layout)
}

/// Numbers of the kernel's interface for colours, which are the same on every machine.
fn shades(form: &calls::Form) -> Shades {
    let matrix = match (form.encoding, form.colorspace) {
        (2 | 4, _) | (0, 3 | 12) => Matrix::Bt709,
        (6 | 7, _) | (0, 10) => Matrix::Bt2020,
        _ => Matrix::Bt601,
    };
    let full = match (form.quantization, form.colorspace) {
        (1, _) | (0, 7) => Some(true),
        (2, _) => Some(false),
        _ => None,
    };
    Shades { matrix, full }
}

/// Says where the camera runs otherwise than wished.
fn note(path: &Path, wish: &Wish, mode: &Mode) {
    let path = path.display();
    if let Some((w, h)) = wish.size.filter(|s| *s != mode.size) {
        let (mw, mh) = mode.size;
        log::warn!("{path}: runs at {mw}x{mh}, not at {w}x{h}");
    }
    let got = mode.rate.map(super::Rate::fps);
    if let (Some(wished), Some(got)) = (wish.fps, got)
        && (got - wished).abs() > wished * 0.05
    {
        let (got, wished) = (shown(got), shown(wished));
        log::warn!("{path}: gives {got} frames a second, not {wished}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_is_refused_with_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video0");
        std::fs::write(&file, "x").unwrap();
        for path in [Path::new("/dev/null"), &file] {
            let Err(error) = Device::open(path, &Wish::default()) else {
                panic!("{} opened", path.display());
            };
            assert!(error.to_string().contains("no camera"), "{error}");
        }
        let absent = Device::open(Path::new("/dev/video-none"), &Wish::default());
        let words = absent.err().unwrap().to_string();
        assert!(words.contains("no such device"), "{words}");
        assert!(Device::open(Path::new("a\0b"), &Wish::default()).is_err());
    }

    #[test]
    fn colours_are_taken_as_the_driver_tells_them() {
        let form = |colorspace, encoding, quantization| calls::Form {
            size: (2, 2),
            fourcc: *b"YUYV",
            stride: 4,
            colorspace,
            encoding,
            quantization,
        };
        let webcam = shades(&form(8, 0, 0));
        assert_eq!(webcam, Shades::default());
        assert_eq!(shades(&form(3, 0, 2)).matrix, Matrix::Bt709);
        assert_eq!(shades(&form(3, 1, 0)).matrix, Matrix::Bt601);
        assert_eq!(shades(&form(7, 0, 0)).full, Some(true));
        assert_eq!(shades(&form(8, 0, 1)).full, Some(true));
        assert_eq!(shades(&form(99, 99, 99)), Shades::default());
    }

    #[test]
    fn another_form_than_asked_for_is_an_error_that_names_what_there_is() {
        let form = calls::Form {
            size: (640, 480),
            fourcc: *b"RG10",
            stride: 1280,
            colorspace: 0,
            encoding: 0,
            quantization: 0,
        };
        let mode = Mode {
            format: Format::Yuyv,
            size: (640, 480),
            rate: None,
        };
        let offer = Offer {
            fourcc: *b"YUYV",
            name: String::new(),
            sizes: Vec::new(),
        };
        let error = layout(&form, *b"YUYV", mode, &[offer]).unwrap_err();
        let words = error.to_string();
        assert!(words.contains("RG10") && words.contains("YUYV"), "{words}");
    }
}
