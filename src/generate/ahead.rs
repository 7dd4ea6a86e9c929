//! Reading ahead: what would come after tokens that are not chosen yet?
//!
//! A pass over the newest token and a guess of what follows it gives logits for all of them. Where the guess turns out
//! wrong, its keys and values are forgotten again. [`speculative`](crate::search::speculative) says what that is good
//! for.

use super::{Chosen, Generation, Options, PREFILL};
use crate::bpe::TokenId;
use crate::error::Result;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, Uniform};
use crate::tensor::Matrix;
use crate::trace::Trace;

/// A text in the making, as somebody sees it who guesses how it goes on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Prompt and new tokens. `[S]`
    pub ids: &'a [TokenId],
    /// How many of them are the prompt's.
    pub prompt_len: usize,
    /// The first id that the model still sees: later than 0 after a slide.
    pub start: usize,
    /// What the text is to be like.
    pub options: &'a Options,
    /// The ids that end it.
    pub eos: &'a [TokenId],
}

impl<'a> View<'a> {
    /// What the processors need to know, if `ids` were the text.
    pub fn history<'i>(&self, ids: &'i [TokenId]) -> History<'i>
    where
        'a: 'i,
    {
        History { ids, prompt_len: self.prompt_len, eos: self.eos }
    }
}

impl<T: Trace> Generation<'_, T> {
    /// The model that writes it.
    pub(crate) fn model(&self) -> &Gpt2 {
        self.model
    }

    /// The text so far, and its random numbers.
    pub(crate) fn view(&mut self) -> (View<'_>, &mut Uniform) {
        let start = self.ids.len() - self.unread - self.cache.len();
        let eos = self.options.ends(self.model);
        let view = View { ids: &self.ids, prompt_len: self.prompt_len, start, options: &self.options, eos };
        (view, &mut self.uniform)
    }

    /// How many tokens a guess may have: not more than can be used before the text ends or its positions do.
    pub(crate) fn room(&self) -> usize {
        let positions = self.model.config.n_positions.saturating_sub(self.cache.len() + self.unread + 1);
        let tokens = self.options.max_new_tokens.saturating_sub(self.new_ids().len() + 1);
        positions.min(tokens)
    }

    /// Reads what is unread and `guess` after it -> logits of the newest token and of each that is guessed.
    /// `[1 + guess, V]`
    pub(crate) fn logits_with(&mut self, guess: &[TokenId]) -> Matrix {
        self.read_all_but(PREFILL);
        let model = self.model;
        let (newest, trace) = self.read(PREFILL);
        let ids = [newest.ids, guess].concat(); // [T]
        let rows: Vec<usize> = (newest.ids.len() - 1..ids.len()).collect();
        let x = model.hidden(&mut [Sequence { ids: &ids, cache: newest.cache }], trace); // [T, C]
        model.head(&x.select(&rows), trace) // [1 + guess, V]
    }

    /// logits `[V]` -> the next token, which joins the text, by a draw of the caller's from the distribution `[V]`.
    pub(crate) fn choose_by(
        &mut self,
        logits: &[f32],
        draw: impl FnOnce(&mut [f32], &mut Uniform) -> Option<TokenId>,
    ) -> Result<Chosen> {
        let Some(sampling) = &self.options.sampling else { return self.choose(logits, &mut NoWatch) };
        let mut p = Matrix::scratch(1, logits.len());
        let p = p.row_mut(0);
        p.copy_from_slice(logits);
        let history =
            History { ids: &self.ids, prompt_len: self.prompt_len, eos: self.options.ends(self.model) };
        self.options.processors.apply(&history, p, &mut NoWatch);
        sampling.distribution(p);
        let id = draw(p, &mut self.uniform);
        self.append(logits, id)
    }

    /// Forgets the last `n` tokens that were read.
    pub(crate) fn forget(&mut self, n: usize) {
        self.cache.truncate(self.cache.len() - n);
    }
}
