//! What a fused encoder does, step by step: the form in which bundles keep it.
//!
//! A value is a matrix for each picture, `rows` tokens or pixels by `width` columns or channels: of floats, or of
//! bytes on a grid that the file fixed. Steps come in an
//! order in which they can run; each makes one value. Weights lie in one section beside the graph,
//! named by their place there.

use serde::{Deserialize, Serialize};

use super::machine::convolve::MOST_SIDE as MOST_WINDOW;
use crate::encoder::kernels::rows::Activation;
use crate::encoder::kernels::{COLUMNS, GROUP};
use crate::error::{Error, Result};

/// Steps of the largest encoder that we believe in.
const MOST_STEPS: usize = 10_000;
/// Longest side of a picture or a row: far beyond any CLIP.
const MOST_SIDE: u32 = 1 << 16;
/// Most values of one matrix.
const MOST_VALUES: u64 = 1 << 27;

/// Number of a value.
pub(crate) type Value = u32;

/// The whole encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Graph {
    /// Channels, height and width of the picture.
    pub(crate) input: [u32; 3],
    /// Steps in order; step n makes value n.
    pub(crate) steps: Vec<Step>,
}

/// Where weights lie in their section, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) first: u64,
    pub(crate) bytes: u64,
}

/// Gain and bias of a LayerNorm (Ba, Kiros and Hinton 2016), padded to whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Norm {
    pub(crate) gain: Place,
    pub(crate) bias: Place,
    pub(crate) epsilon: f32,
}

/// A matrix that rows are multiplied with, `inputs` × `columns`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Matrix {
    pub(crate) inputs: u32,
    pub(crate) columns: u32,
    pub(crate) form: Form,
    /// One a column, in whole blocks.
    pub(crate) bias: Place,
}

/// What the weights of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// `[block of 16 columns][input][column]`.
    Floats { weights: Place },
    /// Packed s8 with a scale for each column, for single rows that stay floats.
    Mixed { weights: Place, scales: Place },
    /// Packed s8 (see the kernels), with a scale, a sum and, where it is not 0, what stands for zero for each
    /// column, and how rows are rounded.
    Int8 {
        weights: Place,
        scales: Place,
        sums: Place,
        zeros: Option<Place>,
        rounding: Rounding,
    },
}

/// How the rows of an int8 product are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Rounding {
    /// Each row by its own range.
    Row,
    /// All rows of a picture by the range of all.
    Picture,
    /// Not at all: they are bytes already.
    Kept,
    /// A grid that calibration fixed.
    Fixed {
        scale: f32,
        zero: i32,
        low: i32,
        high: i32,
    },
}

/// The bytes of a value: `scale·(q − zero)`, q from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Levels {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
    pub(crate) low: u8,
    pub(crate) high: u8,
}

/// Squares of `side` pixels, `stride` apart, from `before` pixels before the first line and column; `lines` ×
/// `across` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) side: u32,
    pub(crate) stride: u32,
    pub(crate) before: [u32; 2],
    pub(crate) lines: u32,
    pub(crate) across: u32,
}

impl Window {
    /// How many there are.
    pub(crate) fn pixels(self) -> usize {
        self.lines as usize * self.across as usize
    }

    /// Whether its numbers are believable beside lines of `across` pixels.
    fn fits(self, lines: usize, across: usize) -> bool {
        let along = |length: usize, before: u32, count: u32| {
            let (side, stride) = (self.side as usize, self.stride as usize);
            // Every square has a pixel of the picture, and less than a side lies before the first.
            let last = (count as usize).saturating_sub(1) * stride;
            before < self.side
                && last < length + before as usize
                && last + side < 2 * MOST_SIDE as usize
        };
        let numbers = [self.side, self.stride, self.lines, self.across];
        numbers.iter().all(|n| *n > 0 && *n < MOST_SIDE)
            && along(lines, self.before[0], self.lines)
            && along(across, self.before[1], self.across)
    }
}

/// A stretch of columns of a value, in whole blocks from `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) value: Value,
    pub(crate) first: u32,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The picture cut into squares of `side` pixels: a row each, channel by channel.
    Patches { side: u32 },
    /// Rows put behind a first one of constants, if any, with constants added to each: `table` has
    /// those of every row, the first included.
    Embed {
        rows: Value,
        first: bool,
        table: Place,
    },
    /// Each row normed.
    Norm { rows: Value, norm: Norm },
    /// Each row normed, multiplied, activated, and `residual` added; or, of rows of bytes, multiplied and put on
    /// `levels`, whose step and zero are then in the matrix's scales and bias.
    Linear {
        rows: Value,
        norm: Option<Norm>,
        matrix: Matrix,
        activation: Activation,
        residual: Option<Value>,
        levels: Option<Levels>,
    },
    /// softmax(scale · Q Kᵀ) V for each head (Vaswani et al. 2017, equation 1), in 8 bits where `rounded`.
    Attention {
        query: Part,
        key: Part,
        value: Part,
        heads: u32,
        head_width: u32,
        scale: f32,
        rounded: bool,
    },
    /// One row of each picture.
    Pick { rows: Value, row: u32 },
    /// The mean of the rows of each picture, from row `first`.
    Mean { rows: Value, first: u32 },
    /// The picture on `levels`, and of it each window's pixels as a row, channel by channel.
    Stem { window: Window, levels: Levels },
    /// Of bytes, each window's pixels as a row, pixel by pixel with all channels of their blocks.
    Windows { rows: Value, window: Window },
    /// A convolution of each channel alone, put on `levels`: s8 weights `[block][pixel of the window][channel]`,
    /// scales and bias as of a product.
    Depthwise {
        rows: Value,
        window: Window,
        weights: Place,
        scales: Place,
        bias: Place,
        levels: Levels,
    },
    /// `a·factors[0] + b·factors[1] + factors[2]` of bytes, put on `levels`.
    Sum {
        values: [Value; 2],
        factors: [f32; 3],
        levels: Levels,
    },
    /// Softmax of a single row.
    Softmax { rows: Value },
    /// A single row brought to the length `scale`.
    Unit { rows: Value, scale: f32 },
    /// Single rows one behind the other; all but the last are whole blocks.
    Join { values: Vec<Value> },
}

/// What the bytes of a value mean, and how many pixels a line has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pixels {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
    pub(crate) across: usize,
}

/// Rows and columns of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// Of a value of bytes.
    pub(crate) pixels: Option<Pixels>,
}

impl Shape {
    /// Blocks of columns.
    pub(crate) fn blocks(self) -> usize {
        self.width.div_ceil(COLUMNS)
    }

    /// Floats of the value of one picture, or as many as hold its bytes.
    pub(crate) fn values(self) -> usize {
        let values = self.rows * self.blocks() * COLUMNS;
        if self.pixels.is_some() {
            values / 4
        } else {
            values
        }
    }
}

impl Step {
    /// What it does, for tables.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Patches { side } => format!("patches of {side}"),
            Self::Embed { .. } => "places".into(),
            Self::Norm { .. } => "norm".into(),
            Self::Linear {
                norm,
                matrix,
                activation,
                residual,
                ..
            } => {
                let form = match matrix.form {
                    Form::Int8 { .. } => "int8",
                    Form::Floats { .. } | Form::Mixed { .. } => "float",
                };
                let mut words = format!("{form} product of {}", matrix.inputs);
                if norm.is_some() {
                    words = format!("norm, {words}");
                }
                if *activation != Activation::None {
                    words = format!("{words}, {activation:?}");
                }
                if residual.is_some() {
                    words += ", residual";
                }
                words
            }
            Self::Attention { heads, rounded, .. } => {
                let form = if *rounded { "int8" } else { "float" };
                format!("{form} attention, {heads} heads")
            }
            Self::Pick { row, .. } => format!("row {row}"),
            Self::Mean { .. } => "mean".into(),
            Self::Stem { window, .. } | Self::Windows { window, .. } => {
                format!("windows of {}, stride {}", window.side, window.stride)
            }
            Self::Depthwise { window, .. } => {
                format!(
                    "int8 depthwise of {}, stride {}",
                    window.side, window.stride
                )
            }
            Self::Sum { .. } => "sum".into(),
            Self::Softmax { .. } => "softmax".into(),
            Self::Unit { .. } => "unit length".into(),
            Self::Join { .. } => "joined".into(),
        }
    }

    /// Hands on every value that the step reads.
    pub(crate) fn reads(&self, mut each: impl FnMut(Value)) {
        match self {
            Self::Patches { .. } | Self::Stem { .. } => {}
            Self::Embed { rows, .. }
            | Self::Norm { rows, .. }
            | Self::Pick { rows, .. }
            | Self::Windows { rows, .. }
            | Self::Depthwise { rows, .. }
            | Self::Softmax { rows }
            | Self::Unit { rows, .. }
            | Self::Mean { rows, .. } => each(*rows),
            Self::Sum { values, .. } => values.iter().copied().for_each(each),
            Self::Join { values } => values.iter().copied().for_each(each),
            Self::Linear { rows, residual, .. } => {
                each(*rows);
                residual.iter().copied().for_each(each);
            }
            Self::Attention {
                query, key, value, ..
            } => [query, key, value].iter().for_each(|p| each(p.value)),
        }
    }
}

impl Graph {
    /// How many products have weights of 8 bits, and the names of the others.
    #[cfg(feature = "import")]
    pub(crate) fn linear_products(&self) -> (usize, Vec<String>) {
        let (mut int8, mut floats) = (0, Vec::new());
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Linear { matrix, .. } => match matrix.form {
                    Form::Int8 { .. } | Form::Mixed { .. } => int8 += 1,
                    Form::Floats { .. } => floats.push(format!("step {at}")),
                },
                Step::Depthwise { .. } => int8 += 1,
                _ => {}
            }
        }
        (int8, floats)
    }

    /// Shapes of all values, with `weights` bytes of weights: everything that running relies on.
    ///
    /// # Errors
    /// A step does not fit the ones before it, or its weights are not there.
    pub(crate) fn shapes(&self, weights: usize) -> Result<Vec<Shape>> {
        if self.steps.is_empty() || self.steps.len() > MOST_STEPS {
            return Err(wrong(0, &format!("{} steps in all", self.steps.len())));
        }
        if self.input.iter().any(|n| *n == 0 || *n > MOST_SIDE) {
            return Err(wrong(0, &format!("a picture of {:?}", self.input)));
        }
        let mut shapes = Vec::with_capacity(self.steps.len());
        for (at, step) in self.steps.iter().enumerate() {
            let check = Check {
                graph: self,
                shapes: &shapes,
                weights: weights as u64,
            };
            let shape = check.step(step).filter(|s| {
                let whole = s.rows as u64 * s.blocks() as u64 * COLUMNS as u64;
                s.rows > 0 && s.width > 0 && s.width <= MOST_SIDE as usize && whole <= MOST_VALUES
            });
            shapes.push(shape.ok_or_else(|| wrong(at, &format!("{step:?}")))?);
        }
        if shapes
            .last()
            .is_none_or(|s| s.rows != 1 || s.pixels.is_some())
        {
            return Err(wrong(
                self.steps.len() - 1,
                "a last step that is no single row",
            ));
        }
        Ok(shapes)
    }
}

fn wrong(at: usize, found: &str) -> Error {
    let found = format!("step {at}: {found}");
    Error::invalid(
        "fused encoder",
        found,
        "steps and weights that fit each other: import the model again",
    )
}

fn floats(rows: usize, width: usize) -> Shape {
    Shape {
        rows,
        width,
        pixels: None,
    }
}

/// The shape of bytes on `levels`.
fn of_levels(shape: Shape, levels: &Levels, across: usize) -> Shape {
    let pixels = Pixels {
        scale: levels.scale,
        zero: levels.zero,
        across,
    };
    Shape {
        pixels: Some(pixels),
        ..shape
    }
}

/// Checks a step against those before it; `None` is a misfit.
struct Check<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    weights: u64,
}

impl Check<'_> {
    fn any_shape(&self, value: Value) -> Option<Shape> {
        self.shapes.get(value as usize).copied()
    }

    /// Of a value of floats.
    fn shape(&self, value: Value) -> Option<Shape> {
        self.any_shape(value).filter(|s| s.pixels.is_none())
    }

    /// Of a single row of floats.
    fn row(&self, value: Value) -> Option<Shape> {
        self.shape(value).filter(|s| s.rows == 1)
    }

    /// Of a value of bytes, whose lines are whole.
    fn pixels(&self, value: Value) -> Option<(Shape, Pixels)> {
        let shape = self.any_shape(value)?;
        Some((shape, shape.pixels?))
    }

    fn levels(&self, levels: &Levels) -> Option<()> {
        let is_step = levels.scale > 0.0 && levels.scale.is_finite();
        (is_step && levels.low <= levels.high).then_some(())
    }

    /// Whether a place holds so many items of so many bytes, aligned for them.
    fn holds(&self, place: Place, items: u64, size: u64) -> Option<()> {
        let end = place.first.checked_add(place.bytes)?;
        let fits = place.first.is_multiple_of(64)
            && end <= self.weights
            && Some(place.bytes) == items.checked_mul(size);
        fits.then_some(())
    }

    fn norm(&self, norm: &Norm, width: usize) -> Option<()> {
        let padded = width.next_multiple_of(COLUMNS);
        self.holds(norm.gain, padded as u64, 4)?;
        self.holds(norm.bias, padded as u64, 4)?;
        (norm.epsilon >= 0.0 && norm.epsilon.is_finite()).then_some(())
    }

    fn matrix(&self, m: &Matrix) -> Option<()> {
        let columns = m.columns as usize;
        if m.inputs == 0 || m.columns == 0 || m.inputs > MOST_SIDE || m.columns > MOST_SIDE {
            return None;
        }
        let padded = columns.next_multiple_of(COLUMNS);
        // In 64 bits: on a processor of 32 the product of two sides may not fit.
        let (padded, inputs) = (padded as u64, u64::from(m.inputs));
        self.holds(m.bias, padded, 4)?;
        match m.form {
            Form::Floats { weights } => self.holds(weights, padded * inputs, 4),
            Form::Mixed { weights, scales } => {
                self.holds(weights, padded * inputs.next_multiple_of(GROUP as u64), 1)?;
                self.holds(scales, padded, 4)
            }
            Form::Int8 {
                weights,
                scales,
                sums,
                zeros,
                rounding,
            } => {
                if let Some(zeros) = zeros {
                    self.holds(zeros, padded, 4)?;
                }
                self.holds(weights, padded * inputs.next_multiple_of(GROUP as u64), 1)?;
                self.holds(scales, padded, 4)?;
                self.holds(sums, padded, 4)?;
                match rounding {
                    Rounding::Fixed {
                        scale,
                        zero,
                        low,
                        high,
                    } => {
                        let bounds = low >= 0 && high <= 255;
                        (scale > 0.0 && scale.is_finite() && bounds && (low..=high).contains(&zero))
                            .then_some(())
                    }
                    Rounding::Row | Rounding::Picture | Rounding::Kept => Some(()),
                }
            }
        }
    }

    fn part(&self, part: Part, width: usize) -> Option<Shape> {
        let shape = self.shape(part.value)?;
        let first = (part.first as usize).checked_mul(COLUMNS)?;
        (first.checked_add(width)? <= shape.width).then_some(shape)
    }

    fn step(&self, step: &Step) -> Option<Shape> {
        let [channels, height, width] = self.graph.input.map(|n| n as usize);
        match step {
            Step::Patches { side } => {
                let side = *side as usize;
                let fits = side > 0 && height % side == 0 && width % side == 0;
                fits.then(|| {
                    let rows = (height / side) * (width / side);
                    floats(rows, channels * side * side)
                })
            }
            Step::Embed { rows, first, table } => {
                let shape = self.shape(*rows)?;
                let shape = Shape {
                    rows: shape.rows + usize::from(*first),
                    ..shape
                };
                self.holds(*table, shape.values() as u64, 4)?;
                Some(shape)
            }
            Step::Norm { rows, norm } => {
                let shape = self.shape(*rows)?;
                self.norm(norm, shape.width)?;
                Some(shape)
            }
            Step::Linear {
                rows,
                norm,
                matrix,
                activation,
                residual,
                levels,
            } => {
                let from = self.any_shape(*rows)?;
                if from.width != matrix.inputs as usize {
                    return None;
                }
                if let Some(norm) = norm {
                    self.norm(norm, from.width)?;
                }
                self.matrix(matrix)?;
                let shape = floats(from.rows, matrix.columns as usize);
                let (kept, zeros) = match matrix.form {
                    Form::Int8 {
                        rounding, zeros, ..
                    } => (rounding == Rounding::Kept, zeros.is_some()),
                    _ => (false, false),
                };
                let plain = norm.is_none() && residual.is_none() && *activation == Activation::None;
                match (from.pixels, levels) {
                    (Some(pixels), Some(levels)) => {
                        self.levels(levels)?;
                        let fits = kept && !zeros && plain;
                        fits.then_some(of_levels(shape, levels, pixels.across))
                    }
                    (None, None) if !kept => {
                        let mixed = matches!(matrix.form, Form::Mixed { .. });
                        let single = !mixed || from.rows == 1 && plain;
                        let added = residual.is_none_or(|r| self.shape(r) == Some(shape));
                        (single && added).then_some(shape)
                    }
                    _ => None,
                }
            }
            Step::Attention {
                query,
                key,
                value,
                heads,
                head_width,
                scale,
                ..
            } => {
                let (heads, head_width) = (*heads as usize, *head_width as usize);
                if heads == 0
                    || head_width == 0
                    || head_width % COLUMNS != 0
                    || !(scale.is_finite() && *scale > 0.0)
                {
                    return None;
                }
                let width = heads.checked_mul(head_width)?;
                let shapes = [query, key, value].map(|p| self.part(*p, width));
                let [query, key, value] = [shapes[0]?, shapes[1]?, shapes[2]?];
                (key.rows == value.rows).then_some(floats(query.rows, width))
            }
            Step::Pick { rows, row } => {
                let shape = self.shape(*rows)?;
                ((*row as usize) < shape.rows).then_some(Shape { rows: 1, ..shape })
            }
            Step::Mean { rows, first } => {
                let shape = self.any_shape(*rows)?;
                // Sums of bytes of so many pixels are whole numbers of 32 bits.
                let pixels = shape.pixels.is_none() || *first == 0 && shape.rows < 1 << 23;
                (pixels && (*first as usize) < shape.rows).then_some(floats(1, shape.width))
            }
            Step::Stem { window, levels } => {
                self.levels(levels)?;
                let side = window.side as usize;
                window.fits(height, width).then_some(())?;
                let width = channels.checked_mul(side.checked_mul(side)?)?;
                let shape = floats(window.pixels(), width);
                Some(of_levels(shape, levels, window.across as usize))
            }
            Step::Windows { rows, window } => {
                let (shape, pixels) = self.pixels(*rows)?;
                window
                    .fits(shape.rows / pixels.across, pixels.across)
                    .then_some(())?;
                let side = window.side as usize;
                let width = side
                    .checked_mul(side)?
                    .checked_mul(shape.blocks() * COLUMNS)?;
                let pixels = Pixels {
                    across: window.across as usize,
                    ..pixels
                };
                Some(Shape {
                    rows: window.pixels(),
                    width,
                    pixels: Some(pixels),
                })
            }
            Step::Depthwise {
                rows,
                window,
                weights,
                scales,
                bias,
                levels,
            } => {
                let (shape, pixels) = self.pixels(*rows)?;
                self.levels(levels)?;
                window
                    .fits(shape.rows / pixels.across, pixels.across)
                    .then_some(())?;
                let padded = shape.blocks() * COLUMNS;
                let side = window.side as usize;
                // Sums of so many products are whole numbers of 32 bits.
                (side <= MOST_WINDOW).then_some(())?;
                let padded = padded as u64;
                self.holds(*weights, padded * (side * side) as u64, 1)?;
                self.holds(*scales, padded, 4)?;
                self.holds(*bias, padded, 4)?;
                let shape = floats(window.pixels(), shape.width);
                Some(of_levels(shape, levels, window.across as usize))
            }
            Step::Sum { values, levels, .. } => {
                let [(a, pixels), (b, other)] = [self.pixels(values[0])?, self.pixels(values[1])?];
                self.levels(levels)?;
                let alike = (a.rows, a.width, pixels.across) == (b.rows, b.width, other.across);
                alike.then_some(of_levels(a, levels, pixels.across))
            }
            Step::Softmax { rows } => self.row(*rows),
            Step::Unit { rows, scale } => {
                let shape = self.row(*rows)?;
                scale.is_finite().then_some(shape)
            }
            Step::Join { values } => {
                let mut width = 0;
                for value in values {
                    (width % COLUMNS == 0).then_some(())?;
                    width += self.row(*value)?.width;
                }
                Some(floats(1, width))
            }
        }
    }
}
