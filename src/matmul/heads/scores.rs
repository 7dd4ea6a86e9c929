//! `scores[r, s] = scale * (q[r] · key[s])`

use super::many_sums;
use crate::matmul::K_BLOCK;
use crate::matmul::tile::columns;
use crate::simd::lanes::Lanes;
use crate::simd::{LANES, kernel};
use crate::tensor::{Head, Matrix, Number, PAGE, with_number};
use std::array::from_fn;

/// scale * q · keysᵀ: queries `[rows, D]`, `step` apart in `q`, against the first `positions` keys -> `[rows, S]`,
/// where S is `positions` rounded up to whole pages. Scores after `positions` mean nothing.
pub fn scores(q: &[f32], step: usize, head: Head<'_>, scale: f32, positions: usize, scores: &mut Matrix) {
    let mut r = 0;
    while r < scores.rows() {
        let q = &q[r * step..];
        r += with_number!(head.dtype, N => match scores.rows() - r {
            4.. => score_rows::<N, 4>(q, step, head, scale, positions, scores, r),
            2.. => score_rows::<N, 2>(q, step, head, scale, positions, scores, r),
            _ => score_rows::<N, 1>(q, step, head, scale, positions, scores, r),
        });
    }
}

kernel! {
    /// The scores of `R` rows from row `first` on. Returns `R`.
    fn score_rows[const R: usize]<N: Number>(
        q: &[f32], step: usize, head: Head<'_>, scale: f32, positions: usize, scores: &mut Matrix, first: usize,
    ) -> usize {
        let d = head.d;
        let q: [&[f32]; R] = from_fn(|r| &q[r * step..][..d]);
        for page in 0..positions.div_ceil(PAGE) {
            let keys = head.keys::<N>(page); // [D, PAGE]
            let mut s = 0;
            while s < PAGE {
                let place = [first, page * PAGE + s];
                s += match many_sums::<L, R>() {
                    true => score_columns::<L, N, R, 4>(q, keys, s, scale, scores, place),
                    false => score_columns::<L, N, R, 1>(q, keys, s, scale, scores, place),
                };
            }
        }
        R
    }
}

/// `V` registers of a page's positions, from `s` on. Their scores come to `place`: a row, and the column of the first.
/// Returns how many positions these are.
#[inline(always)]
fn score_columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    q: [&[f32]; R],
    keys: &[N::Bits],
    s: usize,
    scale: f32,
    scores: &mut Matrix,
    place: [usize; 2],
) -> usize {
    let (d, [row, column]) = (q[0].len(), place);
    let mut y = [[L::splat(0.0); V]; R];
    for k in (0..d).step_by(K_BLOCK) {
        let x = q.map(|row| &row[k..(k + K_BLOCK).min(d)]);
        let p = columns::<L, N, R, V>(x, &keys[k * PAGE..], PAGE, s, [[L::splat(0.0); V]; R]);
        for r in 0..R {
            for v in 0..V {
                y[r][v] = y[r][v].add(p[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            let place = scores.row_mut(row + r)[column + v * LANES..].first_chunk_mut();
            y[r][v].mul(L::splat(scale)).store(place.expect("sixteen"));
        }
    }
    V * LANES
}
