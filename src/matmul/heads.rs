//! Attention's two products, for one head and a few rows.
//!
//! ```text
//! scores[r, s] = scale * (q[r] · key[s])
//! out[r]       = sum over s of weights[r, s] * value[s]
//! ```
//!
//! Both are sums in the order of [`super`]: over the head's dimensions, and over the positions. The cache is laid out
//! for them. Within a page, keys have one row per dimension, so that those of neighbouring positions lie side by side;
//! values have one row per position. Each key and value that is read serves all rows. 16-bit ones are widened exactly.

mod mix;
mod scores;

pub use mix::mix;
pub use scores::scores;

use super::tile::Rows;
use crate::simd::LANES;
use crate::simd::lanes::Lanes;
use crate::tensor::Number;

/// Rows that share what is read.
pub const ROWS: usize = 8;

/// Whether there are registers for the sums of `R` rows and four times sixteen columns.
#[inline(always)]
fn many_sums<L: Lanes, const R: usize>() -> bool {
    L::REGISTERS == 1 || R == 1
}

/// `sums[r] + x[r] · w`, for `R` rows and `V` registers of columns. The sums stay in registers from the first `k` to
/// the last, so `w` is narrow, like a page of keys or values.
///
/// # Safety
/// `x` has `R` rows of `depth` numbers to read, `w` has `depth` rows of `16 V` numbers to read.
#[inline(always)]
unsafe fn columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: Rows<*const f32>,
    w: Rows<*const N::Bits>,
    depth: usize,
    mut sums: [[L; V]; R],
) -> [[L; V]; R] {
    // Four k at a time, so that counting them costs little.
    let mut k = 0;
    while k + 4 <= depth {
        for k in k..k + 4 {
            // SAFETY: the caller's promise: k is less than `depth`.
            unsafe { column_step::<L, N, R, V>(x, w, k, &mut sums) };
        }
        k += 4;
    }
    for k in k..depth {
        // SAFETY: as above.
        unsafe { column_step::<L, N, R, V>(x, w, k, &mut sums) };
    }
    sums
}

/// `sums[r][v] += x[r][k] * w[k][v]`
///
/// # Safety
/// As [`columns`], with a depth of more than `k`.
#[inline(always)]
unsafe fn column_step<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: Rows<*const f32>,
    w: Rows<*const N::Bits>,
    k: usize,
    sums: &mut [[L; V]; R],
) {
    let mut weights = [L::splat(0.0); V];
    for v in 0..V {
        // SAFETY: row k of w, register v.
        weights[v] = unsafe { N::load::<L>(w.start.add(k * w.step + v * LANES)) };
    }
    for r in 0..R {
        // SAFETY: row r, number k of x.
        let factor = L::splat(unsafe { *x.start.add(r * x.step + k) });
        for v in 0..V {
            sums[r][v] = factor.mul_add(weights[v], sums[r][v]);
        }
    }
}
