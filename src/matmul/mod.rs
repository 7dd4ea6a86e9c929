//! What is a matrix product, and how can it be fast without changing a bit?
//!
//! `y[t, n] = bias[n] + sum over k of x[t, k] * w[k, n]`
//!
//! ```text
//! for t, n:
//!     y = bias[n]
//!     for each block of 256 consecutive k:
//!         p = 0
//!         for k in the block, in order:  p = fma(x[t, k], w[k, n], p)
//!         y = y + p
//! ```
//!
//! That loop is [`plain`]. Floating-point addition is not associative, so the order is part of the result. It is fixed
//! for good as the one above. The fast versions add three things, and none of them touches the order:
//!
//! 1. *Lanes*: 16 neighbouring `n` advance together through `k`, each with its own `p`.
//! 2. *Blocks*: few rows of `x` share each weight that is read from memory. Many rows pass by a piece of `w` that stays
//!    in the cache, one block of 256 `k` after the other.
//! 3. *Threads* share out sums `p`, never the products of one.
//!
//! The output head multiplies by the rows of `wte` (`[V, C]`, transposed): the same sums, other strides.
//!
//! Weights of 8 bits are multiplied as integers: see `matmul/int8.rs`.
//!
//! # How fast can it be?
//!
//! A product reads `K * N` weights and computes `2 * T * K * N` operations. So the number of rows decides which of two
//! limits counts: the speed of the memory, or that of the arithmetic. All products with weights of GPT-2 124M in f32,
//! on a machine that reads 30 GB and computes 200 billion operations per second:
//!
//! | | weights | time to read them | operations | time to compute them |
//! |---|---|---|---|---|
//! | one new token | 494 MB | **16 ms** | 0.25 billion | 1.2 ms |
//! | one new token of each of 8 texts | 494 MB | **16 ms** | 2 billion | 10 ms |
//! | a prompt of 512 tokens | 494 MB | 16 ms | 87 billion | **440 ms** |
//!
//! (Of a prompt only the last row meets the output head.) So there are two ways:
//!
//! | file | what it does |
//! |---|---|
//! | `matmul/few.rs` | few rows: follows the memory, and reads each weight once for all rows |
//! | `matmul/many.rs` | many rows: keeps the arithmetic busy |
//! | `matmul/heads.rs` | attention, where keys and values take the place of weights |
//! | `matmul/tile.rs` | the innermost loops of these three |
//! | `matmul/sgemm.rs` | very many rows: hands blocks to the crate `matrixmultiply` |
//! | `matmul/int8.rs` | weights of 8 bits, few rows and many |
//! | `matmul/limits.rs` | measures the two limits of a machine |
//!
//! Each opens with its loop. Weights of 16 bits halve the time to read, not the time to compute. Weights of 8 bits
//! shorten both. `gpt2 bench` measures the two limits, and prints the share of them that is reached.

mod awake;
mod disjoint;
mod few;
pub(crate) mod heads;
mod int8;
pub mod limits;
mod many;
pub mod plain;
mod sgemm;
mod tile;

pub(crate) use awake::awake;
use disjoint::Columns;
pub(crate) use disjoint::Disjoint;
pub(crate) use int8::Rows as Int8Rows;

use crate::simd::LANES;
pub use crate::tensor::K_BLOCK;
use crate::tensor::{Dtype, F32, Matrix, Outputs, Weights, with_number};
use rayon::prelude::*;
use std::ops::Range;

/// Up to this many rows, reading the weights takes longer than the arithmetic, and `few.rs` is faster.
const FEW: usize = 20;

/// x `[T, K]` · w `[K, N]` + bias `[N] -> [T, N]`
///
/// # Panics
/// If the shapes do not fit.
pub fn affine(x: &Matrix, w: &Weights, bias: &[f32]) -> Matrix {
    assert_eq!(x.cols(), w.rows(), "x [T, K] times w [K, N]");
    assert_eq!(bias.len(), w.cols(), "w [K, N] plus bias [N]");
    product(x, w, Outputs::Cols, Some(bias)) // [T, N]
}

/// x `[T, C]` · wᵀ, w `[V, C] -> [T, V]`
///
/// # Panics
/// If the shapes do not fit.
pub fn by_rows(x: &Matrix, w: &Weights) -> Matrix {
    assert_eq!(x.cols(), w.cols(), "x [T, C] times the rows of w [V, C]");
    product(x, w, Outputs::Rows, None) // [T, V]
}

/// Both products: which file computes one depends on the number of rows and on the type of the weights.
fn product(x: &Matrix, w: &Weights, outputs: Outputs, bias: Option<&[f32]>) -> Matrix {
    let is_empty = w.rows() * w.cols() == 0;
    if let Some(w) = w.as_int8().filter(|_| !is_empty) {
        assert_eq!(w.outputs, outputs, "weights of 8 bits lie in the order of their outputs");
        return int8::product(x, w, bias);
    }
    let (n, _) = outputs.split(w.rows(), w.cols());
    let mut y = Matrix::scratch(x.rows(), n);
    if is_empty {
        y.data_mut().chunks_mut(n.max(1)).for_each(|y| start(y, bias)); // nothing to share out
        return y;
    }
    if w.dtype() == Dtype::F32 && sgemm::pays(x.rows()) {
        sgemm::product(x, w.numbers::<F32>(), outputs, bias, &mut y);
        return y;
    }
    let many = x.rows() > FEW && many::pays();
    with_number!(w.dtype(), N => match (many, outputs) {
        (true, _) => many::product::<N>(x, w.numbers::<N>(), outputs, bias, &mut y),
        (false, Outputs::Cols) => few::affine::<N>(x, w.numbers::<N>(), bias, &mut y),
        (false, Outputs::Rows) => few::product_by_rows::<N>(x, w.numbers::<N>(), &mut y),
    });
    y // [T, N]
}

/// Cuts `len` into one piece per thread. Each is a multiple of `unit`, except the last.
fn pieces(len: usize, unit: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let piece = len.div_ceil(rayon::current_num_threads()).next_multiple_of(unit).max(unit);
    (0..len.div_ceil(piece)).into_par_iter().map(move |i| i * piece..((i + 1) * piece).min(len))
}

/// The width of a row of scratch memory for `n` numbers: an odd number of cache lines. Else the same columns of all
/// rows might compete for a few places in the cache.
fn odd_lines(n: usize) -> usize {
    (n.div_ceil(LANES) | 1) * LANES
}

/// What the sums of the blocks are added to: the bias or 0, never -0. A sum of products that underflows to -0 comes out
/// of some kernels as 0, and only next to -0 would that make a difference.
fn start(y: &mut [f32], bias: Option<&[f32]>) {
    match bias {
        Some(bias) => y.iter_mut().zip(bias).for_each(|(y, bias)| *y = bias + 0.0),
        None => y.fill(0.0),
    }
}

#[cfg(test)]
mod tests;
