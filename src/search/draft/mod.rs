//! Can a model generate several tokens at the cost of one?
//!
//! A pass over one token takes about as long as a pass over a few tokens together, because most of the time goes into
//! reading the weights. A cheap *draft* guesses the next tokens. One pass then gives the model's scores after each
//! guessed token. The guess is accepted as far as the model agrees, and in any case the pass yields one more token.
//!
//! ```text
//! guess = draft(ids, k)                                    # x1 .. xk
//! logits = model(ids + guess)                              # one pass, k + 1 rows
//! for n, x in enumerate(guess + [none]):
//!     id = choose(logits[n], u[position + n])              # as without a draft
//!     ids.append(id)
//!     if id != x: break                                    # the rest of the guess leaves the cache
//! ```
//!
//! The text does not depend on the draft. In greedy decoding this is plain: a row of a pass does not depend on the rows
//! beside it ([`matmul`](crate::matmul)), so the model gives the same scores after a guessed token as after a chosen
//! one. When sampling, each position has its own random number ([`Uniform::at`](crate::sampling::Uniform::at)). With
//! this number the token is drawn from the distribution that the text's options define, and the guess is accepted if it
//! equals the draw. A draft model draws with the same number: the closer its distribution is to the model's, the more
//! often both draw the same token.
//!
//! Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding" (2023), and Chen et al.,
//! "Accelerating Large Language Model Decoding with Speculative Sampling" (2023), accept a guess x with probability
//! `min(1, p(x) / q(x))` instead ([`Rejection`](crate::generate::Rejection)). This accepts as many guesses as any rule
//! can, `sum(min(p, q))`, but a different draft gives a different text from the same distribution, so it is off by
//! default ([`with_rejection`](crate::generate::Generation::with_rejection)). The share of accepted guesses for the
//! bundled model, over 400 tokens of its own text (`tests/speculative.rs` computes the table; each position counts by
//! itself, where notebook 8 counts every guess after a wrong one as lost):
//!
//! | draft | options | same number | rejection |
//! |---|---|---|---|
//! | the int8 copy | temperature 0.8, top-k 40 | 87% | 98% |
//! | the int8 copy | temperature 1, nothing cut | 74% | 98% |
//! | the first three of its six blocks | temperature 0.8, top-k 40 | 22% | 35% |
//! | the first three of its six blocks | temperature 1, nothing cut | 16% | 37% |
//!
//! The same-number rule accepts fewer guesses because the tokens lie on the line from 0 to 1 in order of id: a small
//! difference early on the line shifts all tokens after it.
//!
//! | module | what |
//! |---|---|
//! | [`lookup`] | guesses the tokens that followed an earlier occurrence of the newest tokens |
//! | [`model`] | guesses with a smaller model, or with the same model in fewer bits |
//! | [`length`] | how many tokens to guess: as many as pay off, possibly none |

pub mod length;
pub mod lookup;
pub mod model;

pub use length::DraftLength;
pub use lookup::PromptLookup;
pub use model::DraftModel;

use crate::config::TokenId;
use crate::generate::{Draft, View};
use crate::model::Gpt2;

/// Guesses how a text continues; the caller decides how far.
pub trait Guesser: Clone + Send {
    /// At most `most` tokens that may follow the text.
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId>;

    /// The distribution `[V]` from which token `k` of the newest guess was drawn; `None` if it was not drawn.
    fn drawn_from(&self, _k: usize) -> Option<&[f32]> {
        None
    }

    /// Reads the text before the first guess.
    fn prepare(&mut self, text: &View<'_>);

    /// How many tokens of the text it must read before it can guess the next one.
    fn behind(&self, _text: &View<'_>) -> usize {
        0
    }

    /// The cost of guessing one token, as a share of one pass of `model`.
    fn cost(&self, model: &Gpt2) -> f64;
}

/// A [`Draft`] that guesses only as many tokens as pay off.
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
