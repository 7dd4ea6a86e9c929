//! How do scores become a token? By the enabled steps, in the order of [`Options::table`], and then the draw.
//!
//! ```text
//! x = logits                                              # beam search: log_softmax(logits)
//! for step in steps of Scope::Choice: x = step(x)         # HF's logits processors
//! greedy:  id = argmax(x)
//! sampled: for step in steps of Scope::Draw: x = step(x)  # HF's logits warpers: temperature, top-k, ...
//!          id = draw(softmax(x), u)
//! ```

use super::options::{Options, Scope};
use super::watch::{Choice, NoWatch, Watch, watched};
use super::{argmax, draw};
use crate::bpe::TokenId;
use crate::softmax::softmax;
use crate::trace::{Stage, Trace};
use std::fmt::Debug;

/// The text so far, for the steps that depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct History<'a> {
    /// The prompt and the new tokens. `[S]`
    pub ids: &'a [TokenId],
    /// How many of them belong to the prompt.
    pub prompt_len: usize,
    /// The ids that end a text; empty if end tokens are ignored.
    pub eos: &'a [TokenId],
}

impl History<'_> {
    /// How many tokens are new.
    pub fn new_tokens(&self) -> usize {
        self.ids.len().saturating_sub(self.prompt_len)
    }
}

/// A custom step. It runs after the built-in processors and before the temperature, also in greedy decoding and beam
/// search.
pub trait Processor: Send + Sync + Debug {
    /// Its name in traces.
    fn name(&self) -> &str;

    /// scores `[V]` -> scores `[V]`, in place; -inf bans a token.
    fn apply(&self, scores: &mut [f32], history: &History<'_>);
}

/// A custom draw.
pub trait Sampler: Send + Sync + Debug {
    /// probabilities `[V]` and a uniform number from \[0, 1) -> id; `None` if no token can be drawn.
    fn draw(&self, probabilities: &[f32], u: f64) -> Option<TokenId>;
}

/// By identity: a custom processor is equal only to itself.
impl PartialEq for dyn Processor {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

impl PartialEq for dyn Sampler {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

impl Options {
    /// scores `[V]` -> scores `[V]`, in place: the steps of every decoding method, custom processors last. `watch` sees
    /// each step.
    pub fn process(&self, x: &mut [f32], history: &History<'_>, watch: &mut dyn Watch) {
        self.apply(Scope::Choice, x, history, 1, watch);
        for processor in &self.processors {
            watched(processor.name(), x, watch, |x| processor.apply(x, history));
        }
    }

    /// scores `[V]` -> the scores to draw from `[V]`, in place; tokens that are cut become -inf. `watch` sees each
    /// step.
    ///
    /// At least `keep` tokens survive every cut: 1, or in beam search at least one more than there are end tokens, so
    /// that a beam can always continue.
    pub fn warp(&self, x: &mut [f32], keep: usize, watch: &mut dyn Watch) {
        self.apply(Scope::Draw, x, &History::default(), keep, watch);
    }

    fn apply(&self, scope: Scope, x: &mut [f32], history: &History<'_>, keep: usize, watch: &mut dyn Watch) {
        let steps = Self::table().iter().filter(|row| row.scope == scope).filter_map(|row| row.apply);
        steps.for_each(|apply| apply(self, x, history, keep, watch));
    }

    /// the model's scores `[V]` -> the distribution from which a token is drawn `[V]`, in place.
    pub fn distribution(&self, scores: &mut [f32], history: &History<'_>) {
        self.process(scores, history, &mut NoWatch);
        self.warp(scores, 1, &mut NoWatch);
        softmax(scores);
    }

    /// probabilities `[V]` and a uniform number from \[0, 1) -> id; `None` if no token can be drawn.
    pub fn draw(&self, probabilities: &[f32], u: f64) -> Option<TokenId> {
        match &self.sampler {
            None => draw(probabilities, u),
            Some(sampler) => sampler.draw(probabilities, u).filter(|id| (*id as usize) < probabilities.len()),
        }
    }

    /// the model's scores `[V]` -> the next id. `u` is the uniform number from \[0, 1) for this position; a greedy
    /// choice does not use it.
    ///
    /// `watch` sees each step; `trace` receives the final distribution. `None` if no token can be chosen.
    pub fn choose(
        &self,
        scores: &mut [f32],
        history: &History<'_>,
        u: f64,
        trace: &mut impl Trace,
        watch: &mut dyn Watch,
    ) -> Option<TokenId> {
        let logits = watch.looks().then(|| scores.to_vec());
        self.process(scores, history, watch);
        let likeliest = if self.sample {
            self.warp(scores, 1, watch);
            None
        } else {
            Some(argmax(scores)).filter(|id| scores[*id as usize] > f32::NEG_INFINITY)
        };
        if self.sample || logits.is_some() || trace.wants(Stage::Probs) {
            softmax(scores); // a greedy choice needs no probabilities
            trace.record(Stage::Probs, &[scores.len()], scores);
        }
        let id = if self.sample { self.draw(scores, u) } else { likeliest };
        if let Some(logits) = &logits {
            watch.chose(&Choice { logits, probabilities: scores, uniform: self.sample.then_some(u), id });
        }
        id
    }
}

#[cfg(test)]
mod tests;
