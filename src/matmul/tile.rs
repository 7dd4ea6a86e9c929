//! The innermost loop of few rows: some rows of `x` against a tile of `w`.
//!
//! ```text
//! for k, in order:
//!     for r, j:  p[r][j] = fma(x[r][k], w[k][j], p[r][j])
//! ```
//!
//! Neighbouring `j` are the lanes of a register. `W` consecutive `k` are taken together, so that a sum stays in its
//! register for `W` products. Each weight that is read serves all `R` rows.

use crate::simd::LANES;
use crate::simd::lanes::Lanes;
use crate::tensor::Number;

/// Some rows of a matrix in memory: row `r` begins at `start + r * step`.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    pub start: T,
    pub step: usize,
}

/// `p[r][j] = x[r] · w[.., j]`, over `depth` consecutive `k`, for `width` columns `j` and `rows` rows. The old contents
/// of `p` do not matter. `x` begins at the first `k`, `w` at the first `k` and `j`.
///
/// For use inside a kernel.
///
/// # Safety
/// `x` has `rows` rows of `depth` numbers to read, `w` has `depth` rows of `width` numbers to read, `p` has `rows` rows
/// of `width` numbers to write that no other thread uses.
#[inline(always)]
pub unsafe fn product<L: Lanes, N: Number>(
    x: Rows<*const f32>,
    w: Rows<*const N::Bits>,
    p: Rows<*mut f32>,
    [rows, depth, width]: [usize; 3],
) {
    // With more rows, the sums go to and from the cache more often than the weights. So each trip adds as many products
    // as there are registers for weights.
    let most = match (rows, L::REGISTERS) {
        (8.., 1) => 16,
        (3.., 2..) => 4,
        _ => 8,
    };
    let mut k = 0;
    while k < depth {
        let step = if k + most <= depth { most } else { 1 };
        // SAFETY: `step` rows of w from row k on, the same columns of x.
        let (x, w) =
            unsafe { (Rows { start: x.start.add(k), ..x }, Rows { start: w.start.add(k * w.step), ..w }) };
        let mut r = 0;
        while r < rows {
            // SAFETY: the rows from r on.
            let (x, p) = unsafe {
                (Rows { start: x.start.add(r * x.step), ..x }, Rows { start: p.start.add(r * p.step), ..p })
            };
            // SAFETY: as many rows of x and p, and as many of w, as the constants say.
            unsafe {
                r += match (rows - r, step) {
                    (8.., 16) => walk::<L, N, 8, 16>(x, w, p, width, k == 0),
                    (8.., 4) => walk::<L, N, 8, 4>(x, w, p, width, k == 0),
                    (4.., 16) => walk::<L, N, 4, 16>(x, w, p, width, k == 0),
                    (2.., 16) => walk::<L, N, 2, 16>(x, w, p, width, k == 0),
                    (_, 16) => walk::<L, N, 1, 16>(x, w, p, width, k == 0),
                    (4.., 8) => walk::<L, N, 4, 8>(x, w, p, width, k == 0),
                    (2.., 8) => walk::<L, N, 2, 8>(x, w, p, width, k == 0),
                    (_, 8) => walk::<L, N, 1, 8>(x, w, p, width, k == 0),
                    (4.., 4) => walk::<L, N, 4, 4>(x, w, p, width, k == 0),
                    (3.., 4) => walk::<L, N, 3, 4>(x, w, p, width, k == 0),
                    (2.., 4) => walk::<L, N, 2, 4>(x, w, p, width, k == 0),
                    (_, 4) => walk::<L, N, 1, 4>(x, w, p, width, k == 0),
                    _ => walk::<L, N, 1, 1>(x, w, p, width, k == 0),
                };
            }
        }
        k += step;
    }
}

/// `W` consecutive `k` for `R` rows. Returns `R`. The `first` ones start the sums at 0.
///
/// # Safety
/// As [`product`], with `R` rows and a depth of `W`.
#[inline(always)]
unsafe fn walk<L: Lanes, N: Number, const R: usize, const W: usize>(
    x: Rows<*const f32>,
    w: Rows<*const N::Bits>,
    p: Rows<*mut f32>,
    width: usize,
    first: bool,
) -> usize {
    let mut factors = [[0.0f32; W]; R];
    for r in 0..R {
        for i in 0..W {
            // SAFETY: row r, number i of x.
            factors[r][i] = unsafe { *x.start.add(r * x.step + i) };
        }
    }
    let mut j = 0;
    while j + LANES <= width {
        let mut weights = [L::splat(0.0); W];
        for i in 0..W {
            // SAFETY: row i of w, columns j to j + 16.
            weights[i] = unsafe { N::load::<L>(w.start.add(i * w.step + j)) };
            L::prefetch(w.start.wrapping_add((i + W) * w.step + j).cast());
        }
        for r in 0..R {
            // SAFETY: row r of p, columns j to j + 16; only this call uses them.
            unsafe {
                let place = p.start.add(r * p.step + j);
                let mut sum = if first { L::splat(0.0) } else { L::load(place) };
                for i in 0..W {
                    sum = L::splat(factors[r][i]).mul_add(weights[i], sum);
                }
                sum.store(place);
            }
        }
        j += LANES;
    }
    while j < width {
        for r in 0..R {
            // SAFETY: row r of p and rows 0 to W of w, column j.
            unsafe {
                let place = p.start.add(r * p.step + j);
                let mut sum = if first { 0.0 } else { *place };
                for i in 0..W {
                    sum = factors[r][i].mul_add(N::widen(*w.start.add(i * w.step + j)), sum);
                }
                *place = sum;
            }
        }
        j += 1;
    }
    R
}
