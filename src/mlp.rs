//! What does a position compute on its own, from what attention brought it?
//!
//! `mlp(x) = c_proj(gelu(c_fc(x)))`
//!
//! ```text
//! a = gelu(x @ c_fc.weight + c_fc.bias)     # [T, C] -> [T, 4C]
//! y = a @ c_proj.weight + c_proj.bias       # [T, 4C] -> [T, C]
//! ```
//!
//! Each position is computed alone, with the same weights. Without a nonlinearity between them, two linear layers would
//! be one. GELU multiplies `x` by the probability that a standard normal variable is below `x` (Hendrycks and Gimpel,
//! 2016). That definition uses erf; OpenAI's GPT-2 uses an approximation with tanh. `config.json` names the function that
//! a checkpoint was trained with ([`activation`](crate::activation)). Next: [`block`](crate::block).
//!
//! # Why
//!
//! Each of the 4C numbers in the middle is a *neuron*. Its column of `c_fc` sets how strongly it responds to a row, and it
//! adds its row of `c_proj`, multiplied by that response, to the result. The nonlinearity makes the response more than a
//! weighted sum. Notebook 4 shows what single neurons respond to, and what is lost without the nonlinearity.
//!
//! ```
//! use gpt2::{activation::Activation, tensor::Matrix};
//!
//! let a = Activation::GeluTanh.forward(Matrix::from_vec(1, 4, vec![-3.0, -1.0, 1.0, 3.0]));
//! let by_hand = [-0.004, -0.159, 0.841, 2.996]; // almost 0 far below zero, almost x far above
//! assert!(a.data().iter().zip(by_hand).all(|(a, expected)| (a - expected).abs() < 1e-3));
//! ```

use crate::activation::Activation;
use crate::linear::Linear;
use crate::tensor::Matrix;
use crate::trace::{Stage, Trace};

/// The feed-forward layer of a block.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[C, n_inner]`
    pub c_fc: Linear,
    /// The nonlinearity between the two.
    pub act: Activation,
    /// `[n_inner, C]`
    pub c_proj: Linear,
}

impl Mlp {
    /// x `[T, C] -> [T, C]`
    pub fn forward(&self, x: &Matrix, trace: &mut impl Trace) -> Matrix {
        let a = trace.tap(Stage::MlpCFc, self.c_fc.forward(x)); // [T, n_inner]
        let a = trace.tap(Stage::MlpAct, self.act.forward(a)); // [T, n_inner]
        trace.tap(Stage::MlpCProj, self.c_proj.forward(&a)) // [T, C]
    }
}
