//! `scores[r, s] = scale * (q[r] · key[s])`

use super::{columns, many_sums};
use crate::matmul::K_BLOCK;
use crate::matmul::tile::Rows;
use crate::simd::lanes::Lanes;
use crate::simd::{LANES, kernel};
use crate::tensor::{Head, Matrix, Number, PAGE, with_number};

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
        assert!(q.len() >= (R - 1) * step + d && first + R <= scores.rows());
        assert!(positions.next_multiple_of(PAGE) <= scores.cols());
        let q = Rows { start: q.as_ptr(), step };
        let row = scores.cols();
        for page in 0..positions.div_ceil(PAGE) {
            let keys = head.keys::<N>(page); // [D, PAGE]
            let mut s = 0;
            while s < PAGE {
                let place = Rows {
                    start: scores.data_mut()[first * row + page * PAGE + s..].as_mut_ptr(),
                    step: row,
                };
                // SAFETY: R queries of D numbers, and R rows of scores with all of the page's places, by the
                // assertions; both widths divide a page.
                s += unsafe {
                    match many_sums::<L, R>() {
                        true => score_columns::<L, N, R, 4>(q, keys, d, s, scale, place),
                        false => score_columns::<L, N, R, 1>(q, keys, d, s, scale, place),
                    }
                };
            }
        }
        R
    }
}

/// `V` registers of a page's positions, from `s` on. Returns how many positions these are.
///
/// # Safety
/// `q` has `R` rows of `d` numbers; `keys` `[d, PAGE]` has `16 V` columns from `s` on, and so have the `R` rows of
/// `place`, which no other thread uses.
#[inline(always)]
unsafe fn score_columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    q: Rows<*const f32>,
    keys: &[N::Bits],
    d: usize,
    s: usize,
    scale: f32,
    place: Rows<*mut f32>,
) -> usize {
    let mut y = [[L::splat(0.0); V]; R];
    for k in (0..d).step_by(K_BLOCK) {
        let depth = (d - k).min(K_BLOCK);
        // SAFETY: columns k to k + depth of R queries; as many rows of the page, from s on.
        unsafe {
            let x = Rows { start: q.start.add(k), ..q };
            let w = Rows { start: keys[k * PAGE + s..].as_ptr(), step: PAGE };
            let p = columns::<L, N, R, V>(x, w, depth, [[L::splat(0.0); V]; R]);
            for r in 0..R {
                for v in 0..V {
                    y[r][v] = y[r][v].add(p[r][v]);
                }
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            // SAFETY: register v of row r of the place.
            unsafe { y[r][v].mul(L::splat(scale)).store(place.start.add(r * place.step + v * LANES)) };
        }
    }
    V * LANES
}
