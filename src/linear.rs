//! The layer that is most of GPT-2: `y = x W + b`.
//!
//! GPT-2's `c_*` layers store `W` as `[in, out]` (HF calls the class `Conv1D`), so no transpose is needed.
//! How the product is computed, and in which order it sums, is [`matmul`]'s business.

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
