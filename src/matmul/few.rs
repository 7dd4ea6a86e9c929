//! Few rows of `x`: each weight is read once and used for all of them.
//!
//! The memory is the limit here, so the loop follows it: eight rows of `w` at a time, from left to right.
//! The partial sums `p` of a block of `k` stay in the L1 cache between one eight and the next.

use super::transpose::transpose;
use super::{Disjoint, K_BLOCK, pieces, tile};
use crate::math::LANES;
use crate::simd::kernel;
use crate::tensor::{Matrix, Number};
use rayon::prelude::*;

/// Columns whose partial sums are kept together: for eight rows 16 KiB.
const COLUMNS: usize = 512;

/// y `[T, N]` += x `[T, K]` · w `[K, N]`
pub fn add_product<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let (rows, n) = (y.rows(), y.cols());
    let out = Disjoint::new(y.data_mut());
    pieces(n, LANES).for_each(|columns| {
        for start in columns.clone().step_by(COLUMNS) {
            let part = start..(start + COLUMNS).min(columns.end);
            let mut t = 0;
            while t < rows {
                // SAFETY: each piece of columns belongs to one thread.
                let y_rows =
                    |i: usize| unsafe { out.slice((t + i) * n + part.start..(t + i) * n + part.end) };
                match rows - t {
                    8.. => t += stripe::<8, N>(x, t, w, n, part.start, std::array::from_fn(y_rows)),
                    4.. => t += stripe::<4, N>(x, t, w, n, part.start, std::array::from_fn(y_rows)),
                    2.. => t += stripe::<2, N>(x, t, w, n, part.start, std::array::from_fn(y_rows)),
                    _ => t += stripe::<1, N>(x, t, w, n, part.start, std::array::from_fn(y_rows)),
                }
            }
        }
    });
}

/// y[r][j] += x[t + r] · w[.., start + j] for `R` rows; gives `R`.
fn stripe<const R: usize, N: Number>(
    x: &Matrix,
    t: usize,
    w: &[N::Bits],
    n: usize,
    start: usize,
    y: [&mut [f32]; R],
) -> usize {
    stripe_kernel::<N, R>(std::array::from_fn(|r| x.row(t + r)), w, n, start, y);
    R
}

kernel! {
    fn stripe_kernel[const R: usize]<N: Number>(
        x: [&[f32]; R], w: &[N::Bits], n: usize, start: usize, y: [&mut [f32]; R],
    ) {
        let (depth, width) = (x[0].len(), y[0].len());
        let mut sums = [[0.0f32; COLUMNS]; R];
        for block in (0..depth).step_by(K_BLOCK) {
            let end = (block + K_BLOCK).min(depth);
            let mut p = sums.each_mut().map(|p| &mut p[..width]);
            let mut part: [&[f32]; R] = [&[]; R];
            for r in 0..R {
                p[r].fill(0.0);
                part[r] = &x[r][block..end];
            }
            tile::add_product::<N, R>(&part, &w[block * n + start..], n, &mut p);
            for r in 0..R {
                for (y, p) in y[r].iter_mut().zip(&*p[r]) {
                    *y += p;
                }
            }
        }
    }
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let (rows, v, c) = (y.rows(), y.cols(), x.cols());
    let out = Disjoint::new(y.data_mut());
    pieces(v, LANES).for_each(|piece| {
        let mut across = Matrix::scratch(c, LANES); // 16 rows of w, transposed
        for first in piece.clone().step_by(LANES) {
            let part = first..(first + LANES).min(piece.end);
            transpose_rows::<N>(&w[part.start * c..part.end * c], c, across.data_mut());
            for t in 0..rows {
                // SAFETY: each piece of columns belongs to one thread.
                let y = unsafe { out.slice(t * v + part.start..t * v + part.end) };
                y.copy_from_slice(&dot_lanes(x.row(t), across.data())[..part.len()]);
            }
        }
    });
}

kernel! {
    /// Up to 16 rows of `w`, `[16, C] -> [C, 16]`: what lay across memory now lies across lanes.
    fn transpose_rows<N: Number>(w: &[N::Bits], c: usize, across: &mut [f32]) {
        let rows = w.len() / c;
        let (across, _) = across.as_chunks_mut::<LANES>();
        let tiles = if rows == LANES { c / LANES } else { 0 };
        for tile in 0..tiles {
            let mut wide = [[0.0f32; LANES]; LANES];
            for r in 0..LANES {
                let row: &[N::Bits; LANES] = w[r * c + tile * LANES..].first_chunk().expect("16 of a row");
                for i in 0..LANES {
                    wide[r][i] = N::widen(row[i]);
                }
            }
            let place: &mut [[f32; LANES]; LANES] = across[tile * LANES..].first_chunk_mut().expect("16 of C");
            transpose::<SIMD>(&wide, place);
        }
        for r in 0..rows {
            for k in tiles * LANES..c {
                across[k][r] = N::widen(w[r * c + k]);
            }
        }
    }
}

kernel! {
    /// The products of x `[C]` with 16 rows that lie transposed in `wide` `[C, 16]`.
    fn dot_lanes(x: &[f32], wide: &[f32]) -> [f32; LANES] {
        let mut y = [0.0f32; LANES];
        let (wide, _) = wide.as_chunks::<LANES>();
        for (x, wide) in x.chunks(K_BLOCK).zip(wide.chunks(K_BLOCK)) {
            let mut p = [0.0f32; LANES];
            for (x, wide) in x.iter().zip(wide) {
                for lane in 0..LANES {
                    p[lane] = x.mul_add(wide[lane], p[lane]);
                }
            }
            for lane in 0..LANES {
                y[lane] += p[lane];
            }
        }
        y
    }
}
