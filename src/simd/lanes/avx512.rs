//! AVX-512. The intrinsics need a processor that has it; the kernel's copy that calls them runs nowhere else.

use super::Lanes;
use crate::simd::LANES;
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// One register of 16 lanes.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(__m512);

impl Lanes for Avx512 {
    const REGISTERS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: a kernel's AVX-512 copy runs only where the processor has AVX-512. So below.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(must_cast(*from))
    }
    #[inline(always)]
    fn load_bf16(from: &[u16; LANES]) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            let half = _mm512_cvtepu16_epi32(must_cast(*from));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(half)))
        }
    }
    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        // SAFETY: see `splat`.
        Self(unsafe { _mm512_cvtph_ps(must_cast(*from)) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = must_cast(self.0);
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see `splat`.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see `splat`.
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see `splat`.
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }

    /// The address of an element has eight bits: four of its row, four of its lane. Riffling rows `r` and `r + 8`
    /// together, like two halves of a pack of cards, rotates every address by one bit. After four riffles, row and lane
    /// have changed places.
    #[inline(always)]
    fn turned(rows: [&[f32; LANES]; LANES]) -> [Self; LANES] {
        let mut lanes = [Self::splat(0.0); LANES];
        for r in 0..LANES {
            lanes[r] = Self::load(rows[r]);
        }
        // SAFETY: see `splat`.
        unsafe {
            let [low, high]: [__m512i; 2] = must_cast(RIFFLE);
            for _ in 0..4 {
                let mut riffled = lanes;
                for i in 0..LANES / 2 {
                    riffled[2 * i].0 = _mm512_permutex2var_ps(lanes[i].0, low, lanes[i + 8].0);
                    riffled[2 * i + 1].0 = _mm512_permutex2var_ps(lanes[i].0, high, lanes[i + 8].0);
                }
                lanes = riffled;
            }
        }
        lanes
    }

    #[inline(always)]
    fn turned_bf16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`. A bf16 is the upper half of its f32.
        unsafe {
            turned_pairs(rows, |pair| {
                let second = _mm512_and_si512(pair, _mm512_set1_epi32(!0xffff));
                [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pair)), _mm512_castsi512_ps(second)]
            })
        }
    }
    #[inline(always)]
    fn turned_f16(rows: [&[u16; LANES]; LANES]) -> [Self; LANES] {
        // SAFETY: see `splat`.
        unsafe {
            turned_pairs(rows, |pair| {
                let second = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(pair));
                [_mm512_cvtph_ps(_mm512_cvtepi32_epi16(pair)), _mm512_cvtph_ps(second)]
            })
        }
    }
}

/// The lower and the upper half of two riffled registers (a, b): which lanes they take, those of b counted from 16.
const RIFFLE: [[i32; LANES]; 2] = [
    [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23],
    [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31],
];

/// The same, if a register holds two rows of eight pairs, which are riffled as well.
const RIFFLE_ROWS: [[i32; LANES]; 2] = [
    [0, 16, 8, 24, 1, 17, 9, 25, 2, 18, 10, 26, 3, 19, 11, 27],
    [4, 20, 12, 28, 5, 21, 13, 29, 6, 22, 14, 30, 7, 23, 15, 31],
];

/// Sixteen rows of sixteen 16-bit numbers, turned. Two rows share a register, and neighbouring columns are pairs: half as many
/// registers as above, and one riffle less. `widen` makes the two columns of sixteen pairs.
#[target_feature(enable = "avx512f")]
#[inline]
fn turned_pairs(rows: [&[u16; LANES]; LANES], widen: impl Fn(__m512i) -> [__m512; 2]) -> [Avx512; LANES] {
    let mut pairs = [_mm512_setzero_si512(); LANES / 2];
    for r in 0..LANES / 2 {
        pairs[r] = must_cast([*rows[r], *rows[r + 8]]);
    }
    for riffle in [RIFFLE_ROWS, RIFFLE, RIFFLE] {
        let [low, high]: [__m512i; 2] = must_cast(riffle);
        let mut riffled = pairs;
        for i in 0..LANES / 4 {
            riffled[2 * i] = _mm512_permutex2var_epi32(pairs[i], low, pairs[i + 4]);
            riffled[2 * i + 1] = _mm512_permutex2var_epi32(pairs[i], high, pairs[i + 4]);
        }
        pairs = riffled;
    }
    let mut turned = [Avx512(_mm512_setzero_ps()); LANES];
    for i in 0..LANES / 2 {
        [turned[2 * i].0, turned[2 * i + 1].0] = widen(pairs[i]);
    }
    turned
}
