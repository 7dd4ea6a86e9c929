//! Which draft guesses: the options of speculative decoding.

use gpt2::checkpoint::{self, LanguageModel};
use gpt2::error::{Error, Result};
use gpt2::generate::Draft;
use gpt2::model::Gpt2;
use gpt2::search::draft::{DraftModel, Paced, PromptLookup, model::same_tokens};
use gpt2::tensor::Dtype;
use std::path::PathBuf;

#[derive(Clone, clap::Args)]
pub struct SpeculationArgs {
    /// Let a smaller model with the same tokenizer guess what comes next: the same text, faster
    #[arg(long, value_name = "MODEL", group = "draft")]
    draft_model: Option<PathBuf>,
    /// Let the model's own int8 copy, made when it is loaded, guess what comes next
    #[arg(long, group = "draft")]
    draft_int8: bool,
    /// Let the draft model or the int8 copy guess up to N tokens at a time; it guesses as many as pay, 15 at most
    /// [default: 15]
    #[arg(long, value_name = "N", requires = "draft", conflicts_with = "prompt_lookup")]
    num_draft_tokens: Option<usize>,
    /// Guess up to N tokens at a time, as many as pay, from what came before in the text [default: 0, off]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, group = "draft")]
    prompt_lookup: usize,
    /// Keep a sampled guess by the ratio of its probabilities: more guesses are kept, and the text is another one of the
    /// same distribution
    #[arg(long, requires = "draft")]
    pub draft_rejection: bool,
}

impl SpeculationArgs {
    /// The same; prompt lookup where nothing is asked for.
    pub fn or_lookup(&self) -> Self {
        let lookup = self.draft_model.is_none() && !self.draft_int8 && self.prompt_lookup == 0;
        Self { prompt_lookup: if lookup { usize::MAX } else { self.prompt_lookup }, ..self.clone() }
    }

    /// The draft model, if there is to be one. It must fit `lm`.
    pub fn open(&self, lm: &LanguageModel) -> Result<Option<Gpt2>> {
        if self.draft_int8 {
            if lm.model.wte.dtype() == Dtype::I8 {
                return Err(Error::input(format!(
                    "draft-int8: {} has eight-bit weights already; its copy would be as slow as itself",
                    lm.name
                )));
            }
            return Ok(Some(lm.model.quantize()));
        }
        let Some(path) = &self.draft_model else { return Ok(None) };
        let mut draft = checkpoint::open(path)?;
        draft.model.kv_cache_dtype = lm.model.kv_cache_dtype;
        DraftModel::new(&draft.model, &lm.model)?;
        same_tokens(&draft.bpe, &lm.bpe)?;
        Ok(Some(draft.model))
    }

    /// The draft for texts of `model`, if one was asked for; `draft` is what [`open`](Self::open) gave.
    pub fn draft<'m>(&self, model: &Gpt2, draft: Option<&'m Gpt2>) -> Result<Option<Box<dyn Draft + 'm>>> {
        let most = self.num_draft_tokens.unwrap_or(usize::MAX);
        Ok(match draft {
            Some(draft) => Some(Box::new(Paced::new(DraftModel::new(draft, model)?, model, most))),
            None if self.prompt_lookup == 0 => None,
            None => Some(Box::new(Paced::new(PromptLookup::default(), model, self.prompt_lookup))),
        })
    }
}
