//! Why a camera cannot be used, and what to do about each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::{self, Holder};
use super::offer::{Offer, codes};
use crate::error::Error;

/// What a Raspberry Pi's own cameras are read with.
const ON_A_PI: &str =
    "`exec:rpicam-vid -n -t 0 --codec mjpeg --width 640 --height 480 --framerate 15 -o -`";
/// The same of a Jetson.
const ON_A_JETSON: &str = "`exec:gst-launch-1.0 -q nvarguscamerasrc ! nvvidconv ! video/x-raw,width=640,height=480,format=I420 ! nvjpegenc ! fdsink`";

/// What kind of node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gives pictures.
    Camera,
    /// Gives numbers beside the pictures of another node.
    Metadata,
    /// Gives pictures in planes that lie apart, as codecs and some receivers do.
    Planes,
    /// A codec, an output, a radio.
    Other,
}

/// Why a camera cannot be used.
#[derive(Debug)]
pub enum Trouble {
    /// No such node; these are there.
    Absent(Vec<PathBuf>),
    /// Others hold it.
    Busy(Vec<Holder>),
    /// We may not open it; its group, where it has a name.
    Forbidden(Option<String>),
    /// A file, or a node of another kind.
    NoCamera,
    /// A node of metadata; the camera that it belongs to.
    Metadata(Option<PathBuf>),
    /// Only planes that lie apart.
    Planes,
    /// A receiver whose list of forms is not what is attached; the driver.
    Receiver(String),
    /// Only forms that are not read here: what they are, and the driver.
    Raw {
        /// The forms, as fourcc.
        found: String,
        /// The driver.
        driver: String,
    },
    /// It was unplugged.
    Gone,
    /// The kernel refuses.
    Refused {
        /// What was refused: `open`, `set up`, `start`, `read`.
        doing: &'static str,
        /// The driver, empty where it is not known.
        driver: String,
        /// What it said.
        source: io::Error,
    },
}

impl Trouble {
    /// What opening a node ran into.
    #[must_use]
    pub fn of(path: &Path, e: io::Error) -> Self {
        const NO_SUCH_CALL: i32 = 25;
        match e.raw_os_error() {
            Some(NO_SUCH_CALL) => Self::NoCamera,
            _ if e.kind() == io::ErrorKind::NotFound => Self::Absent(devices::nodes()),
            _ => Self::refused(path, "", "open", e),
        }
    }

    /// What is against a node of this kind.
    #[must_use]
    pub fn of_role(path: &Path, role: Role) -> Option<Self> {
        match role {
            Role::Camera => None,
            Role::Metadata => Some(Self::Metadata(devices::sibling(path))),
            Role::Planes => Some(Self::Planes),
            Role::Other => Some(Self::NoCamera),
        }
    }

    /// What is against a camera with these offers.
    #[must_use]
    pub fn of_offers(driver: &str, offers: &[Offer]) -> Option<Self> {
        let readable = offers.iter().any(|o| o.format().is_some());
        (!readable).then(|| Self::Raw {
            found: codes(offers),
            driver: driver.to_owned(),
        })
    }

    /// What a refusal of the kernel means.
    #[must_use]
    pub fn refused(path: &Path, driver: &str, doing: &'static str, source: io::Error) -> Self {
        const NOT_PERMITTED: i32 = 1;
        const NO_SUCH_ADDRESS: i32 = 6;
        const DENIED: i32 = 13;
        const BUSY: i32 = 16;
        const NO_DEVICE: i32 = 19;
        match source.raw_os_error() {
            Some(BUSY) => Self::Busy(devices::holders(Path::new("/proc"), path)),
            Some(NOT_PERMITTED | DENIED) => Self::Forbidden(group(path)),
            Some(NO_DEVICE | NO_SUCH_ADDRESS) => Self::Gone,
            _ => Self::Refused {
                doing,
                driver: driver.to_owned(),
                source,
            },
        }
    }

    /// The same in the words of an error, about the camera at `path`, which they leave to be named.
    #[must_use]
    pub fn error(self, path: &Path) -> Error {
        let (found, expected) = self.words(path);
        Error::invalid("camera", found, expected)
    }

    fn words(self, path: &Path) -> (String, String) {
        match self {
            Self::Absent(others) => (
                "no such device".to_owned(),
                match others.is_empty() {
                    true => "a camera, but there is none: `edgeclip cameras` says what to check".to_owned(),
                    false => format!("one of {}: `edgeclip cameras` tells what they are", list(&others)),
                },
            ),
            Self::Busy(holders) => (busy(&holders), "a free camera: end that program, or take another camera".to_owned()),
            Self::Forbidden(group) => forbidden(group.as_deref(), path),
            Self::NoCamera => (
                "no camera: a file, a codec or an output".to_owned(),
                "a node that gives pictures: `edgeclip cameras` lists them".to_owned(),
            ),
            Self::Metadata(sibling) => (
                "a node of metadata, which gives no pictures".to_owned(),
                sibling.map_or("another node of this camera: `edgeclip cameras` lists them".to_owned(), |s| {
                    format!("{}, the pictures of the same camera", s.display())
                }),
            ),
            Self::Planes => (
                "pictures in planes that lie apart only (multi-planar), as codecs and receivers of boards give them".to_owned(),
                format!("a camera with one plane a frame: on a Raspberry Pi take {ON_A_PI}, on a Jetson {ON_A_JETSON}"),
            ),
            Self::Receiver(driver) => (
                "a receiver of a board, whose way to the sensor has to be set up first; most sensors give it raw pictures only".to_owned(),
                format!("a camera that is ready: {}", instead(&driver)),
            ),
            Self::Raw { found, driver } => (
                format!("pixels as {found} only, raw as the sensor gives them or of a kind that is not read here"),
                format!("YUYV, NV12, MJPG, RGB3 or GREY: {}", instead(&driver)),
            ),
            Self::Gone => (
                "it gone".to_owned(),
                "a camera that is plugged in: look at its cable and power".to_owned(),
            ),
            Self::Refused { doing, driver, source } => refusal(doing, &driver, &source),
        }
    }
}

fn is_pi(driver: &str) -> bool {
    ["rp1-cfe", "unicam"].contains(&driver)
}

fn instead(driver: &str) -> String {
    if is_pi(driver) {
        return format!("take {ON_A_PI} instead");
    }
    if driver.contains("tegra") {
        return format!("take {ON_A_JETSON} instead");
    }
    format!(
        "a program that makes pictures of them is to stand between: on a Raspberry Pi {ON_A_PI}, on a Jetson {ON_A_JETSON}"
    )
}

fn refusal(doing: &str, driver: &str, source: &io::Error) -> (String, String) {
    const IO: i32 = 5;
    const INVALID: i32 = 22;
    const NO_SPACE: i32 = 28;
    let found = format!("that the driver refuses to {doing}: {source}");
    let expected = match source.raw_os_error() {
        Some(IO) => "a camera that answers: look at its cable and power, and plug it in again".to_owned(),
        Some(NO_SPACE) => "room on the USB bus: ask for a smaller size, fewer frames a second or MJPG, or move it to another port".to_owned(),
        Some(INVALID) if is_pi(driver) || driver.contains("tegra") => {
            format!("a camera that starts as its driver claims: {}", instead(driver))
        }
        Some(INVALID) => format!(
            "a camera that starts: ask for another size or format; if it is a board's own camera, on a Raspberry Pi take {ON_A_PI}, on a Jetson {ON_A_JETSON}"
        ),
        _ => "a camera that works: plug it in again, then look into `dmesg`".to_owned(),
    };
    (found, expected)
}

fn busy(holders: &[Holder]) -> String {
    let names: Vec<String> = holders
        .iter()
        .map(|h| format!("{} (process {})", h.name, h.process))
        .collect();
    match names.is_empty() {
        true => "it busy, held by a program of another user: `sudo fuser -v /dev/video*` names it"
            .to_owned(),
        false => format!("it busy, held by {}", names.join(" and ")),
    }
}

fn forbidden(group: Option<&str>, path: &Path) -> (String, String) {
    let found = "no permission to open it".to_owned();
    let expected = match group {
        Some("root") | None => format!(
            "a node of group video: `sudo chgrp video {0} && sudo chmod g+rw {0}`, then `sudo usermod -aG video $USER`, and log in again",
            path.display()
        ),
        Some(group) => {
            format!("a user of group {group}: `sudo usermod -aG {group} $USER`, then log in again")
        }
    };
    (found, expected)
}

/// Name of the group that a node belongs to.
fn group(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let id = fs::metadata(path).ok()?.gid().to_string();
    let groups = fs::read_to_string("/etc/group").ok()?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)? == id).then_some(name)
    };
    groups.lines().find_map(of)
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(trouble: Trouble) -> String {
        let path = Path::new("/dev/video0");
        trouble.error(path).at(path).to_string()
    }

    fn refused(driver: &str, errno: i32) -> String {
        let source = io::Error::from_raw_os_error(errno);
        words(Trouble::refused(
            Path::new("/dev/no-camera"),
            driver,
            "start",
            source,
        ))
    }

    #[test]
    fn each_cause_says_what_to_do() {
        let holders = vec![Holder {
            process: 812,
            name: "ffmpeg".into(),
        }];
        for (trouble, parts) in [
            (
                Trouble::Absent(vec!["/dev/video2".into()]),
                ["no such device", "one of /dev/video2"],
            ),
            (
                Trouble::Absent(Vec::new()),
                ["there is none", "edgeclip cameras"],
            ),
            (
                Trouble::Busy(holders),
                ["ffmpeg (process 812)", "end that program"],
            ),
            (Trouble::Busy(Vec::new()), ["another user", "fuser"]),
            (
                Trouble::Forbidden(Some("video".into())),
                ["group video", "sudo usermod -aG video $USER"],
            ),
            (
                Trouble::Forbidden(Some("root".into())),
                ["chgrp video /dev/video0", "usermod -aG video $USER"],
            ),
            (
                Trouble::Metadata(Some("/dev/video4".into())),
                ["metadata", "/dev/video4"],
            ),
            (Trouble::Planes, ["multi-planar", "rpicam-vid"]),
            (Trouble::NoCamera, ["no camera", "edgeclip cameras"]),
            (
                Trouble::Receiver("rp1-cfe".into()),
                ["receiver", "rpicam-vid"],
            ),
            (Trouble::Gone, ["gone", "cable"]),
        ] {
            let words = words(trouble);
            assert!(words.starts_with("/dev/video0: "), "{words}");
            for part in parts {
                assert!(words.contains(part), "{words} lacks {part}");
            }
        }
    }

    #[test]
    fn raw_sensors_are_named_with_the_way_round_them() {
        let offers = [b"RG10", b"pRAA"].map(|fourcc| Offer {
            fourcc: *fourcc,
            name: "10-bit Bayer".into(),
            sizes: Vec::new(),
        });
        let of = |driver| words(Trouble::of_offers(driver, &offers).unwrap());
        let (pi, jetson, other) = (of("rp1-cfe"), of("tegra-video"), of("other"));
        assert!(
            pi.contains("RG10, pRAA") && pi.contains("rpicam-vid") && !pi.contains("gst-launch")
        );
        assert!(jetson.contains("gst-launch") && !jetson.contains("rpicam-vid"));
        assert!(other.contains("gst-launch") && other.contains("rpicam-vid"));
        let yuyv = [Offer {
            fourcc: *b"YUYV",
            name: String::new(),
            sizes: Vec::new(),
        }];
        assert!(Trouble::of_offers("uvcvideo", &yuyv).is_none());
    }

    #[test]
    fn refusals_of_the_kernel_are_told_by_their_cause() {
        for (driver, errno, part) in [
            ("rp1-cfe", 22, "rpicam-vid"),
            ("uvcvideo", 22, "another size"),
            ("uvcvideo", 28, "USB bus"),
            ("uvcvideo", 5, "cable and power"),
            ("uvcvideo", 16, "busy"),
            ("uvcvideo", 13, "no permission"),
            ("uvcvideo", 19, "gone"),
            ("uvcvideo", 71, "dmesg"),
        ] {
            let words = refused(driver, errno);
            assert!(words.contains(part), "{words}");
        }
    }
}
