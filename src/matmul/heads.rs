//! Attention's two products, for one head and a few rows.
//!
//! ```text
//! scores[r, s] = scale * (q[r] · key[s])
//! out[r]       = sum over s of weights[r, s] * value[s]
//! ```
//!
//! Both are sums in the order of [`super`]: over the head's dimensions, and over the positions. The cache is
//! laid out for them: within a page, the keys of neighbouring positions lie side by side, a dimension a row; values
//! lie a position a row. Each key and value that is read serves all rows. Halves are widened on the way, exactly.

use super::K_BLOCK;
use super::tile::{self, Rows};
use crate::simd::LANES;
use crate::simd::kernel;
use crate::simd::lanes::Lanes;
use crate::tensor::{Bf16, Dtype, F16, F32, Matrix, Number};
use crate::tensor::{Head, PAGE};

/// Rows that share what is read.
pub const ROWS: usize = 8;

/// scale * q · keysᵀ: queries `[rows, D]`, `step` apart in `q`, against the first `positions` keys -> `[rows, S]`, where S
/// is `positions` rounded up to whole pages; what is behind `positions` means nothing.
pub fn scores(q: &[f32], step: usize, head: Head<'_>, scale: f32, positions: usize, scores: &mut Matrix) {
    match head.dtype() {
        Dtype::F16 => scores_of::<F16>(q, step, head, scale, positions, scores),
        Dtype::Bf16 => scores_of::<Bf16>(q, step, head, scale, positions, scores),
        Dtype::F32 => scores_of::<F32>(q, step, head, scale, positions, scores),
        Dtype::I8 => unreachable!("refused by KvCache::with_dtype"),
    }
}

fn scores_of<N: Number>(
    q: &[f32],
    step: usize,
    head: Head<'_>,
    scale: f32,
    positions: usize,
    scores: &mut Matrix,
) {
    let mut r = 0;
    while r < scores.rows() {
        let q = &q[r * step..];
        r += match scores.rows() - r {
            4.. => score_rows::<N, 4>(q, step, head, scale, positions, scores, r),
            2.. => score_rows::<N, 2>(q, step, head, scale, positions, scores, r),
            _ => score_rows::<N, 1>(q, step, head, scale, positions, scores, r),
        };
    }
}

kernel! {
    /// The scores of `R` rows from row `first` on; gives `R`.
    fn score_rows[const R: usize]<N: Number>(
        q: &[f32], step: usize, head: Head<'_>, scale: f32, positions: usize, scores: &mut Matrix, first: usize,
    ) -> usize {
        let d = head.size();
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
                // SAFETY: R queries of D numbers, and R rows of scores with all of the page's places, by the assertions;
                // both widths divide a page.
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

/// Whether the sums of `R` rows and four times sixteen columns have registers, each to itself.
#[inline(always)]
fn many_sums<L: Lanes, const R: usize>() -> bool {
    L::REGISTERS == 1 || R == 1
}

/// `V` registers of a page's positions, from `s` on; gives how many positions these are.
///
/// # Safety
/// `q` has `R` rows of `d` numbers; `keys` `[d, PAGE]` has `16 V` columns from `s` on, and so have the `R` rows of `place`,
/// which nobody else uses.
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
            let p = tile::columns::<L, N, R, V>(x, w, depth, [[L::splat(0.0); V]; R]);
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

/// weights `[rows, S]` · values of the first `positions` positions -> `out`, a row `[D]` each.
pub fn mix<'a>(weights: &Matrix, head: Head<'_>, positions: usize, out: impl Iterator<Item = &'a mut [f32]>) {
    match head.dtype() {
        Dtype::F16 => mix_of::<F16>(weights, head, positions, out),
        Dtype::Bf16 => mix_of::<Bf16>(weights, head, positions, out),
        Dtype::F32 => mix_of::<F32>(weights, head, positions, out),
        Dtype::I8 => unreachable!("refused by KvCache::with_dtype"),
    }
}

fn mix_of<'a, N: Number>(
    weights: &Matrix,
    head: Head<'_>,
    positions: usize,
    mut out: impl Iterator<Item = &'a mut [f32]>,
) {
    let mut r = 0;
    while r < weights.rows() {
        let out = |_| out.next().expect("a place for each row");
        r += match weights.rows() - r {
            4.. => mix_rows::<N, 4>(weights, r, head, positions, std::array::from_fn(out)),
            2.. => mix_rows::<N, 2>(weights, r, head, positions, std::array::from_fn(out)),
            _ => mix_rows::<N, 1>(weights, r, head, positions, std::array::from_fn(out)),
        };
    }
}

kernel! {
    /// The results of `R` rows from row `first` on; gives `R`.
    fn mix_rows[const R: usize]<N: Number>(
        weights: &Matrix, first: usize, head: Head<'_>, positions: usize, out: [&mut [f32]; R],
    ) -> usize {
        let (d, mut out) = (out[0].len(), out);
        assert!(first + R <= weights.rows() && positions <= weights.cols() && d == head.size());
        let weights = Rows { start: weights.data()[first * weights.cols()..].as_ptr(), step: weights.cols() };
        let mut j = 0;
        while j < d {
            // SAFETY: R rows of `positions` weights by the assertion; columns j to D of the head's values.
            unsafe {
                j += match d - j {
                    64.. if many_sums::<L, R>() => mix_columns::<L, N, R, 4>(weights, head, positions, j, &mut out),
                    16.. => mix_columns::<L, N, R, 1>(weights, head, positions, j, &mut out),
                    _ => mix_column::<N, R>(weights, head, positions, j, &mut out),
                };
            }
        }
        R
    }
}

/// `V` registers of the head's dimensions, from `j` on; gives how many dimensions these are.
///
/// # Safety
/// `weights` has `R` rows of `positions` numbers; the head has that many dimensions after `j`.
#[inline(always)]
unsafe fn mix_columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    weights: Rows<*const f32>,
    head: Head<'_>,
    positions: usize,
    j: usize,
    out: &mut [&mut [f32]; R],
) -> usize {
    let d = head.size();
    let mut y = [[L::splat(0.0); V]; R];
    for block in (0..positions).step_by(K_BLOCK) {
        let mut p = [[L::splat(0.0); V]; R];
        // whole pages make a block: 4 x 64 = 256
        for first in (block..(block + K_BLOCK).min(positions)).step_by(PAGE) {
            let depth = (positions - first).min(PAGE);
            let values = &head.values::<N>(first / PAGE)[j..]; // [PAGE, D], from dimension j on
            // SAFETY: `depth` weights of each row; as many rows of values, each with 16 V numbers after j.
            unsafe {
                let weights = Rows { start: weights.start.add(first), ..weights };
                p = tile::columns::<L, N, R, V>(weights, Rows { start: values.as_ptr(), step: d }, depth, p);
            }
        }
        for r in 0..R {
            for v in 0..V {
                y[r][v] = y[r][v].add(p[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            let place = &mut out[r][j + v * LANES..][..LANES];
            // SAFETY: sixteen f32.
            unsafe { y[r][v].store(place.as_mut_ptr()) };
        }
    }
    V * LANES
}

/// One dimension, where fewer than a register are left.
///
/// # Safety
/// As [`mix_columns`].
#[inline(always)]
unsafe fn mix_column<N: Number, const R: usize>(
    weights: Rows<*const f32>,
    head: Head<'_>,
    positions: usize,
    j: usize,
    out: &mut [&mut [f32]; R],
) -> usize {
    for r in 0..R {
        let mut y = 0.0f32;
        for block in (0..positions).step_by(K_BLOCK) {
            let mut p = 0.0f32;
            for s in block..(block + K_BLOCK).min(positions) {
                // SAFETY: weight s of row r.
                let weight = unsafe { *weights.start.add(r * weights.step + s) };
                let value = head.values::<N>(s / PAGE)[s % PAGE * head.size() + j];
                p = weight.mul_add(N::widen(value), p);
            }
            y += p;
        }
        out[r][j] = y;
    }
    1
}
