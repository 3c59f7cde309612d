//! `cameras`: which there are, what they offer, and which can be used.

use serde::Serialize;

use super::args::Global;
use super::output::{Output, count, printable};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::camera::devices::{self, Camera};
use crate::camera::{Mode, Offer, Rates, Role, Sizes, Wish, shown};
use crate::preprocess::Preprocessor;

/// Input that modes are chosen for where no model is installed.
const USUAL_INPUT: (u32, u32) = (224, 224);
/// Rates of a size that are named one by one.
const MOST_RATES: usize = 6;
/// Forms that are not read and are named one by one.
const MOST_NAMED: usize = 12;

pub(super) fn run(global: &Global, out: &mut Output) -> Result<Done, Stop> {
    let wish = Wish {
        input: input(global)?,
        ..Wish::default()
    };
    let all = devices::list(&wish);
    let hidden = |c: &Camera| global.verbose == 0 && is_beside(c);
    let cameras: Vec<&Camera> = all.iter().filter(|c| !hidden(c)).collect();
    for (at, camera) in cameras.iter().enumerate() {
        if out.json {
            out.object(&Row::of(camera))?;
            continue;
        }
        if at > 0 {
            out.line("")?;
        }
        show(camera, out)?;
    }
    if cameras.is_empty() {
        out.say(NONE);
    }
    let unseen = all.len() - cameras.len();
    if unseen > 0 {
        let nodes = count(unseen, "node", "nodes");
        out.say(&format!(
            "{nodes} of /dev/video* without pictures: -v shows what they are"
        ));
    }
    Ok(Done::Whole)
}

const NONE: &str = "no cameras: there is none among /dev/video*. Check
  the plug and the cable: does `lsusb` list it, and what does `dmesg` say when it is plugged in?
  a container: was it started with --device /dev/video0?
  a board's own camera on a ribbon cable: `rpicam-hello --list-cameras` on a Raspberry Pi
  a camera of the network needs no device: name its address instead";

/// Nodes that belong to cameras or codecs and give no pictures themselves.
fn is_beside(camera: &Camera) -> bool {
    matches!(camera.role, Some(Role::Metadata | Role::Other))
}

/// What the model in force takes.
fn input(global: &Global) -> Result<(u32, u32), Stop> {
    let settings = Settings::gather(global, VerbFlags::default())?;
    let named = settings.model.value.is_some();
    match places::open_model(&settings) {
        Ok(model) => Ok(Preprocessor::new(model.preprocess().clone())?.input_size()),
        Err(e) if named => Err(e.into()),
        Err(e) => {
            let (w, h) = USUAL_INPUT;
            log::warn!("modes are those for a model that takes {w}x{h} pixels: {e}");
            Ok(USUAL_INPUT)
        }
    }
}

fn show(camera: &Camera, out: &mut Output) -> Result<(), Stop> {
    let path = camera.path.display();
    match camera.card.is_empty() {
        true => out.line(&path.to_string())?,
        false => out.line(&printable(&format!(
            "{path}  {} ({}, {})",
            camera.card, camera.driver, camera.bus
        )))?,
    }
    if let Some(stable) = &camera.stable {
        let stable = stable.display().to_string();
        out.line(&format!("  always   {}", printable(&stable)))?;
    }
    for offer in camera.offers.iter().filter(|o| o.format().is_some()) {
        out.line(&format!("  {:7}  {}", offer.code(), sizes(offer)))?;
    }
    let others = others(&camera.offers);
    if !others.is_empty() {
        out.line(&format!("  besides  {others}: not read here"))?;
    }
    match &camera.mode {
        Ok(mode) => out.line(&format!("  takes    {mode}"))?,
        Err(e) => out.line(&printable(&format!("  cannot be used: {e}")))?,
    }
    Ok(())
}

/// `640x480 (30, 15), 1280x720 (10)`.
fn sizes(offer: &Offer) -> String {
    let one = |sizes: &Sizes| {
        let rates = rates(sizes);
        match rates.is_empty() {
            true => sizes.to_string(),
            false => format!("{sizes} ({rates})"),
        }
    };
    let all: Vec<String> = offer.sizes.iter().map(one).collect();
    match all.is_empty() {
        true => "sizes not listed".to_owned(),
        false => all.join(", "),
    }
}

fn rates(sizes: &Sizes) -> String {
    let (Sizes::One { rates, .. } | Sizes::Range { rates, .. }) = sizes;
    match rates {
        Rates::Each(each) if each.len() > MOST_RATES => {
            let fps = || each.iter().map(|r| r.fps());
            let (slow, fast) = (fps().fold(f32::MAX, f32::min), fps().fold(0.0, f32::max));
            format!(
                "{} rates from {} to {}",
                each.len(),
                shown(slow),
                shown(fast)
            )
        }
        Rates::Each(each) => {
            let each: Vec<String> = each.iter().map(|r| shown(r.fps())).collect();
            each.join(", ")
        }
        Rates::Between(slow, fast) => format!("{} to {}", shown(slow.fps()), shown(fast.fps())),
    }
}

fn others(offers: &[Offer]) -> String {
    let codes: Vec<String> = offers
        .iter()
        .filter(|o| o.format().is_none())
        .map(Offer::code)
        .collect();
    let named = codes[..codes.len().min(MOST_NAMED)].join(" ");
    match codes.len() - codes.len().min(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A camera in JSON.
#[derive(Serialize)]
struct Row {
    path: String,
    stable: Option<String>,
    name: String,
    driver: String,
    bus: String,
    kind: &'static str,
    usable: bool,
    mode: Option<ModeRow>,
    why: Option<String>,
    formats: Vec<FormatRow>,
}

#[derive(Serialize)]
struct ModeRow {
    format: &'static str,
    width: u32,
    height: u32,
    fps: Option<f32>,
}

#[derive(Serialize)]
struct FormatRow {
    format: String,
    name: String,
    read: bool,
    sizes: Vec<SizeRow>,
}

/// A size, or with `to` all from it to another; frames a second, or the slowest and the fastest.
#[derive(Serialize)]
struct SizeRow {
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<(u32, u32)>,
    fps: Vec<f32>,
}

impl Row {
    fn of(camera: &Camera) -> Self {
        Self {
            path: camera.path.display().to_string(),
            stable: camera.stable.as_ref().map(|s| s.display().to_string()),
            name: camera.card.clone(),
            driver: camera.driver.clone(),
            bus: camera.bus.clone(),
            kind: match camera.role {
                Some(Role::Camera) => "camera",
                Some(Role::Metadata) => "metadata",
                Some(Role::Planes) => "planes",
                Some(Role::Other) => "other",
                None => "unknown",
            },
            usable: camera.mode.is_ok(),
            mode: camera.mode.as_ref().ok().map(ModeRow::of),
            why: camera.mode.as_ref().err().map(ToString::to_string),
            formats: camera.offers.iter().map(FormatRow::of).collect(),
        }
    }
}

impl ModeRow {
    fn of(mode: &Mode) -> Self {
        Self {
            format: mode.format.name(),
            width: mode.size.0,
            height: mode.size.1,
            fps: mode.rate.map(|r| r.fps()),
        }
    }
}

impl FormatRow {
    fn of(offer: &Offer) -> Self {
        Self {
            format: offer.code(),
            name: offer.name.clone(),
            read: offer.format().is_some(),
            sizes: offer.sizes.iter().map(SizeRow::of).collect(),
        }
    }
}

impl SizeRow {
    fn of(sizes: &Sizes) -> Self {
        let (first, to, step, rates) = match sizes {
            Sizes::One { size, rates } => (*size, None, None, rates),
            Sizes::Range {
                least,
                most,
                step,
                rates,
            } => (*least, Some(*most), Some(*step), rates),
        };
        let fps = match rates {
            Rates::Each(each) => each.iter().map(|r| r.fps()).collect(),
            Rates::Between(slow, fast) => vec![slow.fps(), fast.fps()],
        };
        Self {
            width: first.0,
            height: first.1,
            to,
            step,
            fps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Rate;
    use crate::error::Error;

    fn camera() -> Camera {
        let rate = |frames| Rate { frames, seconds: 1 };
        let offer = |fourcc: &[u8; 4], size, rates: &[u32]| Offer {
            fourcc: *fourcc,
            name: "x".into(),
            sizes: vec![Sizes::One {
                size,
                rates: Rates::Each(rates.iter().copied().map(rate).collect()),
            }],
        };
        let offers = vec![
            offer(b"YUYV", (640, 480), &[30, 15]),
            offer(b"RG10", (3280, 2464), &[21]),
        ];
        let wish = Wish::default();
        Camera {
            path: "/dev/video0".into(),
            stable: Some("/dev/v4l/by-id/usb-cam".into()),
            card: "Cam".into(),
            driver: "uvcvideo".into(),
            bus: "usb-1".into(),
            role: Some(Role::Camera),
            mode: crate::camera::choose(&offers, &wish),
            offers,
        }
    }

    #[test]
    fn rows_say_what_is_taken_or_why_nothing_is() {
        let mut camera = camera();
        let row = serde_json::to_value(Row::of(&camera)).unwrap();
        assert_eq!(row["mode"]["format"], "YUYV");
        assert_eq!(row["mode"]["fps"], 30.0);
        assert_eq!(row["formats"][1]["read"], false);
        assert_eq!(row["formats"][0]["sizes"][0]["width"], 640);
        camera.mode = Err(Error::invalid("camera", "it busy", "a free one"));
        let row = serde_json::to_value(Row::of(&camera)).unwrap();
        assert_eq!(row["usable"], false);
        assert!(row["why"].as_str().unwrap().contains("busy"));
    }

    #[test]
    fn sizes_and_other_forms_fit_their_lines() {
        let camera = camera();
        assert_eq!(sizes(&camera.offers[0]), "640x480 (30, 15)");
        assert_eq!(others(&camera.offers), "RG10");
        let many: Vec<Offer> = vec![camera.offers[1].clone(); 20];
        assert!(others(&many).ends_with("and 8 more"));
    }

    #[test]
    fn nodes_of_metadata_are_beside_and_closed_ones_are_not() {
        let mut camera = camera();
        camera.role = Some(Role::Metadata);
        assert!(is_beside(&camera));
        camera.role = None;
        assert!(!is_beside(&camera));
    }
}
