//! What happens in one layer of the transformer?
//!
//! ```text
//! x = x + attn(ln_1(x))      # [T, C]: positions exchange information
//! x = x + mlp(ln_2(x))       # [T, C]: each position alone
//! ```
//!
//! `x` is the *residual stream*: each layer reads a normalised copy of it and adds its result. Attention is the only
//! step that moves information from one position to another. Next: [`model`](crate::model).
//!
//! # Why
//!
//! Because every part adds, the stream is a sum: the embedding plus what each part wrote. Notebook 4 leaves out one part of
//! the bundled model at a time: without the MLP of block 0 the loss more than triples; without any other part it rises by
//! less than a nat per token. Where parts replace the stream instead of adding to it, the rows of all
//! positions become nearly parallel.
//!
//! ```
//! use gpt2::trace::Recorder;
//!
//! let (lm, mut trace) = (gpt2::checkpoint::bundled(), Recorder::new());
//! lm.model.forward(&lm.bpe.encode("Once upon a"), &mut lm.model.new_cache(), &mut trace);
//! let stage = |name: &str| trace.get(name).unwrap().values.clone(); // [T, C]
//! let (x, attn) = (stage("transformer.drop"), stage("transformer.h.0.attn.c_proj"));
//! let sum: Vec<f32> = x.iter().zip(&attn).map(|(x, attn)| x + attn).collect();
//! assert_eq!(sum, stage("transformer.h.0.attn_residual"));
//! ```

use crate::attention::Attention;
use crate::kv_cache::LayerCache;
use crate::layer_norm::LayerNorm;
use crate::mlp::Mlp;
use crate::tensor::Matrix;
use crate::trace::{Stage, Trace};

/// One of the model's `n_layer` blocks. All have the same shape.
#[derive(Clone, Debug)]
pub struct Block {
    /// before attention
    pub ln_1: LayerNorm,
    /// positions exchange information
    pub attn: Attention,
    /// before the feed-forward layer
    pub ln_2: LayerNorm,
    /// each position alone
    pub mlp: Mlp,
}

impl Block {
    /// x `[T, C] -> [T, C]`
    pub fn forward(&self, x: Matrix, cache: &mut LayerCache, trace: &mut impl Trace) -> Matrix {
        let n = trace.tap(Stage::Ln1, self.ln_1.forward(&x)); // [T, C]
        let attn = self.attn.forward(&n, cache, trace); // [T, C]
        let x = trace.tap(Stage::AttnResidual, x + attn); // [T, C]
        let n = trace.tap(Stage::Ln2, self.ln_2.forward(&x)); // [T, C]
        let mlp = self.mlp.forward(&n, trace); // [T, C]
        trace.tap(Stage::Block, x + mlp) // [T, C]
    }
}
