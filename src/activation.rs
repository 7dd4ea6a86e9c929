//! The nonlinearities of the MLP, and their names in `config.json`.
//!
//! ```text
//! gelu_new    x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))      all of OpenAI's sizes
//! gelu        x / 2 * (1 + erf(x / sqrt(2)))                             the definition
//! quick_gelu  x / (1 + e^(-1.702 x))
//! relu        max(x, 0)
//! silu        x / (1 + e^-x)
//! tanh        tanh(x)
//! ```

use crate::math::{erf, exp, tanh};
use crate::simd::kernel;
use crate::tensor::Matrix;
use rayon::prelude::*;

/// A nonlinearity that GPT-2 checkpoints use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU with tanh; all of OpenAI's sizes.
    GeluTanh,
    /// GELU with erf.
    GeluErf,
    /// x times a steeper sigmoid.
    QuickGelu,
    /// max(x, 0)
    Relu,
    /// x times its sigmoid.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

/// Their names in `config.json`; the first of each function is the one that is written. HF's other names are other ways to
/// compute the same function.
const NAMES: &[(&str, Activation)] = &[
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu", Activation::GeluErf),
    ("gelu_python", Activation::GeluErf),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

impl Activation {
    /// The function that `config.json` names as `activation_function`.
    ///
    /// # Errors
    /// A sentence with the names that are known.
    pub fn from_name(name: &str) -> Result<Self, String> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            format!("activation_function {name:?} is unknown; known are {}", known.join(", "))
        })
    }

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// The function of each element. x `[rows, cols] -> [rows, cols]`
    pub fn forward(self, mut x: Matrix) -> Matrix {
        x.data_mut().par_chunks_mut(4096).for_each(|x| match self {
            Self::GeluTanh => gelu_tanh(x),
            Self::GeluErf => gelu_erf(x),
            Self::Relu => x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Self::QuickGelu => quick_gelu(x),
            Self::Silu => silu(x),
            Self::Tanh => x.iter_mut().for_each(|x| *x = tanh(*x)),
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
    /// x / (1 + e^(-1.702 x))
    fn quick_gelu(x: &mut [f32]) {
        for x in x {
            *x /= 1.0 + exp(-1.702 * *x);
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
            (Activation::QuickGelu, &|x| x / (1.0 + (-1.702 * x).exp())),
            (Activation::Relu, &|x| x.max(0.0)),
            (Activation::Tanh, &f64::tanh),
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
