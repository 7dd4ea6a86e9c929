//! AVX2: `vpmaddwd` multiplies 16 pairs of 16-bit integers and adds neighbouring products.
//!
//! `vpmaddubsw` would multiply bytes, but its sums of two products saturate at 32,767, and 2 * 255 * 127 is more.

use super::{GROUP, LANES, LINE, Next, Row, Sums};
use crate::simd::lanes::prefetch;
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// As [`Kernel::sums`](super::Kernel::sums).
#[target_feature(enable = "avx2")]
pub fn sums(x: &[Row<'_>], w: &[&[i8]], next: &Next, sums: &mut Sums) {
    for (p, w) in w.iter().enumerate() {
        // sums of 6 rows and 2 registers, or of 2 and 4, stay in the 16 registers
        match *x {
            [a, b, c, d, e, f] => tile::<6, 2>([a, b, c, d, e, f], w, next[p], sums, p),
            [a, b, c, d, e] => tile::<5, 2>([a, b, c, d, e], w, next[p], sums, p),
            [a, b, c, d] => tile::<4, 2>([a, b, c, d], w, next[p], sums, p),
            [a, b, c] => tile::<3, 2>([a, b, c], w, next[p], sums, p),
            [a, b] => tile::<2, 4>([a, b], w, next[p], sums, p),
            [a] => tile::<1, 4>([a], w, next[p], sums, p),
            _ => {}
        }
    }
}

/// `R` rows with panel `w`, `V` registers of four outputs at a time.
#[target_feature(enable = "avx2")]
#[inline]
fn tile<const R: usize, const V: usize>(
    x: [Row<'_>; R],
    w: &[i8],
    next: *const i8,
    sums: &mut Sums,
    p: usize,
) {
    // lists of one length: their indices need no check
    let w: &[[[i8; 4 * GROUP]; 4]] = w.as_chunks().0.as_chunks().0;
    let mut q: [&[[i16; GROUP]]; R] = [&[]; R];
    for r in 0..R {
        q[r] = &x[r].wide.as_chunks().0[..w.len()];
    }
    for first in (0..4).step_by(V) {
        // partial[r][v]: four outputs, each as two partial sums side by side
        let mut partial = [[_mm256_setzero_si256(); V]; R];
        for g in 0..w.len() {
            if first == 0 {
                prefetch(next.wrapping_add(g * LINE));
            }
            let mut weights = [_mm256_setzero_si256(); V];
            for v in 0..V {
                weights[v] = _mm256_cvtepi8_epi16(must_cast(w[g][first + v]));
            }
            for r in 0..R {
                let four = _mm256_set1_epi64x(must_cast(q[r][g]));
                for v in 0..V {
                    partial[r][v] = _mm256_add_epi32(partial[r][v], _mm256_madd_epi16(four, weights[v]));
                }
            }
        }
        for r in 0..R {
            let places = sums[r][p * LANES + 4 * first..].as_chunks_mut().0;
            for half in 0..V / 2 {
                // neighbours are added; the permutation puts outputs 0 1 4 5 2 3 6 7 in order
                let pairs = _mm256_hadd_epi32(partial[r][2 * half], partial[r][2 * half + 1]);
                places[half] = must_cast::<_, [i32; 8]>(_mm256_permute4x64_epi64::<0b11_01_10_00>(pairs));
            }
        }
    }
}
