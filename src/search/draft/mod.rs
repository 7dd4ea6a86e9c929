//! Who guesses how a text goes on, and what does a guess cost?
//!
//! | module | guesses by |
//! |---|---|
//! | [`lookup`] | what came after the last tokens when they occurred before |
//! | [`model`] | a smaller model, or the same one in fewer bits |
//! | [`length`] | how far to guess: as far as it pays, down to not at all |
//!
//! A draft can be wrong at will: [`speculative`](super::speculative) uses no guess that the model itself would not
//! have made.

pub mod length;
pub mod lookup;
pub mod model;

pub use length::DraftLength;
pub use lookup::PromptLookup;
pub use model::DraftModel;

use crate::bpe::TokenId;
use crate::generate::View;
use crate::model::Gpt2;
use crate::sampling::Uniform;
use crate::tensor::Matrix;

/// Guesses how a text goes on.
pub trait Draft {
    /// At most `most` tokens that may follow the text.
    ///
    /// Between two calls the text grows; what was guessed need not have become a part of it.
    fn guess(&mut self, text: View<'_>, most: usize, uniform: &mut Uniform) -> Guess;

    /// Reads the text before the first guess is asked for.
    fn prepare(&mut self, text: View<'_>);

    /// How many tokens of the text it must read before it can guess what follows the newest.
    fn behind(&self, _text: View<'_>) -> usize {
        0
    }

    /// What it costs to guess one token, as a share of one pass of `model`.
    fn cost(&self, model: &Gpt2) -> f64;
}

/// Tokens that may come next.
#[derive(Clone, Debug, Default)]
pub struct Guess {
    /// In their order. `[K]`
    pub ids: Vec<TokenId>,
    /// The distributions that they were drawn from `[K, V]`; `None` if there was no choice.
    pub q: Option<Matrix>,
}
