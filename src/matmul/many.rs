//! Many rows of `x`: panels of `w` that stay in the cache while all rows pass by.
//!
//! ```text
//! for each panel of 48 columns n, for each block of 256 k:
//!     panel = a copy of w[block, columns], as f32        # 48 KiB
//!     for each group of 8 rows t:
//!         p = x[rows, block] · panel                     # 8 x 48 sums, all in registers
//!         y[rows, columns] += p                          # y begins as bias
//! ```
//!
//! The copy puts the panel's rows side by side, widens 16-bit weights once for all rows, and for the output head turns
//! rows into columns. Meanwhile the next panel is on its way from memory. The loops are those of Goto and van de
//! Geijn's "Anatomy of High-Performance Matrix Multiplication" (2008), without its copy of `x`: 8 rows of it
//! fit the smallest cache as they are.

use super::tile::{self, Rows};
use super::{Disjoint, K_BLOCK, pieces};
use crate::math::LANES;
use crate::simd::kernel;
use crate::simd::lanes::Lanes;
use crate::tensor::{F32, Matrix, Number};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a panel: three registers. With 8 rows that makes 24 sums of 32 registers.
const PANEL: usize = 3 * LANES;

/// y `[T, N]` = x `[T, K]` · w `[K, N]` + bias `[N]`
pub fn affine<N: Number>(x: &Matrix, w: &[N::Bits], bias: &[f32], y: &mut Matrix) {
    let n = bias.len();
    product(x, y, Some(bias), |k, columns, panel| copy_columns::<N>(w, n, k, columns, panel));
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let c = x.cols();
    product(x, y, None, |k, columns, panel| turn_rows::<N>(w, c, k, columns, panel));
}

/// The loop above. `copy` makes the panel `[k, PANEL]` of a range of `k` and of columns.
fn product(
    x: &Matrix,
    y: &mut Matrix,
    bias: Option<&[f32]>,
    copy: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
) {
    let (rows, n) = (y.rows(), y.cols());
    let out = Disjoint::new(y.data_mut());
    pieces(n, PANEL).for_each(|piece| {
        let mut panel = Matrix::scratch(K_BLOCK, PANEL);
        for first in piece.clone().step_by(PANEL) {
            let columns = first..(first + PANEL).min(piece.end);
            for k in (0..x.cols()).step_by(K_BLOCK) {
                let k = k..(k + K_BLOCK).min(x.cols());
                copy(k.clone(), columns.clone(), panel.data_mut());
                let start = if k.start > 0 {
                    Start::Sum
                } else {
                    bias.map_or(Start::Zero, |b| Start::Bias(&b[columns.clone()]))
                };
                let y = Rows { start: out.pointer(columns.start, (rows - 1) * n + columns.end), step: n };
                panel_product(x, k, panel.data(), start, y, columns.len());
            }
        }
    });
}

/// What a product is added to.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    Sum,
}

kernel! {
    /// panel[i][j] = w[k + i, columns + j], and zeros behind the last column. w `[K, N]`
    fn copy_columns<N: Number>(w: &[N::Bits], n: usize, k: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        for (row, k) in panel.chunks_exact_mut(PANEL).zip(k) {
            let from = &w[k * n..][columns.clone()];
            if columns.len() == PANEL {
                for v in (0..PANEL).step_by(LANES) {
                    // SAFETY: sixteen of the 48 columns, here and there.
                    unsafe { N::load::<L>(from[v..].as_ptr()).store(row[v..].as_mut_ptr()) };
                }
                let next = from.as_ptr().wrapping_add(PANEL).cast::<u8>();
                for line in (0..PANEL * size_of::<N::Bits>()).step_by(64) {
                    L::prefetch(next.wrapping_add(line));
                }
            } else {
                row.fill(0.0);
                row.iter_mut().zip(from).for_each(|(row, w)| *row = N::widen(*w));
            }
        }
    }
}

kernel! {
    /// panel[i][j] = w[columns + j, k + i], and zeros behind the last column. w `[V, C]`
    fn turn_rows<N: Number>(w: &[N::Bits], c: usize, k: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let whole = if columns.len() == PANEL { k.len() / LANES * LANES } else { 0 };
        for i in (0..whole).step_by(LANES) {
            for v in (0..PANEL).step_by(LANES) {
                let mut tile = [L::splat(0.0); LANES];
                for j in 0..LANES {
                    let from = &w[(columns.start + v + j) * c + k.start + i..][..LANES];
                    // SAFETY: sixteen of a row.
                    tile[j] = unsafe { N::load::<L>(from.as_ptr()) };
                    L::prefetch(from.as_ptr().wrapping_add(PANEL * c).cast());
                }
                for (j, row) in L::transpose(tile).into_iter().enumerate() {
                    // SAFETY: sixteen of a row of the panel.
                    unsafe { row.store(panel[(i + j) * PANEL + v..][..LANES].as_mut_ptr()) };
                }
            }
        }
        for (i, row) in panel.chunks_exact_mut(PANEL).enumerate().take(k.len()).skip(whole) {
            row.fill(0.0);
            row.iter_mut().zip(columns.clone()).for_each(|(row, v)| *row = N::widen(w[v * c + k.start + i]));
        }
    }
}

kernel! {
    /// y[t][j] = start + x[t, k] · panel[.., j] for all rows and the panel's first `width` columns.
    fn panel_product(x: &Matrix, k: Range<usize>, panel: &[f32], start: Start<'_>, y: Rows<*mut f32>, width: usize) {
        let mut bias = [0.0f32; PANEL];
        if let Start::Bias(b) = start {
            bias[..width].copy_from_slice(b);
        }
        let bias = (!matches!(start, Start::Sum)).then_some(&bias);
        let rows = x.rows();
        assert!(k.end <= x.cols() && panel.len() >= k.len() * PANEL && width <= PANEL);
        let mut t = 0;
        while t < rows {
            let from = Rows { start: x.data()[t * x.cols() + k.start..].as_ptr(), step: x.cols() };
            // SAFETY: as many rows of x and y as the constants say; the panel's columns of y belong to one thread.
            unsafe {
                let y = Rows { start: y.start.add(t * y.step), ..y };
                t += match (rows - t, L::REGISTERS) {
                    (8.., 1) => rows_product::<L, 8, 3>(from, panel, k.len(), bias, y, width),
                    (4.., 1) => rows_product::<L, 4, 3>(from, panel, k.len(), bias, y, width),
                    (6.., _) => rows_product::<L, 6, 1>(from, panel, k.len(), bias, y, width),
                    (2.., _) => rows_product::<L, 2, 1>(from, panel, k.len(), bias, y, width),
                    _ => rows_product::<L, 1, 3>(from, panel, k.len(), bias, y, width),
                };
            }
        }
    }
}

/// `R` rows of a [`panel_product`], `V` registers at a time; gives `R`.
///
/// # Safety
/// `x` has `R` rows of `depth` numbers to read, `panel` has `depth` rows; `y` has `R` rows of `width` numbers to write,
/// which nobody else uses.
#[inline(always)]
unsafe fn rows_product<L: Lanes, const R: usize, const V: usize>(
    x: Rows<*const f32>,
    panel: &[f32],
    depth: usize,
    bias: Option<&[f32; PANEL]>,
    y: Rows<*mut f32>,
    width: usize,
) -> usize {
    for j in (0..width).step_by(V * LANES) {
        let w = Rows { start: panel[j..].as_ptr(), step: PANEL };
        // SAFETY: the caller's promise; a row of the panel has 16 V columns from j on.
        let p = unsafe { tile::columns::<L, F32, R, V>(x, w, depth, [[L::splat(0.0); V]; R]) };
        for r in 0..R {
            for v in 0..V {
                let j = j + v * LANES;
                // SAFETY: columns j to j + 16, or to `width`, of row r of y; sixteen numbers of the arrays.
                unsafe {
                    let place = y.start.add(r * y.step + j);
                    if j + LANES <= width {
                        let start = L::load(bias.map_or(place.cast_const(), |b| b[j..].as_ptr()));
                        start.add(p[r][v]).store(place);
                    } else if j < width {
                        let mut sums = [0.0f32; LANES];
                        p[r][v].store(sums.as_mut_ptr());
                        for (i, sum) in sums.into_iter().enumerate().take(width - j) {
                            *place.add(i) = bias.map_or(*place.add(i), |b| b[j + i]) + sum;
                        }
                    }
                }
            }
        }
    }
    R
}
