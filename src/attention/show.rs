//! Scores and weights of all heads, for a trace.
//!
//! The forward pass keeps a row of scores only until its values are mixed. A trace that wants them gets them computed
//! again, with the same operations and so with the same bits.

use super::Attention;
use super::parts::each_head;
use crate::kv_cache::LayerCache;
use crate::softmax::softmax;
use crate::tensor::Matrix;
use crate::trace::{Stage, Trace};
use std::sync::Mutex;

/// Records scores and weights `[H, T, S]`, each if `trace` wants it. qkv `[T, 3C]`
pub(super) fn scores_and_weights(attn: &Attention, qkv: &Matrix, cache: &LayerCache, trace: &mut impl Trace) {
    let (h, t) = (attn.n_head, qkv.rows());
    let s = cache.sequences().iter().map(|s| s.cache.len() + s.ids.len()).max().unwrap_or(0);
    // what becomes of the scores that a row sees, and what it has in place of the others
    let scores: (Stage, fn(&mut [f32]), f32) = (Stage::AttnScores, |_| (), f32::NEG_INFINITY);
    for (stage, f, masked) in [scores, (Stage::AttnWeights, softmax, 0.0)] {
        if !trace.wants(stage) {
            continue;
        }
        let all = Mutex::new(vec![masked; h * t * s]); // [H, T, S]
        each_head(qkv, cache, h, |part| {
            let mut scores = part.scores(attn.scale); // [r, S]
            part.visible(&mut scores, f);
            let mut all = all.lock().expect("no panic");
            for (r, row) in part.rows.clone().enumerate() {
                let seen = part.visible_to(r);
                all[(part.h * t + row) * s..][..seen].copy_from_slice(&scores.row(r)[..seen]);
            }
        });
        trace.record(stage, &[h, t, s], &mut all.into_inner().expect("no panic"));
    }
}
