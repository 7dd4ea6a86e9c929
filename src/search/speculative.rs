//! Can a model write several tokens at the price of one?
//!
//! One token costs a pass over all weights, and so do a few tokens read together: reading the weights takes the time. A
//! cheap *draft* guesses what comes next. One pass then tells what the model would have said after each guessed token;
//! the guess is kept as far as the model agrees, and the pass gives one token more in any case.
//!
//! `accept x ~ q while u <= p(x) / q(x);  else draw from norm(max(p - q, 0))`
//!
//! ```text
//! guess = draft(ids, k)                                    # x1 .. xk, with their distributions q
//! p = distributions(model(ids + guess))                    # one pass, k + 1 rows
//! for x, p, q in guess:
//!     if uniform() * q[x] < p[x]: ids.append(x)            # greedy: if x == argmax(p)
//!     else: return ids.append(draw(max(p - q, 0)))
//! ids.append(draw(p[k]))
//! ```
//!
//! Why is the law of the text p, whatever q is? A token x comes either from the draft, with probability
//! `q(x) min(1, p(x)/q(x)) = min(p(x), q(x))`, or after a rejection, with what that leaves of `p(x)`. Sources: Leviathan,
//! Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding" (2023); Chen et al., "Accelerating Large
//! Language Model Decoding with Speculative Sampling" (2023).
//!
//! Greedily, the text is not just as good as the plain one but *the same*, with the same log-probabilities bit for bit: in
//! this project a row of a pass does not depend on the rows beside it ([`matmul`](crate::matmul)), so the model says the
//! same after a guessed token as after a chosen one.
//!
//! Random numbers, all from the one stream of the seed: one for each token that a draft model guesses, then for each
//! verified token one to accept it, and one for the token that a pass adds (after a rejection, or at the end). So one seed
//! gives another text than plain sampling does, of the same law. A draft that does not draw, like
//! [`PromptLookup`], needs no such numbers: accepting x with probability p(x), and else drawing one of
//! the others, is the same as drawing from p and looking whether it is x. There the text is the plain one of the seed.
//!
//! Next: [`draft`](super::draft) guesses, and decides how far.

use super::draft::{Draft, DraftLength, Guess};
use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::generate::{Chosen, FinishReason, Generation};
use crate::sampling::{Uniform, draw};
use std::collections::VecDeque;

#[cfg(doc)]
use super::draft::PromptLookup;

/// A text in the making, several tokens a pass. Iterate for its new tokens.
///
/// ```
/// use gpt2::generate::{Generation, Options};
/// use gpt2::search::{draft::PromptLookup, speculative::Speculation};
///
/// let lm = gpt2::checkpoint::bundled();
/// let prompt = lm.bpe.encode("The cat sat on the mat. The cat sat on the");
/// let plain = || Generation::new(&lm.model, &prompt, Options::default());
/// let mut fast = Speculation::new(plain()?, PromptLookup::default(), 10);
/// for (token, same) in fast.by_ref().zip(plain()?) {
///     assert_eq!(token?, same?);
/// }
/// assert!(fast.passes().tokens_per_pass() > 1.0);
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Speculation<'m, D> {
    text: Generation<'m>,
    draft: D,
    length: DraftLength,
    /// Chosen and not given out yet.
    ready: VecDeque<Chosen>,
    /// What went wrong after them.
    failed: Option<Error>,
    /// How many new tokens were given out.
    given: usize,
    finished: Option<FinishReason>,
    passes: Passes,
}

/// What a speculation has done.
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
    /// Tokens a pass: what speculation gains, were guesses free.
    pub fn tokens_per_pass(&self) -> f64 {
        self.tokens as f64 / self.passes.max(1) as f64
    }
}

impl<'m, D: Draft> Speculation<'m, D> {
    /// `text` written with the help of `draft`, which guesses up to `most` tokens at a time: as far as that pays.
    pub fn new(text: Generation<'m>, draft: D, most: usize) -> Self {
        let length = DraftLength::new(most, draft.cost(text.model()), text.model().wte.dtype());
        Self::begin(text, draft, length)
    }

    fn begin(text: Generation<'m>, draft: D, length: DraftLength) -> Self {
        let (ready, failed, given, finished, passes) = Default::default();
        Self { text, draft, length, ready, failed, given, finished, passes }
    }

    /// The new tokens that were given out.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.text.new_ids()[..self.given]
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished.or(if self.ready.is_empty() { self.text.finish_reason() } else { None })
    }

    /// Ends it after the tokens that were given out, for a reason that tokens alone do not show, like a stop string.
    pub fn finish(&mut self, reason: FinishReason) {
        self.finished = Some(reason);
    }

    /// How often the text outgrew `n_positions` and the older half was forgotten.
    pub fn slides(&self) -> usize {
        self.text.slides()
    }

    /// What it took so far.
    pub fn passes(&self) -> Passes {
        self.passes
    }

    /// The same text so far, to be continued with another stream of the seed's random numbers.
    ///
    /// # Panics
    /// If tokens were given out already: some may be chosen that were not.
    pub fn fork(&self, stream: u64) -> Self
    where
        D: Clone,
    {
        assert_eq!(self.passes.passes, 0, "a fork is made before the first token");
        Self::begin(self.text.fork(stream), self.draft.clone(), self.length.clone())
    }

    /// Reads all that is unread but the newest token, so that forks need not. The first step would do it as well.
    pub fn prefill(&mut self) {
        self.text.prefill();
        self.prepare();
    }

    /// The draft reads the prompt, if it is ever to be asked.
    fn prepare(&mut self) {
        if self.length.most() > 0 {
            self.draft.prepare(self.text.view().0);
        }
    }

    /// One pass: guess, read, and keep what agrees.
    fn pass(&mut self) -> Result<()> {
        self.text.begin_turn()?;
        if self.passes.passes == 0 {
            self.prepare();
        }
        let room = self.text.room();
        let (view, uniform) = self.text.view();
        let most = self.length.choose(room, self.draft.behind(view));
        let guess = if most > 0 { self.draft.guess(view, most, uniform) } else { Guess::default() };

        let p = self.text.logits_with(&guess.ids); // [1 + K, V]
        self.passes.passes += 1;
        self.passes.drafted += guess.ids.len();
        let mut accepted = 0;
        for k in 0..p.rows() {
            let guessed = guess.ids.get(k).copied();
            let q = guess.q.as_ref().zip(guessed).map(|(q, id)| (q.row(k), id));
            let chosen = self.text.choose_by(p.row(k), |p, uniform| match q {
                Some((q, id)) => accept(p, q, id, uniform),
                None => draw(p, uniform.draw()),
            })?;
            self.ready.push_back(chosen);
            self.passes.tokens += 1;
            if guessed != Some(chosen.id) {
                break;
            }
            accepted += 1;
            if self.text.finish_reason().is_some() {
                break;
            }
        }
        self.passes.accepted += accepted;
        self.text.forget(guess.ids.len() - accepted);
        self.length.learn(guess.ids.len(), accepted);
        Ok(())
    }
}

/// The token that was drawn from q, or another: in either case one of law p. p, q `[V]` -> id
///
/// p and q are probabilities up to a factor; p is overwritten. `None` if p is nowhere above 0.
pub fn accept(p: &mut [f32], q: &[f32], id: TokenId, uniform: &mut Uniform) -> Option<TokenId> {
    let whole = |x: &[f32]| x.iter().filter(|x| **x > 0.0).map(|x| f64::from(*x)).sum::<f64>();
    let (p_whole, q_whole) = (whole(p), whole(q));
    let i = id as usize;
    if uniform.draw() * f64::from(q[i]) * p_whole < f64::from(p[i]) * q_whole {
        return Some(id);
    }
    let mut residual = p.to_vec(); // what p has and q has not
    for (r, q) in residual.iter_mut().zip(q) {
        let q = if *q > 0.0 { f64::from(*q) / q_whole } else { 0.0 };
        *r = (f64::from(*r) / p_whole - q).max(0.0) as f32;
    }
    let u = uniform.draw();
    draw(&residual, u).or_else(|| draw(p, u)) // p and q are the same but for their rounding
}

impl<D: Draft> Iterator for Speculation<'_, D> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished.is_some() {
            return None;
        }
        if self.ready.is_empty() && self.failed.is_none() && self.text.finish_reason().is_none() {
            self.failed = self.pass().err();
        }
        if let Some(chosen) = self.ready.pop_front() {
            self.given += 1;
            return Some(Ok(chosen));
        }
        let error = self.failed.take()?;
        self.finished = Some(FinishReason::Length);
        Some(Err(error))
    }
}
