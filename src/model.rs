//! How do token ids become a score for every possible next token?
//!
//! ```text
//! x = wte[ids] + wpe[positions]        # [T, C]
//! for block in h:
//!     x = block(x)                     # [T, C]
//! logits = ln_f(x) @ wte.T             # [T, V]
//! ```
//!
//! Row `t` of the logits scores what may follow the first `t + 1` tokens; to write text, only the last row
//! is needed. The output head is the token embedding used backwards ("tied"), unless the checkpoint has its
//! own. Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), and
//! OpenAI's `gpt-2/src/model.py`. Next: [`softmax`](crate::softmax).

use crate::block::Block;
use crate::bpe::TokenId;
use crate::config::Config;
use crate::embedding;
use crate::kv_cache::{KvCache, LayerCache, Sequence};
use crate::layer_norm::LayerNorm;
use crate::matmul;
use crate::tensor::{Matrix, Weights};
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
}

impl fmt::Debug for Gpt2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpt2").field("config", &self.config).field("wte", &self.wte).finish_non_exhaustive()
    }
}

impl Gpt2 {
    /// ids `[T]` -> logits `[T, V]`: row `t` scores what follows `ids[..= t]` and the cache's past.
    ///
    /// # Panics
    /// If `ids` is empty, an id is not below `vocab_size`, past and new tokens exceed `n_positions`, the cache is that of
    /// a model of another shape, or a shape inside the model does not fit.
    pub fn forward(&self, ids: &[TokenId], cache: &mut KvCache, trace: &mut impl Trace) -> Matrix {
        let x = self.hidden(&mut [Sequence { ids, cache }], trace); // [T, C]
        self.head(&x, trace) // [T, V]
    }

    /// ids `[T]` -> logits `[V]` of the last position, all that writing text needs.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn next_logits(&self, ids: &[TokenId], cache: &mut KvCache, trace: &mut impl Trace) -> Matrix {
        let x = self.hidden(&mut [Sequence { ids, cache }], trace); // [T, C]
        self.head(&x.select(&[x.rows() - 1]), trace) // [1, V]
    }

    /// Everything below the output head, for a batch: the new tokens of all sequences, one after the
    /// other, are the rows of one matrix. ids of T tokens in all -> `[T, C]`
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
        let mut x = embedding::tokens(&self.wte, ids); // [T, C]
        trace.tap(Stage::Wte, &mut x);
        let mut p = embedding::positions(&self.wpe, positions); // [T, C]
        trace.tap(Stage::Wpe, &mut p);
        x.add(&p);
        trace.tap(Stage::Drop, &mut x);
        // many short products in a row: no thread falls asleep between them
        matmul::awake(|| {
            for (i, block) in self.h.iter().enumerate() {
                trace.enter_block(Some(i));
                block.forward(&mut x, &mut LayerCache::new(batch, i), trace); // [T, C]
            }
        });
        trace.enter_block(None);
        for Sequence { ids, cache } in batch {
            cache.advance(ids.len());
        }
        let mut x = self.ln_f.forward(&x); // [T, C]
        trace.tap(Stage::LnF, &mut x);
        x
    }

    /// x `[T, C]` -> logits `[T, V]`
    pub fn head(&self, x: &Matrix, trace: &mut impl Trace) -> Matrix {
        let mut logits = matmul::by_rows(x, &self.lm_head); // [T, V]
        trace.tap(Stage::LmHead, &mut logits);
        logits
    }

    /// Bytes of all weights, as they are stored; a tied head counts once.
    pub fn weight_bytes(&self) -> usize {
        let linear = |l: &crate::linear::Linear| l.weight.bytes() + size_of_val(&l.bias[..]);
        let norm = |n: &LayerNorm| size_of_val(&n.weight[..]) + size_of_val(&n.bias[..]);
        let block = |b: &Block| {
            let linears = [&b.attn.c_attn, &b.attn.c_proj, &b.mlp.c_fc, &b.mlp.c_proj];
            linears.into_iter().map(linear).sum::<usize>() + norm(&b.ln_1) + norm(&b.ln_2)
        };
        let head = if self.config.tie_word_embeddings { 0 } else { self.lm_head.bytes() };
        self.wte.bytes()
            + self.wpe.bytes()
            + self.h.iter().map(block).sum::<usize>()
            + norm(&self.ln_f)
            + head
    }

    /// The number of weights; a tied head counts once.
    pub fn parameters(&self) -> usize {
        let linear = |l: &crate::linear::Linear| l.weight.rows() * l.weight.cols() + l.bias.len();
        let norm = |n: &LayerNorm| n.weight.len() + n.bias.len();
        let blocks: usize = (self.h.iter())
            .map(|b| norm(&b.ln_1) + linear(&b.attn.c_attn) + linear(&b.attn.c_proj))
            .zip(self.h.iter().map(|b| norm(&b.ln_2) + linear(&b.mlp.c_fc) + linear(&b.mlp.c_proj)))
            .map(|(attn, mlp)| attn + mlp)
            .sum();
        let table = |w: &Weights| w.rows() * w.cols();
        let head = if self.config.tie_word_embeddings { 0 } else { table(&self.lm_head) };
        table(&self.wte) + table(&self.wpe) + blocks + norm(&self.ln_f) + head
    }
}
