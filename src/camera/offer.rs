//! What a camera offers, and which of it costs least for what the encoder takes.

use super::{Format, Wish};
use crate::error::{Error, Result};

/// Frames a second below which live answers lag.
const LIVELY: f32 = 14.9;
/// Frames a second above which more are of no use.
const USEFUL: f32 = 30.1;
/// Sizes to ask for where a driver scales to any: of a shape that sensors have, since some drivers
/// squeeze the picture into others.
const USUAL: [(u32, u32); 6] = [
    (320, 240),
    (400, 300),
    (640, 480),
    (800, 600),
    (1024, 768),
    (1280, 960),
];

/// One form of pixels that a camera offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The four letters of its fourcc.
    pub fourcc: [u8; 4],
    /// What the driver calls it.
    pub name: String,
    /// Its sizes.
    pub sizes: Vec<Sizes>,
}

/// A size that is offered, or all sizes within bounds.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// One size, `(width, height)`.
    One {
        /// Width and height in pixels.
        size: (u32, u32),
        /// Its frame rates.
        rates: Rates,
    },
    /// Each size from the least to the most, in steps.
    Range {
        /// The smallest.
        least: (u32, u32),
        /// The largest.
        most: (u32, u32),
        /// Steps from the smallest, at least 1.
        step: (u32, u32),
        /// Frame rates of the largest.
        rates: Rates,
    },
}

/// Frame rates of a size.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// These; none where the driver does not tell.
    Each(Vec<Rate>),
    /// All from the slowest to the fastest.
    Between(Rate, Rate),
}

/// So many frames in so many seconds, both above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames.
    pub frames: u32,
    /// Seconds that they take.
    pub seconds: u32,
}

/// A form, size and rate to ask a camera for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// Form of its pixels.
    pub format: Format,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Its rate, where the camera lists rates.
    pub rate: Option<Rate>,
}

impl Rate {
    /// Frames a second.
    #[must_use]
    pub fn fps(self) -> f32 {
        self.frames as f32 / self.seconds as f32
    }

    /// The rate nearest `fps` that fractions of a thousandth give.
    fn of(fps: f32) -> Self {
        Self {
            frames: (fps * 1000.0).round().clamp(1.0, 1e9) as u32,
            seconds: 1000,
        }
    }
}

impl Rates {
    /// The rate nearest `fps`, where there are any.
    fn nearest(&self, fps: f32) -> Option<Rate> {
        match self {
            Self::Each(rates) => {
                let off = |r: &Rate| (r.fps() - fps).abs();
                let nearest = |a: &&Rate, b: &&Rate| off(a).total_cmp(&off(b));
                rates.iter().min_by(nearest).copied()
            }
            Self::Between(slow, _) if fps <= slow.fps() => Some(*slow),
            Self::Between(_, fast) if fps >= fast.fps() => Some(*fast),
            Self::Between(..) => Some(Rate::of(fps)),
        }
    }

    /// The fastest that is of use, or the slowest of those too fast.
    fn lively(&self) -> Option<Rate> {
        let Self::Each(rates) = self else {
            return self.nearest(30.0);
        };
        let by_fps = |a: &&Rate, b: &&Rate| a.fps().total_cmp(&b.fps());
        let useful = rates.iter().filter(|r| r.fps() <= USEFUL).max_by(by_fps);
        useful.or_else(|| rates.iter().min_by(by_fps)).copied()
    }
}

impl Sizes {
    fn rates(&self) -> &Rates {
        match self {
            Self::One { rates, .. } | Self::Range { rates, .. } => rates,
        }
    }

    /// Sizes to consider for `wish`.
    fn candidates(&self, wish: &Wish) -> Vec<(u32, u32)> {
        let wanted = |size: &(u32, u32)| wish.size.is_none_or(|w| w == *size);
        match *self {
            Self::One { size, .. } => vec![size].into_iter().filter(wanted).collect(),
            Self::Range {
                least, most, step, ..
            } => {
                let holds = |at: u32, least: u32, most: u32, step: u32| {
                    (least..=most).contains(&at) && (at - least).is_multiple_of(step)
                };
                let within = |&(w, h): &(u32, u32)| {
                    holds(w, least.0, most.0, step.0) && holds(h, least.1, most.1, step.1)
                };
                let mut sizes: Vec<_> = USUAL.into_iter().chain(wish.size).collect();
                sizes.push(most);
                sizes.retain(|s| within(s) && wanted(s));
                sizes
            }
        }
    }
}

impl Offer {
    /// The form, where it is one that edgeclip reads.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        let same = |f: &Format| f.name().as_bytes() == self.fourcc;
        // Both are JPEGs, one after the other.
        let jpeg = (&self.fourcc == b"JPEG").then_some(Format::Mjpg);
        Format::ALL.into_iter().find(same).or(jpeg)
    }

    /// The fourcc as people write it.
    #[must_use]
    pub fn code(&self) -> String {
        let shown = |b: &u8| {
            if b.is_ascii_graphic() {
                *b as char
            } else {
                '_'
            }
        };
        let code: String = self.fourcc.iter().map(shown).collect();
        code.trim_end_matches('_').to_owned()
    }
}

/// The mode that costs least and shows all that the encoder takes.
///
/// In this order: colour, sides no shorter than the input's, a lively rate, few nanoseconds a frame.
///
/// # Errors
/// Nothing that is offered is of a known form, or of the form or size that was wished for; the
/// words name what there is.
pub fn choose(offers: &[Offer], wish: &Wish) -> Result<Mode> {
    let known: Vec<_> = offers
        .iter()
        .filter_map(|o| o.format().map(|f| (f, o)))
        .collect();
    if known.is_empty() {
        return Err(Error::invalid(
            "camera",
            format!("pixels as {}", codes(offers)),
            format!("one of {}", names(&Format::ALL)),
        ));
    }
    let formats: Vec<Format> = known.iter().map(|(f, _)| *f).collect();
    if let Some(format) = wish.format.filter(|f| !formats.contains(f)) {
        let found = format!("{} asked of a camera without it", format.name());
        let expected = format!("one of {}", names(&formats));
        return Err(Error::invalid("camera", found, expected));
    }
    let wanted = |f: Format| wish.format.is_none_or(|w| w == f);
    let mut modes: Vec<Mode> = known
        .iter()
        .filter(|(f, _)| wanted(*f))
        .flat_map(|(f, offer)| modes_of(*f, offer, wish))
        .collect();
    modes.sort_by_key(|m| badness(m, wish));
    modes.first().copied().ok_or_else(|| no_size(&known, wish))
}

fn modes_of(format: Format, offer: &Offer, wish: &Wish) -> Vec<Mode> {
    let mut modes = Vec::new();
    for sizes in &offer.sizes {
        let rate = match wish.fps {
            Some(fps) => sizes.rates().nearest(fps),
            None => sizes.rates().lively(),
        };
        let mode = |size| Mode { format, size, rate };
        modes.extend(sizes.candidates(wish).into_iter().map(mode));
    }
    if offer.sizes.is_empty() {
        // Old drivers list no sizes: they take the nearest that they have, and say which.
        modes.push(Mode {
            format,
            size: wish.size.unwrap_or((640, 480)),
            rate: None,
        });
    }
    modes
}

/// What is against a mode; the first part that differs decides.
fn badness(mode: &Mode, wish: &Wish) -> (bool, u64, u32, u64) {
    let (w, h) = (u64::from(mode.size.0), u64::from(mode.size.1));
    let covers = mode.size.0 >= wish.input.0 && mode.size.1 >= wish.input.1;
    let missing = if covers { 0 } else { u64::MAX - w * h };
    let fps = mode.rate.map_or(f32::MAX, Rate::fps);
    // Rates that fall short, in steps, so that a frame a second less does not outweigh the rest.
    let short = match wish.fps {
        Some(wanted) => ((fps - wanted).abs().min(1e6) / wanted.max(0.1) * 20.0) as u32,
        None => u32::from(fps < LIVELY),
    };
    let grey = mode.format == Format::Grey;
    (grey, missing, short, w * h * cost(mode.format))
}

/// Hundredths of a nanosecond for one pixel, made RGB and resized: what counts is their order.
fn cost(format: Format) -> u64 {
    const RESIZE: u64 = 100;
    RESIZE
        + match format {
            Format::Rgb3 => 10,
            Format::Grey => 20,
            Format::Yuyv => 30,
            Format::Nv12 => 35,
            Format::Mjpg => 800,
        }
}

fn no_size(known: &[(Format, &Offer)], wish: &Wish) -> Error {
    let wanted = |f: Format| wish.format.is_none_or(|w| w == f);
    let mut sizes: Vec<String> = Vec::new();
    for (_, offer) in known.iter().filter(|(f, _)| wanted(*f)) {
        sizes.extend(offer.sizes.iter().map(Sizes::to_string));
    }
    sizes.dedup();
    sizes.truncate(12);
    let found = wish.size.map_or("no sizes".to_owned(), |(w, h)| {
        format!("{w}x{h} asked of a camera without it")
    });
    Error::invalid("camera", found, format!("one of {}", sizes.join(", ")))
}

/// The forms that are offered, for people: `RG10, pRAA`.
#[must_use]
pub fn codes(offers: &[Offer]) -> String {
    let codes: Vec<String> = offers.iter().map(Offer::code).collect();
    if codes.is_empty() {
        return "none at all".to_owned();
    }
    codes.join(", ")
}

fn names(formats: &[Format]) -> String {
    let names: Vec<_> = formats.iter().map(|f| f.name()).collect();
    names.join(", ")
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One { size: (w, h), .. } => write!(f, "{w}x{h}"),
            Self::Range { least, most, .. } => {
                write!(f, "{}x{} to {}x{}", least.0, least.1, most.0, most.1)
            }
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (w, h) = self.size;
        write!(f, "{} {w}x{h}", self.format.name())?;
        match self.rate {
            Some(rate) => write!(f, ", {} frames a second", shown(rate.fps())),
            None => Ok(()),
        }
    }
}

/// A rate for people: `30`, `29.97`, `7.5`.
#[must_use]
pub fn shown(fps: f32) -> String {
    let text = format!("{fps:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
