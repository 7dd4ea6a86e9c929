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
//! That loop is [`plain`]. Floating-point addition is not associative, so the order is part of the result;
//! it is fixed for good as the one above. What the fast versions add, none of which touches the order:
//!
//! 1. *Lanes*: 16 neighbouring `n` advance together through `k`, each with its own `p`.
//! 2. *Blocks*: few rows of `x` share each weight that is read from memory; for many rows, panels of `w` stay
//!    in the cache while all of `x` passes by.
//! 3. *Threads* share out sums `p`, never the products of one.
//!
//! The crate `matrixmultiply`, on a processor with a fused multiply-add, sums in the same order. It is the second
//! oracle of the tests: other people's code that must give the same bits. `benches/kernels.rs` measures it as well.
//!
//! The output head multiplies by the rows of `wte` (`[V, C]`, transposed): the same sums, other strides.
//!
//! Weights of eight bits are multiplied as whole numbers; what is computed there is said in `matmul/int8.rs`.
//!
//! # How fast can it be?
//!
//! A product reads `K * N` weights and computes `2 * T * K * N` operations. So the number of rows decides which of two
//! limits counts: the speed of the memory, or that of the arithmetic. All products with weights of GPT-2 124M in f32, on
//! a machine that reads 30 GB and computes 200 billion operations a second:
//!
//! | | weights | time to read them | operations | time to compute them |
//! |---|---|---|---|---|
//! | one new token | 494 MB | **16 ms** | 0.25 billion | 1.2 ms |
//! | one new token of each of 8 texts | 494 MB | **16 ms** | 2 billion | 10 ms |
//! | a prompt of 512 tokens | 494 MB | 16 ms | 87 billion | **440 ms** |
//!
//! (Of a prompt only the last row meets the output head.) So there are two ways:
//!
//! | file | its way |
//! |---|---|
//! | `matmul/few.rs` | follows the memory: each weight once for all rows |
//! | `matmul/many.rs` | keeps the arithmetic busy: what is needed next lies in the cache, in the order of its use |
//! | `matmul/heads.rs` | attention, where keys and values stand in for weights |
//! | `matmul/tile.rs` | the innermost loops of these |
//! | `matmul/int8.rs` | weights of eight bits, few rows and many |
//!
//! Each opens with its loop. Weights of 16 bits halve the time to read, not the time to compute; weights of 8 bits shorten
//! both. `gpt2 bench` measures the two limits where it runs, and says what share of them is reached.

mod awake;
mod disjoint;
mod few;
pub(crate) mod heads;
mod int8;
pub mod limits;
mod many;
pub mod plain;
mod tile;

pub(crate) use awake::awake;
pub(crate) use disjoint::Disjoint;

use crate::simd::LANES;
use crate::tensor::{Bf16, F16, F32, Matrix, Number, Numbers, Weights};
use rayon::prelude::*;
use std::ops::Range;

/// Consecutive `k` that are summed before the sum is added to the result.
pub const K_BLOCK: usize = 256;

/// Up to this many rows, reading the weights takes longer than the arithmetic.
const FEW: usize = 20;

/// x `[T, K]` · w `[K, N]` + bias `[N] -> [T, N]`
///
/// # Panics
/// If the shapes do not fit.
pub fn affine(x: &Matrix, w: &Weights, bias: &[f32]) -> Matrix {
    assert_eq!(x.cols(), w.rows(), "x [T, K] times w [K, N]");
    assert_eq!(bias.len(), w.cols(), "w [K, N] plus bias [N]");
    if let Numbers::I8(w) = w.numbers() {
        return int8::product(x, w, Some(bias));
    }
    let mut y = Matrix::scratch(x.rows(), w.cols());
    fn typed<N: Number>(x: &Matrix, w: &[N::Bits], bias: &[f32], y: &mut Matrix) {
        if by_sgemm(x.rows()) { many::affine::<N>(x, w, bias, y) } else { few::affine::<N>(x, w, bias, y) }
    }
    match w.numbers() {
        Numbers::F32(w) => typed::<F32>(x, w, bias, &mut y),
        Numbers::F16(w) => typed::<F16>(x, w, bias, &mut y),
        Numbers::Bf16(w) => typed::<Bf16>(x, w, bias, &mut y),
        Numbers::I8(_) => unreachable!("returned above"),
    }
    y // [T, N]
}

/// x `[T, C]` · wᵀ, w `[V, C] -> [T, V]`
///
/// # Panics
/// If the shapes do not fit.
pub fn by_rows(x: &Matrix, w: &Weights) -> Matrix {
    assert_eq!(x.cols(), w.cols(), "x [T, C] times the rows of w [V, C]");
    if let Numbers::I8(w) = w.numbers() {
        return int8::product(x, w, None);
    }
    let mut y = Matrix::scratch(x.rows(), w.rows());
    fn typed<N: Number>(x: &Matrix, w: &[N::Bits], y: &mut Matrix) {
        if by_sgemm(x.rows()) {
            many::product_by_rows::<N>(x, w, y)
        } else {
            few::product_by_rows::<N>(x, w, y)
        }
    }
    match w.numbers() {
        Numbers::F32(w) => typed::<F32>(x, w, &mut y),
        Numbers::F16(w) => typed::<F16>(x, w, &mut y),
        Numbers::Bf16(w) => typed::<Bf16>(x, w, &mut y),
        Numbers::I8(_) => unreachable!("returned above"),
    }
    y // [T, V]
}

/// Cuts `len` into one piece a thread, each a multiple of `unit` but the last.
fn pieces(len: usize, unit: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let piece = len.div_ceil(rayon::current_num_threads()).next_multiple_of(unit).max(unit);
    (0..len.div_ceil(piece)).into_par_iter().map(move |i| i * piece..((i + 1) * piece).min(len))
}

/// Whether so many rows are a matter for `sgemm`.
fn by_sgemm(rows: usize) -> bool {
    rows > FEW && many::sgemm_fuses()
}

/// The width of a row of scratch memory for `n` numbers: an odd number of cache lines. Else the same columns of all rows
/// might compete for a few places in the cache.
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
