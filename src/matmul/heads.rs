//! Attention's two products, for one head and a few rows.
//!
//! ```text
//! scores[r, s] = scale * (q[r] · key[s])
//! out[r]       = sum over s of weights[r, s] * value[s]
//! ```
//!
//! Both are sums in the order of [`super`]: over the head's dimensions, and over the positions. The cache is
//! laid out for them: within a page, the keys of neighbouring positions lie side by side, a dimension a row; values
//! lie a position a row. Each key and value that is read serves all rows.

use super::{K_BLOCK, tile};
use crate::kv_cache::{Head, PAGE};
use crate::simd::kernel;
use crate::tensor::{F32, Matrix};

/// Rows that share what is read.
pub const ROWS: usize = 8;

/// scale * q · keysᵀ: `rows` queries of `[D]` against the first `positions` keys -> `[rows, S]`, where S is
/// `positions` rounded up to whole pages; what is behind `positions` means nothing.
pub fn scores<'a>(
    rows: usize,
    query: impl Fn(usize) -> &'a [f32],
    head: Head<'_>,
    scale: f32,
    positions: usize,
) -> Matrix {
    let mut scores = Matrix::scratch(rows, positions.next_multiple_of(PAGE));
    let mut r = 0;
    while r < rows {
        let query = |i: usize| query(r + i);
        match rows - r {
            8.. => r += score_rows::<8>(std::array::from_fn(query), head, scale, &mut scores, r),
            4.. => r += score_rows::<4>(std::array::from_fn(query), head, scale, &mut scores, r),
            2.. => r += score_rows::<2>(std::array::from_fn(query), head, scale, &mut scores, r),
            _ => r += score_rows::<1>(std::array::from_fn(query), head, scale, &mut scores, r),
        }
    }
    scores
}

kernel! {
    /// The scores of `R` rows from row `first` on; gives `R`.
    fn score_rows[const R: usize](
        q: [&[f32]; R], head: Head<'_>, scale: f32, scores: &mut Matrix, first: usize,
    ) -> usize {
        let d = q[0].len();
        for page in 0..scores.cols() / PAGE {
            let keys = head.keys(page); // [D, PAGE]
            let mut y = [[0.0f32; PAGE]; R];
            for block in (0..d).step_by(K_BLOCK) {
                let end = (block + K_BLOCK).min(d);
                let mut part: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    part[r] = &q[r][block..end];
                }
                let mut p = [[0.0f32; PAGE]; R];
                tile::add_product::<F32, R>(&part, &keys[block * PAGE..], PAGE, &mut p.each_mut().map(|p| &mut p[..]));
                for r in 0..R {
                    for s in 0..PAGE {
                        y[r][s] += p[r][s];
                    }
                }
            }
            for r in 0..R {
                for (score, y) in scores.row_mut(first + r)[page * PAGE..][..PAGE].iter_mut().zip(&y[r]) {
                    *score = y * scale;
                }
            }
        }
        R
    }
}

/// weights `[rows, S]` · values of the first `positions` positions; `out` gives each row's place, `[D]`.
pub fn mix<'a>(weights: &Matrix, head: Head<'_>, positions: usize, out: impl Fn(usize) -> &'a mut [f32]) {
    let rows = weights.rows();
    let mut r = 0;
    while r < rows {
        let out = |i: usize| out(r + i);
        match rows - r {
            8.. => r += mix_rows::<8>(weights, r, head, positions, std::array::from_fn(out)),
            4.. => r += mix_rows::<4>(weights, r, head, positions, std::array::from_fn(out)),
            2.. => r += mix_rows::<2>(weights, r, head, positions, std::array::from_fn(out)),
            _ => r += mix_rows::<1>(weights, r, head, positions, std::array::from_fn(out)),
        }
    }
}

kernel! {
    /// The results of `R` rows from row `first` on; gives `R`.
    fn mix_rows[const R: usize](
        weights: &Matrix, first: usize, head: Head<'_>, positions: usize, out: [&mut [f32]; R],
    ) -> usize {
        let d = out[0].len();
        let mut sums = Matrix::scratch(R, d);
        for r in 0..R {
            out[r].fill(0.0);
        }
        for block in (0..positions).step_by(K_BLOCK) {
            sums.data_mut().fill(0.0);
            let mut rows = sums.data_mut().chunks_exact_mut(d);
            let mut p: [&mut [f32]; R] = std::array::from_fn(|_| rows.next().expect("R rows"));
            // whole pages make a block: 4 x 64 = 256
            for page in (block..(block + K_BLOCK).min(positions)).step_by(PAGE) {
                let mut part: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    part[r] = &weights.row(first + r)[page..(page + PAGE).min(positions)];
                }
                tile::add_product::<F32, R>(&part, head.values(page / PAGE), d, &mut p);
            }
            for r in 0..R {
                for (y, p) in out[r].iter_mut().zip(&*p[r]) {
                    *y += p;
                }
            }
        }
        R
    }
}
