//! Where live frames come from: a camera, a stream of JPEGs, pictures in a folder, a test pattern.
//!
//! One trait, many sources. A source gives one frame at a time and waits no longer than it is told;
//! it neither buffers nor retries. Who keeps the newest frame, and who opens a source again that was
//! lost, stands in [`live`](crate::live).

mod clip;
pub mod convert;
#[cfg(target_os = "linux")]
pub mod devices;
mod exec;
pub(crate) mod group;
mod http;
mod jpegs;
mod listing;
mod mjpeg;
mod offer;
mod pace;
mod pattern;
mod pictures;
mod spec;
mod stdin;
#[cfg(target_os = "linux")]
mod trouble;
#[cfg(target_os = "linux")]
pub mod v4l;

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::frame::Frame;

pub use offer::{Mode, Offer, Rate, Rates, Sizes, choose, codes, shown};
pub use spec::Spec;
#[cfg(target_os = "linux")]
pub use trouble::{Role, Trouble};

/// A source of frames that is open.
pub trait Source: Send {
    /// What it is and how it runs, for people: `/dev/video0: YUYV 640×480, 30 frames a second`.
    fn about(&self) -> String;

    /// The next frame, waiting at most `patience`. `buffer` is memory of an earlier frame to write
    /// into, so that a steady stream allocates nothing.
    ///
    /// # Errors
    /// No frame came; the [`Fault`] says whether to ask again, open again, or stop.
    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault>;
}

/// A frame with when and as which it was taken.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Its pixels.
    pub frame: Frame,
    /// When it was taken, as near as the source tells.
    pub taken: Instant,
    /// Its number at the source; gaps are frames that were lost before they came here.
    pub sequence: u64,
}

/// Why no frame came.
#[derive(Debug)]
pub enum Fault {
    /// The source has ended, as a folder or a file does.
    End,
    /// Nothing came in time; asking again may help.
    Silent,
    /// One frame was damaged and is skipped; the next may be whole.
    Damaged(Error),
    /// The source is gone or broken; opening it again may help.
    Lost(Error),
}

/// How a source is to run; what is `None` the source chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<f32>,
    /// Form in which a camera sends its pixels.
    pub format: Option<Format>,
    /// Width and height that the encoder takes: a camera's mode need not be much larger.
    pub input: (u32, u32),
}

/// Forms in which cameras send pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 4:2:2, two pixels in four bytes.
    Yuyv,
    /// 4:2:0, a plane of brightness and one of colour.
    Nv12,
    /// One JPEG a frame.
    Mjpg,
    /// Three bytes a pixel.
    Rgb3,
    /// Brightness alone, one byte a pixel.
    Grey,
}

impl Format {
    /// All of them, the cheapest to turn into RGB first.
    pub const ALL: [Self; 5] = [Self::Rgb3, Self::Grey, Self::Yuyv, Self::Nv12, Self::Mjpg];

    /// The name that flags and lists use, the fourcc of V4L2 in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Nv12 => "NV12",
            Self::Mjpg => "MJPG",
            Self::Rgb3 => "RGB3",
            Self::Grey => "GREY",
        }
    }
}
