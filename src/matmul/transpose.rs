//! Turns a 16 x 16 tile, so that what lay across memory lies across lanes. It moves numbers and computes none.
//!
//! ```text
//! for i, j:  to[j][i] = from[i][j]
//! ```
//!
//! Element (i, j) has an address of eight bits: four of `i`, four of `j`. Riffling rows `r` and `r + 8` together, like
//! two halves of a pack of cards, rotates every address by one bit. After four riffles `i` and `j` have changed places.

use crate::math::LANES;
use crate::simd::Simd;

/// Sixteen rows of sixteen.
pub type Tile = [[f32; LANES]; LANES];

/// to = fromᵀ, for use inside a kernel compiled for `SIMD`.
#[inline(always)]
pub fn transpose<const SIMD: u8>(from: &Tile, to: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        if SIMD == Simd::Avx512 as u8 {
            // SAFETY: the copy of a kernel that has this `SIMD` runs only where the processor has it.
            return unsafe { avx512(from, to) };
        }
        if SIMD == Simd::Avx2 as u8 {
            // SAFETY: as above.
            return unsafe { avx2(from, to) };
        }
    }
    plain(from, to)
}

fn plain(from: &Tile, to: &mut Tile) {
    for i in 0..LANES {
        for j in 0..LANES {
            to[j][i] = from[i][j];
        }
    }
}

/// Four riffles of sixteen registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn avx512(from: &Tile, to: &mut Tile) {
    use std::arch::x86_64::*;
    // lane l of the result takes lane INDEX[l] of the pair (a, b), b counted from 16
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let mut rows = [_mm512_setzero_ps(); LANES];
    for i in 0..LANES {
        // SAFETY: the pointer is that of sixteen f32.
        rows[i] = unsafe { _mm512_loadu_ps(from[i].as_ptr()) };
    }
    for _ in 0..4 {
        let mut riffled = rows;
        for i in 0..LANES / 2 {
            riffled[2 * i] = _mm512_permutex2var_ps(rows[i], low, rows[i + 8]);
            riffled[2 * i + 1] = _mm512_permutex2var_ps(rows[i], high, rows[i + 8]);
        }
        rows = riffled;
    }
    for i in 0..LANES {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to[i].as_mut_ptr(), rows[i]) };
    }
}

/// The same with eight lanes: four tiles of 8 x 8, three riffles each.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn avx2(from: &Tile, to: &mut Tile) {
    use std::arch::x86_64::*;
    for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        let mut rows = [_mm256_setzero_ps(); 8];
        for r in 0..8 {
            // SAFETY: the pointer is that of eight f32.
            rows[r] = unsafe { _mm256_loadu_ps(from[i + r][j..j + 8].as_ptr()) };
        }
        for _ in 0..3 {
            let mut riffled = rows;
            for r in 0..4 {
                // unpack riffles each half of a register; the permutation joins the halves
                let (low, high) =
                    (_mm256_unpacklo_ps(rows[r], rows[r + 4]), _mm256_unpackhi_ps(rows[r], rows[r + 4]));
                riffled[2 * r] = _mm256_permute2f128_ps::<0x20>(low, high);
                riffled[2 * r + 1] = _mm256_permute2f128_ps::<0x31>(low, high);
            }
            rows = riffled;
        }
        for r in 0..8 {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(to[j + r][i..i + 8].as_mut_ptr(), rows[r]) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::kernel;
    use crate::simd::tests::under_each;

    kernel! {
        fn turned(from: &Tile) -> Tile {
            let mut to = [[0.0; LANES]; LANES];
            transpose::<SIMD>(from, &mut to);
            to
        }
    }

    #[test]
    fn rows_become_columns() {
        let mut from = [[0.0; LANES]; LANES];
        from.as_flattened_mut().iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        let mut expected = from;
        plain(&from, &mut expected);
        assert_eq!(expected[3][5], (5 * LANES + 3) as f32);
        under_each(|simd| assert_eq!(turned(&from), expected, "{simd:?}"));
    }
}
