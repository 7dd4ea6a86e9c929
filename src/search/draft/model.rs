//! A smaller model guesses what the large one would choose.
//!
//! ```text
//! repeat k times:
//!     ids.append(choose(draft_model(ids)))   # with the text's options and the random number of the position
//! ```
//!
//! Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023). The two models must
//! share their vocabulary; everything else may differ, including the number of positions. If the draft's positions are
//! full, or it is far behind the text, it restarts with only the newest tokens: reading everything it missed would not
//! pay off.

use super::Guesser;
use crate::bpe::Bpe;
use crate::config::TokenId;
use crate::error::{Error, Result, ensure};
use crate::generate::View;
use crate::generate::text::{Text, read_all_but_newest, read_to_end};
use crate::model::Gpt2;
use crate::trace::NoTrace;

/// A draft with more unread tokens than this skips them and restarts with the newest [`KEPT`].
const FAR_BEHIND: usize = 128;

/// How many of the newest tokens a draft reads when it restarts.
const KEPT: usize = 64;

/// The cost of a small model's pass beyond reading its weights, as a share of the large model's pass.
const OVERHEAD: f64 = 0.02;

/// Guesses by another model.
#[derive(Clone, Debug)]
pub struct DraftModel<'m> {
    model: &'m Gpt2,
    /// The text with the guess, and what the draft has read of it.
    text: Text,
    /// The distribution `[V]` of each guessed token that was drawn.
    q: Vec<Vec<f32>>,
}

impl<'m> DraftModel<'m> {
    /// Lets `model` guess for the model `of`.
    ///
    /// # Errors
    /// [`Error::Input`] if their vocabularies differ in size.
    pub fn new(model: &'m Gpt2, of: &Gpt2) -> Result<Self> {
        let (ours, theirs) = (model.config.vocab_size, of.config.vocab_size);
        ensure(ours == theirs, Error::Input, || {
            format!(
                "the draft model has {ours} tokens but the model has {theirs}; use a draft with the same vocabulary"
            )
        })?;
        Ok(Self { model, text: Text::new(model, &[]), q: Vec::new() })
    }

    /// The start of the draft's window such that `most` more tokens have positions.
    fn window(&self, text: &View<'_>, most: usize) -> usize {
        let (len, start) = (text.ids.len(), self.text.start());
        let fits = len - start + most <= self.model.config.n_positions + 1; // the last guess is not read
        if text.start <= start && fits && len - start - self.text.known(text.ids, start) <= FAR_BEHIND {
            return start;
        }
        len - self.kept().min(len)
    }

    /// How many tokens the draft keeps when its window restarts.
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
            // if the weights are damaged or no token is allowed, the guess ends here
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
        let newest = len - (n_positions / 2).max(1).min(len); // leave positions for new tokens
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

/// Bytes of weights that decoding reads per token: all but the embedding tables, of which it looks up only one row.
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
    let differs = |id: &TokenId| draft.token_bytes(*id) != model.token_bytes(*id);
    let Some(id) = (0..size).find(differs) else { return Ok(()) };
    let [draft, model] = [draft, model].map(|bpe| bpe.token_text(id).unwrap_or_default());
    Err(Error::input(format!(
        "the draft model's tokenizer differs: token {id} is {draft:?} in the draft and {model:?} in the model"
    )))
}
