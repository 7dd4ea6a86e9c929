//! What a layer norm measures of a row.

use crate::math;

/// Mean and variance of a row, and the scale that follows from them, with the bits of the layer norm.
pub struct Moments {
    pub mean: f32,
    pub variance: f32,
    /// `1 / sqrt(variance + eps)`
    pub scale: f32,
}

impl Moments {
    /// x `[C]`
    pub fn of(x: &[f32], eps: f32) -> Self {
        let c = x.len() as f64;
        let mean = (math::sum(x) / c) as f32;
        let squares: Vec<f32> = x.iter().map(|x| (x - mean) * (x - mean)).collect();
        let variance = (math::sum(&squares) / c) as f32;
        Self { mean, variance, scale: 1.0 / (variance + eps).sqrt() }
    }
}
