//! How are the numbers of a vector kept at a size that the next layer can work with?
//!
//! `y = (x - mean) / sqrt(variance + eps) * weight + bias`, for each position on its own
//!
//! ```text
//! for x in rows:                                             # [C]
//!     mean = sum(x) / C
//!     variance = sum((x - mean)^2) / C
//!     y = (x - mean) / sqrt(variance + eps) * weight + bias
//! ```
//!
//! GPT-2 normalises the input of a layer, not the residual stream itself ("pre-norm"). One more layer norm, `ln_f`, comes
//! before the output head. Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).
//! Next: [`attention`](crate::attention).
//!
//! # Why
//!
//! Each part of a block adds to the residual stream, which grows from block to block. A layer norm makes the input of the
//! next part independent of that size: a row a hundred times as large gives the same result, up to `eps` and rounding.
//! Notebook 4 leaves the norms out of the bundled model, and the stream grows to hundreds of times its size, partly because
//! the norms' trained weights are left out too. A model with random weights does not grow so.
//!
//! ```
//! use gpt2::{layer_norm::LayerNorm, tensor::Matrix};
//!
//! let ln = LayerNorm { weight: vec![1.0; 4], bias: vec![0.0; 4], eps: 1e-5 };
//! let y = ln.forward(&Matrix::from_vec(2, 4, vec![1.0, 2.0, 3.0, 6.0, 100.0, 200.0, 300.0, 600.0]));
//! let by_hand = [-1.069, -0.535, 0.0, 1.604]; // mean 3, variance 3.5: (1 - 3) / sqrt(3.5) = -1.069
//! for row in [y.row(0), y.row(1)] {
//!     assert!(row.iter().zip(by_hand).all(|(y, expected)| (y - expected).abs() < 1e-3));
//! }
//! ```

use crate::math::sum_of;
use crate::simd::kernel;
use crate::tensor::Matrix;
use rayon::prelude::*;
use std::fmt;

/// A layer norm: `weight` and `bias` `[C]`.
#[derive(Clone)]
pub struct LayerNorm {
    /// `[C]`
    pub weight: Vec<f32>,
    /// `[C]`
    pub bias: Vec<f32>,
    /// Keeps the square root away from zero: 1e-5 in GPT-2.
    pub eps: f32,
}

impl fmt::Debug for LayerNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerNorm [{}] eps {:e}", self.weight.len(), self.eps)
    }
}

impl LayerNorm {
    /// x `[T, C] -> [T, C]`
    ///
    /// # Panics
    /// If `weight` or `bias` is not `[C]`.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let c = x.cols();
        assert_eq!([self.weight.len(), self.bias.len()], [c, c], "x [T, C], weight [C], bias [C]");
        let mut y = Matrix::scratch(x.rows(), c);
        let rows = x.data().par_chunks(c).zip(y.data_mut().par_chunks_mut(c));
        rows.with_min_len(16).for_each(|(x, y)| normalise(x, &self.weight, &self.bias, self.eps, y));
        y // [T, C]
    }
}

// a loop marked `kernel!` is compiled once for each instruction set
kernel! {
    /// One position: x `[C]` -> y `[C]`
    fn normalise(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let c = x.len() as f64;
        let mean = (sum_of(x, |x| x) / c) as f32;
        let variance = (sum_of(x, |x| (x - mean) * (x - mean)) / c) as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((x, w), b), y) in x.iter().zip(weight).zip(bias).zip(y) {
            *y = ((x - mean) * scale).mul_add(*w, *b); // (x - mean) * scale * w + b
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_zero_variance_one() {
        let ln = LayerNorm { weight: vec![1.0; 100], bias: vec![0.0; 100], eps: 0.0 };
        let x = Matrix::from_vec(1, 100, (0..100).map(|i| 3.0 + (i * i % 17) as f32).collect());
        let y = ln.forward(&x);
        let mean: f32 = y.data().iter().sum::<f32>() / 100.0;
        let variance: f32 = y.data().iter().map(|y| y * y).sum::<f32>() / 100.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }

    #[test]
    fn a_constant_row_gives_the_bias() {
        let ln = LayerNorm { weight: vec![2.0; 3], bias: vec![1.0, -1.0, 0.5], eps: 1e-5 };
        assert_eq!(ln.forward(&Matrix::from_vec(1, 3, vec![7.0; 3])).data(), [1.0, -1.0, 0.5]);
    }
}
