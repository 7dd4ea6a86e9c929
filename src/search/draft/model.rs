//! A smaller model guesses what the large one would say.
//!
//! ```text
//! for k times:
//!     q = distribution(draft_model(ids))     # under the same options as the text
//!     ids.append(draw(q))
//! ```
//!
//! Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023). The two models must share
//! their vocabulary; everything else may differ, the number of positions too. Where the draft's are full, or it was not
//! asked for long, it begins anew with the newest tokens: to read all that it missed would cost more than it helps.

use super::{Draft, Guess};
use crate::bpe::{Bpe, TokenId};
use crate::error::{Error, Result};
use crate::generate::View;
use crate::kv_cache::KvCache;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::sampling::{NoWatch, Uniform};
use crate::tensor::Matrix;
use crate::trace::NoTrace;

/// A longer text is read this many tokens at a time.
const PREFILL: usize = 256;

/// A draft that has not read this many tokens does not read them any more,
const FAR_BEHIND: usize = 128;

/// but begins with so many of the newest.
const KEPT: usize = 64;

/// What a pass costs a small model beside the reading of its weights, as a share of a large one's pass.
const OVERHEAD: f64 = 0.02;

/// Guesses by another model.
#[derive(Clone, Debug)]
pub struct DraftModel<'m> {
    model: &'m Gpt2,
    cache: KvCache,
    /// The ids that the cache has seen.
    seen: Vec<TokenId>,
    /// Where in the text they begin.
    start: usize,
}

impl<'m> DraftModel<'m> {
    /// `model` is to guess for `of`.
    ///
    /// # Errors
    /// [`Error::Input`] if their vocabularies differ in size.
    pub fn new(model: &'m Gpt2, of: &Gpt2) -> Result<Self> {
        let (ours, theirs) = (model.config.vocab_size, of.config.vocab_size);
        if ours != theirs {
            return Err(Error::input(format!(
                "the draft model has {ours} tokens and the model {theirs}; a draft must share the model's vocabulary"
            )));
        }
        Ok(Self { model, cache: KvCache::new(&model.config), seen: Vec::new(), start: 0 })
    }

    /// Where the draft's window begins, if there are to be positions for `most` tokens more.
    fn window(&self, text: &View<'_>, most: usize) -> usize {
        let len = text.ids.len();
        let fits = len - self.start + most <= self.model.config.n_positions + 1; // the last guess is not read
        if text.start <= self.start && fits && len - self.start - self.known(text, self.start) <= FAR_BEHIND {
            return self.start;
        }
        len - self.kept().min(len)
    }

    /// How many tokens are kept where the window begins anew.
    fn kept(&self) -> usize {
        KEPT.min(self.model.config.n_positions / 2).max(1)
    }

    /// How many tokens of the text, read from `start` on, are in the cache. The newest is none of them: it is read
    /// again, for its logits.
    fn known(&self, text: &View<'_>, start: usize) -> usize {
        if start != self.start {
            return 0;
        }
        let ids = &text.ids[start..text.ids.len() - 1];
        self.seen.iter().zip(ids).take_while(|(seen, id)| seen == id).count()
    }

    /// Makes the cache agree with the text, with positions for `most` tokens more.
    fn agree(&mut self, text: &View<'_>, most: usize) {
        let start = self.window(text, most);
        let known = self.known(text, start);
        self.start = start;
        self.seen.truncate(known);
        self.cache.truncate(known);
    }

    /// Reads ids `[T]` without asking for logits.
    fn read(&mut self, ids: &[TokenId]) {
        self.seen.extend(ids);
        for part in ids.chunks(PREFILL) {
            self.model.hidden(&mut [Sequence { ids: part, cache: &mut self.cache }], &mut NoTrace);
        }
    }

    /// Reads ids `[T]` -> logits of what comes after the last of them. `[1, V]`
    fn next_logits(&mut self, ids: &[TokenId]) -> Matrix {
        let (before, newest) = ids.split_at(ids.len() - ids.len().min(PREFILL));
        self.read(before);
        self.seen.extend(newest);
        self.model.next_logits(newest, &mut self.cache, &mut NoTrace)
    }
}

impl Draft for DraftModel<'_> {
    fn guess(&mut self, text: View<'_>, most: usize, uniform: &mut Uniform) -> Guess {
        let most = most.min(self.model.config.n_positions - self.kept() + 1);
        self.agree(&text, most);
        let mut ids = text.ids.to_vec(); // and the guess
        let mut q = text.options.sampling.as_ref().map(|_| Matrix::zeros(most, self.model.config.vocab_size));
        for k in 0..most {
            let mut scores = self.next_logits(&ids[self.start + self.seen.len()..]); // [1, V]
            let scores = scores.row_mut(0);
            let history = text.history(&ids);
            let id = text.options.choose(scores, &history, uniform, &mut NoTrace, &mut NoWatch);
            if let Some(q) = &mut q {
                q.row_mut(k).copy_from_slice(scores); // it was drawn from these
            }
            let Some(id) = id else { break }; // damaged weights, or nothing allowed: no guess
            ids.push(id);
        }
        Guess { ids: ids.split_off(text.ids.len()), q }
    }

    fn prepare(&mut self, text: View<'_>) {
        let (len, n_positions) = (text.ids.len(), self.model.config.n_positions);
        let newest = len - (n_positions / 2).max(1).min(len); // there should be positions left for what comes
        self.start = if len - text.start > n_positions / 4 * 3 { newest } else { text.start };
        self.read(&text.ids[self.start + self.seen.len()..text.ids.len() - 1]);
    }

    fn behind(&self, text: View<'_>) -> usize {
        let start = self.window(&text, 1);
        text.ids.len() - 1 - start - self.known(&text, start)
    }

    fn cost(&self, model: &Gpt2) -> f64 {
        read_bytes(self.model) as f64 / read_bytes(model) as f64 + OVERHEAD
    }
}

/// The weights that decoding reads for each token: all but the tables of which it looks up one row.
fn read_bytes(model: &Gpt2) -> usize {
    let looked_up = if model.config.tie_word_embeddings { 0 } else { model.wte.bytes() };
    model.weight_bytes() - looked_up - model.wpe.bytes()
}

/// Checks that two tokenizers give the same tokens the same ids.
///
/// # Errors
/// [`Error::Input`] that names the first id that differs.
pub fn same_tokens(draft: &Bpe, model: &Bpe) -> Result<()> {
    let size = draft.vocab_size().max(model.vocab_size()) as TokenId;
    match (0..size).find(|id| draft.token_bytes(*id) != model.token_bytes(*id)) {
        Some(id) => Err(Error::input(format!(
            "the draft model's tokenizer is another: token {id} is {:?} there and {:?} in the model's",
            draft.token_text(id).unwrap_or_default(),
            model.token_text(id).unwrap_or_default()
        ))),
        None => Ok(()),
    }
}
