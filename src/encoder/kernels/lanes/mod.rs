//! Sixteen lanes at once, in whatever registers a processor has: what the loops of [`super::rows`] are written in.
//!
//! Each operation is exactly rounded, so that every processor gives the same bits.

use super::COLUMNS;

/// Makes the methods of lanes of one set, each from one expression of its instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lanes {
    ($(fn $name:ident $(<const $bits:ident: u32>)? ($($argument:ident $(: $of:ty)?),*) $(-> $out:ty)? { $body:expr })*) => {
        $(#[inline(always)]
        #[allow(unused_unsafe, reason = "NEON's instructions are safe where it is always there")]
        fn $name $(<const $bits: u32>)? ($($argument $(: $of)?),*) $(-> $out)? {
            // SAFETY: as the module says.
            unsafe { $body }
        })*
    };
}

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(super) mod aarch64;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86_64;

/// Sixteen floats.
pub(crate) type Lanes = [f32; COLUMNS];
/// Sixteen whole numbers.
pub(crate) type WholeLanes = [i32; COLUMNS];

/// Sixteen floats in registers.
///
/// Methods of a set's type must be reached only through functions that are compiled for the set.
pub(crate) trait Floats: Copy {
    /// The whole numbers beside them.
    type Whole: Whole<Floats = Self>;

    fn splat(v: f32) -> Self;
    fn load(from: &Lanes) -> Self;
    fn store(self, to: &mut Lanes);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// The lesser; `other` where one is NaN.
    fn min(self, other: Self) -> Self;
    /// The greater; `other` where one is NaN.
    fn max(self, other: Self) -> Self;
    /// All bits where a lane is less than `other`'s, else none.
    fn less(self, other: Self) -> Self::Whole;
    fn bits(self) -> Self::Whole;

    fn zero() -> Self {
        Self::splat(0.0)
    }
}

/// Sixteen whole numbers in registers; sums and products wrap.
pub(crate) trait Whole: Copy {
    type Floats: Floats<Whole = Self>;

    fn splat(v: i32) -> Self;
    fn load(from: &WholeLanes) -> Self;
    fn store(self, to: &mut WholeLanes);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Moved up by `BITS`.
    fn up<const BITS: u32>(self) -> Self;
    /// Moved down by `BITS`; the sign stays.
    fn down<const BITS: u32>(self) -> Self;
    /// With the product of a byte and a number of 16 bits added.
    fn add_product(self, byte: Self, short: Self) -> Self;
    fn of_bytes(from: &[u8; COLUMNS]) -> Self;
    /// The nearest floats.
    fn floats(self) -> Self::Floats;
    /// The floats that have these bits.
    fn as_floats(self) -> Self::Floats;
    /// The lowest byte of each.
    fn bytes(self) -> [u8; COLUMNS];
    /// The lowest two bytes of each.
    fn shorts(self) -> [i16; COLUMNS];
}

/// The lanes of any processor.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>([T; COLUMNS]);

impl<T: Copy> Plain<T> {
    #[inline(always)]
    fn with<U: Copy, V>(self, other: Plain<U>, f: impl Fn(T, U) -> V) -> Plain<V> {
        Plain(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Floats for Plain<f32> {
    type Whole = Plain<i32>;

    #[inline(always)]
    fn splat(v: f32) -> Self {
        Self([v; COLUMNS])
    }
    #[inline(always)]
    fn load(from: &Lanes) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut Lanes) {
        *to = self.0;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.with(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.with(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Plain<i32> {
        self.with(other, |a, b| -i32::from(a < b))
    }
    #[inline(always)]
    fn bits(self) -> Plain<i32> {
        Plain(self.0.map(|v| v.to_bits() as i32))
    }
}

impl Whole for Plain<i32> {
    type Floats = Plain<f32>;

    #[inline(always)]
    fn splat(v: i32) -> Self {
        Self([v; COLUMNS])
    }
    #[inline(always)]
    fn load(from: &WholeLanes) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut WholeLanes) {
        *to = self.0;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, i32::wrapping_sub)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, i32::wrapping_mul)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.with(other, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.with(other, |a, b| a | b)
    }
    #[inline(always)]
    fn up<const BITS: u32>(self) -> Self {
        Self(self.0.map(|v| v << BITS))
    }
    #[inline(always)]
    fn down<const BITS: u32>(self) -> Self {
        Self(self.0.map(|v| v >> BITS))
    }
    #[inline(always)]
    fn add_product(self, byte: Self, short: Self) -> Self {
        self.add(byte.mul(short))
    }
    #[inline(always)]
    fn of_bytes(from: &[u8; COLUMNS]) -> Self {
        Self(from.map(i32::from))
    }
    #[inline(always)]
    fn floats(self) -> Plain<f32> {
        Plain(self.0.map(|v| v as f32))
    }
    #[inline(always)]
    fn as_floats(self) -> Plain<f32> {
        Plain(self.0.map(|v| f32::from_bits(v as u32)))
    }
    #[inline(always)]
    fn bytes(self) -> [u8; COLUMNS] {
        self.0.map(|v| v as u8)
    }
    #[inline(always)]
    fn shorts(self) -> [i16; COLUMNS] {
        self.0.map(|v| v as i16)
    }
}
