//! Flags of `watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use crate::camera::Format;
use crate::cli::args::Names;

/// How a source is named, for help.
pub(in crate::cli) const SOURCE: &str = "Camera: /dev/video0 (or 0, or a name in /dev/v4l/by-id), a folder of pictures or \"shots/*.jpg\", \
    replay:FOLDER, clip.mjpeg, - (JPEGs on stdin), http://HOST/PATH, \"exec:PROGRAM ARGUMENT…\" that writes JPEGs, or test";

/// Where frames come from.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Camera")]
pub(in crate::cli) struct Source {
    /// Width and height to ask the camera for [default: what costs least for the model]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(in crate::cli) size: Option<(u32, u32)>,
    /// Frames a second to ask the camera for
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(in crate::cli) fps: Option<f32>,
    /// Form of pixels to ask the camera for: YUYV, NV12, MJPG, RGB3, GREY
    #[arg(long, value_name = "FORM", value_parser = parse_format)]
    pub(in crate::cli) format: Option<Format>,
    /// Part of the picture to look at, in pixels of the camera
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_crop)]
    pub(in crate::cli) crop: Option<(u32, u32, u32, u32)>,
    /// Degrees to turn the picture clockwise
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = ["0", "90", "180", "270"])]
    pub(in crate::cli) rotate: String,
    /// Change left and right
    #[arg(long)]
    pub(in crate::cli) mirror: bool,
}

/// A burst to learn from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Learning from a camera")]
pub(in crate::cli) struct Burst {
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, default_missing_value = "0", conflicts_with = "from", help = "Photograph what to learn. ".to_owned() + SOURCE)]
    pub(in crate::cli) camera: Option<String>,
    /// Frames of the burst
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=100), requires = "camera")]
    pub(in crate::cli) frames: u32,
    /// Time from its first frame to its last: turn the thing meanwhile
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = parse_seconds, requires = "camera")]
    pub(in crate::cli) over: Duration,
    /// Seconds to count down before it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u8).range(0..=60), requires = "camera")]
    pub(in crate::cli) countdown: u8,
    #[command(flatten)]
    pub(in crate::cli) source: Source,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Watch {
    #[arg(long, value_name = "SOURCE", default_value = "0", help = SOURCE)]
    pub(in crate::cli) camera: String,
    #[command(flatten)]
    pub(in crate::cli) names: Names,
    /// Classifier file, taken again whenever it changes [env: EDGECLIP_CLASSIFIER] [default: default.ecclass in the user's data folder]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["labels", "labels_file"])]
    pub(in crate::cli) classifier: Option<PathBuf>,
    /// With --json: a line for each event or for each frame
    #[arg(long, value_name = "WHAT", default_value = "event", value_parser = ["event", "frame"])]
    pub(in crate::cli) each: String,
    /// Stop after so many frames were answered
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(in crate::cli) frames: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) source: Source,
    #[command(flatten)]
    pub(in crate::cli) pace: Pace,
    #[command(flatten)]
    pub(in crate::cli) steady: Steady,
    #[command(flatten)]
    pub(in crate::cli) sinks: Sinks,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub(in crate::cli) struct Pace {
    /// Answer at most so many frames a second [default: as many as the machine can]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(in crate::cli) max_fps: Option<f32>,
    /// Do not look again at frames that differ less than D from the one before (mean brightness, of 255)
    #[arg(long, value_name = "D", num_args = 0..=1, default_missing_value = "2", value_parser = parse_amount)]
    pub(in crate::cli) skip_unchanged: Option<f32>,
    /// Rest while the board is this hot, in °C
    #[arg(long, value_name = "DEGREES", value_parser = parse_amount)]
    pub(in crate::cli) rest_at: Option<f32>,
    /// Wait for a camera that is not there yet, as a service does
    #[arg(long)]
    pub(in crate::cli) keep_trying: bool,
    /// Open the camera again where nothing changes for so long, 0: never
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub(in crate::cli) frozen_after: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Steady answers")]
pub(in crate::cli) struct Steady {
    /// Time over which probabilities are averaged [default: 0.6; 0 for a folder without --fps]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(in crate::cli) smoothing: Option<Duration>,
    /// Time that another answer must last before it counts [default: 0.6; 0 for a folder without --fps]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(in crate::cli) dwell: Option<Duration>,
    /// How much likelier another class must be [default: 0.1; 0 for a folder without --fps]
    #[arg(long, value_name = "P", value_parser = parse_share)]
    pub(in crate::cli) margin: Option<f32>,
    /// Least probability of an answer; below it is `unknown` [default: 0.3]
    #[arg(long, value_name = "P", value_parser = parse_share)]
    pub(in crate::cli) least: Option<f32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where answers go, beside the terminal")]
pub(in crate::cli) struct Sinks {
    /// Append JSON lines, one for each event, to a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) log: Option<PathBuf>,
    /// Run a program at each event; {label}, {state}, {p} and {event} in its arguments are filled in. No shell reads it
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) on_event: Option<String>,
    /// Longest time that such a program may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(in crate::cli) on_event_limit: Duration,
    /// Write Prometheus metrics to a file every few seconds, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE.prom")]
    pub(in crate::cli) metrics: Option<PathBuf>,
    #[cfg(feature = "mqtt")]
    #[command(flatten)]
    pub(in crate::cli) mqtt: Mqtt,
}

/// An MQTT broker, and who we are there.
#[cfg(feature = "mqtt")]
#[derive(Debug, Args)]
#[command(next_help_heading = "MQTT (Home Assistant finds the board by itself)")]
pub(in crate::cli) struct Mqtt {
    /// Broker: mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) mqtt: Option<String>,
    /// Name of the board in topics [default: edgeclip-HOSTNAME]
    #[arg(long, value_name = "ID", requires = "mqtt")]
    pub(in crate::cli) mqtt_id: Option<String>,
    /// Name of the board for people [default: its ID]
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    pub(in crate::cli) mqtt_name: Option<String>,
    /// User at the broker
    #[arg(long, value_name = "USER", requires = "mqtt")]
    pub(in crate::cli) mqtt_user: Option<String>,
    /// File that holds the password [env: EDGECLIP_MQTT_PASSWORD, the password itself]
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub(in crate::cli) mqtt_password_file: Option<PathBuf>,
    /// Authority that vouches for the broker, as PEM; makes the line TLS
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub(in crate::cli) mqtt_ca: Option<PathBuf>,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(w, h)| {
        let side = |s: &str| s.parse().ok().filter(|n| *n > 0);
        Some((side(w)?, side(h)?))
    });
    sides.ok_or_else(|| "WIDTHxHEIGHT, as in 640x480".into())
}

fn parse_crop(text: &str) -> Result<(u32, u32, u32, u32), String> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([x, y, w, h]) if *w > 0 && *h > 0 => Ok((*x, *y, *w, *h)),
        _ => Err("X,Y,WIDTH,HEIGHT in pixels, as in 100,0,400,400".into()),
    }
}

fn parse_rate(text: &str) -> Result<f32, String> {
    let rate = text.parse().ok().filter(|v| (0.001..=1000.0).contains(v));
    rate.ok_or_else(|| "frames a second, 0.001 to 1000".into())
}

fn parse_amount(text: &str) -> Result<f32, String> {
    let amount = text.parse().ok().filter(|v| (0.0..=255.0).contains(v));
    amount.ok_or_else(|| "a number from 0 to 255".into())
}

fn parse_share(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    share.ok_or_else(|| "a number from 0 to 1".into())
}

pub(in crate::cli) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f32>().ok();
    let seconds = seconds.filter(|s| (0.0..=86_400.0).contains(s));
    let seconds = seconds.map(Duration::from_secs_f32);
    seconds.ok_or_else(|| "seconds, 0 to 86400".into())
}

fn parse_format(text: &str) -> Result<Format, String> {
    let names = Format::ALL.map(Format::name);
    let found = Format::ALL
        .into_iter()
        .find(|f| f.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("one of {}", names.join(", ")))
}
