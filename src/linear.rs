//! What is the layer that holds most of GPT-2's weights?
//!
//! `y = x · W + b`
//!
//! ```text
//! for t, n:
//!     y[t, n] = b[n] + sum over k of x[t, k] * W[k, n]
//! ```
//!
//! GPT-2's `c_*` layers store `W` as `[in, out]` (Hugging Face's class is `Conv1D`), so no transpose is needed.
//! [`matmul`] computes the product, and fixes the order of its sums.

use crate::matmul;
use crate::tensor::{Matrix, Weights};
use std::fmt;

/// A linear layer.
#[derive(Clone)]
pub struct Linear {
    /// `[in, out]`
    pub weight: Weights,
    /// `[out]`
    pub bias: Vec<f32>,
}

impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linear {:?}", self.weight)
    }
}

impl Linear {
    /// x `[T, in] -> [T, out]`
    pub fn forward(&self, x: &Matrix) -> Matrix {
        matmul::affine(x, &self.weight, &self.bias)
    }
}
