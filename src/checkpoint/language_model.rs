//! A model with its tokenizer: text in, text out.

use super::GenerationConfig;
use crate::bpe::Bpe;
use crate::config::TokenId;
use crate::error::Result;
use crate::format::safetensors::SafeTensors;
use crate::generate::{Generation, Options, Pieces, StopStrings, TextStream};
use crate::model::Gpt2;

/// A model with its tokenizer.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    /// The name under which it was opened.
    pub name: String,
    /// text -> ids -> text
    pub bpe: Bpe,
    /// ids -> logits
    pub model: Gpt2,
    /// The tensors of its files, by name.
    pub tensors: SafeTensors,
    /// The defaults of its `generation_config.json`.
    pub generation_config: GenerationConfig,
    /// Notes on anything unexpected in its files, one sentence each.
    pub notes: Vec<String>,
}

impl LanguageModel {
    /// Continues a text, piece by piece. Each piece is whole characters; together they are the new text, without the
    /// end-of-text token and up to the first of the options' stop strings.
    ///
    /// ```
    /// use gpt2::generate::Options;
    ///
    /// let lm = gpt2::checkpoint::bundled();
    /// for piece in lm.generate("Once upon a time", Options::sampled(1).max_new_tokens(20))? {
    ///     print!("{}", piece?);
    /// }
    /// # Ok::<(), gpt2::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn generate(&self, prompt: &str, options: Options) -> Result<Pieces<'_>> {
        Ok(self.generation(&self.prompt(self.bpe.encode(prompt)), options)?.pieces())
    }

    /// The ids that the model reads for a prompt. An empty prompt becomes the end-of-text token, which stands between texts.
    pub fn prompt(&self, ids: Vec<TokenId>) -> Vec<TokenId> {
        match &self.model.config.eos_token_ids[..] {
            [end, ..] if ids.is_empty() => vec![*end],
            _ => ids,
        }
    }

    /// The same, token by token.
    ///
    /// # Errors
    /// As [`Generation::new`]; [`Error::Option`](crate::error::Error::Option) if a stop string is empty.
    pub fn generation(&self, prompt: &[TokenId], options: Options) -> Result<Generation<'_>> {
        let stop = StopStrings::new(&options.stop)?;
        Ok(Generation::new(&self.model, prompt, options)?.with_text(TextStream::new(&self.bpe, stop)))
    }
}
