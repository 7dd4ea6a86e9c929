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

use super::tile::Registers;
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

/// `sums[r] + x[r] · w`, for `R` rows and `V` registers of columns, from column `j` of `w` `[K, step]` on. The sums stay in
/// registers from the first `k` to the last, so `w` is narrow, like a page of keys or values.
#[inline(always)]
pub fn columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: [&[f32]; R],
    w: &[N::Bits],
    step: usize,
    j: usize,
    mut sums: [[L; V]; R],
) -> [[L; V]; R] {
    let depth = x[0].len();
    let w = Registers::<_, V>::new(&w[j..], step, depth);
    // Four k at a time, so that counting and checking them costs little.
    let fours = x.map(|row| &row[..depth].as_chunks::<4>().0[..depth / 4]);
    for four in 0..depth / 4 {
        let rows = w.rows::<4>(4 * four);
        for k in 0..4 {
            column_step::<L, N, R, V>(fours.map(|x| x[four][k]), rows[k], &mut sums);
        }
    }
    for k in depth / 4 * 4..depth {
        let [row] = w.rows(k);
        column_step::<L, N, R, V>(x.map(|x| x[k]), row, &mut sums);
    }
    sums
}

/// `sums[r][v] += x[r] * w[v]`, for one `k`.
#[inline(always)]
fn column_step<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: [f32; R],
    w: &[[N::Bits; LANES]; V],
    sums: &mut [[L; V]; R],
) {
    let mut weights = [L::splat(0.0); V];
    for v in 0..V {
        weights[v] = N::load(&w[v]);
    }
    for r in 0..R {
        let factor = L::splat(x[r]);
        for v in 0..V {
            sums[r][v] = factor.mul_add(weights[v], sums[r][v]);
        }
    }
}
