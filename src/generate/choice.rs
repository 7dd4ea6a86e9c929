//! From what the model says to the next token, with everybody who wants to look.

use super::Options;
use crate::bpe::TokenId;
use crate::sampling::{Choice, History, Watch, argmax, draw};
use crate::softmax::softmax;
use crate::trace::{Stage, Trace};

impl Options {
    /// scores `[V]` as the model gives them -> an id, by the processors, the filters and the draw; `u` in [0, 1) is the
    /// position's number, which greedy decoding does not use.
    ///
    /// Each step is shown to `watch`, the distribution at the end to `trace`. `None` if no token can be chosen.
    pub fn choose(
        &self,
        scores: &mut [f32],
        history: &History<'_>,
        u: f64,
        trace: &mut impl Trace,
        watch: &mut (impl Watch + ?Sized),
    ) -> Option<TokenId> {
        let logits = watch.looks().then(|| scores.to_vec());
        self.processors.apply(history, scores, watch);
        let (id, uniform) = match &self.sampling {
            None => {
                let id = Some(argmax(scores)).filter(|id| scores[*id as usize] > f32::NEG_INFINITY);
                if logits.is_some() || trace.wants(Stage::Probs) {
                    softmax(scores); // the choice needs no probabilities
                    trace.record(Stage::Probs, &[scores.len()], scores);
                }
                (id, None)
            }
            Some(sampling) => {
                sampling.warp(scores, 1, watch);
                softmax(scores);
                trace.record(Stage::Probs, &[scores.len()], scores);
                (draw(scores, u), Some(u))
            }
        };
        if let Some(logits) = &logits {
            watch.chose(&Choice { logits, probabilities: scores, uniform, id });
        }
        id
    }
}
