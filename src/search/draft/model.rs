//! A smaller model guesses what the large one would say.
//!
//! ```text
//! for k times:
//!     ids.append(choose(draft_model(ids)))   # under the text's options, with the number of the position
//! ```
//!
//! Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023). The two models must share
//! their vocabulary; everything else may differ, the number of positions too. Where the draft's are full, or it was not
//! asked for long, it begins anew with the newest tokens: to read all that it missed would cost more than it helps.

use super::Guesser;
use crate::bpe::Bpe;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::View;
use crate::generate::text::{Text, read_all_but_newest, read_to_end};
use crate::model::Gpt2;
use crate::trace::NoTrace;

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
    /// The text as far as the draft has read it, and its guess.
    text: Text,
    /// What each guess was drawn from. `[K, V]`
    q: Vec<Vec<f32>>,
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
        Ok(Self { model, text: Text::new(model, &[]), q: Vec::new() })
    }

    /// Where the draft's window begins, if there are to be positions for `most` tokens more.
    fn window(&self, text: &View<'_>, most: usize) -> usize {
        let (len, start) = (text.ids.len(), self.text.start());
        let fits = len - start + most <= self.model.config.n_positions + 1; // the last guess is not read
        if text.start <= start && fits && len - start - self.text.known(text.ids, start) <= FAR_BEHIND {
            return start;
        }
        len - self.kept().min(len)
    }

    /// How many tokens are kept where the window begins anew.
    fn kept(&self) -> usize {
        KEPT.min(self.model.config.n_positions / 2).max(1)
    }
}

impl Guesser for DraftModel<'_> {
    fn guess(&mut self, text: &View<'_>, most: usize) -> Vec<TokenId> {
        let most = most.min(self.model.config.n_positions - self.kept() + 1);
        self.text.follow(text.ids, self.window(text, most));
        self.q.clear();
        for _ in 0..most {
            let x = read_to_end(self.model, &mut self.text, &mut NoTrace); // [1, C]
            let mut scores = self.model.head(&x, &mut NoTrace); // [1, V]
            // damaged weights, or nothing allowed: no guess
            let Some(id) = text.choose(self.text.ids(), scores.row_mut(0)) else { break };
            self.text.push(id);
            if text.options.sample {
                self.q.push(scores.row(0).to_vec());
            }
        }
        self.text.ids()[text.ids.len()..].to_vec()
    }

    fn drawn_from(&self, k: usize) -> Option<&[f32]> {
        self.q.get(k).map(Vec::as_slice)
    }

    fn prepare(&mut self, text: &View<'_>) {
        let (len, n_positions) = (text.ids.len(), self.model.config.n_positions);
        let newest = len - (n_positions / 2).max(1).min(len); // there should be positions left for what comes
        self.text.follow(text.ids, if len - text.start > n_positions / 4 * 3 { newest } else { text.start });
        read_all_but_newest(self.model, &mut self.text, &mut NoTrace);
    }

    fn behind(&self, text: &View<'_>) -> usize {
        let start = self.window(text, 1);
        text.ids.len() - 1 - start - self.text.known(text.ids, start)
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
