//! Can a model write several tokens at the price of one?
//!
//! One token costs a pass over all weights, and so do a few tokens read together: reading the weights takes the time. A
//! cheap *draft* guesses what comes next. One pass then gives what the model says after each guessed token; the guess is
//! kept as far as the model agrees, and the pass gives one token more in any case.
//!
//! ```text
//! guess = draft(ids, k)                                    # x1 .. xk
//! logits = model(ids + guess)                              # one pass, k + 1 rows
//! for n, x in enumerate(guess + [none]):
//!     id = choose(logits[n], u[position + n])              # as without a draft
//!     ids.append(id)
//!     if id != x: break                                    # what was read of the rest is forgotten
//! ```
//!
//! The text does not depend on the draft. Greedily that is plain: a row of a pass does not depend on the rows beside it
//! ([`matmul`](crate::matmul)), so the model says the same after a guessed token as after a chosen one. When sampling, each
//! position has a number of its own ([`Uniform::at`](crate::sampling::Uniform::at)): the token is drawn with it from the
//! model's own distribution, and the guess is kept where it equals the draw. A draft model draws with the same number, so
//! that the more its distribution is like the model's the more often both draw the same token.
//!
//! Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding" (2023), and Chen et al.,
//! "Accelerating Large Language Model Decoding with Speculative Sampling" (2023), accept a guess x with probability
//! `min(1, p(x) / q(x))` instead ([`Rejection`](crate::generate::Rejection)). That keeps the most guesses that any rule can,
//! `sum(min(p, q))`, but another draft gives another text, from the same distribution; it has to be asked for
//! ([`with_rejection`](crate::generate::Generation::with_rejection)). The share of guesses kept of the bundled model, over 400
//! tokens that it wrote (`tests/speculative.rs` computes the table):
//!
//! | draft | options | same number | rejection |
//! |---|---|---|---|
//! | the int8 copy | temperature 0.8, top-k 40 | 88 % | 98 % |
//! | the int8 copy | temperature 1, nothing cut | 74 % | 98 % |
//! | the first three of its six blocks | temperature 0.8, top-k 40 | 22 % | 35 % |
//! | the first three of its six blocks | temperature 1, nothing cut | 16 % | 37 % |
//!
//! The same number keeps fewer because the tokens lie on the line from 0 to 1 in the order of their ids: a small difference
//! early on the line shifts all tokens after it.
//!
//! | module | what |
//! |---|---|
//! | [`lookup`] | guesses what came after the last tokens when they occurred before |
//! | [`model`] | guesses by a smaller model, or by the same one in fewer bits |
//! | [`length`] | how far to guess: as far as it pays, down to not at all |

pub mod length;
pub mod lookup;
pub mod model;

pub use length::DraftLength;
pub use lookup::PromptLookup;
pub use model::DraftModel;

use crate::config::TokenId;
use crate::generate::{Draft, View};
use crate::model::Gpt2;

/// Guesses how a text goes on, as far as it is asked to.
pub trait Guesser: Clone + Send {
    /// At most `most` tokens that may follow the text.
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId>;

    /// The distribution `[V]` that token `k` of the newest guess was drawn from; `None` where it was not drawn.
    fn drawn_from(&self, _k: usize) -> Option<&[f32]> {
        None
    }

    /// Reads the text before the first guess is asked for.
    fn prepare(&mut self, text: &View<'_>);

    /// How many tokens of the text it must read before it can guess what follows the newest.
    fn behind(&self, _text: &View<'_>) -> usize {
        0
    }

    /// What it costs to guess one token, as a share of one pass of `model`.
    fn cost(&self, model: &Gpt2) -> f64;
}

/// A [`Draft`] that guesses as far as it pays.
///
/// ```
/// use gpt2::generate::{Generation, Options};
/// use gpt2::search::draft::{Paced, PromptLookup};
///
/// let lm = gpt2::checkpoint::bundled();
/// let prompt = lm.bpe.encode("The cat sat on the mat. The cat sat on the");
/// let plain = || Generation::new(&lm.model, &prompt, Options::default());
/// let mut fast = plain()?.with_draft(Paced::new(PromptLookup::default(), &lm.model, 10));
/// for (token, same) in fast.by_ref().zip(plain()?) {
///     assert_eq!(token?, same?);
/// }
/// assert!(fast.passes().expect("a draft").tokens_per_pass() > 1.0);
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Paced<G> {
    guesser: G,
    length: DraftLength,
}

impl<G: Guesser> Paced<G> {
    /// Guesses for `model`, up to `most` tokens at a time.
    pub fn new(guesser: G, model: &Gpt2, most: usize) -> Self {
        let length = DraftLength::new(most, guesser.cost(model), model.wte.dtype());
        Self { guesser, length }
    }
}

impl<G: Guesser> Draft for Paced<G> {
    fn guess(&mut self, text: &View<'_>, room: usize) -> Vec<TokenId> {
        let most = self.length.choose(room, self.guesser.behind(text));
        if most > 0 { self.guesser.guess(text, most) } else { Vec::new() }
    }

    fn drawn_from(&self, k: usize) -> Option<&[f32]> {
        self.guesser.drawn_from(k)
    }

    fn learn(&mut self, right: usize, guessed: usize) {
        self.length.learn(guessed, right);
    }

    fn prepare(&mut self, text: &View<'_>) {
        if self.length.most() > 0 {
            self.guesser.prepare(text);
        }
    }

    fn fork<'d>(&self) -> Box<dyn Draft + 'd>
    where
        Self: 'd,
    {
        Box::new(self.clone())
    }
}
