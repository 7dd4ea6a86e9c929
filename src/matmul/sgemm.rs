//! Very many rows of `x`: the crate `matrixmultiply` multiplies them.
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
//! use. The weights are the larger factor, so they come first: it computes `yᵀ += wᵀ · xᵀ`.

use super::{Columns, K_BLOCK, start};
use crate::simd::{LANES, Simd};
use crate::tensor::{Matrix, Outputs};

/// From this many rows on, its copies cost little. With AVX2 it is then as fast as our own loop, within a few percent.
const ROWS: usize = 256;

/// Whether `sgemm` takes so many rows. It must multiply and add with one rounding, as the order of summation
/// demands: it has such kernels for x86-64 with FMA and for arm64. With AVX-512, our own loop is faster. (Not measured on
/// arm64.)
pub fn pays(rows: usize) -> bool {
    rows >= ROWS && matches!(Simd::current(), Simd::Avx2 | Simd::Neon)
}

/// y `[T, N]` = x `[T, K]` · w + bias `[N]`; w is `[K, N]`, or `[N, K]` where its rows are the outputs.
pub fn product(x: &Matrix, w: &[f32], outputs: Outputs, bias: Option<&[f32]>, y: &mut Matrix) {
    let (rows, n, depth) = (y.rows(), y.cols(), x.cols());
    // the weight of output n and factor k is at n * step_n + k * step_k
    let [step_n, step_k] = if outputs == Outputs::Rows { [depth, 1] } else { [1, n] };
    Columns::share(y, n, LANES, |mut y| {
        let columns = y.range();
        for t in 0..rows {
            let [y] = y.rows(t, columns.clone());
            start(y, bias.map(|bias| &bias[columns.clone()]));
        }
        for first in (0..depth).step_by(K_BLOCK) {
            let count = K_BLOCK.min(depth - first);
            let last = (columns.end - 1) * step_n + (first + count - 1) * step_k;
            let w = &w[columns.start * step_n + first * step_k..=last];
            let x = &x.data()[first..(rows - 1) * depth + first + count];
            let y = y.start(columns.clone());
            // SAFETY: w [columns, k] and x [k, rows] lie in their slices, whose ends are those of the last row; y
            // [columns, rows] are columns that this thread has.
            #[rustfmt::skip]
            unsafe {
                matrixmultiply::sgemm(
                    columns.len(), count, rows,
                    1.0, w.as_ptr(), step_n as isize, step_k as isize,
                    x.as_ptr(), 1, depth as isize,
                    1.0, y, 1, n as isize,
                );
            };
        }
    });
}
