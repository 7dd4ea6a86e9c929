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
mod tests {
    use super::*;
    use crate::sampling::Effects;
    use crate::trace::NoTrace;
    use std::sync::Arc;

    /// Bans the newest token.
    #[derive(Debug)]
    struct NotTwice;

    impl Processor for NotTwice {
        fn name(&self) -> &str {
            "not-twice"
        }
        fn apply(&self, scores: &mut [f32], history: &History<'_>) {
            if let Some(id) = history.ids.last() {
                scores[*id as usize] = f32::NEG_INFINITY;
            }
        }
    }

    /// Takes the given id, or the last id of the vocabulary if the given one has probability 0.
    #[derive(Debug)]
    struct This(TokenId);

    impl Sampler for This {
        fn draw(&self, probabilities: &[f32], u: f64) -> Option<TokenId> {
            assert!((0.0..1.0).contains(&u));
            let possible = probabilities.get(self.0 as usize).is_none_or(|p| *p > 0.0);
            Some(if possible { self.0 } else { probabilities.len() as TokenId - 1 })
        }
    }

    fn choose(options: &Options) -> (Option<TokenId>, Vec<String>) {
        let history = History { ids: &[2], prompt_len: 1, eos: &[] };
        let (mut scores, mut effects) = ([0.0, 1.0, 3.0, 2.0, -1.0], Effects::default());
        let id = options.choose(&mut scores, &history, 0.5, &mut NoTrace, &mut effects);
        (id, effects.0.into_iter().map(|effect| effect.step).collect())
    }

    #[test]
    fn a_custom_processor() {
        let greedy = Options::default().no_repeat_ngram_size(3);
        assert_eq!(choose(&greedy).0, Some(2));
        let own = greedy.processor(Arc::new(NotTwice));
        assert_eq!(choose(&own), (Some(3), vec!["no-repeat-ngram-size".into(), "not-twice".into()]));
        let drawn = own.clone().sample(true).top_k(1);
        let steps = ["no-repeat-ngram-size", "not-twice", "temperature", "top-k"];
        assert_eq!(choose(&drawn), (Some(3), steps.map(String::from).to_vec()));
        assert_eq!(serde_json::json!(own)["processors"], "[NotTwice]");
    }

    #[test]
    fn a_custom_sampler() {
        let drawn = |id| choose(&Options::plain(0).sampler(Arc::new(This(id)))).0;
        assert_eq!([drawn(0), drawn(4), drawn(5)], [Some(0), Some(4), None], "there are ids up to 4");
        let cut = Options::plain(0).top_k(2).sampler(Arc::new(This(0)));
        assert_eq!(choose(&cut).0, Some(4), "it sees what is left");
        assert_eq!(choose(&cut.sample(false)).0, Some(2), "nothing is drawn");
    }

    #[test]
    fn custom_steps_are_equal_only_to_themselves() {
        let processor: Arc<dyn Processor> = Arc::new(NotTwice);
        let with = |processor: &Arc<dyn Processor>| Options::default().processor(processor.clone());
        assert_eq!(with(&processor), with(&processor).clone());
        assert_ne!(with(&processor), with(&(Arc::new(NotTwice) as Arc<dyn Processor>)));
        assert_ne!(Options::default(), Options::default().sampler(Arc::new(This(1))));
    }
}
