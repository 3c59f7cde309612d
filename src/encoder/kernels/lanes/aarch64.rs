//! Lanes of NEON.
//!
//! SAFETY of all: every processor of 64 bits has NEON.

use std::arch::aarch64::*;

use super::{COLUMNS, Floats, Lanes, Whole, WholeLanes};

/// Floats in four registers.
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Floats128([float32x4_t; 4]);
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Whole128([int32x4_t; 4]);

/// The same of all quarters.
macro_rules! quarters {
    ($as:ident, $f:expr, $a:expr, $b:expr) => {{
        let (a, b, f) = ($a.0, $b.0, $f);
        $as([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])])
    }};
    ($as:ident, $f:expr, $a:expr) => {{
        let (a, f) = ($a.0, $f);
        $as([f(a[0]), f(a[1]), f(a[2]), f(a[3])])
    }};
}

impl Floats for Floats128 {
    type Whole = Whole128;

    lanes! {
        fn splat(v: f32) -> Self { Self([vdupq_n_f32(v); 4]) }
        fn load(from: &Lanes) -> Self {{
            let from = from.as_ptr();
            Self([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))])
        }}
        fn store(self, to: &mut Lanes) {{
            let (to, v) = (to.as_mut_ptr(), self.0);
            vst1q_f32(to, v[0]);
            vst1q_f32(to.add(4), v[1]);
            vst1q_f32(to.add(8), v[2]);
            vst1q_f32(to.add(12), v[3]);
        }}
        fn add(self, other: Self) -> Self { quarters!(Self, |a, b| vaddq_f32(a, b), self, other) }
        fn sub(self, other: Self) -> Self { quarters!(Self, |a, b| vsubq_f32(a, b), self, other) }
        fn mul(self, other: Self) -> Self { quarters!(Self, |a, b| vmulq_f32(a, b), self, other) }
        fn div(self, other: Self) -> Self { quarters!(Self, |a, b| vdivq_f32(a, b), self, other) }
        fn min(self, other: Self) -> Self { quarters!(Self, |a, b| vbslq_f32(vcltq_f32(a, b), a, b), self, other) }
        fn max(self, other: Self) -> Self { quarters!(Self, |a, b| vbslq_f32(vcgtq_f32(a, b), a, b), self, other) }
        fn less(self, other: Self) -> Whole128 {
            quarters!(Whole128, |a, b| vreinterpretq_s32_u32(vcltq_f32(a, b)), self, other)
        }
        fn bits(self) -> Whole128 { quarters!(Whole128, |a| vreinterpretq_s32_f32(a), self) }
    }
}

impl Whole for Whole128 {
    type Floats = Floats128;

    lanes! {
        fn splat(v: i32) -> Self { Self([vdupq_n_s32(v); 4]) }
        fn load(from: &WholeLanes) -> Self {{
            let from = from.as_ptr();
            Self([vld1q_s32(from), vld1q_s32(from.add(4)), vld1q_s32(from.add(8)), vld1q_s32(from.add(12))])
        }}
        fn store(self, to: &mut WholeLanes) {{
            let (to, v) = (to.as_mut_ptr(), self.0);
            vst1q_s32(to, v[0]);
            vst1q_s32(to.add(4), v[1]);
            vst1q_s32(to.add(8), v[2]);
            vst1q_s32(to.add(12), v[3]);
        }}
        fn add(self, other: Self) -> Self { quarters!(Self, |a, b| vaddq_s32(a, b), self, other) }
        fn sub(self, other: Self) -> Self { quarters!(Self, |a, b| vsubq_s32(a, b), self, other) }
        fn mul(self, other: Self) -> Self { quarters!(Self, |a, b| vmulq_s32(a, b), self, other) }
        fn and(self, other: Self) -> Self { quarters!(Self, |a, b| vandq_s32(a, b), self, other) }
        fn or(self, other: Self) -> Self { quarters!(Self, |a, b| vorrq_s32(a, b), self, other) }
        fn up<const BITS: u32>(self) -> Self {
            quarters!(Self, |a| vshlq_s32(a, vdupq_n_s32(BITS as i32)), self)
        }
        fn down<const BITS: u32>(self) -> Self {
            quarters!(Self, |a| vshlq_s32(a, vdupq_n_s32(-(BITS as i32))), self)
        }
        fn add_product(self, byte: Self, short: Self) -> Self {{
            let (s, a, b) = (self.0, byte.0, short.0);
            Self([0, 1, 2, 3].map(|n| vmlaq_s32(s[n], a[n], b[n])))
        }}
        fn of_bytes(from: &[u8; COLUMNS]) -> Self {{
            let bytes = vld1q_u8(from.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            let whole = [vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low), vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)];
            Self(whole.map(|v| vreinterpretq_s32_u32(v)))
        }}
        fn floats(self) -> Floats128 { quarters!(Floats128, |a| vcvtq_f32_s32(a), self) }
        fn as_floats(self) -> Floats128 { quarters!(Floats128, |a| vreinterpretq_f32_s32(a), self) }
        fn bytes(self) -> [u8; COLUMNS] {{
            let [a, b] = halves(self.0);
            std::mem::transmute(vcombine_s8(vmovn_s16(a), vmovn_s16(b)))
        }}
        fn shorts(self) -> [i16; COLUMNS] { std::mem::transmute(halves(self.0)) }
    }
}

/// The lowest two bytes of each.
#[inline]
#[target_feature(enable = "neon")]
fn halves(v: [int32x4_t; 4]) -> [int16x8_t; 2] {
    [
        vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1])),
        vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3])),
    ]
}
