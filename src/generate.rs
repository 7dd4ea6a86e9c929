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
//!
//! [`options`] says what may be asked for; [`stop`] finds where a text is to end, between the tokens; [`batch`]
//! takes the same turns for several texts at once.

pub mod ahead;
pub mod batch;
mod choice;
pub mod options;
pub(crate) mod rewind;
pub mod stop;

pub use ahead::View;
pub use batch::Batch;
pub use options::{ContextPolicy, FinishReason, Options};
pub use stop::{StopStrings, TextStream};

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::kv_cache::KvCache;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, Uniform, Watch, argmax};
use crate::softmax::log_softmax;
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Stage, Trace};

/// A long prompt is read this many tokens at a time: the result is the same, and the memory stays small.
pub(crate) const PREFILL: usize = 256;

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Which one.
    pub id: TokenId,
    /// The logarithm of its probability under the model's own distribution, before temperature and filters.
    pub logprob: f64,
}

/// A text in the making. Iterate for its new tokens.
#[derive(Debug)]
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
    /// The prompt is read in one piece and all its positions get logits, as somebody who looks expects it.
    whole: bool,
    /// Comes next, whatever is chosen.
    forced: Option<TokenId>,
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
        check_prompt(model, prompt, &options)?;
        let uniform = options.uniform();
        let cache = KvCache::new(&model.config);
        let (prompt_len, unread) = (prompt.len(), prompt.len());
        let mut ids = Vec::with_capacity(prompt_len + options.max_new_tokens.min(model.config.n_positions));
        ids.extend_from_slice(prompt);
        let mut generation = Self {
            model,
            options,
            cache,
            ids,
            prompt_len,
            unread,
            uniform,
            finished: None,
            slides: 0,
            whole: false,
            forced: None,
            trace,
        };
        generation.end_if_long_enough();
        Ok(generation)
    }

    /// The same text so far, to be continued with another stream of the seed's random numbers. Keys and values are
    /// shared, not copied.
    pub fn fork(&self, stream: u64) -> Self
    where
        T: Clone,
    {
        let mut options = self.options.clone();
        if let Some(sampling) = &mut options.sampling {
            sampling.stream = stream;
        }
        Self {
            model: self.model,
            uniform: options.uniform(),
            options,
            cache: self.cache.clone(),
            ids: self.ids.clone(),
            prompt_len: self.prompt_len,
            unread: self.unread,
            finished: self.finished,
            slides: self.slides,
            whole: self.whole,
            forced: self.forced,
            trace: self.trace.clone(),
        }
    }

    /// Reads all that is unread but the newest token, so that forks need not. The first step would do it as well.
    pub fn prefill(&mut self) {
        self.make_room();
        self.read_all_but(1);
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The new tokens so far.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.ids[self.prompt_len..]
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished
    }

    /// Ends it for a reason that tokens alone do not show, like a stop string.
    pub fn finish(&mut self, reason: FinishReason) {
        self.finished = Some(reason);
    }

    /// How often the text outgrew `n_positions` and the older half was forgotten.
    pub fn slides(&self) -> usize {
        self.slides
    }

    /// The next token, with every change of the scores shown to `watch`. [`Iterator::next`] does the same unwatched.
    pub fn next_watched(&mut self, watch: &mut (impl Watch + ?Sized)) -> Option<Result<Chosen>> {
        if self.finished.is_some() {
            return None;
        }
        let step = self.step(watch);
        if step.is_err() {
            self.finished = Some(FinishReason::Length);
        }
        Some(step)
    }

    /// One turn of the loop.
    fn step(&mut self, watch: &mut (impl Watch + ?Sized)) -> Result<Chosen> {
        self.begin_turn()?;
        let model = self.model;
        if self.whole {
            let (all, trace) = self.read(usize::MAX);
            let logits = model.forward(all.ids, all.cache, trace); // [T, V]
            return self.choose(logits.row(logits.rows() - 1), watch);
        }
        self.read_all_but(PREFILL);
        let (newest, trace) = self.read(PREFILL);
        let logits = model.next_logits(newest.ids, newest.cache, trace); // [1, V]
        self.choose(logits.row(0), watch)
    }

    /// What comes before reading: is there a position for the next token?
    pub(crate) fn begin_turn(&mut self) -> Result<()> {
        if self.options.context_policy == ContextPolicy::Error && self.is_full() {
            return Err(Error::NoPositions { n_positions: self.model.config.n_positions });
        }
        self.make_room();
        Ok(())
    }

    /// Reads what is unread but for the newest `rest` ids, a part at a time.
    fn read_all_but(&mut self, rest: usize) {
        let model = self.model;
        while self.unread > rest {
            let (part, trace) = self.read(PREFILL.min(self.unread - rest));
            model.hidden(&mut [part], trace);
        }
    }

    /// The next unread ids, `most` of them, with the cache that they join: the caller has the model read them.
    fn read(&mut self, most: usize) -> (Sequence<'_>, &mut T) {
        let unread = &self.ids[self.ids.len() - self.unread..];
        let ids = &unread[..most.min(unread.len())];
        self.unread -= ids.len();
        (Sequence { ids, cache: &mut self.cache }, &mut self.trace)
    }

    /// What comes after reading: logits `[V]` of the last position -> the next token, which joins the text.
    fn choose(&mut self, logits: &[f32], watch: &mut (impl Watch + ?Sized)) -> Result<Chosen> {
        let mut scores = Matrix::scratch(1, logits.len());
        let scores = scores.row_mut(0); // [V], what comes of what the model said
        scores.copy_from_slice(logits);
        let history =
            History { ids: &self.ids, prompt_len: self.prompt_len, eos: self.options.ends(self.model) };
        let id = self.options.choose(scores, &history, &mut self.uniform, &mut self.trace, watch);
        let id = self.forced.take().or(id);
        self.append(logits, id)
    }

    /// The token that was chosen from logits `[V]`, if one was, joins the text.
    fn append(&mut self, logits: &[f32], id: Option<TokenId>) -> Result<Chosen> {
        let logprob = id.map_or(f64::NAN, |id| log_softmax(logits, id as usize));
        let Some(id) = id.filter(|_| logprob.is_finite()) else {
            let sound = log_softmax(logits, argmax(logits) as usize).is_finite();
            return Err(if sound { Error::NoToken } else { Error::NotFinite });
        };
        self.trace.record_ids(Stage::NextId, &[id]);
        self.ids.push(id);
        self.unread = 1;
        if self.options.ends(self.model).contains(&id) {
            self.finished = Some(FinishReason::Eos);
        } else {
            self.end_if_long_enough();
        }
        Ok(Chosen { id, logprob })
    }

    /// Positions are learned up to `n_positions`. A longer text slides: the newest half is kept and read again from
    /// position 0.
    fn make_room(&mut self) {
        let n_positions = self.model.config.n_positions;
        if self.cache.len() + self.unread > n_positions {
            self.cache.truncate(0);
            self.unread = (n_positions / 2).max(1).min(self.ids.len());
            self.slides += 1;
        }
    }

    /// Whether every position is taken.
    fn is_full(&self) -> bool {
        self.ids.len() >= self.model.config.n_positions
    }

    /// Ends the text if it is as long as it may be.
    fn end_if_long_enough(&mut self) {
        let stop = self.options.context_policy == ContextPolicy::Stop && self.is_full();
        if stop || self.new_ids().len() >= self.options.max_new_tokens {
            self.finished = Some(FinishReason::Length);
        }
    }
}

impl<T: Trace> Iterator for Generation<'_, T> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_watched(&mut NoWatch)
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

/// There must be a prompt, its ids must be known, and every option within its range.
pub(crate) fn check_prompt(model: &Gpt2, prompt: &[TokenId], options: &Options) -> Result<()> {
    check_ids(model, prompt)?;
    if prompt.is_empty() {
        return Err(Error::input(
            "the prompt is empty; give at least one token, for example the end-of-text token",
        ));
    }
    options.check(model)?;
    let n_positions = model.config.n_positions;
    if options.context_policy != ContextPolicy::Slide && prompt.len() > n_positions {
        return Err(Error::input(format!(
            "the prompt has {} tokens and the model {n_positions} positions; context-policy slide would read its end",
            prompt.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
