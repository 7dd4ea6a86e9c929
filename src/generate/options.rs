//! What may be asked of a generation, and how it may end.

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::model::Gpt2;
use crate::sampling::{Processors, Sampling, Uniform};

/// What to write and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Stop after this many new tokens.
    pub max_new_tokens: usize,
    /// Changes of the scores before the choice.
    pub processors: Processors,
    /// Draw from the distribution; `None` always takes the likeliest token.
    pub sampling: Option<Sampling>,
    /// Go on after an end-of-text id, which then is a token like any other.
    pub ignore_eos: bool,
    /// What happens where the text outgrows the model's positions.
    pub context_policy: ContextPolicy,
}

impl Default for Options {
    /// The likeliest token, 128 times at most.
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            processors: Processors::default(),
            sampling: None,
            ignore_eos: false,
            context_policy: ContextPolicy::Slide,
        }
    }
}

impl Options {
    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option and its range.
    pub fn check(&self, model: &Gpt2) -> Result<()> {
        self.processors.check(model.config.vocab_size)?;
        let (least, most) = (self.processors.min_new_tokens, self.max_new_tokens);
        if least > most {
            return Err(Error::option(format!(
                "min-new-tokens {least} must be at most max-new-tokens, which is {most}"
            )));
        }
        self.sampling.as_ref().map_or(Ok(()), Sampling::check)
    }

    /// The random numbers of a text, from their start.
    pub fn uniform(&self) -> Uniform {
        let (seed, stream) = self.sampling.as_ref().map_or((0, 0), |s| (s.seed, s.stream));
        Uniform::with_stream(seed, stream)
    }

    /// The ids that end a text.
    pub fn ends<'m>(&self, model: &'m Gpt2) -> &'m [TokenId] {
        if self.ignore_eos { &[] } else { &model.config.eos_token_ids }
    }
}

/// What happens where a text outgrows the model's positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextPolicy {
    /// The newest half is kept and read again from position 0, and the text goes on.
    #[default]
    Slide,
    /// The text ends, with [`FinishReason::Length`], when prompt and new tokens take all positions.
    Stop,
    /// The same place is an error.
    Error,
}

impl ContextPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Slide, Self::Stop, Self::Error];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slide => "slide",
            Self::Stop => "stop",
            Self::Error => "error",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// `max_new_tokens` are written, or all positions are taken.
    Length,
    /// An end-of-text id was chosen.
    Eos,
    /// A stop string is complete.
    Stop,
}

impl FinishReason {
    /// As in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos => "eos",
            Self::Stop => "stop",
        }
    }
}
