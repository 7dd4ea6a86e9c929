//! Can a model continue this prompt?

use super::{ContextPolicy, Options};
use crate::config::TokenId;
use crate::error::{Error, Result, ensure};
use crate::model::Gpt2;

/// Checks that every id is a row of the embedding table.
///
/// # Errors
/// [`Error::Input`] that names the first id that is not.
pub fn check_ids(model: &Gpt2, ids: &[TokenId]) -> Result<()> {
    let size = model.config.vocab_size;
    let Some(i) = ids.iter().position(|id| *id as usize >= size) else { return Ok(()) };
    let (id, number, of) = (ids[i], i + 1, ids.len());
    Err(Error::input(format!(
        "token id {id} (number {number} of {of}) is not below the model's vocab_size {size}; do text and model share a tokenizer?"
    )))
}

/// Checks that the prompt is not empty, its ids are in the vocabulary, it fits the context policy, and every option is
/// within its range.
pub(crate) fn check_prompt(model: &Gpt2, prompt: &[TokenId], options: &Options) -> Result<()> {
    check_ids(model, prompt)?;
    ensure(!prompt.is_empty(), Error::Input, || {
        "the prompt is empty, and the model has no end-of-text token to begin with; give at least one token"
            .into()
    })?;
    options.check(model)?;
    let (len, n_positions) = (prompt.len(), model.config.n_positions);
    ensure(options.context_policy == ContextPolicy::Slide || len <= n_positions, Error::Input, || {
        format!(
            "the prompt has {len} tokens but the model has {n_positions} positions; shorten it, or use context-policy slide"
        )
    })
}
