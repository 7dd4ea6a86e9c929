//! Few rows of `x`: each weight is read once and used for all of them.
//!
//! The memory is the limit here, so the loop follows it: eight rows of `w` at a time, from left to right.
//! The partial sums `p` of a block of `k` stay in the L1 cache between one eight and the next.

use super::{Disjoint, K_BLOCK, pieces};
use crate::math::LANES;
use crate::simd::kernel;
use crate::tensor::{Matrix, Number};
use rayon::prelude::*;

/// Columns whose partial sums are kept together: for eight rows 16 KiB.
const COLUMNS: usize = 512;
/// Rows of `w` that are walked together.
const WALK: usize = 8;

/// y [T, N] += x [T, K] · w [K, N]
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
        let width = y[0].len();
        let depth = x[0].len();
        let mut p = [[0.0f32; COLUMNS]; R];
        for block in (0..depth).step_by(K_BLOCK) {
            let end = (block + K_BLOCK).min(depth);
            for p in &mut p {
                p[..width].fill(0.0);
            }
            let mut k = block;
            while k + WALK <= end {
                let w: [&[N::Bits]; WALK] = std::array::from_fn(|i| &w[(k + i) * n + start..][..width]);
                for j in (0..width / LANES).map(|j| j * LANES) {
                    for r in 0..R {
                        let sums: &mut [f32; LANES] = (&mut p[r][j..j + LANES]).try_into().expect("16 lanes");
                        for i in 0..WALK {
                            let x = x[r][k + i];
                            for lane in 0..LANES {
                                sums[lane] = x.mul_add(N::widen(w[i][j + lane]), sums[lane]);
                            }
                        }
                    }
                }
                for j in width - width % LANES..width {
                    for r in 0..R {
                        for i in 0..WALK {
                            p[r][j] = x[r][k + i].mul_add(N::widen(w[i][j]), p[r][j]);
                        }
                    }
                }
                k += WALK;
            }
            for k in k..end {
                let w = &w[k * n + start..][..width];
                for r in 0..R {
                    for (p, w) in p[r].iter_mut().zip(w) {
                        *p = x[r][k].mul_add(N::widen(*w), *p);
                    }
                }
            }
            for r in 0..R {
                for j in 0..width {
                    y[r][j] += p[r][j];
                }
            }
        }
    }
}

/// y [T, V] = x [T, C] · wᵀ, w [V, C]
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let (rows, v, c) = (y.rows(), y.cols(), x.cols());
    let out = Disjoint::new(y.data_mut());
    pieces(v, LANES).for_each(|piece| {
        let mut wide = Matrix::scratch(LANES, c); // [C, 16], read as rows of lanes
        for first in piece.clone().step_by(LANES) {
            let part = first..(first + LANES).min(piece.end);
            transpose::<N>(&w[part.start * c..part.end * c], c, wide.data_mut());
            for t in 0..rows {
                // SAFETY: each piece of columns belongs to one thread.
                let y = unsafe { out.slice(t * v + part.start..t * v + part.end) };
                y.copy_from_slice(&dot_lanes(x.row(t), wide.data())[..part.len()]);
            }
        }
    });
}

kernel! {
    /// Up to 16 rows of `w`, [16, C] -> [C, 16]: what lay across memory now lies across lanes.
    fn transpose<N: Number>(w: &[N::Bits], c: usize, wide: &mut [f32]) {
        for (row, w) in w.chunks_exact(c).enumerate() {
            for (k, w) in w.iter().enumerate() {
                wide[k * LANES + row] = N::widen(*w);
            }
        }
    }
}

kernel! {
    /// The products of x [C] with 16 rows that lie transposed in `wide` [C, 16].
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
