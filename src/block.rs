//! What happens in one layer of the transformer?
//!
//! ```text
//! x = x + attn(ln_1(x))
//! x = x + mlp(ln_2(x))
//! ```
//!
//! `x` is the *residual stream*: each layer reads a normalised copy of it and adds what it found. Attention
//! is the only step in which positions see each other. Next: [`model`](crate::model).

use crate::attention::Attention;
use crate::kv_cache::LayerCache;
use crate::layer_norm::LayerNorm;
use crate::mlp::Mlp;
use crate::tensor::Matrix;
use crate::trace::{Stage, Trace};

/// One of the model's `n_layer` equal blocks.
#[derive(Clone, Debug)]
pub struct Block {
    /// before attention
    pub ln_1: LayerNorm,
    /// positions look at each other
    pub attn: Attention,
    /// before the feed-forward layer
    pub ln_2: LayerNorm,
    /// each position on its own
    pub mlp: Mlp,
}

impl Block {
    /// x `[T, C] -> [T, C]`, in place
    pub fn forward(&self, x: &mut Matrix, cache: &mut LayerCache<'_, '_>, trace: &mut impl Trace) {
        let mut n = self.ln_1.forward(x); // [T, C]
        trace.tap(Stage::Ln1, &mut n);
        x.add(&self.attn.forward(&n, cache, trace));
        trace.tap(Stage::AttnResidual, x);
        let mut n = self.ln_2.forward(x); // [T, C]
        trace.tap(Stage::Ln2, &mut n);
        x.add(&self.mlp.forward(&n, trace));
        trace.tap(Stage::Block, x);
    }
}
