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
//! Where `sgemm` does not fuse ([`super::many`]), many rows come here as well, [`FEW`] at a time.

use super::tile::{self, Rows};
use super::{Disjoint, FEW, K_BLOCK, odd_lines, pieces, start};
use crate::math;
use crate::simd::{LANES, kernel};
use crate::tensor::{Matrix, Number};
use rayon::prelude::*;
use std::ops::Range;

/// Sums of more numbers than this are worth waking a thread for.
const WORTH_SHARING: usize = 1 << 15;

kernel! {
    /// How many sums go to and from the cache while a block's rows pass by. With wide registers they fill half of an L1
    /// cache: 16 KiB. With narrow ones, 64 KiB of an L2 cache are faster: each row of `w` is read in longer stretches.
    fn sums_at_once() -> usize {
        if L::REGISTERS == 1 { 1 << 12 } else { 1 << 14 }
    }
}

/// y `[T, N]` = x `[T, K]` · w `[K, N]` + bias `[N]`
pub fn affine<N: Number>(x: &Matrix, w: &[N::Bits], bias: Option<&[f32]>, y: &mut Matrix) {
    for first in (0..x.rows()).step_by(FEW) {
        some_rows::<N>(x, first..(first + FEW).min(x.rows()), w, bias, y);
    }
}

/// Rows `t` of y.
fn some_rows<N: Number>(x: &Matrix, t: Range<usize>, w: &[N::Bits], bias: Option<&[f32]>, y: &mut Matrix) {
    let (rows, depth, n) = (t.len(), x.cols(), y.cols());
    let y = &mut y.data_mut()[t.start * n..t.end * n];
    let blocks = depth.div_ceil(K_BLOCK);
    let step = odd_lines(n);
    let mut sums = Matrix::scratch(blocks, rows * step); // p: [blocks, T, N]
    let out = Disjoint::new(sums.data_mut());
    // One line of all blocks' columns, cut into pieces. Columns are counted in whole registers.
    let line = n.next_multiple_of(LANES);
    // columns at a time
    let most = (sums_at_once() / rows).next_multiple_of(LANES);
    pieces(blocks * line, LANES).for_each(|mut piece| {
        while !piece.is_empty() {
            let block = piece.start / line;
            let end = piece.end.min((block + 1) * line).min(piece.start + most);
            let columns = piece.start % line..(end - block * line).min(n);
            let k = block * K_BLOCK..((block + 1) * K_BLOCK).min(depth);
            block_product::<N>(x, w, n, [t.clone(), k, columns], &out, [block * rows * step, step]);
            piece.start = end;
        }
    });
    let sums = &sums;
    let shares = if y.len() * blocks < WORTH_SHARING { n } else { n.div_ceil(2 * LANES) };
    let out = Disjoint::new(y);
    pieces(n.div_ceil(shares), 1).for_each(|piece| {
        let columns = piece.start * shares..(piece.end * shares).min(n);
        for t in 0..rows {
            // SAFETY: each piece of columns belongs to one thread.
            let y = unsafe { out.slice(t * n + columns.start..t * n + columns.end) };
            start(y, bias.map(|bias| &bias[columns.clone()]));
            for block in 0..blocks {
                math::add(y, &sums.row(block)[t * step..][columns.clone()]);
            }
        }
    });
}

kernel! {
    /// `p[t][j] = x[t, k] · w[k, j]`, where `part` is some rows `t`, one block of `k` and some columns `j`. `place`: where
    /// `p` `[T, N]` begins in `out`, and how far apart its rows are.
    fn block_product<N: Number>(
        x: &Matrix, w: &[N::Bits], n: usize, part: [Range<usize>; 3], out: &Disjoint<'_>, place: [usize; 2],
    ) {
        let [t, k, columns] = part;
        let (rows, depth, width) = (t.len(), k.len(), columns.len());
        let [first, step] = place;
        if rows * depth * width == 0 {
            return;
        }
        let x_part = &x.data()[t.start * x.cols() + k.start..(t.end - 1) * x.cols() + k.end];
        let w_part = &w[k.start * n + columns.start..(k.end - 1) * n + columns.end];
        let p = out.pointer(first + columns.start, first + (rows - 1) * step + columns.end);
        // SAFETY: the slices hold the rows that their lengths were made of; these columns of this block belong to
        // one thread.
        unsafe {
            tile::product::<L, N>(
                Rows { start: x_part.as_ptr(), step: x.cols() },
                Rows { start: w_part.as_ptr(), step: n },
                Rows { start: p, step },
                [rows, depth, width],
            );
        }
    }
}

/// y `[T, V]` = x `[T, C]` · wᵀ, w `[V, C]`
pub fn product_by_rows<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
    let (rows, v, c) = (y.rows(), y.cols(), x.cols());
    let out = Disjoint::new(y.data_mut());
    pieces(v, LANES).for_each(|piece| {
        for first in piece.clone().step_by(LANES) {
            let part = first..(first + LANES).min(piece.end);
            let w = &w[part.start * c..part.end * c]; // 16 rows
            let mut t = 0;
            while t < rows {
                // SAFETY: each piece of columns belongs to one thread.
                let y = |i: usize| unsafe { out.slice((t + i) * v + part.start..(t + i) * v + part.end) };
                let x = &x.data()[t * c..];
                t += match rows - t {
                    8.. => rows_product::<N, 8>(x, c, w, std::array::from_fn(y)),
                    4.. => rows_product::<N, 4>(x, c, w, std::array::from_fn(y)),
                    3 => rows_product::<N, 3>(x, c, w, std::array::from_fn(y)),
                    2.. => rows_product::<N, 2>(x, c, w, std::array::from_fn(y)),
                    _ => rows_product::<N, 1>(x, c, w, std::array::from_fn(y)),
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
        assert!(x.len() >= R * c && w.len() == count * c && count <= LANES);
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
                L::prefetch(w.as_ptr().wrapping_add(ahead).cast());
            }
            // SAFETY: columns k to k + 16 of 16 rows, inside by the assertion.
            let tile = unsafe { N::turned::<L>(w.as_ptr().add(k), c) };
            // as many rows at a time as fit their sums in registers
            let together = if L::REGISTERS == 1 { 8 } else { 4 };
            for first in (0..R).step_by(together) {
                for i in 0..LANES {
                    for r in first..(first + together).min(R) {
                        // SAFETY: column k + i of row r of x, inside by the assertion.
                        let factor = unsafe { *x.get_unchecked(r * c + k + i) };
                        p[r] = L::splat(factor).mul_add(tile[i], p[r]);
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
            // SAFETY: arrays of sixteen.
            unsafe {
                totals[r].store(total.as_mut_ptr());
                p[r].store(open.as_mut_ptr());
            }
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
