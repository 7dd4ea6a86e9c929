//! How does a model write? It predicts one token, appends it, and starts again.
//!
//! ```text
//! loop:
//!     logits = forward(ids)[-1]        # the cache remembers all but the newest id
//!     next = choose(logits)
//!     ids.append(next)
//!     stop at end-of-text, or when enough is written
//! ```
//!
//! That is *autoregression*: each token is conditioned on everything before it, the model's own choices
//! included. [`Generation`] is this loop as an iterator; each turn gives one token.

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::kv_cache::KvCache;
use crate::model::Gpt2;
use crate::sampling::{Sampling, Uniform, argmax, draw};
use crate::softmax::log_softmax;
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Stage, Trace};

/// A long prompt is read this many tokens at a time: the result is the same, and the memory stays small.
const PREFILL: usize = 256;

/// What to write and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Stop after this many new tokens.
    pub max_new_tokens: usize,
    /// Draw from the distribution; `None` always takes the likeliest token.
    pub sampling: Option<Sampling>,
    /// Go on after an end-of-text id.
    pub ignore_eos: bool,
}

impl Default for Options {
    /// The likeliest token, 128 times at most.
    fn default() -> Self {
        Self { max_new_tokens: 128, sampling: None, ignore_eos: false }
    }
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Which one.
    pub id: TokenId,
    /// The logarithm of its probability under the model's own distribution, before temperature and filters.
    pub logprob: f64,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// `max_new_tokens` are written.
    Length,
    /// An end-of-text id was chosen.
    Eos,
}

impl FinishReason {
    /// As in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos => "eos",
        }
    }
}

/// A text in the making. Iterate for its new tokens.
pub struct Generation<'m, T: Trace = NoTrace> {
    model: &'m Gpt2,
    options: Options,
    cache: KvCache,
    /// Prompt and new tokens.
    ids: Vec<TokenId>,
    prompt_len: usize,
    /// How many ids the cache has not seen.
    unread: usize,
    uniform: Uniform,
    finished: Option<FinishReason>,
    slides: usize,
    /// Sees every stage of every step.
    pub trace: T,
}

impl<'m> Generation<'m> {
    /// Begins after `prompt`.
    ///
    /// # Errors
    /// [`Error::Input`] if the prompt is empty, has an id that the model does not know, or an option is out
    /// of its range.
    pub fn new(model: &'m Gpt2, prompt: &[TokenId], options: Options) -> Result<Self> {
        Self::with_trace(model, prompt, options, NoTrace)
    }
}

impl<'m, T: Trace> Generation<'m, T> {
    /// Begins after `prompt`, with every stage shown to `trace`.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn with_trace(model: &'m Gpt2, prompt: &[TokenId], options: Options, trace: T) -> Result<Self> {
        check_ids(model, prompt)?;
        if prompt.is_empty() {
            return Err(Error::input(
                "the prompt is empty; give at least one token, for example the end-of-text token",
            ));
        }
        if let Some(sampling) = &options.sampling {
            sampling.check()?;
        }
        let uniform = Uniform::new(options.sampling.as_ref().map_or(0, |s| s.seed));
        let finished = (options.max_new_tokens == 0).then_some(FinishReason::Length);
        let cache = KvCache::new(&model.config);
        let (ids, prompt_len, unread) = (prompt.to_vec(), prompt.len(), prompt.len());
        Ok(Self { model, options, cache, ids, prompt_len, unread, uniform, finished, slides: 0, trace })
    }

    /// The new tokens so far.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.ids[self.prompt_len..]
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished
    }

    /// How often the text outgrew `n_positions` and the older half was forgotten.
    pub fn slides(&self) -> usize {
        self.slides
    }

    /// Reads what is unread and gives the logits of the last position. `[1, V]`
    ///
    /// Positions are learned up to `n_positions`. A longer text slides: the newest half is kept and read again
    /// from position 0.
    fn next_logits(&mut self) -> Matrix {
        let n_positions = self.model.config.n_positions;
        if self.cache.len() + self.unread > n_positions {
            self.cache.truncate(0);
            self.unread = (n_positions / 2).max(1).min(self.ids.len());
            self.slides += 1;
        }
        let unread = &self.ids[self.ids.len() - self.unread..];
        self.unread = 0;
        let last = (unread.len() - 1) / PREFILL * PREFILL;
        for piece in unread[..last].chunks(PREFILL) {
            let mut batch = [crate::model::Sequence { ids: piece, cache: &mut self.cache }];
            self.model.hidden(&mut batch, &mut self.trace);
        }
        self.model.next_logits(&unread[last..], &mut self.cache, &mut self.trace)
    }

    /// One turn of the loop.
    fn step(&mut self) -> Result<Chosen> {
        let mut logits = self.next_logits(); // [1, V]
        let logits = logits.row_mut(0); // [V]
        let greedy = argmax(logits);
        let mut model_logits = Matrix::scratch(1, logits.len());
        model_logits.row_mut(0).copy_from_slice(logits);
        let id = match &self.options.sampling {
            None => Some(greedy),
            Some(sampling) => {
                sampling.distribution(logits);
                self.trace.record(Stage::Probs, &[logits.len()], logits);
                draw(logits, self.uniform.draw())
            }
        };
        let logprob = id.map_or(f64::NAN, |id| log_softmax(model_logits.row(0), id as usize));
        let Some(id) = id.filter(|_| logprob.is_finite()) else {
            return Err(Error::input("the model's scores are not finite numbers; its weights are damaged"));
        };
        self.trace.record_ids(Stage::NextId, &[id]);
        self.ids.push(id);
        self.unread = 1;
        if !self.options.ignore_eos && self.model.config.eos_token_ids.contains(&id) {
            self.finished = Some(FinishReason::Eos);
        } else if self.new_ids().len() >= self.options.max_new_tokens {
            self.finished = Some(FinishReason::Length);
        }
        Ok(Chosen { id, logprob })
    }
}

impl<T: Trace> Iterator for Generation<'_, T> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished.is_some() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.finished = Some(FinishReason::Length);
        }
        Some(step)
    }
}

/// Every id is a row of the embedding table.
///
/// # Errors
/// [`Error::Input`] that names the first that is not.
pub fn check_ids(model: &Gpt2, ids: &[TokenId]) -> Result<()> {
    let size = model.config.vocab_size;
    match ids.iter().position(|id| *id as usize >= size) {
        Some(i) => Err(Error::input(format!(
            "token id {} (number {} of {}) is not below the model's vocab_size {size}; do text and model share a tokenizer?",
            ids[i],
            i + 1,
            ids.len()
        ))),
        None => Ok(()),
    }
}
