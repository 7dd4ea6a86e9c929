//! How does a position learn from the positions before it?
//!
//! `heads = softmax(mask(q · kᵀ / sqrt(D))) · v`, for each head on its own
//!
//! ```text
//! q, k, v = split(x @ c_attn.weight + c_attn.bias)     # [T, C] -> 3 of [T, C]
//! for h in heads:                                      # columns h*D .. (h+1)*D
//!     scores = q[h] @ k[h].T / sqrt(D)                 # [T, S]
//!     scores[t, s] = -inf where s comes after t        # the mask
//!     heads[h] = softmax(scores) @ v[h]                # [T, D]
//! y = concat(heads) @ c_proj.weight + c_proj.bias      # [T, C] -> [T, C]
//! ```
//!
//! A *query* asks, a *key* answers how well it fits, and the *value* of what fits is passed on. This is the
//! only layer that moves information from one position to another, and the mask lets it flow forward only:
//! what a position computes does not depend on what comes later, so keys and values can be kept
//! ([`kv_cache`](crate::kv_cache)). Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
//! Next: [`mlp`](crate::mlp).

use crate::kv_cache::{KvCache, LayerCache};
use crate::linear::Linear;
use crate::math::softmax;
use crate::matmul::{Disjoint, heads};
use crate::tensor::{Matrix, PAGE};
use crate::trace::{Stage, Trace};
use rayon::prelude::*;

/// Causal self-attention with several heads.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads, H.
    pub n_head: usize,
    /// What scores are multiplied by: 1 / sqrt(D) in GPT-2.
    pub scale: f32,
    /// `[C, 3C]`: query, key and value in one product
    pub c_attn: Linear,
    /// `[C, C]`
    pub c_proj: Linear,
}

impl Attention {
    /// x `[T, C] -> [T, C]`
    ///
    /// # Panics
    /// If a shape does not fit, or the cache's heads are not these.
    pub fn forward(&self, x: &Matrix, cache: &mut LayerCache<'_, '_>, trace: &mut impl Trace) -> Matrix {
        let mut qkv = self.c_attn.forward(x); // [T, 3C]
        assert_eq!(qkv.cols(), 3 * x.cols(), "x [T, C] gives q, k, v [T, 3C]");
        assert!(cache.fits(self.n_head, x.cols()), "the cache keeps H heads of D numbers, H D = C");
        trace.tap(Stage::AttnCAttn, &mut qkv);
        cache.append(&qkv); // from here on, the new positions are among the S that can be seen
        let mut heads = self.attend(&qkv, cache, trace); // [T, C]
        trace.tap(Stage::AttnHeads, &mut heads);
        let mut y = self.c_proj.forward(&heads); // [T, C]
        trace.tap(Stage::AttnCProj, &mut y);
        y
    }

    /// The weighted values of all heads, side by side: `[T, 3C] -> [T, C]`
    fn attend(&self, qkv: &Matrix, cache: &LayerCache<'_, '_>, trace: &mut impl Trace) -> Matrix {
        let (t, c, h) = (qkv.rows(), qkv.cols() / 3, self.n_head);
        let mut out = Matrix::scratch(t, c);
        // Scores are gone once they are used; they are kept only for somebody who looks. [H, T, S]
        let s = cache.sequences().map(|(_, rows, cache)| cache.len() + rows).max().unwrap_or(0);
        let mut scores = trace.wants(Stage::AttnScores).then(|| vec![f32::NEG_INFINITY; h * t * s]);
        let mut weights = trace.wants(Stage::AttnWeights).then(|| vec![0.0; h * t * s]);

        let columns = Disjoint::new(out.data_mut());
        let seen = SeenScores {
            scores: scores.as_deref_mut().map(Disjoint::new),
            weights: weights.as_deref_mut().map(Disjoint::new),
            t,
            s,
        };
        // Some rows of one sequence and one head are a task of their own: nothing is shared but what is read.
        let groups: usize = cache.sequences().map(|(_, rows, _)| rows.div_ceil(heads::ROWS)).sum();
        (0..groups * h).into_par_iter().for_each(|i| {
            let task = Task::find(cache, i / h, i % h);
            self.attend_task(qkv, cache.layer(), &task, &columns, &seen);
        });

        if let Some(mut scores) = scores {
            trace.record(Stage::AttnScores, &[h, t, s], &mut scores);
        }
        if let Some(mut weights) = weights {
            trace.record(Stage::AttnWeights, &[h, t, s], &mut weights);
        }
        out // [T, C]
    }

    /// One head, for a few rows.
    fn attend_task(
        &self,
        qkv: &Matrix,
        layer: usize,
        task: &Task<'_>,
        out: &Disjoint<'_>,
        seen: &SeenScores<'_>,
    ) {
        let (c, d) = (qkv.cols() / 3, qkv.cols() / 3 / self.n_head);
        let head = task.cache.head(layer, task.h);
        let queries = &qkv.data()[(task.first + task.t) * qkv.cols() + task.h * d..]; // a row each 3C
        let visible = |r: usize| task.cache.len() + task.t + r + 1; // a row sees itself and what came before
        let last = visible(task.rows - 1);

        let mut scores = Matrix::scratch(task.rows, last.next_multiple_of(PAGE)); // [rows, S]
        heads::scores(queries, qkv.cols(), head, self.scale, last, &mut scores);
        for r in 0..task.rows {
            let (row, masked) = scores.row_mut(r).split_at_mut(visible(r));
            seen.keep(&seen.scores, task, r, row);
            softmax(row);
            seen.keep(&seen.weights, task, r, row);
            masked.fill(0.0); // e^-inf: the future has no weight
        }
        heads::mix(&scores, head, last, |r| {
            let start = (task.first + task.t + r) * c + task.h * d;
            // SAFETY: these rows and this head's columns belong to this task alone.
            unsafe { out.slice(start..start + d) }
        });
    }
}

/// One head and up to [`heads::ROWS`] new positions of one sequence.
struct Task<'a> {
    /// The sequence's first row in the batch.
    first: usize,
    /// The first of the task's rows, counted in the sequence.
    t: usize,
    rows: usize,
    cache: &'a KvCache,
    h: usize,
}

impl<'a> Task<'a> {
    /// Head `h` of the `group`-th group of rows in the batch.
    fn find(cache: &'a LayerCache<'_, '_>, mut group: usize, h: usize) -> Self {
        for (first, rows, cache) in cache.sequences() {
            let groups = rows.div_ceil(heads::ROWS);
            if group < groups {
                let t = group * heads::ROWS;
                return Self { first, t, rows: (rows - t).min(heads::ROWS), cache, h };
            }
            group -= groups;
        }
        unreachable!("a group of the batch")
    }
}

/// Scores and weights `[H, T, S]`, kept only where somebody looks at them.
struct SeenScores<'a> {
    scores: Option<Disjoint<'a>>,
    weights: Option<Disjoint<'a>>,
    t: usize,
    s: usize,
}

impl SeenScores<'_> {
    /// Keeps the visible part of a row.
    fn keep(&self, kept: &Option<Disjoint<'_>>, task: &Task<'_>, r: usize, row: &[f32]) {
        if let Some(kept) = kept {
            let start = (task.h * self.t + task.first + task.t + r) * self.s;
            // SAFETY: this head's rows belong to this task alone.
            unsafe { kept.slice(start..start + row.len()) }.copy_from_slice(row);
        }
    }
}
