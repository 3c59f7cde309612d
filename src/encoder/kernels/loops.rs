//! The list of all loops, and how each set of instructions gets its own copy of them.

use super::bytes::{ByteRows, Piece, ToBytes};
use super::lanes::{Lanes, WholeLanes};
use super::rows::{Activation, Moments, Normed, Packed, Rows, Scale, ToFloats};

/// Where the loops are: what [`compile`] takes them from.
pub(super) mod all {
    pub(in crate::encoder::kernels) use super::super::bytes::*;
    pub(in crate::encoder::kernels) use super::super::rows::*;
}

/// The list, for the macros below: `loops!(make …)` hands it to `make!` behind `[…]`.
macro_rules! loops {
    ($make:ident $($with:tt)*) => {
        $make! { [$($with)*]
            fn moments(rows: Rows<'_>, epsilon: f32, out: &mut [Moments]);
            fn norm(rows: Rows<'_>, norm: &Normed<'_>, out: &mut [f32], step: usize);
            fn floats(rows: Rows<'_>, norm: Option<&Normed<'_>>, out: &mut [f32]);
            fn extents(rows: Rows<'_>, norm: Option<&Normed<'_>>, out: &mut [(f32, f32)]);
            fn quantize(rows: Rows<'_>, norm: Option<&Normed<'_>>, scales: &mut [Scale], bounds: (i32, i32), to: Packed<'_>);
            fn finish(sums: &[WholeLanes], to: ToFloats<'_>, out: &mut [Lanes]);
            fn finish_floats(sums: &[Lanes], bias: &Lanes, activation: Activation, residual: Option<&[Lanes]>, out: &mut [Lanes]);
            fn softmax(row: &mut [f32], width: usize, scale: f32);
            fn shares(rows: Rows<'_>, scale: f32, scales: &mut [Scale], to: [Packed<'_>; 2]);
            fn column_sums(rows: &[Lanes], out: &mut Lanes);
            fn pack_columns(rows: &[Lanes], to: &mut [u8], scale: &mut Lanes, sums: &mut WholeLanes);
            fn finish_bytes(sums: &[WholeLanes], to: ToBytes<'_>, offset: i32, out: &mut [Piece]);
            fn pack_bytes(rows: ByteRows<'_>, to: Packed<'_>);
            fn depthwise(lines: &[&[Piece]], weights: &[WholeLanes], window: (usize, usize), to: ToBytes<'_>, out: &mut [Piece]);
            fn add_bytes(of: [&[Piece]; 2], factors: [f32; 3], bounds: (u8, u8), out: &mut [Piece]);
            fn sum_bytes(pieces: &[Piece], out: &mut WholeLanes);
            fn bytes_from_floats(values: &[f32], grid: (f32, u8), bounds: (u8, u8), out: &mut [u8]);
            fn multiply_floats(row: &[f32], weights: &[i8], out: &mut Lanes);
        }
    };
}

macro_rules! declare {
    ([] $(fn $name:ident($($argument:ident: $of:ty),*);)*) => {
        /// Every loop as one set of instructions has it.
        #[derive(Clone, Copy)]
        pub(crate) struct Loops {
            $(pub(super) $name: unsafe fn($($of),*),)*
        }

        impl Loops {
            $(pub(crate) fn $name(&self, $($argument: $of),*) {
                // SAFETY: a set of loops is handed out for a processor that has its instructions.
                unsafe { (self.$name)($($argument),*) }
            })*
        }
    };
}

loops!(declare);

/// `loops!(compile avx2 Floats256, target_feature(enable = "avx2"))` makes a module `avx2` of them.
macro_rules! compile {
    ([$module:ident $lanes:ty, $attribute:meta] $(fn $name:ident($($argument:ident: $of:ty),*);)*) => {
        mod $module {
            use crate::encoder::kernels::lanes::{Lanes, WholeLanes};
            use crate::encoder::kernels::loops::{Loops, all, all::*};

            $(#[$attribute]
            fn $name($($argument: $of),*) {
                all::$name::<$lanes>($($argument),*);
            })*

            pub(in crate::encoder::kernels) const LOOPS: Loops = Loops { $($name),* };
        }
    };
}
pub(super) use {compile, loops};
