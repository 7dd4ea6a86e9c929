//! AVX2. The intrinsics need a processor that has it; the kernel's copy that calls them runs nowhere else.

use super::Lanes;
use crate::simd::LANES;
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// Two registers of 8 lanes.
#[derive(Clone, Copy, Debug)]
pub struct Avx2([__m256; 2]);

impl Lanes for Avx2 {
    const REGISTERS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: a kernel's AVX2 copy runs only where the processor has AVX2, FMA and F16C. So below.
        Self([unsafe { _mm256_set1_ps(x) }; 2])
    }
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(must_cast(*from))
    }
    #[inline(always)]
    fn load_bf16(from: &[u16; LANES]) -> Self {
        let half: [__m128i; 2] = must_cast(*from);
        // SAFETY: see `splat`.
        unsafe {
            Self([
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half[0]))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half[1]))),
            ])
        }
    }
    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        let half: [__m128i; 2] = must_cast(*from);
        // SAFETY: see `splat`.
        Self(unsafe { [_mm256_cvtph_ps(half[0]), _mm256_cvtph_ps(half[1])] })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = must_cast(self.0);
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            Self([_mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1])])
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self([_mm256_add_ps(self.0[0], b.0[0]), _mm256_add_ps(self.0[1], b.0[1])]) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { Self([_mm256_mul_ps(self.0[0], b.0[0]), _mm256_mul_ps(self.0[1], b.0[1])]) }
    }

    #[inline(always)]
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        unsafe { turned(rows) }
    }

    #[inline(always)]
    fn turned_bf16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        unsafe { turned_bf16(rows) }
    }

    #[inline(always)]
    fn turned_f16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        unsafe { turned_f16(rows) }
    }
}

/// Halves of rows `r` and `r + 4` share a register, so that nothing crosses its middle: four registers hold eight rows of
/// four numbers, and eight shuffles turn them.
#[target_feature(enable = "avx2")]
#[inline]
fn turned(rows: [&[f32; LANES]; LANES]) -> [Avx2; LANES] {
    let mut to = [Avx2([_mm256_setzero_ps(); 2]); LANES];
    for half in 0..2 {
        for k in 0..LANES / 4 {
            let mut fours = [_mm256_setzero_ps(); 4];
            for r in 0..4 {
                let [low, high] = [rows[8 * half + r], rows[8 * half + r + 4]];
                let [low, high] = [low, high].map(|row| row.as_chunks::<4>().0[k]);
                fours[r] = _mm256_set_m128(must_cast(high), must_cast(low));
            }
            let [a, b, c, d] = fours;
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            to[4 * k].0[half] = _mm256_shuffle_ps::<0x44>(ab, cd);
            to[4 * k + 1].0[half] = _mm256_shuffle_ps::<0xee>(ab, cd);
            let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            to[4 * k + 2].0[half] = _mm256_shuffle_ps::<0x44>(ab, cd);
            to[4 * k + 3].0[half] = _mm256_shuffle_ps::<0xee>(ab, cd);
        }
    }
    to
}

/// The first of two columns lies in the lower half of each 64 bits. With zeros below them, 16 bits are the upper half of
/// an f32.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn turned_bf16(rows: [&[u16; LANES]; LANES]) -> [Avx2; LANES] {
    let zero = _mm256_setzero_si256();
    turned_pairs(rows, |pair| {
        let (first, second) = (_mm256_unpacklo_epi16(zero, pair), _mm256_unpackhi_epi16(zero, pair));
        [_mm256_castsi256_ps(first), _mm256_castsi256_ps(second)]
    })
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn turned_f16(rows: [&[u16; LANES]; LANES]) -> [Avx2; LANES] {
    turned_pairs(rows, |pair| {
        let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(pair);
        let (first, second) = (_mm256_castsi256_si128(ordered), _mm256_extracti128_si256::<1>(ordered));
        [_mm256_cvtph_ps(first), _mm256_cvtph_ps(second)]
    })
}

/// Sixteen rows of sixteen 16-bit numbers, turned. `widen` gets two neighbouring columns of eight rows: four rows of
/// the first, four of the second, then the next four of each. It returns the two columns.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn turned_pairs(rows: [&[u16; LANES]; LANES], widen: impl Fn(__m256i) -> [__m256; 2]) -> [Avx2; LANES] {
    let mut to = [Avx2([_mm256_setzero_ps(); 2]); LANES];
    for k in 0..LANES / 8 {
        for half in 0..2 {
            let mut eights = [_mm256_setzero_si256(); 4];
            for r in 0..4 {
                let [low, high] = [rows[8 * half + r], rows[8 * half + r + 4]];
                let [low, high] = [low, high].map(|row| row.as_chunks::<8>().0[k]);
                eights[r] = _mm256_set_m128i(must_cast(high), must_cast(low));
            }
            let [a, b, c, d] = eights;
            let (ab, cd) = (_mm256_unpacklo_epi16(a, b), _mm256_unpacklo_epi16(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_epi16(a, b), _mm256_unpackhi_epi16(c, d));
            let pairs = [
                _mm256_unpacklo_epi32(ab, cd),
                _mm256_unpackhi_epi32(ab, cd),
                _mm256_unpacklo_epi32(ab_high, cd_high),
                _mm256_unpackhi_epi32(ab_high, cd_high),
            ];
            for (i, pair) in pairs.into_iter().enumerate() {
                [to[8 * k + 2 * i].0[half], to[8 * k + 2 * i + 1].0[half]] = widen(pair);
            }
        }
    }
    to
}
