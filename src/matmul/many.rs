//! Many rows of `x`: the crate `matrixmultiply` multiplies them.
//!
//! ```text
//! for each piece of columns n, on a thread of its own:
//!     y[.., piece] = bias
//!     for each block of 256 k:
//!         y[.., piece] += x[.., block] · w[block, piece]       # sgemm
//! ```
//!
//! For each output, `sgemm` sums the products in the order of `k`, each rounded once, and adds the sum to `y`. It gets
//! one block at a time, so the order of summation is that of [`super`], whatever block size it prefers. It reads any
//! matrix whose elements are a fixed step apart, so the transposed output head needs no copy.
//!
//! `sgemm` makes a copy of its second factor as a whole, and of the first one 64 rows at a time, right before their
//! use. The weights are the larger factor, so they come first: it computes `yᵀ += wᵀ · xᵀ`. Weights of 16 bits are
//! widened before, a stripe of columns at a time, once for all rows.

use super::tile::square;
use super::{Columns, K_BLOCK, odd_lines, start};
use crate::simd::lanes::prefetch;
use crate::simd::{LANES, Simd, kernel};
use crate::tensor::{Matrix, Number, Outputs};
use std::ops::Range;

/// Whether `sgemm` multiplies and adds with one rounding here, as the order of summation demands. It has such kernels
/// for x86-64 with FMA and for arm64.
pub fn sgemm_fuses() -> bool {
    match Simd::current() {
        Simd::Avx2 | Simd::Avx512 | Simd::Neon => true,
        Simd::Scalar | Simd::Simd128 => false,
    }
}

/// Columns of 16-bit weights that are widened together: with 256 `k`, 512 KiB.
const STRIPE: usize = 512;

/// y `[T, N]` = x `[T, K]` · w + bias `[N]`; w is `[K, N]`, or `[N, K]` where its rows are the outputs.
pub fn product<N: Number>(x: &Matrix, w: &[N::Bits], outputs: Outputs, bias: Option<&[f32]>, y: &mut Matrix) {
    let (rows, n, depth) = (y.rows(), y.cols(), x.cols());
    let by_rows = outputs == Outputs::Rows;
    let w = Stored::<N> { numbers: w, width: if by_rows { depth } else { n }, by_rows };
    Columns::share(y, n, LANES, |mut y| {
        let piece = y.range();
        let stripe = if w.is_f32() { piece.len() } else { STRIPE };
        let mut scratch = Matrix::scratch(if w.is_f32() { 0 } else { K_BLOCK }, odd_lines(STRIPE));
        for first in piece.clone().step_by(stripe) {
            let columns = first..(first + stripe).min(piece.end);
            for t in 0..rows {
                let [y] = y.rows(t, columns.clone());
                start(y, bias.map(|bias| &bias[columns.clone()]));
            }
            for first in (0..depth).step_by(K_BLOCK) {
                let k = first..(first + K_BLOCK).min(depth);
                let (w, [step_n, step_k]) = w.block(k.clone(), columns.clone(), &mut scratch);
                let x = &x.data()[k.start..(rows - 1) * depth + k.end];
                let y = y.start(columns.clone());
                // SAFETY: w [columns, k] and x [k, rows] lie in their slices, whose ends are those of the last row; y
                // [columns, rows] are columns that this thread has.
                #[rustfmt::skip]
                unsafe {
                    matrixmultiply::sgemm(
                        columns.len(), k.len(), rows,
                        1.0, w.as_ptr(), step_n as isize, step_k as isize,
                        x.as_ptr(), 1, depth as isize,
                        1.0, y, 1, n as isize,
                    );
                };
            }
        }
    });
}

/// Weights as they are stored: a row for each `k`, `[K, N]`, or a row for each output, `[V, C]`.
struct Stored<'a, N: Number> {
    numbers: &'a [N::Bits],
    /// Numbers in a row.
    width: usize,
    /// A row for each output.
    by_rows: bool,
}

impl<N: Number> Stored<'_, N> {
    fn is_f32(&self) -> bool {
        N::as_f32(self.numbers).is_some()
    }

    /// The weights of some `k` and outputs `n`: where they are, if they are f32; else widened into `scratch`
    /// `[K_BLOCK, ..]`, with the outputs side by side. That of output `n` and factor `k` is at `n * steps[0] + k * steps[1]`
    /// of what is returned.
    fn block<'a>(
        &'a self,
        k: Range<usize>,
        n: Range<usize>,
        scratch: &'a mut Matrix,
    ) -> (&'a [f32], [usize; 2]) {
        let (rows, cols) = if self.by_rows { (n, k) } else { (k, n) };
        let part = rows.start * self.width + cols.start..(rows.end - 1) * self.width + cols.end;
        let (step, shape) = (self.width, [rows.len(), cols.len()]);
        match (N::as_f32(self.numbers), self.by_rows) {
            (Some(numbers), true) => return (&numbers[part], [step, 1]),
            (Some(numbers), false) => return (&numbers[part], [1, step]),
            (None, true) => widen_turned::<N>(&self.numbers[part], step, shape, scratch),
            (None, false) => widen::<N>(&self.numbers[part], step, shape, scratch),
        }
        (scratch.data(), [1, scratch.cols()])
    }
}

/// How many rows ahead to prefetch.
const AHEAD: usize = 24;

kernel! {
    /// Some columns of rows that are `step` apart, as f32: `to[r][c] = from[r][c]`.
    fn widen<N: Number>(from: &[N::Bits], step: usize, shape: [usize; 2], to: &mut Matrix) {
        let [rows, cols] = shape;
        for r in 0..rows {
            let (from, from_rest) = from[r * step..][..cols].as_chunks::<LANES>();
            let (to, to_rest) = to.row_mut(r)[..cols].as_chunks_mut::<LANES>();
            for (from, to) in from.iter().zip(to) {
                prefetch(from.as_ptr().wrapping_add(AHEAD * step));
                N::load::<L>(from).store(to);
            }
            to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = N::widen(*from));
        }
    }
}

kernel! {
    /// The same, turned: `to[c][r] = from[r][c]`.
    fn widen_turned<N: Number>(from: &[N::Bits], step: usize, shape: [usize; 2], to: &mut Matrix) {
        let [rows, cols] = shape;
        for r in (0..rows).step_by(LANES) {
            let (height, from) = (LANES.min(rows - r), &from[r * step..]);
            let whole = if height == LANES { cols / LANES } else { 0 };
            for c in (0..whole * LANES).step_by(LANES) {
                let tile = square(&from[c..], step);
                tile.iter().for_each(|row| prefetch(row.as_ptr().wrapping_add(LANES * step)));
                for (j, row) in N::turned::<L>(tile).into_iter().enumerate() {
                    row.store(to.row_mut(c + j)[r..].first_chunk_mut().expect("sixteen"));
                }
            }
            for (i, j) in (0..height).flat_map(|i| (whole * LANES..cols).map(move |j| (i, j))) {
                to.row_mut(j)[r + i] = N::widen(from[i * step + j]);
            }
        }
    }
}
