//! The products by their definition: slow, a few lines each, and the oracle of the tests.

use super::K_BLOCK;
use crate::tensor::{Matrix, Weights};

/// `y[t, n] = start(n) + sum over k of x[t, k] * w(k, n)`, in the project's order. x `[T, K] -> [T, N]`
fn product(x: &Matrix, n: usize, start: impl Fn(usize) -> f32, w: impl Fn(usize, usize) -> f32) -> Matrix {
    let mut y = Matrix::zeros(x.rows(), n);
    for t in 0..x.rows() {
        for (n, y) in y.row_mut(t).iter_mut().enumerate() {
            *y = start(n) + 0.0; // -0 counts as 0
            for block in (0..x.cols()).step_by(K_BLOCK) {
                let mut p = 0.0f32;
                for k in block..(block + K_BLOCK).min(x.cols()) {
                    p = x.row(t)[k].mul_add(w(k, n), p);
                }
                *y += p;
            }
        }
    }
    y // [T, N]
}

/// x `[T, K]` · w `[K, N]` + bias `[N] -> [T, N]`
///
/// # Panics
/// If the shapes do not fit.
pub fn affine(x: &Matrix, w: &Weights, bias: &[f32]) -> Matrix {
    assert_eq!((x.cols(), bias.len()), (w.rows(), w.cols()), "x [T, K] times w [K, N] plus bias [N]");
    let wide = w.to_f32();
    product(x, w.cols(), |n| bias[n], |k, n| wide[k * w.cols() + n])
}

/// x `[T, C]` · wᵀ, w `[V, C] -> [T, V]`
///
/// # Panics
/// If the shapes do not fit.
pub fn by_rows(x: &Matrix, w: &Weights) -> Matrix {
    assert_eq!(x.cols(), w.cols(), "x [T, C] times the rows of w [V, C]");
    let wide = w.to_f32();
    product(x, w.rows(), |_| 0.0, |k, v| wide[v * w.cols() + k])
}
