//! The products by their definition: slow, a few lines each, and the oracle of the tests.

use super::K_BLOCK;
use crate::tensor::{Matrix, Weights};

/// start + sum over k of a(k) * b(k), in the project's order.
fn sum(start: f32, len: usize, product: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut y = start + 0.0; // -0 counts as 0
    for block in (0..len).step_by(K_BLOCK) {
        let mut p = 0.0f32;
        for k in block..(block + K_BLOCK).min(len) {
            let (a, b) = product(k);
            p = a.mul_add(b, p);
        }
        y += p;
    }
    y
}

/// x `[T, K]` · w `[K, N]` + bias `[N] -> [T, N]`
///
/// # Panics
/// If the shapes do not fit.
pub fn affine(x: &Matrix, w: &Weights, bias: &[f32]) -> Matrix {
    assert_eq!((x.cols(), bias.len()), (w.rows(), w.cols()), "x [T, K] times w [K, N] plus bias [N]");
    let (wide, n) = (w.to_f32(), w.cols());
    let mut y = Matrix::zeros(x.rows(), n);
    for t in 0..x.rows() {
        for (j, y) in y.row_mut(t).iter_mut().enumerate() {
            *y = sum(bias[j], x.cols(), |k| (x.row(t)[k], wide[k * n + j]));
        }
    }
    y
}

/// x `[T, C]` · wᵀ, w `[V, C] -> [T, V]`
///
/// # Panics
/// If the shapes do not fit.
pub fn by_rows(x: &Matrix, w: &Weights) -> Matrix {
    assert_eq!(x.cols(), w.cols(), "x [T, C] times the rows of w [V, C]");
    let (wide, c) = (w.to_f32(), w.cols());
    let mut y = Matrix::zeros(x.rows(), w.rows());
    for t in 0..x.rows() {
        for (v, y) in y.row_mut(t).iter_mut().enumerate() {
            *y = sum(0.0, c, |k| (x.row(t)[k], wide[v * c + k]));
        }
    }
    y
}
