//! Can several tokens be written in one pass?
//!
//! A pass over the newest token and a *guess* of what follows it gives logits for all of them, at nearly the price of one
//! token. Each position's token is then chosen as it would be without a guess: by the same scores and, when sampling, by
//! the same number. A guess that equals the choice was read already; the first that differs ends the turn. So the text does
//! not depend on the draft. [`search::draft`](crate::search::draft) has some.

use super::Options;
use crate::config::TokenId;
use crate::sampling::{History, NoWatch, Uniform};
use crate::trace::NoTrace;

/// Guesses how a text goes on. A draft can be wrong at will: the text stays the same.
pub trait Draft: Send {
    /// Up to `room` tokens that may follow the text; none where a guess does not pay.
    ///
    /// Between two calls the text grows; a guess need not have become a part of it.
    fn guess(&mut self, text: View<'_>, room: usize) -> Vec<TokenId>;

    /// How many tokens of the newest guess were right, of how many.
    fn learn(&mut self, right: usize, guessed: usize);

    /// Reads the text before the first guess is asked for.
    fn prepare(&mut self, text: View<'_>);

    /// A draft of its own for a copy of the text.
    fn fork<'d>(&self) -> Box<dyn Draft + 'd>
    where
        Self: 'd;
}

/// A text as a draft sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Prompt and new tokens. `[S]`
    pub ids: &'a [TokenId],
    /// How many of them are the prompt's.
    pub prompt_len: usize,
    /// The first id that the model still sees: later than 0 after a slide.
    pub start: usize,
    /// How tokens are chosen.
    pub options: &'a Options,
    /// The ids that end the text.
    pub eos: &'a [TokenId],
    pub(super) uniform: &'a Uniform,
}

impl View<'_> {
    /// The token that the text's options choose after `ids` from scores `[V]`, with the number that the text will use at
    /// this position. `None` if no token can be chosen.
    pub fn choose(&self, ids: &[TokenId], scores: &mut [f32]) -> Option<TokenId> {
        let history = History { ids, prompt_len: self.prompt_len, eos: self.eos };
        let u = self.uniform.at((ids.len() - self.prompt_len) as u64);
        self.options.choose(scores, &history, u, &mut NoTrace, &mut NoWatch)
    }
}

/// What a generation with a draft has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Passes of the model that chose tokens.
    pub passes: usize,
    /// Tokens that these chose.
    pub tokens: usize,
    /// Guessed tokens that were read along.
    pub drafted: usize,
    /// Guessed tokens that became part of the text.
    pub accepted: usize,
}

impl Passes {
    /// Tokens per pass: the gain, if guesses were free.
    pub fn tokens_per_pass(&self) -> f64 {
        self.tokens as f64 / self.passes.max(1) as f64
    }
}
