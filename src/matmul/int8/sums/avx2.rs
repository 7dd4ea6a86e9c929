//! AVX2: `vpmaddwd` multiplies 16 pairs of 16-bit integers and adds neighbouring products.
//!
//! `vpmaddubsw` would multiply bytes, but its sums of two products saturate at 32,767, and 2 * 255 * 127 is more.

use super::{GROUP, LANES, LINE, Next, Row, Sums};
use std::arch::x86_64::*;

/// # Safety
/// The processor has AVX2; all rows have one length, a multiple of four, and all panels 16 times that.
#[target_feature(enable = "avx2")]
pub unsafe fn sums(x: &[Row<'_>], w: &[&[i8]], next: &Next, sums: &mut Sums) {
    for (p, w) in w.iter().enumerate() {
        // SAFETY: as promised by the caller. Sums of 6 rows and 2 registers, or of 2 and 4, stay in the 16 registers.
        unsafe {
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
}

/// `R` rows with panel `w`, `V` registers of four outputs at a time.
///
/// # Safety
/// As [`sums`].
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn tile<const R: usize, const V: usize>(
    x: [Row<'_>; R],
    w: &[i8],
    next: *const i8,
    sums: &mut Sums,
    p: usize,
) {
    for first in (0..4).step_by(V) {
        // partial[r][v]: four outputs, each as two partial sums side by side
        let mut partial = [[_mm256_setzero_si256(); V]; R];
        for g in 0..w.len() / LINE {
            if first == 0 {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(g * LINE));
            }
            let mut weights = [_mm256_setzero_si256(); V];
            for v in 0..V {
                // SAFETY: line g of 64 bytes lies in the panel.
                let bytes = unsafe { _mm_loadu_si128(w.as_ptr().add(g * LINE + (first + v) * 16).cast()) };
                weights[v] = _mm256_cvtepi8_epi16(bytes);
            }
            for r in 0..R {
                // SAFETY: group g of four numbers lies in the row.
                let four = unsafe { x[r].wide.as_ptr().add(g * GROUP).cast::<i64>().read_unaligned() };
                let four = _mm256_set1_epi64x(four);
                for v in 0..V {
                    partial[r][v] = _mm256_add_epi32(partial[r][v], _mm256_madd_epi16(four, weights[v]));
                }
            }
        }
        for r in 0..R {
            for half in 0..V / 2 {
                // neighbours are added; the permutation puts outputs 0 1 4 5 2 3 6 7 in order
                let pairs = _mm256_hadd_epi32(partial[r][2 * half], partial[r][2 * half + 1]);
                let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                let place = &mut sums[r][p * LANES + 4 * first + 8 * half..][..8];
                // SAFETY: the place is that of eight i32.
                unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), ordered) };
            }
        }
    }
}
