//! What changes the scores before any sampling?
//!
//! ```text
//! x = logits                    # beams: their log-softmax
//! for step in logit bias, repetition penalty, presence and frequency penalties,
//!             no-repeat n-gram, bad words, minimum new tokens:
//!     x = step(x, ids so far)
//! ```
//!
//! These are HF's logits processors, in the order of `GenerationMixin._get_logits_processor` (presence and frequency
//! penalties, which HF does not have, follow the other penalty). They also steer greedy decoding and beam search.

use super::steps::{Step, Watch, watched};
use super::{bans, in_range, penalties};
use crate::bpe::TokenId;
use crate::error::{Error, Result};

/// What was written so far, for the processors that look back.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The prompt and the new tokens. `[S]`
    pub ids: &'a [TokenId],
    /// How many of them are the prompt's.
    pub prompt_len: usize,
    /// The ids that end a text; none where ends are ignored.
    pub eos: &'a [TokenId],
}

/// Options that change the scores before sampling. By default none does.
#[derive(Clone, Debug, PartialEq)]
pub struct Processors {
    /// Added to the scores of these ids; -inf bans one.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Above 1 makes every token less likely that already occurs, below 1 more likely. 1 is off.
    pub repetition_penalty: f32,
    /// Taken from the score of every token that already occurs. 0 is off.
    pub presence_penalty: f32,
    /// Taken from the score of a token once for each time it occurs. 0 is off.
    pub frequency_penalty: f32,
    /// No sequence of so many tokens occurs twice. 0 is off.
    pub no_repeat_ngram_size: usize,
    /// Sequences of tokens that must not be completed.
    pub bad_words: Vec<Vec<TokenId>>,
    /// No end before so many new tokens.
    pub min_new_tokens: usize,
}

impl Default for Processors {
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram_size: 0,
            bad_words: Vec::new(),
            min_new_tokens: 0,
        }
    }
}

impl Processors {
    /// Checks every option for a model with `vocab_size` tokens.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self, vocab_size: usize) -> Result<()> {
        let known = |option: &str, id: TokenId| match (id as usize) < vocab_size {
            true => Ok(()),
            false => Err(Error::option(format!(
                "{option}: token id {id} is not below the model's vocab_size {vocab_size}"
            ))),
        };
        for (id, bias) in &self.logit_bias {
            known("logit-bias", *id)?;
            let within = |bias| bias < f64::INFINITY; // -inf bans; NaN is no number
            in_range(&format!("logit-bias of id {id}:"), Some((*bias).into()), within, "a number or -inf")?;
        }
        let above_0 = |r: f64| r > 0.0 && r.is_finite();
        in_range("repetition-penalty", Some(self.repetition_penalty.into()), above_0, "above 0 and finite")?;
        in_range("presence-penalty", Some(self.presence_penalty.into()), f64::is_finite, "finite")?;
        in_range("frequency-penalty", Some(self.frequency_penalty.into()), f64::is_finite, "finite")?;
        for word in &self.bad_words {
            if word.is_empty() {
                return Err(Error::option(
                    "bad-words: an empty text cannot be avoided; give at least one token",
                ));
            }
            word.iter().try_for_each(|id| known("bad-words", *id))?;
        }
        Ok(())
    }

    /// scores `[V]` -> scores `[V]`, in place: every step that is asked for, in order, shown to `watch`.
    pub fn apply(&self, history: &History<'_>, x: &mut [f32], watch: &mut (impl Watch + ?Sized)) {
        let &History { ids, prompt_len, eos } = history;
        if !self.logit_bias.is_empty() {
            watched(Step::LogitBias, x, watch, |x| penalties::logit_bias(x, &self.logit_bias));
        }
        if self.repetition_penalty != 1.0 {
            watched(Step::RepetitionPenalty, x, watch, |x| {
                penalties::repetition(x, ids, self.repetition_penalty);
            });
        }
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            watched(Step::PresenceAndFrequency, x, watch, |x| {
                penalties::presence_and_frequency(x, ids, self.presence_penalty, self.frequency_penalty);
            });
        }
        if self.no_repeat_ngram_size > 0 {
            watched(Step::NoRepeatNgram, x, watch, |x| {
                bans::no_repeat_ngram(x, ids, self.no_repeat_ngram_size);
            });
        }
        if !self.bad_words.is_empty() {
            watched(Step::BadWords, x, watch, |x| bans::bad_words(x, ids, &self.bad_words, eos));
        }
        if ids.len().saturating_sub(prompt_len) < self.min_new_tokens && !eos.is_empty() {
            watched(Step::MinNewTokens, x, watch, |x| bans::end(x, eos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::NoWatch;
    use proptest::prelude::*;

    #[test]
    fn options_out_of_range_are_named() {
        let off = Processors::default;
        for (processors, part) in [
            (Processors { logit_bias: vec![(10, 1.0)], ..off() }, "logit-bias: token id 10"),
            (Processors { logit_bias: vec![(1, f32::NAN)], ..off() }, "logit-bias of id 1: NaN"),
            (Processors { logit_bias: vec![(1, f32::INFINITY)], ..off() }, "logit-bias of id 1: inf"),
            (Processors { repetition_penalty: 0.0, ..off() }, "repetition-penalty 0"),
            (Processors { repetition_penalty: f32::NAN, ..off() }, "repetition-penalty NaN"),
            (Processors { presence_penalty: f32::INFINITY, ..off() }, "presence-penalty inf"),
            (Processors { frequency_penalty: f32::NAN, ..off() }, "frequency-penalty NaN"),
            (Processors { bad_words: vec![vec![]], ..off() }, "bad-words"),
            (Processors { bad_words: vec![vec![1, 10]], ..off() }, "bad-words: token id 10"),
        ] {
            let error = processors.check(10).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let ban = Processors { logit_bias: vec![(9, f32::NEG_INFINITY)], ..off() };
        assert!(ban.check(10).is_ok() && off().check(0).is_ok());
    }

    #[test]
    fn no_end_before_enough_is_written() {
        let processors = Processors { min_new_tokens: 2, ..Processors::default() };
        for (ids, banned) in [(&[7, 7, 7][..], true), (&[7, 7, 7, 1], true), (&[7, 7, 7, 1, 2], false)] {
            let mut x = [1.0; 4];
            let history = History { ids, prompt_len: 3, eos: &[2, 999] };
            processors.apply(&history, &mut x, &mut NoWatch);
            assert_eq!(x, [1.0, 1.0, if banned { f32::NEG_INFINITY } else { 1.0 }, 1.0]);
        }
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        /// Hostile values, ids that do not exist, no history, no scores: never a panic.
        #[test]
        fn anything_goes(
            x in prop::collection::vec(prop::num::f32::ANY, 0..20),
            ids in prop::collection::vec(0..30u32, 0..20),
            prompt_len in 0..40usize,
            eos in prop::collection::vec(0..30u32, 0..3),
            bias in prop::collection::vec((0..30u32, prop::num::f32::ANY), 0..3),
            penalties in prop::array::uniform3(prop::num::f32::ANY),
            n in 0..30usize,
            bad_words in prop::collection::vec(prop::collection::vec(0..30u32, 0..4), 0..4),
        ) {
            let [repetition_penalty, presence_penalty, frequency_penalty] = penalties;
            let processors = Processors {
                logit_bias: bias, repetition_penalty, presence_penalty, frequency_penalty,
                no_repeat_ngram_size: n, bad_words, min_new_tokens: 3,
            };
            let mut processed = x.clone();
            processors.apply(&History { ids: &ids, prompt_len, eos: &eos }, &mut processed, &mut NoWatch);
            prop_assert_eq!(processed.len(), x.len());
        }
    }
}
