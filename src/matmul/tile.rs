//! The loop that most of the time is spent in: some rows of `x` against a tile of `w`.
//!
//! ```text
//! for k, in order:
//!     for r, j:  p[r][j] = fma(x[r][k], w[k][j], p[r][j])
//! ```
//!
//! Neighbouring `j` are the lanes of a register. `W` consecutive `k` are taken together, so that a sum stays in
//! its register for `W` products; each weight that is read serves all `R` rows.

use crate::simd::LANES;
use crate::simd::lanes::Lanes;
use crate::tensor::Number;

/// Some rows of a matrix in memory: row `r` begins at `start + r * step`.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    pub start: T,
    pub step: usize,
}

/// Where a sum's factors come from: `x[r][k]`.
pub trait Factors: Copy {
    /// x\[r\]\[k\]
    ///
    /// # Safety
    /// There is a row `r` and a `k` to read.
    unsafe fn at(self, r: usize, k: usize) -> f32;
}

impl Factors for Rows<*const f32> {
    #[inline(always)]
    unsafe fn at(self, r: usize, k: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *self.start.add(r * self.step + k) }
    }
}

/// `R` rows whose factors of the same `k` lie side by side: `[depth, R]`.
#[derive(Clone, Copy)]
pub struct Turned<const R: usize>(pub *const f32);

impl<const R: usize> Factors for Turned<R> {
    #[inline(always)]
    unsafe fn at(self, r: usize, k: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *self.0.add(k * R + r) }
    }
}

/// `p[r][j] = x[r] · w[.., j]`, over `depth` consecutive `k`, for `width` columns `j` and `rows` rows; what was in `p`
/// does not matter. `x` begins at the first `k`, `w` at the first `k` and `j`.
///
/// For use inside a kernel.
///
/// # Safety
/// `x` has `rows` rows of `depth` numbers to read, `w` has `depth` rows of `width` numbers to read, `p` has `rows` rows of
/// `width` numbers to write that nobody else uses.
#[inline(always)]
pub unsafe fn product<L: Lanes, N: Number>(
    x: Rows<*const f32>,
    w: Rows<*const N::Bits>,
    p: Rows<*mut f32>,
    [rows, depth, width]: [usize; 3],
) {
    // With many rows the sums go to and from the cache more often than the weights: each trip is made to count, as far
    // as the registers can hold the weights.
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

/// `W` consecutive `k` for `R` rows; gives `R`. The `first` ones start the sums at 0.
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

/// `V` registers of columns for `R` rows, whose sums stay in registers from the first `k` to the last.
///
/// For narrow `w`, like a page of keys or values; gives the sums.
///
/// # Safety
/// `x` has `R` rows of `depth` numbers to read, `w` has `depth` rows of `16 V` numbers to read.
#[inline(always)]
pub unsafe fn columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: impl Factors,
    w: Rows<*const N::Bits>,
    depth: usize,
    mut sums: [[L; V]; R],
) -> [[L; V]; R] {
    // Four k at a time, so that counting them costs little beside the sums.
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

/// `sums[r][v] += x[r][k] * w[k]`
///
/// # Safety
/// As [`columns`], with a depth of more than `k`.
#[inline(always)]
unsafe fn column_step<L: Lanes, N: Number, const R: usize, const V: usize>(
    x: impl Factors,
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
        let factor = L::splat(unsafe { x.at(r, k) });
        for v in 0..V {
            sums[r][v] = factor.mul_add(weights[v], sums[r][v]);
        }
    }
}
