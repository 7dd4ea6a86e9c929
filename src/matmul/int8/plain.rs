//! The product by its definition: slow, and the oracle of the tests.

use super::rows::{BLOCK, Rows};
use crate::tensor::{Int8, Matrix};

/// The lines at the head of [`super`].
pub fn product(x: &Matrix, w: Int8<'_>, bias: &[f32]) -> Matrix {
    let rows = Rows::quantize(x);
    let mut y = Matrix::zeros(x.rows(), bias.len());
    for t in 0..x.rows() {
        for n in 0..bias.len() {
            let mut sum = 0.0f32;
            for (b, start) in (0..x.cols()).step_by(BLOCK).enumerate() {
                let (scale, zero) = rows.step(t, b);
                let product = |k: usize| (i64::from(rows.row(t)[k]) - i64::from(zero)) * i64::from(w.q(k, n));
                let whole: i64 = (start..(start + BLOCK).min(x.cols())).map(product).sum();
                sum = scale.mul_add(whole as f32, sum);
            }
            y.row_mut(t)[n] = w.scales[n].mul_add(sum, bias[n]);
        }
    }
    y
}
