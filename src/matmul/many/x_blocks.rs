//! `x` in the order in which products with many rows read it.

use crate::matmul::K_BLOCK;
use crate::tensor::Matrix;
use rayon::prelude::*;

/// Rows whose sums have registers at once, where registers are narrow.
pub const NARROW: usize = 6;

/// `x` as the products read it: itself, or, where rows go by in stretches, a copy in the order of reading.
pub enum XBlocks<'a> {
    Itself(&'a Matrix),
    /// For each block of `k`, for each six rows: `[K_BLOCK, 6]`. Their number, and the copy.
    Turned(usize, Matrix),
}

impl<'a> XBlocks<'a> {
    /// x `[T, K]`, `turned` or itself.
    pub fn new(x: &'a Matrix, turned: bool) -> Self {
        if !turned {
            return Self::Itself(x);
        }
        let (rows, depth) = (x.rows(), x.cols());
        let sixes = rows.div_ceil(NARROW);
        let mut blocks = Matrix::scratch(depth.div_ceil(K_BLOCK) * sixes, K_BLOCK * NARROW);
        let each = blocks.data_mut().par_chunks_exact_mut(K_BLOCK * NARROW).with_min_len(8).enumerate();
        each.for_each(|(i, to)| {
            let (k, first) = (i / sixes * K_BLOCK, i % sixes * NARROW);
            let k = k..(k + K_BLOCK).min(depth);
            for (r, t) in (first..(first + NARROW).min(rows)).enumerate() {
                for (to, x) in to.as_chunks_mut::<NARROW>().0.iter_mut().zip(&x.row(t)[k.clone()]) {
                    to[r] = *x;
                }
            }
        });
        Self::Turned(sixes, blocks)
    }

    /// Rows from `t` on, a multiple of six, and the block of `k` that begins at `k`.
    pub fn part(&self, t: usize, k: usize) -> XPart<'_> {
        match self {
            Self::Itself(x) => XPart { x: &x.data()[t * x.cols() + k..], step: x.cols() },
            Self::Turned(sixes, blocks) => {
                let first = k / K_BLOCK * sixes + t / NARROW;
                XPart { x: &blocks.data()[first * blocks.cols()..], step: blocks.cols() }
            }
        }
    }
}

/// Some rows of `x`, some consecutive `k`. With wide registers row `r` begins at `r * step`; with narrow ones the `i`-th
/// six rows do at `i * step`, turned.
#[derive(Clone, Copy)]
pub struct XPart<'a> {
    pub x: &'a [f32],
    pub step: usize,
}
