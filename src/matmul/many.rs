//! Many rows of `x`: the arithmetic is the limit, so sums stay in registers and weights in the cache.
//!
//! ```text
//! for each piece of columns n, on a thread of its own:
//!     y[.., piece] = bias
//!     for each 64 columns of the piece, and each block of 256 k:
//!         panel = a copy of w[block, columns], as f32
//!         for each six rows t:
//!             y[t, columns] += x[t, block] · panel            # 6 x 64 sums in registers, from the first k to the last
//!             fetch a part of the next panel's weights from memory
//! ```
//!
//! The copy has two reasons. Rows of `w` that are a power of two apart would compete for a few places in the cache. And
//! weights of 16 bits are widened once for all rows. Narrow registers hold 6 x 16 sums: they take a panel in four steps.
//!
//! Weights of 32 bits and very many rows go to [`super::sgemm`] where that is faster.

use super::tile::{Part, columns, square};
use super::{Columns, K_BLOCK, odd_lines, start};
use crate::simd::lanes::{Lanes, prefetch};
use crate::simd::{LANES, Simd, kernel};
use crate::tensor::{F32, Matrix, Number, Outputs};
use std::array::from_fn;
use std::ops::Range;

/// Rows whose sums stay in registers.
const ROWS: usize = 6;

/// Columns of a panel.
const PANEL: usize = 4 * LANES;

/// Whether the registers hold the sums.
pub fn pays() -> bool {
    !matches!(Simd::current(), Simd::Scalar | Simd::Simd128)
}

/// y `[T, N]` = x `[T, K]` · w + bias `[N]`; w is `[K, N]`, or `[N, K]` where its rows are the outputs.
pub fn product<N: Number>(x: &Matrix, w: &[N::Bits], outputs: Outputs, bias: Option<&[f32]>, y: &mut Matrix) {
    let (rows, n, depth) = (y.rows(), y.cols(), x.cols());
    let stored = |columns: &Range<usize>, k: &Range<usize>| match outputs {
        Outputs::Cols => Stored::<N>::new(w, n, k, columns),
        Outputs::Rows => Stored::<N>::new(w, depth, columns, k),
    };
    Columns::share(y, n, LANES, |mut y| {
        let piece = y.range();
        let blocks = piece.clone().step_by(PANEL).flat_map(|first| {
            let columns = first..(first + PANEL).min(piece.end);
            (0..depth)
                .step_by(K_BLOCK)
                .map(move |first| (columns.clone(), first..(first + K_BLOCK).min(depth)))
        });
        let mut following = blocks.clone().skip(1).map(|(columns, k)| stored(&columns, &k));
        let mut panel = Matrix::scratch(K_BLOCK, odd_lines(PANEL));
        for (columns, k) in blocks {
            if k.start == 0 {
                for t in 0..rows {
                    let [y] = y.rows(t, columns.clone());
                    start(y, bias.map(|bias| &bias[columns.clone()]));
                }
            }
            match outputs {
                Outputs::Cols => widen::<N>(stored(&columns, &k), &mut panel),
                Outputs::Rows => widen_turned::<N>(stored(&columns, &k), &mut panel),
            }
            let x = Part { numbers: x.data(), step: depth, columns: k };
            multiply::<N>(x, rows, &panel, following.next(), &mut y, columns);
        }
    });
}

/// A part of the weights where they are stored: some rows, `step` apart, of `width` numbers each.
#[derive(Clone, Copy)]
struct Stored<'a, N: Number> {
    numbers: &'a [N::Bits],
    step: usize,
    rows: usize,
    width: usize,
}

impl<'a, N: Number> Stored<'a, N> {
    fn new(w: &'a [N::Bits], step: usize, rows: &Range<usize>, columns: &Range<usize>) -> Self {
        let numbers = &w[rows.start * step + columns.start..(rows.end - 1) * step + columns.end];
        Self { numbers, step, rows: rows.len(), width: columns.len() }
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &'a [N::Bits] {
        &self.numbers[i * self.step..][..self.width]
    }

    /// Prefetches one of `parts` equal parts.
    #[inline(always)]
    fn prefetch(&self, part: usize, parts: usize) {
        for i in part * self.rows / parts..(part + 1) * self.rows / parts {
            let row = self.row(i);
            (0..self.width).step_by(64 / size_of::<N::Bits>()).for_each(|j| prefetch(&raw const row[j]));
        }
    }
}

kernel! {
    /// y += x · panel, for all rows.
    fn multiply<N: Number>(
        x: Part<'_, f32>, rows: usize, panel: &Matrix, next: Option<Stored<'_, N>>, y: &mut Columns<'_>, columns: Range<usize>,
    ) {
        let mut t = 0;
        while t < rows {
            let count = match rows - t {
                ROWS.. => tiles::<L, ROWS>(&x, t, panel, y, &columns),
                4.. => tiles::<L, 4>(&x, t, panel, y, &columns),
                2.. => tiles::<L, 2>(&x, t, panel, y, &columns),
                _ => tiles::<L, 1>(&x, t, panel, y, &columns),
            };
            if let Some(next) = &next {
                next.prefetch(t / ROWS, rows.div_ceil(ROWS));
            }
            t += count;
        }
    }
}

/// `R` rows from `t` on, all columns of the panel. Returns `R`.
#[inline(always)]
fn tiles<L: Lanes, const R: usize>(
    x: &Part<'_, f32>,
    t: usize,
    panel: &Matrix,
    y: &mut Columns<'_>,
    columns: &Range<usize>,
) -> usize {
    let x: [&[f32]; R] = from_fn(|r| x.row(t + r));
    let mut j = 0;
    while j < columns.len() {
        let y: [&mut [f32]; R] = y.rows(t, columns.start + j..columns.end);
        j += match L::REGISTERS {
            1 => tile::<L, R, 4>(x, panel, j, y),
            _ => tile::<L, R, 1>(x, panel, j, y),
        };
    }
    R
}

/// `V` registers of columns, from `j` on. Returns how many columns these are.
#[inline(always)]
fn tile<L: Lanes, const R: usize, const V: usize>(
    x: [&[f32]; R],
    panel: &Matrix,
    j: usize,
    y: [&mut [f32]; R],
) -> usize {
    y.iter().for_each(|y| y.chunks(LANES).take(V).for_each(|line| prefetch(line.as_ptr())));
    let sums = columns::<L, F32, R, V>(x, panel.data(), panel.cols(), j, [[L::splat(0.0); V]; R]);
    for (y, sums) in y.into_iter().zip(sums) {
        let mut row = [[0.0; LANES]; V];
        for v in 0..V {
            sums[v].store(&mut row[v]);
        }
        y.iter_mut().zip(row.as_flattened()).for_each(|(y, sum)| *y += sum);
    }
    V * LANES
}

kernel! {
    /// `panel[r][c] = stored[r][c]`, as f32.
    fn widen<N: Number>(stored: Stored<'_, N>, panel: &mut Matrix) {
        for r in 0..stored.rows {
            let (from, from_rest) = stored.row(r).as_chunks::<LANES>();
            let (to, to_rest) = panel.row_mut(r)[..stored.width].as_chunks_mut::<LANES>();
            for (from, to) in from.iter().zip(to) {
                N::load::<L>(from).store(to);
            }
            to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = N::widen(*from));
        }
    }
}

kernel! {
    /// The same, turned: `panel[c][r] = stored[r][c]`.
    fn widen_turned<N: Number>(stored: Stored<'_, N>, panel: &mut Matrix) {
        for r in (0..stored.rows).step_by(LANES) {
            let height = LANES.min(stored.rows - r);
            let whole = if height == LANES { stored.width / LANES } else { 0 };
            for c in (0..whole * LANES).step_by(LANES) {
                let tile = square(&stored.numbers[r * stored.step + c..], stored.step);
                for (j, row) in N::turned::<L>(tile).into_iter().enumerate() {
                    row.store(panel.row_mut(c + j)[r..].first_chunk_mut().expect("sixteen"));
                }
            }
            for i in r..r + height {
                for c in whole * LANES..stored.width {
                    panel.row_mut(c)[i] = N::widen(stored.row(i)[c]);
                }
            }
        }
    }
}
