//! Small drawings, written as SVG or PNG: rectangles, lines and words, nothing more.

use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::{MonoTextStyle, iso_8859_1::FONT_7X14};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use crate::error::{Error, Result};
use crate::frame::Frame;

/// Width of one character in pixels, the same in both forms.
pub(super) const CHARACTER: i32 = 7;

/// An RGB colour.
pub(super) type Colour = [u8; 3];

/// Where a text's given point lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug)]
enum Shape {
    Block {
        at: (i32, i32),
        size: (i32, i32),
        colour: Colour,
    },
    Path {
        points: Vec<(i32, i32)>,
        colour: Colour,
        width: u32,
    },
    Words {
        at: (i32, i32),
        text: String,
        colour: Colour,
        anchor: Anchor,
    },
}

/// A drawing in pixels, from the left upper corner.
#[derive(Debug)]
pub struct Picture {
    width: i32,
    height: i32,
    shapes: Vec<Shape>,
}

impl Picture {
    pub(super) fn new(width: i32, height: i32) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    pub(super) fn block(&mut self, at: (i32, i32), size: (i32, i32), colour: Colour) {
        self.shapes.push(Shape::Block { at, size, colour });
    }

    pub(super) fn path(&mut self, points: Vec<(i32, i32)>, colour: Colour, width: u32) {
        self.shapes.push(Shape::Path {
            points,
            colour,
            width,
        });
    }

    /// Words whose vertical middle is at `at`.
    pub(super) fn words(
        &mut self,
        at: (i32, i32),
        text: impl Into<String>,
        colour: Colour,
        anchor: Anchor,
    ) {
        self.shapes.push(Shape::Words {
            at,
            text: text.into(),
            colour,
            anchor,
        });
    }

    /// The picture as an SVG file.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"monospace\" font-size=\"12\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n"
        );
        for shape in &self.shapes {
            svg += &match shape {
                Shape::Block { at, size, colour } => format!(
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                    at.0,
                    at.1,
                    size.0,
                    size.1,
                    hex(*colour)
                ),
                Shape::Path {
                    points,
                    colour,
                    width,
                } => {
                    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
                    format!(
                        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"/>\n",
                        points.join(" "),
                        hex(*colour)
                    )
                }
                Shape::Words {
                    at,
                    text,
                    colour,
                    anchor,
                } => format!(
                    "<text x=\"{}\" y=\"{}\" fill=\"{}\" text-anchor=\"{}\" dominant-baseline=\"central\">{}</text>\n",
                    at.0,
                    at.1,
                    hex(*colour),
                    anchor.svg(),
                    escaped(text)
                ),
            };
        }
        svg + "</svg>\n"
    }

    /// The picture as a PNG file. Characters beyond Latin-1 become question marks there.
    ///
    /// # Errors
    /// The PNG encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut canvas = Canvas {
            width: self.width as u32,
            height: self.height as u32,
            bytes: vec![255; self.width as usize * self.height as usize * 3],
        };
        for shape in &self.shapes {
            let Ok(()) = shape.draw(&mut canvas);
        }
        Frame::from_rgb(canvas.width, canvas.height, canvas.bytes)?.to_png()
    }

    /// Whether the ending of `path` is one that [`write`](Self::write) knows.
    #[must_use]
    pub fn knows(path: &std::path::Path) -> bool {
        matches!(ending(path).as_str(), "svg" | "png")
    }

    /// The picture in the form that the ending of `path` asks for.
    ///
    /// # Errors
    /// The ending is neither `.svg` nor `.png`, or the file cannot be written.
    pub fn write(&self, path: &std::path::Path) -> Result<()> {
        let bytes = match ending(path).as_str() {
            "svg" => self.to_svg().into_bytes(),
            "png" => self.to_png()?,
            _ => {
                let found = format!("`{}`", path.display());
                return Err(Error::invalid(
                    "picture to write",
                    found,
                    "a name that ends in .svg or .png",
                ));
            }
        };
        crate::store::replace(path, &bytes)
    }
}

fn ending(path: &std::path::Path) -> String {
    let ending = path.extension().and_then(|e| e.to_str());
    ending.unwrap_or_default().to_ascii_lowercase()
}

impl Shape {
    fn draw(&self, canvas: &mut Canvas) -> Result<(), std::convert::Infallible> {
        match self {
            Self::Block { at, size, colour } => {
                let place = Rectangle::new(point(*at), Size::new(size.0 as u32, size.1 as u32));
                place
                    .into_styled(PrimitiveStyle::with_fill(rgb(*colour)))
                    .draw(canvas)
            }
            Self::Path {
                points,
                colour,
                width,
            } => points.windows(2).try_for_each(|ends| {
                let line = Line::new(point(ends[0]), point(ends[1]));
                line.into_styled(PrimitiveStyle::with_stroke(rgb(*colour), *width))
                    .draw(canvas)
            }),
            Self::Words {
                at,
                text,
                colour,
                anchor,
            } => {
                let text: String = text
                    .chars()
                    .map(|c| if (c as u32) < 256 { c } else { '?' })
                    .collect();
                let font = MonoTextStyle::new(&FONT_7X14, rgb(*colour));
                let place = TextStyleBuilder::new()
                    .alignment(anchor.png())
                    .baseline(Baseline::Middle)
                    .build();
                Text::with_text_style(&text, point(*at), font, place)
                    .draw(canvas)
                    .map(|_| ())
            }
        }
    }
}

impl Anchor {
    fn svg(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }

    fn png(self) -> Alignment {
        match self {
            Self::Start => Alignment::Left,
            Self::Middle => Alignment::Center,
            Self::End => Alignment::Right,
        }
    }
}

struct Canvas {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else {
                continue;
            };
            if x < self.width && y < self.height {
                let start = (y as usize * self.width as usize + x as usize) * 3;
                self.bytes[start..start + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

fn point((x, y): (i32, i32)) -> Point {
    Point::new(x, y)
}

fn rgb([r, g, b]: Colour) -> Rgb888 {
    Rgb888::new(r, g, b)
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Class names are strangers' text.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Decode;

    fn sample() -> Picture {
        let mut picture = Picture::new(60, 20);
        picture.block((2, 3), (4, 5), [10, 20, 30]);
        picture.path(vec![(50, 0), (50, 19)], [200, 0, 0], 1);
        picture.words((10, 10), "<b> & \u{7}", [0, 0, 0], Anchor::Start);
        picture
    }

    #[test]
    fn png_pixels_are_where_the_shapes_say() {
        let frame = Decode::default()
            .decode(&sample().to_png().unwrap())
            .unwrap();
        assert_eq!(frame.size(), (60, 20));
        let pixel = |x: usize, y: u32| frame.row(y)[x * 3..x * 3 + 3].to_vec();
        assert_eq!(pixel(2, 3), [10, 20, 30]);
        assert_eq!(pixel(5, 7), [10, 20, 30]);
        assert_eq!(pixel(6, 7), [255, 255, 255]);
        assert_eq!(pixel(50, 12), [200, 0, 0]);
        let dark = (10..40).flat_map(|x| (0..20).map(move |y| (x, y)));
        assert!(
            dark.filter(|(x, y)| pixel(*x, *y) == [0, 0, 0]).count() > 10,
            "no words"
        );
    }

    #[test]
    fn svg_escapes_names() {
        let svg = sample().to_svg();
        assert!(svg.contains("&lt;b&gt; &amp; \u{fffd}</text>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}
