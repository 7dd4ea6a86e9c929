//! The options of speculative decoding, and the draft that they choose.

use super::model::AccessArgs;
use gpt2::checkpoint::LanguageModel;
use gpt2::error::{Error, Result};
use gpt2::generate::Draft;
use gpt2::model::Gpt2;
use gpt2::search::draft::{DraftModel, Paced, PromptLookup, model::same_tokens};
use gpt2::tensor::Dtype;
use std::path::PathBuf;

#[derive(Clone, clap::Args)]
pub struct SpeculationArgs {
    /// Let a smaller model with the same tokenizer guess the next tokens: the same text, faster
    #[arg(long, value_name = "MODEL", group = "draft")]
    draft_model: Option<PathBuf>,
    /// Let an int8 copy of the model, made on loading, guess the next tokens
    #[arg(long, group = "draft")]
    draft_int8: bool,
    /// Let the draft model or the int8 copy guess up to N tokens at a time, at most 15; the number adapts to what pays
    /// off [default: 15]
    #[arg(long, value_name = "N", requires = "draft", conflicts_with = "prompt_lookup")]
    num_draft_tokens: Option<usize>,
    /// Guess up to N tokens at a time from earlier text; the number adapts to what pays off [default: 0, off]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, group = "draft")]
    prompt_lookup: usize,
    /// Keep a sampled guess by the ratio of its probabilities: keeps more guesses, but gives another text from the same
    /// distribution
    #[arg(long, requires = "draft")]
    pub draft_rejection: bool,
}

impl SpeculationArgs {
    /// The same options, with prompt lookup if they choose no draft.
    pub fn or_lookup(&self) -> Self {
        let lookup = self.draft_model.is_none() && !self.draft_int8 && self.prompt_lookup == 0;
        Self { prompt_lookup: if lookup { usize::MAX } else { self.prompt_lookup }, ..self.clone() }
    }

    /// Opens the draft model, if the options choose one, and checks that it fits `lm`.
    pub fn open(&self, lm: &LanguageModel, access: AccessArgs) -> Result<Option<Gpt2>> {
        if self.draft_int8 {
            if lm.model.wte.dtype() == Dtype::I8 {
                return Err(Error::input(format!(
                    "draft-int8: {} already has eight-bit weights; a copy would be no faster",
                    lm.name
                )));
            }
            return Ok(Some(lm.model.quantize()));
        }
        let Some(path) = &self.draft_model else { return Ok(None) };
        let mut draft = access.open(path)?;
        draft.model.kv_cache_dtype = lm.model.kv_cache_dtype;
        DraftModel::new(&draft.model, &lm.model)?;
        same_tokens(&draft.bpe, &lm.bpe)?;
        Ok(Some(draft.model))
    }

    /// The draft for texts of `model`, if the options choose one; `draft` is the result of [`open`](Self::open).
    pub fn draft<'m>(&self, model: &Gpt2, draft: Option<&'m Gpt2>) -> Result<Option<Box<dyn Draft + 'm>>> {
        let most = self.num_draft_tokens.unwrap_or(usize::MAX);
        Ok(match draft {
            Some(draft) => Some(Box::new(Paced::new(DraftModel::new(draft, model)?, model, most))),
            None if self.prompt_lookup == 0 => None,
            None => Some(Box::new(Paced::new(PromptLookup::default(), model, self.prompt_lookup))),
        })
    }
}
