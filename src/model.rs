//! How do token ids become a score for every possible next token?
//!
//! `logits = ln_f(h[n-1](... h[0](wte[ids] + wpe[positions]))) · wteᵀ`
//!
//! ```text
//! x = wte[ids] + wpe[positions]        # [T, C]
//! for block in h:
//!     x = block(x)                     # [T, C]
//! logits = ln_f(x) @ wte.T             # [T, V]
//! ```
//!
//! The scores are called *logits*. Row `t` scores the token that follows the first `t + 1` tokens; to write text, only the
//! last row is needed. The output head multiplies by the token embedding once more ("tied weights"), unless the checkpoint
//! has a matrix of its own. Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), and
//! OpenAI's `gpt-2/src/model.py`. Next: [`softmax`](crate::softmax).
//!
//! # Example
//!
//! A logit is a dot product: the last row of the stream, after `ln_f`, times the token's row of `wte`.
//!
//! ```
//! use gpt2::{sampling::argmax, trace::Recorder};
//!
//! let (lm, mut trace) = (gpt2::checkpoint::bundled(), Recorder::new());
//! let ids = lm.bpe.encode("Once upon a");
//! let logits = lm.model.next_logits(&ids, &mut lm.model.new_cache(), &mut trace); // [1, V]
//! let time = argmax(logits.row(0));
//! assert_eq!(lm.bpe.decode_lossy(&[time])?, " time");
//!
//! let mut wte = vec![0.0; 128];
//! lm.model.wte.read_row(time as usize, &mut wte);
//! let last = trace.get("transformer.ln_f").unwrap().values.rchunks(128).next().unwrap(); // [C]
//! let dot: f32 = last.iter().zip(&wte).map(|(x, w)| x * w).sum();
//! assert!((dot - logits.row(0)[time as usize]).abs() < 1e-4);
//! # Ok::<(), gpt2::error::Error>(())
//! ```

mod tensors;

pub use tensors::{Role, Spec};

use crate::block::Block;
use crate::config::{Config, TokenId};
use crate::embedding;
use crate::kv_cache::{KvCache, LayerCache, Sequence};
use crate::layer_norm::LayerNorm;
use crate::matmul;
use crate::tensor::{Dtype, Matrix, Weights};
use crate::trace::{Stage, Trace};
use std::fmt;

/// A GPT-2: all its weights, under their names in a checkpoint.
#[derive(Clone)]
pub struct Gpt2 {
    /// The numbers that fix the shapes.
    pub config: Config,
    /// token embedding `[V, C]`
    pub wte: Weights,
    /// position embedding `[n_positions, C]`
    pub wpe: Weights,
    /// the blocks
    pub h: Vec<Block>,
    /// the last layer norm
    pub ln_f: LayerNorm,
    /// the output head `[V, C]`: `wte` itself where it is tied
    pub lm_head: Weights,
    /// How the caches of this model keep keys and values: F32 after loading. Never I8.
    pub kv_cache_dtype: Dtype,
}

impl fmt::Debug for Gpt2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpt2").field("config", &self.config).field("wte", &self.wte).finish_non_exhaustive()
    }
}

impl Gpt2 {
    /// An empty cache for one sequence.
    ///
    /// # Panics
    /// If [`kv_cache_dtype`](Self::kv_cache_dtype) is I8.
    pub fn new_cache(&self) -> KvCache {
        KvCache::with_dtype(&self.config, self.kv_cache_dtype)
    }

    /// ids `[T]` -> logits `[T, V]`: row `t` scores what follows `ids[..= t]` and the cache's past.
    ///
    /// # Panics
    /// If `ids` is empty, an id is not below `vocab_size`, past and new tokens exceed `n_positions`, the cache is that of
    /// a model of another shape, or a shape inside the model does not fit.
    pub fn forward(&self, ids: &[TokenId], cache: &mut KvCache, trace: &mut impl Trace) -> Matrix {
        let x = self.hidden(&mut [Sequence { ids, cache }], trace); // [T, C]
        self.head(&x, trace) // [T, V]
    }

    /// ids `[T]` -> logits `[1, V]` of the last position, all that writing text needs.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn next_logits(&self, ids: &[TokenId], cache: &mut KvCache, trace: &mut impl Trace) -> Matrix {
        let x = self.hidden(&mut [Sequence { ids, cache }], trace); // [T, C]
        self.head(&x.select(&[x.rows() - 1]), trace) // [1, V]
    }

    /// Everything below the output head, for a batch. The new tokens of all sequences, one sequence after the other, are
    /// the rows of one matrix. ids `[T]`, of all sequences together -> `[T, C]`
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn hidden(&self, batch: &mut [Sequence<'_>], trace: &mut impl Trace) -> Matrix {
        for Sequence { ids, cache } in &*batch {
            let (past, new, most) = (cache.len(), ids.len(), self.config.n_positions);
            assert!(new > 0, "a forward pass needs at least one token");
            assert_eq!(cache.layers(), self.h.len(), "layers of the cache, and of the model");
            assert!(past + new <= most, "{past} past and {new} new tokens exceed n_positions {most}");
        }
        let ids = batch.iter().flat_map(|s| s.ids).copied(); // [T]
        let positions = batch.iter().flat_map(|s| s.cache.len()..s.cache.len() + s.ids.len()); // [T]
        if trace.wants(Stage::InputIds) {
            trace.record_ids(Stage::InputIds, &ids.clone().collect::<Vec<_>>());
        }

        let wte = trace.tap(Stage::Wte, embedding::tokens(&self.wte, ids)); // [T, C]
        let wpe = trace.tap(Stage::Wpe, embedding::positions(&self.wpe, positions)); // [T, C]
        let mut x = trace.tap(Stage::Drop, wte + wpe); // [T, C]
        // many short products in a row: no thread falls asleep between them
        let x = matmul::awake(|| {
            for (i, block) in self.h.iter().enumerate() {
                trace.enter_block(Some(i));
                x = block.forward(x, &mut LayerCache::new(batch, i), trace); // [T, C]
            }
            trace.enter_block(None);
            x
        });
        for Sequence { ids, cache } in batch {
            cache.advance(ids.len());
        }
        trace.tap(Stage::LnF, self.ln_f.forward(&x)) // [T, C]
    }

    /// x `[T, C]` -> logits `[T, V]`
    pub fn head(&self, x: &Matrix, trace: &mut impl Trace) -> Matrix {
        trace.tap(Stage::LmHead, matmul::by_rows(x, &self.lm_head)) // [T, V]
    }
}
