//! Weights of 8 bits: how can a product of integers stand for one of real numbers?
//!
//! Each row of `x` is rounded to 8 bits as well, 256 consecutive `k` at a time. Each such block has a step size
//! (`scale`) and an integer that stands for zero (`zero`), see [`rows`]. The weights have a scale for each output.
//! Integers are multiplied and summed exactly, and two products with f32 restore the scale:
//!
//! ```text
//! x[t, k] ≈ scale_x[t, b] * (q[t, k] - zero[t, b])              q in 0 ..= 255, b = k / 256
//! w[k, n] ≈ scale_w[n] * w8[k, n]                               w8 in -128 ..= 127
//!
//! for t, n:
//!     sum = 0
//!     for each block b of 256 consecutive k:
//!         whole = sum over k in the block of (q[t, k] - zero[t, b]) * w8[k, n]        # exact
//!         sum = fma(scale_x[t, b], whole, sum)
//!     y[t, n] = fma(scale_w[n], sum, bias[n])
//! ```
//!
//! That is `int8/plain.rs`. A block's sum is below 256 * 255 * 128 < 2^23, so it is exact as i32 and as f32, in any
//! order. Only the blocks have an order. The fast version adds:
//!
//! 1. *Quads*: the processor multiplies four neighbouring `k` in one step ([`sums`]). The weights lie in that order
//!    ([`Int8`]), so they are read from front to back and never copied.
//! 2. *Sums of weights*: the processor multiplies unsigned by signed integers, so it takes q, which counts from 0. The sum
//!    is then too large by `zero` times the sum of the weights, which is found when a product first needs it.
//! 3. *Tiles*: up to 6 rows by 64 outputs stay in registers. A block of the weights of 64 outputs, 16 KiB, stays in the
//!    L1 cache for all rows.
//! 4. *Prefetching*: while a block is multiplied for the first time, the next one is fetched from memory.
//! 5. *Threads* share out outputs.
//!
//! Few rows and many take the same way: a weight is read from memory once, whatever the number of rows.

#[cfg(test)]
mod plain;
mod rows;
mod sums;

use super::Columns;
use crate::simd::{LANES, kernel, lanes::prefetch};
use crate::tensor::{GROUP, Int8, LINE, Matrix};
use rows::BLOCK;
pub(crate) use rows::Rows;
use std::ops::Range;
pub use sums::busy;
use sums::{Kernel, Next, PANELS, Sums, TILE_ROWS, WIDTH};

/// Rows whose sums are kept together.
const CHUNK: usize = 8 * TILE_ROWS;

/// x `[T, K]` times `w`, plus `bias` `[N]` where there is one -> `[T, N]`
pub fn product(x: &Matrix, w: Int8<'_>, bias: Option<&[f32]>) -> Matrix {
    let n = w.scales.len();
    let mut y = Matrix::scratch(x.rows(), n);
    let kernel = Kernel::current();
    let x = Rows::quantize(x);
    let job = Job { x: &x, w, bias, kernel };
    let unit = if x.count() > CHUNK { WIDTH } else { LANES };
    Columns::share(&mut y, n, unit, |mut y| {
        let piece = y.range();
        for first in piece.clone().step_by(WIDTH) {
            for t in (0..x.count()).step_by(CHUNK) {
                let rows = t..(t + CHUNK).min(x.count());
                job.tile(rows, first..(first + WIDTH).min(piece.end), &mut y);
            }
        }
    });
    y // [T, N]
}

/// A product, as all threads see it.
struct Job<'a> {
    x: &'a Rows,
    w: Int8<'a>,
    bias: Option<&'a [f32]>,
    kernel: Kernel,
}

impl Job<'_> {
    /// The outputs of up to [`PANELS`] panels, for some rows.
    fn tile(&self, rows: Range<usize>, columns: Range<usize>, out: &mut Columns<'_>) {
        let panels = columns.start / LANES..columns.end.div_ceil(LANES);
        let mut y = Matrix::scratch(rows.len(), WIDTH);
        y.data_mut().fill(0.0);
        for row in rows.clone() {
            let [to] = out.rows(row, columns.clone());
            to.chunks(LANES).for_each(|line| prefetch(line.as_ptr())); // by the time of `finish` they are there
        }
        let mut sums: Sums = [[0; WIDTH]; TILE_ROWS];
        let mut w: [&[i8]; PANELS] = [&[]; PANELS];
        for (b, start) in (0..self.w.depth).step_by(BLOCK).enumerate() {
            let end = (start + BLOCK).min(self.w.depth).next_multiple_of(GROUP);
            let mut next: Next = [std::ptr::null(); PANELS];
            let (mut of_weights, mut pairs_fit) = ([0; WIDTH], true);
            for (i, p) in panels.clone().enumerate() {
                w[i] = &self.w.panel(p)[start / GROUP * LINE..end / GROUP * LINE];
                let known = self.w.known(p, b).get_or_init(|| self.kernel.known(w[i]));
                of_weights.as_chunks_mut::<LANES>().0[i] = known.sums;
                pairs_fit &= known.pairs_fit;
                // the next k of the same panel, or the first k of a later one
                let later =
                    if end < self.w.depth { 0 } else { (PANELS - 1) * Int8::panel_bytes(self.w.depth) };
                next[i] = w[i].as_ptr_range().end.wrapping_add(later);
            }
            for t in (0..rows.len()).step_by(TILE_ROWS) {
                let count = TILE_ROWS.min(rows.len() - t);
                let mut x: [&[u8]; TILE_ROWS] = [&[]; TILE_ROWS];
                for (i, row) in x[..count].iter_mut().enumerate() {
                    *row = self.x.block(rows.start + t + i, start..end);
                }
                let next = (t == 0).then_some(&next);
                self.kernel.sums(&x[..count], &w[..panels.len()], pairs_fit, next, &mut sums);
                let y = &mut y.data_mut()[t * WIDTH..(t + count) * WIDTH];
                add_block(&sums[..count], &of_weights, self.x, rows.start + t, b, y);
            }
        }
        for (t, row) in rows.enumerate() {
            let [to] = out.rows(row, columns.clone());
            let scales = &self.w.scales[columns.clone()];
            match self.bias {
                Some(bias) => finish(y.row(t), scales, &bias[columns.clone()], to),
                None => finish(y.row(t), scales, &[0.0; WIDTH][..to.len()], to),
            }
        }
    }
}

kernel! {
    /// y = fma(scale_x, whole, y) for the rows of a tile: block `b` of the rows of `x` from `t` on.
    fn add_block(sums: &[[i32; WIDTH]], of_weights: &[i32; WIDTH], x: &Rows, t: usize, b: usize, y: &mut [f32]) {
        let (y, _) = y.as_chunks_mut::<WIDTH>();
        for (r, (y, sums)) in y.iter_mut().zip(sums).enumerate() {
            let (scale, zero) = x.step(t + r, b);
            for j in 0..WIDTH {
                let whole = sums[j] - zero * of_weights[j];
                y[j] = scale.mul_add(whole as f32, y[j]);
            }
        }
    }
}

kernel! {
    /// to = fma(scales, sums, bias)
    fn finish(sums: &[f32], scales: &[f32], bias: &[f32], to: &mut [f32]) {
        for (((to, sum), scale), bias) in to.iter_mut().zip(sums).zip(scales).zip(bias) {
            *to = scale.mul_add(*sum, *bias);
        }
    }
}

#[cfg(test)]
mod tests;
