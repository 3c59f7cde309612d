//! Lanes of AVX-512 with VNNI and of AVX2.
//!
//! SAFETY of all: the loops are compiled for the set and handed out for a processor that has it.

use std::arch::x86_64::*;

use super::{COLUMNS, Floats, Lanes, Whole, WholeLanes};

/// Floats in one register of AVX-512.
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Floats512(__m512);
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Whole512(pub(in crate::encoder::kernels) __m512i);

impl Floats for Floats512 {
    type Whole = Whole512;

    lanes! {
        fn splat(v: f32) -> Self { Self(_mm512_set1_ps(v)) }
        fn load(from: &Lanes) -> Self { Self(_mm512_loadu_ps(from.as_ptr())) }
        fn store(self, to: &mut Lanes) { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        fn add(self, other: Self) -> Self { Self(_mm512_add_ps(self.0, other.0)) }
        fn sub(self, other: Self) -> Self { Self(_mm512_sub_ps(self.0, other.0)) }
        fn mul(self, other: Self) -> Self { Self(_mm512_mul_ps(self.0, other.0)) }
        fn div(self, other: Self) -> Self { Self(_mm512_div_ps(self.0, other.0)) }
        fn min(self, other: Self) -> Self { Self(_mm512_min_ps(self.0, other.0)) }
        fn max(self, other: Self) -> Self { Self(_mm512_max_ps(self.0, other.0)) }
        fn less(self, other: Self) -> Whole512 {
            Whole512(_mm512_movm_epi32(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)))
        }
        fn bits(self) -> Whole512 { Whole512(_mm512_castps_si512(self.0)) }
    }
}

impl Whole for Whole512 {
    type Floats = Floats512;

    lanes! {
        fn splat(v: i32) -> Self { Self(_mm512_set1_epi32(v)) }
        fn load(from: &WholeLanes) -> Self { Self(_mm512_loadu_si512(from.as_ptr().cast())) }
        fn store(self, to: &mut WholeLanes) { _mm512_storeu_si512(to.as_mut_ptr().cast(), self.0) }
        fn add(self, other: Self) -> Self { Self(_mm512_add_epi32(self.0, other.0)) }
        fn sub(self, other: Self) -> Self { Self(_mm512_sub_epi32(self.0, other.0)) }
        fn mul(self, other: Self) -> Self { Self(_mm512_mullo_epi32(self.0, other.0)) }
        fn and(self, other: Self) -> Self { Self(_mm512_and_si512(self.0, other.0)) }
        fn or(self, other: Self) -> Self { Self(_mm512_or_si512(self.0, other.0)) }
        fn up<const BITS: u32>(self) -> Self { Self(_mm512_slli_epi32::<BITS>(self.0)) }
        fn down<const BITS: u32>(self) -> Self { Self(_mm512_srai_epi32::<BITS>(self.0)) }
        fn add_product(self, byte: Self, short: Self) -> Self { Self(_mm512_dpwssd_epi32(self.0, byte.0, short.0)) }
        fn of_bytes(from: &[u8; COLUMNS]) -> Self {
            Self(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())))
        }
        fn floats(self) -> Floats512 { Floats512(_mm512_cvtepi32_ps(self.0)) }
        fn as_floats(self) -> Floats512 { Floats512(_mm512_castsi512_ps(self.0)) }
        fn bytes(self) -> [u8; COLUMNS] { std::mem::transmute(_mm512_cvtepi32_epi8(self.0)) }
        fn shorts(self) -> [i16; COLUMNS] { std::mem::transmute(_mm512_cvtepi32_epi16(self.0)) }
    }
}

/// Floats in two registers of AVX.
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Floats256(__m256, __m256);
#[derive(Clone, Copy)]
pub(in crate::encoder::kernels) struct Whole256(__m256i, __m256i);

/// The same of both halves.
macro_rules! halves {
    ($as:ident, $f:ident, $a:expr, $b:expr) => {
        $as($f($a.0, $b.0), $f($a.1, $b.1))
    };
    ($as:ident, $f:ident, $a:expr) => {
        $as($f($a.0), $f($a.1))
    };
}

impl Floats for Floats256 {
    type Whole = Whole256;

    lanes! {
        fn splat(v: f32) -> Self { Self(_mm256_set1_ps(v), _mm256_set1_ps(v)) }
        fn load(from: &Lanes) -> Self {
            Self(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8)))
        }
        fn store(self, to: &mut Lanes) {{
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.1);
        }}
        fn add(self, other: Self) -> Self { halves!(Self, _mm256_add_ps, self, other) }
        fn sub(self, other: Self) -> Self { halves!(Self, _mm256_sub_ps, self, other) }
        fn mul(self, other: Self) -> Self { halves!(Self, _mm256_mul_ps, self, other) }
        fn div(self, other: Self) -> Self { halves!(Self, _mm256_div_ps, self, other) }
        fn min(self, other: Self) -> Self { halves!(Self, _mm256_min_ps, self, other) }
        fn max(self, other: Self) -> Self { halves!(Self, _mm256_max_ps, self, other) }
        fn less(self, other: Self) -> Whole256 {
            Floats256(
                _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0),
                _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1),
            )
            .bits()
        }
        fn bits(self) -> Whole256 { halves!(Whole256, _mm256_castps_si256, self) }
    }
}

impl Whole for Whole256 {
    type Floats = Floats256;

    lanes! {
        fn splat(v: i32) -> Self { Self(_mm256_set1_epi32(v), _mm256_set1_epi32(v)) }
        fn load(from: &WholeLanes) -> Self {{
            let from = from.as_ptr().cast::<__m256i>();
            Self(_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1)))
        }}
        fn store(self, to: &mut WholeLanes) {{
            let to = to.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, self.0);
            _mm256_storeu_si256(to.add(1), self.1);
        }}
        fn add(self, other: Self) -> Self { halves!(Self, _mm256_add_epi32, self, other) }
        fn sub(self, other: Self) -> Self { halves!(Self, _mm256_sub_epi32, self, other) }
        fn mul(self, other: Self) -> Self { halves!(Self, _mm256_mullo_epi32, self, other) }
        fn and(self, other: Self) -> Self { halves!(Self, _mm256_and_si256, self, other) }
        fn or(self, other: Self) -> Self { halves!(Self, _mm256_or_si256, self, other) }
        fn up<const BITS: u32>(self) -> Self {{
            let by = _mm_cvtsi32_si128(BITS as i32);
            Self(_mm256_sll_epi32(self.0, by), _mm256_sll_epi32(self.1, by))
        }}
        fn down<const BITS: u32>(self) -> Self {{
            let by = _mm_cvtsi32_si128(BITS as i32);
            Self(_mm256_sra_epi32(self.0, by), _mm256_sra_epi32(self.1, by))
        }}
        fn add_product(self, byte: Self, short: Self) -> Self {
            self.add(halves!(Self, _mm256_madd_epi16, byte, short))
        }
        fn of_bytes(from: &[u8; COLUMNS]) -> Self {{
            let from = from.as_ptr();
            Self(
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast())),
            )
        }}
        fn floats(self) -> Floats256 { halves!(Floats256, _mm256_cvtepi32_ps, self) }
        fn as_floats(self) -> Floats256 { halves!(Floats256, _mm256_castsi256_ps, self) }
        fn bytes(self) -> [u8; COLUMNS] {{
            // Quarters of the halves lie crosswise until the last step.
            let low = self.and(Self::splat(0xff));
            let words = _mm256_packus_epi32(low.0, low.1);
            let bytes = _mm256_packus_epi16(words, words);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            std::mem::transmute(_mm256_castsi256_si128(bytes))
        }}
        fn shorts(self) -> [i16; COLUMNS] {{
            let low = self.and(Self::splat(0xffff));
            let words = _mm256_packus_epi32(low.0, low.1);
            std::mem::transmute(_mm256_permute4x64_epi64::<0b11_01_10_00>(words))
        }}
    }
}
