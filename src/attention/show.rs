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
    if trace.wants(Stage::AttnScores) {
        record(Stage::AttnScores, attn, qkv, cache, trace, f32::NEG_INFINITY, |_| ());
    }
    if trace.wants(Stage::AttnWeights) {
        record(Stage::AttnWeights, attn, qkv, cache, trace, 0.0, softmax);
    }
}

/// Records `f` of the scores that each row sees, and `masked` for the others.
fn record(
    stage: Stage,
    attn: &Attention,
    qkv: &Matrix,
    cache: &LayerCache,
    trace: &mut impl Trace,
    masked: f32,
    f: fn(&mut [f32]),
) {
    let (h, t) = (attn.n_head, qkv.rows());
    let s = cache.sequences().iter().map(|s| s.cache.len() + s.ids.len()).max().unwrap_or(0);
    let all = Mutex::new(vec![masked; h * t * s]);
    each_head(qkv, cache, h, |part| {
        let mut scores = part.scores(attn.scale); // [r, S]
        part.visible(&mut scores, f);
        let mut all = all.lock().expect("no panic");
        for (r, row) in part.rows().enumerate() {
            let seen = part.visible_to(r);
            all[(part.h * t + row) * s..][..seen].copy_from_slice(&scores.row(r)[..seen]);
        }
    });
    trace.record(stage, &[h, t, s], &mut all.into_inner().expect("no panic"));
}
