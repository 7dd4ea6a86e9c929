//! What does a position do on its own, with what attention brought it?
//!
//! `mlp(x) = c_proj(gelu(c_fc(x)))`: widen fourfold, bend, narrow again
//!
//! ```text
//! a = gelu(x @ c_fc.weight + c_fc.bias)     # [T, C] -> [T, 4C]
//! y = a @ c_proj.weight + c_proj.bias       # [T, 4C] -> [T, C]
//! ```
//!
//! Each position is treated alone, by the same weights. Without the bend two linear layers would be one.
//! GELU is a smooth ReLU (Hendrycks and Gimpel, 2016). Its definition has an erf; OpenAI's GPT-2 uses an
//! approximation with tanh, and a checkpoint's `config.json` says which one it was trained with.
//! Next: [`block`](crate::block).

use crate::activation::Activation;
use crate::linear::Linear;
use crate::tensor::Matrix;
use crate::trace::{Stage, Trace};

/// The feed-forward layer of a block.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[C, n_inner]`
    pub c_fc: Linear,
    /// The bend between the two.
    pub act: Activation,
    /// `[n_inner, C]`
    pub c_proj: Linear,
}

impl Mlp {
    /// x `[T, C] -> [T, C]`
    pub fn forward(&self, x: &Matrix, trace: &mut impl Trace) -> Matrix {
        let mut a = self.c_fc.forward(x); // [T, n_inner]
        trace.tap(Stage::MlpCFc, &mut a);
        self.act.apply(&mut a);
        trace.tap(Stage::MlpAct, &mut a);
        let mut y = self.c_proj.forward(&a); // [T, C]
        trace.tap(Stage::MlpCProj, &mut y);
        y
    }
}
