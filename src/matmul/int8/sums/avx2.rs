//! AVX2: `vpmaddubsw` multiplies 32 unsigned bytes by 32 signed ones, and adds neighbouring products in 16 bits.
//!
//! It is exact where the [pairs fit](super::Known).

use super::{GROUP, LANES, LINE, Next, Sums};
use crate::simd::lanes::prefetch;
use bytemuck::must_cast;
use std::arch::x86_64::*;

/// Bytes of a register: four weights of each of eight outputs.
const BYTES: usize = 8 * GROUP;

/// As [`Kernel::sums`](super::Kernel::sums), for `R` rows. Of 6 rows, the sums of a panel stay in registers.
#[target_feature(enable = "avx2")]
pub fn sums<const R: usize>(x: [&[u8]; R], w: &[&[i8]], next: Option<&Next>, sums: &mut Sums) {
    for (p, w) in w.iter().enumerate() {
        tile(x, w, next.map(|next| next[p]), sums, p);
    }
}

/// One panel, number `p`.
#[target_feature(enable = "avx2")]
#[inline]
fn tile<const R: usize>(x: [&[u8]; R], w: &[i8], next: Option<*const i8>, sums: &mut Sums, p: usize) {
    // lists of one length: their indices need no check
    let w: &[[[i8; BYTES]; 2]] = w.as_chunks().0.as_chunks().0;
    let mut q: [&[[u8; GROUP]]; R] = [&[]; R];
    for r in 0..R {
        q[r] = &x[r].as_chunks().0[..w.len()];
    }
    let mut y = [[_mm256_setzero_si256(); 2]; R];
    for g in 0..w.len() {
        if let Some(next) = next {
            prefetch(next.wrapping_add(g * LINE));
        }
        let weights: [__m256i; 2] = must_cast(w[g]);
        for r in 0..R {
            let four = _mm256_set1_epi32(i32::from_ne_bytes(q[r][g]));
            for v in 0..2 {
                let pairs = _mm256_maddubs_epi16(four, weights[v]);
                y[r][v] = _mm256_add_epi32(y[r][v], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
    }
    for r in 0..R {
        sums[r].as_chunks_mut::<LANES>().0[p] = must_cast(y[r]);
    }
}
