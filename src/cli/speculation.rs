//! Plain or with the help of a draft: the options, and a text that may be either.

use gpt2::bpe::TokenId;
use gpt2::checkpoint::{self, LanguageModel};
use gpt2::error::{Error, Result};
use gpt2::generate::{Chosen, FinishReason, Generation};
use gpt2::model::Gpt2;
use gpt2::sampling::Watch;
use gpt2::search::draft::{Draft, DraftModel, PromptLookup, model::same_tokens};
use gpt2::search::speculative::{Passes, Speculation};
use gpt2::tensor::Dtype;
use gpt2::trace::Trace;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Clone, clap::Args)]
pub struct SpeculationArgs {
    /// Let a smaller model with the same tokenizer guess what comes next: greedily the same text, faster; sampled a
    /// text of the same law
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

    /// `text` of `model`, written as the options say; `draft` is what [`open`](Self::open) gave.
    pub fn text<'m>(
        &self,
        text: Generation<'m>,
        model: &'m Gpt2,
        draft: Option<&'m Gpt2>,
    ) -> Result<Box<dyn Fork + 'm>> {
        Ok(match draft {
            Some(draft) => {
                let draft = DraftModel::new(draft, model)?;
                Box::new(Speculation::new(text, draft, self.num_draft_tokens.unwrap_or(usize::MAX)))
            }
            None if self.prompt_lookup > 0 => {
                Box::new(Speculation::new(text, PromptLookup::default(), self.prompt_lookup))
            }
            None => Box::new(text),
        })
    }
}

/// A text in the making.
pub trait Text: Iterator<Item = Result<Chosen>> {
    fn new_ids(&self) -> &[TokenId];
    fn finish_reason(&self) -> Option<FinishReason>;
    fn finish(&mut self, reason: FinishReason);
    fn slides(&self) -> usize;
    /// What a draft has brought, if there is one.
    fn passes(&self) -> Option<Passes> {
        None
    }
}

/// A text that can be continued in several ways.
pub trait Fork: Text {
    fn prefill(&mut self);
    /// The same text, to be continued with another stream of random numbers.
    fn fork(&self, stream: u64) -> Box<dyn Text + '_>;
}

/// A generation of which somebody watches how each token is chosen.
pub struct Watched<'a, 'm, T: Trace, W>(pub &'a mut Generation<'m, T>, pub &'a mut W);

impl<T: Trace, W: Watch> Iterator for Watched<'_, '_, T, W> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_watched(self.1)
    }
}

/// All have these methods.
macro_rules! text {
    ($($field:tt)?) => {
        fn new_ids(&self) -> &[TokenId] {
            self$(.$field)?.new_ids()
        }
        fn finish_reason(&self) -> Option<FinishReason> {
            self$(.$field)?.finish_reason()
        }
        fn finish(&mut self, reason: FinishReason) {
            self$(.$field)?.finish(reason);
        }
        fn slides(&self) -> usize {
            self$(.$field)?.slides()
        }
    };
}

impl Text for Generation<'_> {
    text!();
}

impl<T: Trace, W: Watch> Text for Watched<'_, '_, T, W> {
    text!(0);
}

impl<D: Draft> Text for Speculation<'_, D> {
    text!();
    fn passes(&self) -> Option<Passes> {
        Some(self.passes())
    }
}

impl Fork for Generation<'_> {
    fn prefill(&mut self) {
        self.prefill();
    }
    fn fork(&self, stream: u64) -> Box<dyn Text + '_> {
        Box::new(self.fork(stream))
    }
}

impl<D: Draft + Clone> Fork for Speculation<'_, D> {
    fn prefill(&mut self) {
        self.prefill();
    }
    fn fork(&self, stream: u64) -> Box<dyn Text + '_> {
        Box::new(self.fork(stream))
    }
}

/// What `--stats` and `--json` say about a draft.
#[derive(Clone, Copy, Serialize)]
pub struct Speculated {
    pub drafted: usize,
    pub accepted: usize,
    pub tokens_per_pass: f64,
}

impl From<Passes> for Speculated {
    fn from(passes: Passes) -> Self {
        let Passes { drafted, accepted, .. } = passes;
        Self { drafted, accepted, tokens_per_pass: passes.tokens_per_pass() }
    }
}
