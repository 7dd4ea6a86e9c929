//! Can one pass generate several tokens?
//!
//! A pass over the newest token and a *guess* at the tokens that follow gives logits for all of them, at nearly the
//! cost of one token. The token at each position is then chosen as it would be without a guess: from the same scores
//! and, when sampling, with the same random number. A guessed token that equals the choice has already been read; the
//! first one that differs ends the turn. So the text does not depend on the draft, except with rejection sampling
//! ([`Generation::with_rejection`](super::Generation::with_rejection)). [`search::draft`](crate::search::draft) provides drafts.

use super::{Generation, Options};
use crate::config::TokenId;
use crate::sampling::{History, NoWatch, Sampler, Uniform, draw};
use crate::trace::{NoTrace, Trace};

/// Guesses how a text continues. A wrong guess costs time but does not change the text, unless drawn guesses are accepted
/// by [`Rejection`].
pub trait Draft: Send {
    /// Up to `room` tokens that may follow the text; none if a guess would not pay off.
    ///
    /// The text grows between two calls, but not necessarily by the guess.
    fn guess(&mut self, text: &View<'_>, room: usize) -> Vec<TokenId>;

    /// The distribution `[V]` from which token `k` of the newest guess was drawn; `None` if it was not drawn.
    fn drawn_from(&self, _k: usize) -> Option<&[f32]> {
        None
    }

    /// Reports that `right` of the `guessed` tokens of the newest guess were right.
    fn learn(&mut self, right: usize, guessed: usize);

    /// Reads the text before the first guess.
    fn prepare(&mut self, text: &View<'_>);

    /// A separate draft for a copy of the text.
    fn fork<'d>(&self) -> Box<dyn Draft + 'd>
    where
        Self: 'd;
}

/// A text as a draft sees it.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Prompt and new tokens. `[S]`
    pub ids: &'a [TokenId],
    /// How many of them belong to the prompt.
    pub prompt_len: usize,
    /// Index of the first id that the model still sees: above 0 after a slide.
    pub start: usize,
    /// How tokens are chosen.
    pub options: &'a Options,
    /// The ids that end the text.
    pub eos: &'a [TokenId],
    pub(super) uniform: Uniform,
}

impl View<'_> {
    /// The token that the text's options choose after `ids` from scores `[V]`, with the random number that the text
    /// will use at this position. If the token is drawn, the scores become the distribution from which it was drawn.
    /// `None` if no token can be chosen.
    pub fn choose(&self, ids: &[TokenId], scores: &mut [f32]) -> Option<TokenId> {
        let history = History { ids, prompt_len: self.prompt_len, eos: self.eos };
        let u = self.uniform.at((ids.len() - self.prompt_len) as u64);
        self.options.choose(scores, &history, u, &mut NoTrace, &mut NoWatch)
    }
}

impl<'m, T: Trace> Generation<'m, T> {
    /// Random numbers separate from the text's own: for a draft's draws and for draws after a rejection.
    fn other_numbers(&self, n: u64) -> Uniform {
        Uniform::with_stream(self.options.seed, self.options.stream ^ (n << 62))
    }

    /// The rule that accepts token `k` of a guess; `None` if equality with the text's own draw decides.
    pub(super) fn rejection(&self, guess: &[TokenId], k: usize) -> Option<Rejection> {
        let (guess, draft) = (*guess.get(k)?, self.draft.as_ref().filter(|_| self.rejection)?);
        let q = draft.drawn_from(k).filter(|_| self.options.sample)?.to_vec();
        Some(Rejection { q, guess, v: self.other_numbers(2).at(self.text.new_ids().len() as u64) })
    }

    /// The text as its draft sees it, and the draft.
    pub(super) fn view(&mut self) -> (View<'_>, Option<&mut (dyn Draft + 'm)>) {
        let view = View {
            ids: self.text.ids(),
            prompt_len: self.text.prompt_len(),
            start: self.text.start(),
            options: &self.options,
            eos: self.options.ends(self.model),
            uniform: if self.rejection { self.other_numbers(1) } else { self.uniform.clone() },
        };
        (view, self.draft.as_deref_mut())
    }

    pub(super) fn prepare_draft(&mut self) {
        if let (view, Some(draft)) = self.view() {
            draft.prepare(&view);
        }
    }

    /// How many tokens a guess may have: no more than fit before the text or its positions end.
    pub(super) fn room_for_guess(&self) -> usize {
        let seen = self.text.read_len() + self.text.unread().len();
        let positions = self.model.config.n_positions.saturating_sub(seen + 1);
        let tokens = self.options.max_new_tokens.saturating_sub(self.text.new_ids().len() + 1);
        positions.min(tokens)
    }
}

/// Accepts a guess `x`, which was drawn from `q`, with probability `min(1, p(x) / q(x))`; otherwise draws from
/// `norm(max(p - q, 0))`.
///
/// Why is the result distributed as p, whatever q is? A token x comes either from the draft, with probability
/// `q(x) min(1, p(x)/q(x)) = min(p(x), q(x))`, or from the draw after a rejection, with the rest of `p(x)`. Sources:
/// Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding" (2023); Chen et al.,
/// "Accelerating Large Language Model Decoding with Speculative Sampling" (2023).
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The distribution of the guess. `[V]`
    pub q: Vec<f32>,
    /// The guess.
    pub guess: TokenId,
    /// A uniform number from \[0, 1), for the draw after a rejection.
    pub v: f64,
}

impl Sampler for Rejection {
    /// p `[V]` -> an id. Neither distribution needs to be normalised.
    fn draw(&self, p: &[f32], u: f64) -> Option<TokenId> {
        let whole = |x: &[f32]| x.iter().filter(|x| **x > 0.0).map(|x| f64::from(*x)).sum::<f64>();
        let (p_whole, q_whole, i) = (whole(p), whole(&self.q), self.guess as usize);
        if u * f64::from(self.q[i]) * p_whole < f64::from(p[i]) * q_whole {
            return Some(self.guess);
        }
        let rest = |(p, q): (&f32, &f32)| {
            let q = if *q > 0.0 { f64::from(*q) / q_whole } else { 0.0 };
            (f64::from(*p) / p_whole - q).max(0.0) as f32
        };
        let residual: Vec<f32> = p.iter().zip(&self.q).map(rest).collect();
        draw(&residual, self.v).or_else(|| draw(p, self.v)) // no residual: p and q differ only by rounding
    }
}

/// Counts of a generation, from which the gain of a draft follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Passes of the model from which tokens were chosen.
    pub passes: usize,
    /// Tokens that were chosen from them.
    pub tokens: usize,
    /// Guessed tokens that the passes read.
    pub drafted: usize,
    /// Guessed tokens that became part of the text.
    pub accepted: usize,
}

impl Passes {
    /// Tokens per pass: the speedup if guesses were free.
    pub fn tokens_per_pass(&self) -> f64 {
        self.tokens as f64 / self.passes.max(1) as f64
    }
}
