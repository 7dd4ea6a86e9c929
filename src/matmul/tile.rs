//! The innermost loops: some rows of `x` against a tile of `w`.
//!
//! ```text
//! for k, in order:
//!     for r, j:  p[r][j] = fma(x[r][k], w[k][j], p[r][j])
//! ```
//!
//! Neighbouring `j` are the lanes of a register. Each weight that is read serves all `R` rows. The loops differ in how long a
//! sum stays in its register:
//!
//! - [`product`], few rows and wide `w`: for `W` consecutive `k`. So `w` is read in long stretches.
//! - [`columns`], narrow `w`: from the first `k` to the last.

use super::Columns;
use crate::simd::LANES;
use crate::simd::lanes::{Lanes, prefetch};
use crate::tensor::Number;
use std::array::from_fn;
use std::ops::Range;

/// Some columns of a row-major matrix, to read. Its row `i` begins at `i * step`.
pub struct Part<'a, T> {
    pub numbers: &'a [T],
    pub step: usize,
    pub columns: Range<usize>,
}

impl<'a, T> Part<'a, T> {
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.numbers[i * self.step..][self.columns.clone()]
    }
}

/// `V` registers of each of some rows. That they lie inside the matrix is checked once, for all rows.
pub struct Registers<'a, T, const V: usize> {
    numbers: &'a [T],
    step: usize,
    rows: usize,
}

impl<'a, T, const V: usize> Registers<'a, T, V> {
    /// The registers at the start of each of `rows` rows, `step` apart.
    #[inline(always)]
    pub fn new(numbers: &'a [T], step: usize, rows: usize) -> Self {
        let last = rows.saturating_sub(1).checked_mul(step);
        let end = last.and_then(|last| last.checked_add(V * LANES));
        assert!(rows == 0 || end.is_some_and(|end| end <= numbers.len()), "rows inside the matrix");
        Self { numbers, step, rows }
    }

    /// `M` rows, from row `i` on.
    #[inline(always)]
    pub fn rows<const M: usize>(&self, i: usize) -> [&'a [[T; LANES]; V]; M] {
        assert!(i <= self.rows && M <= self.rows - i, "some of the rows");
        // SAFETY: the last row ends inside the slice, as `new` asserts, and these not after it.
        let row = |m: usize| unsafe { &*self.numbers.as_ptr().add((i + m) * self.step).cast() };
        const { assert!(M > 0) };
        let mut rows = [row(0); M];
        for m in 1..M {
            rows[m] = row(m);
        }
        rows
    }
}

/// Sixteen rows of sixteen numbers, `step` apart.
#[inline(always)]
pub fn square<T>(numbers: &[T], step: usize) -> [&[T; LANES]; LANES] {
    let rows: [&[[T; LANES]; 1]; LANES] = Registers::new(numbers, step, LANES).rows(0);
    let mut square = [&rows[0][0]; LANES];
    for i in 1..LANES {
        square[i] = &rows[i][0];
    }
    square
}

/// `p[r][j] = x[r] · w[.., j]`, for the first `rows` rows; the columns of `x` are the `k`, those of `w` and `place` the `j`.
/// The old contents of `p` do not matter.
///
/// For use inside a kernel.
#[inline(always)]
pub fn product<L: Lanes, N: Number>(
    x: Part<'_, f32>,
    w: Part<'_, N::Bits>,
    rows: usize,
    p: &mut Columns<'_>,
    place: Range<usize>,
) {
    let (depth, place) = (x.columns.len(), &place);
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
        let mut r = 0;
        while r < rows {
            r += match (rows - r, step) {
                (8.., 16) => walk::<L, N, 8, 16>(&x, &w, p, place, r, k),
                (8.., 4) => walk::<L, N, 8, 4>(&x, &w, p, place, r, k),
                (4.., 16) => walk::<L, N, 4, 16>(&x, &w, p, place, r, k),
                (2.., 16) => walk::<L, N, 2, 16>(&x, &w, p, place, r, k),
                (_, 16) => walk::<L, N, 1, 16>(&x, &w, p, place, r, k),
                (4.., 8) => walk::<L, N, 4, 8>(&x, &w, p, place, r, k),
                (2.., 8) => walk::<L, N, 2, 8>(&x, &w, p, place, r, k),
                (_, 8) => walk::<L, N, 1, 8>(&x, &w, p, place, r, k),
                (4.., 4) => walk::<L, N, 4, 4>(&x, &w, p, place, r, k),
                (3.., 4) => walk::<L, N, 3, 4>(&x, &w, p, place, r, k),
                (2.., 4) => walk::<L, N, 2, 4>(&x, &w, p, place, r, k),
                (_, 4) => walk::<L, N, 1, 4>(&x, &w, p, place, r, k),
                _ => walk::<L, N, 1, 1>(&x, &w, p, place, r, k),
            };
        }
        k += step;
    }
}

/// `W` consecutive `k` for `R` rows, from these on. Returns `R`. The first `k` start the sums at 0.
#[inline(always)]
fn walk<L: Lanes, N: Number, const R: usize, const W: usize>(
    x: &Part<'_, f32>,
    w: &Part<'_, N::Bits>,
    p: &mut Columns<'_>,
    place: &Range<usize>,
    r: usize,
    k: usize,
) -> usize {
    let (width, first, ahead) = (place.len(), k == 0, W * w.step);
    let factors: [&[f32; W]; R] = from_fn(|i| x.row(r + i)[k..].first_chunk().expect("W of x"));
    let w: [&[N::Bits]; W] = from_fn(|i| &w.row(k + i)[..width]);
    let mut p: [&mut [f32]; R] = p.rows(r, place.clone());
    let whole = width / LANES;
    let w_whole = w.map(|row| &row.as_chunks::<LANES>().0[..whole]);
    let p_whole = p.each_mut().map(|row| &mut row.as_chunks_mut::<LANES>().0[..whole]);
    for j in 0..whole {
        let mut weights = [L::splat(0.0); W];
        for i in 0..W {
            weights[i] = N::load(&w_whole[i][j]);
        }
        for r in 0..R {
            // a few at a time, which is faster than all at once
            for i in r * W / R..(r + 1) * W / R {
                prefetch(w[i].as_ptr().wrapping_add(ahead + j * LANES));
            }
            let place = &mut p_whole[r][j];
            let mut sum = if first { L::splat(0.0) } else { L::load(place) };
            for i in 0..W {
                sum = L::splat(factors[r][i]).mul_add(weights[i], sum);
            }
            sum.store(place);
        }
    }
    for j in whole * LANES..width {
        for r in 0..R {
            let mut sum = if first { 0.0 } else { p[r][j] };
            for i in 0..W {
                sum = factors[r][i].mul_add(N::widen(w[i][j]), sum);
            }
            p[r][j] = sum;
        }
    }
    R
}

/// `sums[r] + x[r] · w`, for `R` rows and `V` registers of columns, from column `j` of `w` `[K, step]` on. The sums stay in
/// registers from the first `k` to the last, so `w` is narrow: a panel of weights, or a page of keys or values.
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
