//! `out[r] = sum over s of weights[r, s] * value[s]`

use super::many_sums;
use crate::matmul::K_BLOCK;
use crate::matmul::tile::columns;
use crate::simd::lanes::Lanes;
use crate::simd::{LANES, kernel};
use crate::tensor::{Head, Matrix, Number, PAGE, with_number};
use std::array::from_fn;

/// weights `[rows, S]` · values of the first `positions` positions -> `out`, a row `[D]` each.
pub fn mix<'a>(weights: &Matrix, head: Head<'_>, positions: usize, out: impl Iterator<Item = &'a mut [f32]>) {
    let (mut r, mut places) = (0, out);
    while r < weights.rows() {
        let out = |_| places.next().expect("a place for each row");
        r += with_number!(head.dtype, N => match weights.rows() - r {
            4.. => mix_rows::<N, 4>(weights, r, head, positions, from_fn(out)),
            2.. => mix_rows::<N, 2>(weights, r, head, positions, from_fn(out)),
            _ => mix_rows::<N, 1>(weights, r, head, positions, from_fn(out)),
        });
    }
}

kernel! {
    /// The results of `R` rows from row `first` on. Returns `R`.
    fn mix_rows[const R: usize]<N: Number>(
        weights: &Matrix, first: usize, head: Head<'_>, positions: usize, out: [&mut [f32]; R],
    ) -> usize {
        let (d, mut out) = (out[0].len(), out);
        assert!(first + R <= weights.rows() && positions <= weights.cols() && d == head.d);
        let mut j = 0;
        while j < d {
            j += match d - j {
                64.. if many_sums::<L, R>() => mix_columns::<L, N, R, 4>(weights, first, head, positions, j, &mut out),
                16.. => mix_columns::<L, N, R, 1>(weights, first, head, positions, j, &mut out),
                _ => mix_column::<N, R>(weights, first, head, positions, j, &mut out),
            };
        }
        R
    }
}

/// `V` registers of the head's dimensions, from `j` on, for `R` rows of weights. Returns how many dimensions these are.
#[inline(always)]
fn mix_columns<L: Lanes, N: Number, const R: usize, const V: usize>(
    weights: &Matrix,
    row: usize,
    head: Head<'_>,
    positions: usize,
    j: usize,
    out: &mut [&mut [f32]; R],
) -> usize {
    let mut y = [[L::splat(0.0); V]; R];
    for block in (0..positions).step_by(K_BLOCK) {
        let mut p = [[L::splat(0.0); V]; R];
        // whole pages make a block: 4 x 64 = 256
        for first in (block..(block + K_BLOCK).min(positions)).step_by(PAGE) {
            let depth = (positions - first).min(PAGE);
            let x = from_fn(|r| &weights.row(row + r)[first..first + depth]);
            p = columns::<L, N, R, V>(x, head.values::<N>(first / PAGE), head.d, j, p);
        }
        for r in 0..R {
            for v in 0..V {
                y[r][v] = y[r][v].add(p[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            y[r][v].store(out[r][j + v * LANES..].first_chunk_mut().expect("sixteen"));
        }
    }
    V * LANES
}

/// One dimension, where fewer than a register are left. Returns 1.
#[inline(always)]
fn mix_column<N: Number, const R: usize>(
    weights: &Matrix,
    row: usize,
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
                let weight = weights.row(row + r)[s];
                let value = head.values::<N>(s / PAGE)[s % PAGE * head.d + j];
                p = weight.mul_add(N::widen(value), p);
            }
            y += p;
        }
        out[r][j] = y;
    }
    1
}
