//! The nonlinearities of the MLP, and their names in `config.json`.
//!
//! ```text
//! gelu_new    x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))      all of OpenAI's sizes
//! gelu        x / 2 * (1 + erf(x / sqrt(2)))                             the definition
//! relu        max(x, 0)
//! silu        x / (1 + e^-x)
//! ```

use crate::math::{erf, exp, tanh};
use crate::simd::kernel;
use crate::tensor::Matrix;
use rayon::prelude::*;

/// A nonlinearity that GPT-2 checkpoints use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu_new`, `gelu_pytorch_tanh`: GELU with tanh; all of OpenAI's sizes.
    GeluTanh,
    /// `gelu`: GELU with erf.
    GeluErf,
    /// `relu`
    Relu,
    /// `silu`, `swish`
    Silu,
}

impl Activation {
    /// The function that `config.json` names as `activation_function`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "gelu" => Some(Self::GeluErf),
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            _ => None,
        }
    }

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::GeluTanh => "gelu_new",
            Self::GeluErf => "gelu",
            Self::Relu => "relu",
            Self::Silu => "silu",
        }
    }

    /// The function of each element. x `[rows, cols] -> [rows, cols]`
    pub fn forward(self, mut x: Matrix) -> Matrix {
        x.data_mut().par_chunks_mut(4096).for_each(|x| match self {
            Self::GeluTanh => gelu_tanh(x),
            Self::GeluErf => gelu_erf(x),
            Self::Relu => x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Self::Silu => silu(x),
        });
        x
    }
}

kernel! {
    /// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
    fn gelu_tanh(x: &mut [f32]) {
        const ROOT: f32 = 0.797_884_6; // sqrt(2 / pi)
        for x in x {
            let inner = ROOT * (0.044_715 * *x * *x).mul_add(*x, *x);
            *x = 0.5 * *x * (1.0 + tanh(inner));
        }
    }
}

kernel! {
    /// x / 2 * (1 + erf(x / sqrt(2)))
    fn gelu_erf(x: &mut [f32]) {
        for x in x {
            *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

kernel! {
    /// x / (1 + e^-x)
    fn silu(x: &mut [f32]) {
        for x in x {
            *x /= 1.0 + exp(-*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_their_definitions() {
        let inputs: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.0025).collect();
        let tanh_form = |x: f64| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        };
        let silu = |x: f64| x / (1.0 + (-x).exp());
        for (act, truth) in [
            (Activation::GeluTanh, &tanh_form as &dyn Fn(f64) -> f64),
            (Activation::Silu, &silu),
            (Activation::Relu, &|x| x.max(0.0)),
        ] {
            let got = act.forward(Matrix::from_vec(1, inputs.len(), inputs.clone()));
            for (x, y) in inputs.iter().zip(got.data()) {
                let error = (f64::from(*y) - truth(f64::from(*x))).abs();
                assert!(error < 5e-7 * f64::from(x.abs()).max(1.0), "{act:?}({x}) = {y}, off by {error}");
            }
        }
    }

    #[test]
    fn the_two_gelus_differ() {
        let both = [Activation::GeluTanh, Activation::GeluErf]
            .map(|act| act.forward(Matrix::from_vec(1, 1, vec![-2.0])).data()[0]);
        assert!((both[0] - -0.045_402_3).abs() < 1e-6 && (both[1] - -0.045_500_26).abs() < 1e-6, "{both:?}");
    }
}
