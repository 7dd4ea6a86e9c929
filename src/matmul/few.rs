//! Few rows of `x`: each weight is read once and used for all of them.
//!
//! ```text
//! for each block of 256 k:                    # its rows of w are neighbours in memory
//!     for k in the block, for t, n:  p[block][t][n] = fma(x[t][k], w[k][n], p[block][t][n])
//! y[t][n] = bias[n] + p[0][t][n] + p[1][t][n] + ...
//! ```
//!
//! The memory is the limit here, so the loop follows it. The sums of the blocks are added at the end, so the threads
//! can share out blocks: each reads one stretch of memory from its first byte to its last. If they shared out columns,
//! each would skip the other's part of every row, and the processor could predict less of what comes next. That takes
//! up to half as long again.
//!
//! Where the registers are too few for [`super::many`], many rows come here as well, [`FEW`] at a time.

use super::tile::{self, Part, Registers, square};
use super::{Columns, FEW, K_BLOCK, odd_lines, start};
use crate::math;
use crate::simd::lanes::prefetch;
use crate::simd::{LANES, kernel};
use crate::tensor::{Matrix, Number};
use std::ops::Range;

/// Sums of more numbers than this are worth waking a thread for.
const WORTH_SHARING: usize = 1 << 15;

/// How many sums go to and from the cache while a block's rows pass by: 64 KiB of an L2 cache. With fewer, the rows of `w`
/// are read in shorter stretches, which takes longer than the way to that cache.
const SUMS_AT_ONCE: usize = 1 << 14;

/// y `[T, N]` = x `[T, K]` · w `[K, N]` + bias `[N]`
pub fn affine<N: Number>(x: &Matrix, w: &[N::Bits], bias: Option<&[f32]>, y: &mut Matrix) {
    for first in (0..x.rows()).step_by(FEW) {
        some_rows::<N>(x, first..(first + FEW).min(x.rows()), w, bias, y);
    }
}

/// Rows `t` of y.
fn some_rows<N: Number>(x: &Matrix, t: Range<usize>, w: &[N::Bits], bias: Option<&[f32]>, y: &mut Matrix) {
    let (rows, depth, n) = (t.len(), x.cols(), y.cols());
    let blocks = depth.div_ceil(K_BLOCK);
    // All blocks' columns, side by side. They are cut into pieces, and counted in whole registers.
    let line = n.next_multiple_of(LANES);
    let mut sums = Matrix::scratch(rows, odd_lines(blocks * line)); // p: [T, blocks, N]
    // columns at a time
    let most = (SUMS_AT_ONCE / rows).next_multiple_of(LANES);
    Columns::share(&mut sums, blocks * line, LANES, |mut p| {
        let mut piece = p.range();
        while !piece.is_empty() {
            let block = piece.start / line;
            let end = piece.end.min((block + 1) * line).min(piece.start + most);
            let place = piece.start..end.min(block * line + n);
            let k = block * K_BLOCK..((block + 1) * K_BLOCK).min(depth);
            let columns = place.start - block * line..place.end - block * line;
            let w = Part { numbers: &w[k.start * n..], step: n, columns };
            let x = Part { numbers: &x.data()[t.start * depth..], step: depth, columns: k };
            block_product::<N>(x, w, rows, &mut p, place);
            piece.start = end;
        }
    });
    let sums = &sums;
    let shares = if rows * n * blocks < WORTH_SHARING { n } else { n.div_ceil(2 * LANES) };
    Columns::share(y, n, shares, |mut y| {
        let columns = y.range();
        for i in 0..rows {
            let [y] = y.rows(t.start + i, columns.clone());
            start(y, bias.map(|bias| &bias[columns.clone()]));
            for block in 0..blocks {
                math::add(y, &sums.row(i)[block * line..][columns.clone()]);
            }
        }
    });
}

kernel! {
    /// `p[t][j] = x[t] · w[.., j]`: the first rows of `x` and one block of `k`, some columns `j` of `w`, a place for each in `p`.
    fn block_product<N: Number>(
        x: Part<'_, f32>, w: Part<'_, N::Bits>, rows: usize, p: &mut Columns<'_>, place: Range<usize>,
    ) {
        tile::product::<L, N>(x, w, rows, p, place);
    }
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let (rows, v, c) = (y.rows(), y.cols(), x.cols());
    Columns::share(y, v, LANES, |mut y| {
        let piece = y.range();
        for first in piece.clone().step_by(LANES) {
            let part = first..(first + LANES).min(piece.end);
            let w = &w[part.start * c..part.end * c]; // 16 rows
            let mut t = 0;
            while t < rows {
                let x = &x.data()[t * c..];
                let part = part.clone();
                t += match rows - t {
                    8.. => rows_product::<N, 8>(x, c, w, y.rows(t, part)),
                    4.. => rows_product::<N, 4>(x, c, w, y.rows(t, part)),
                    3 => rows_product::<N, 3>(x, c, w, y.rows(t, part)),
                    2.. => rows_product::<N, 2>(x, c, w, y.rows(t, part)),
                    _ => rows_product::<N, 1>(x, c, w, y.rows(t, part)),
                };
            }
        }
    });
}

kernel! {
    /// The products of `R` rows of `x` `[R, C]` with up to 16 rows of `w`. Returns `R`.
    ///
    /// A tile of 16 x 16 weights is turned in registers, so that what lay across memory lies across lanes: lane `v`
    /// sums for row `v` of `w`.
    fn rows_product[const R: usize]<N: Number>(x: &[f32], c: usize, w: &[N::Bits], y: [&mut [f32]; R]) -> usize {
        let count = y[0].len();
        // a tile cannot take the last few of C, nor any of C where there are fewer than 16 rows
        let whole = if count == LANES { c / LANES * LANES } else { 0 };
        let mut totals = [L::splat(0.0); R];
        let mut p = [L::splat(0.0); R];
        let mut k = 0;
        while k < whole {
            // Prefetch the next 16 rows, a line at a time: the same columns, if these are a line of each row and narrow
            // registers spend long on a tile; else the bytes in order, as many as this tile has.
            let per_line = 64 / size_of::<N::Bits>();
            for i in 0..LANES * LANES / per_line {
                let strided = L::REGISTERS > 1 && per_line == LANES;
                let ahead = if strided { (count + i) * c + k } else { count * c + k * LANES + i * per_line };
                prefetch(w.as_ptr().wrapping_add(ahead));
            }
            let tile = N::turned::<L>(square(&w[k..], c));
            let x: [&[[f32; LANES]; 1]; R] = Registers::new(&x[k..], c, R).rows(0);
            // as many rows at a time as fit their sums in registers
            let together = if L::REGISTERS == 1 { 8 } else { 4 };
            for first in (0..R).step_by(together) {
                for i in 0..LANES {
                    for r in first..(first + together).min(R) {
                        p[r] = L::splat(x[r][0][i]).mul_add(tile[i], p[r]);
                    }
                }
            }
            k += LANES;
            if k % K_BLOCK == 0 {
                for r in 0..R {
                    totals[r] = totals[r].add(p[r]);
                    p[r] = L::splat(0.0);
                }
            }
        }
        for (r, y) in y.into_iter().enumerate() {
            let (mut total, mut open) = ([0.0f32; LANES], [0.0f32; LANES]);
            totals[r].store(&mut total);
            p[r].store(&mut open);
            for v in 0..count {
                for k in whole..c {
                    open[v] = x[r * c + k].mul_add(N::widen(w[v * c + k]), open[v]);
                    if (k + 1) % K_BLOCK == 0 {
                        total[v] += open[v];
                        open[v] = 0.0;
                    }
                }
                y[v] = if c.is_multiple_of(K_BLOCK) { total[v] } else { total[v] + open[v] };
            }
        }
        R
    }
}
