//! What belongs to a text in the making beside the loop: how it begins, what is known of it, how it goes back.

use super::text::read_all_but_newest;
use super::{
    ContextPolicy, Draft, FinishReason, Generation, Options, Passes, Rejection, Text, TextStream, View, text,
};
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::model::Gpt2;
use crate::sampling::Uniform;
use crate::trace::{NoTrace, Trace};
use std::collections::VecDeque;

/// Where a generation was before a step.
#[derive(Debug)]
pub(crate) struct Mark<'m> {
    text: text::Mark,
    stream: Option<TextStream<'m>>,
    finished: Option<FinishReason>,
}

impl<'m> Generation<'m> {
    /// Begins after `prompt`.
    ///
    /// # Errors
    /// [`Error::Input`] if the prompt is empty or has an id that the model does not know, [`Error::Option`] if an option is
    /// out of its range.
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
        let (uniform, text) = (options.uniform(), Text::new(model, prompt));
        let (stream, draft, guess, failed, finished, forced) = Default::default();
        let (passes, rejection, ready, pieces) = Default::default();
        let mut new = Self {
            model,
            options,
            text,
            uniform,
            stream,
            draft,
            rejection,
            passes,
            guess,
            ready,
            failed,
            pieces,
            finished,
            forced,
            trace,
        };
        new.finished = new.is_long_enough().then_some(FinishReason::Length);
        Ok(new)
    }

    /// Follows the text of the new tokens: a stop string of `stream` ends it, and [`take_text`](Self::take_text) gives it.
    pub fn with_text(mut self, stream: TextStream<'m>) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Lets `draft` guess what comes next. The text stays the same, bit for bit.
    pub fn with_draft(self, draft: impl Draft + 'm) -> Self {
        self.with_any_draft(Some(Box::new(draft)))
    }

    /// The same with a draft chosen at run time, or none.
    pub fn with_any_draft(mut self, draft: Option<Box<dyn Draft + 'm>>) -> Self {
        self.draft = draft;
        self
    }

    /// Keeps a guess that was drawn by the ratio of its probabilities ([`Rejection`]) instead of where it equals the
    /// text's own draw: more guesses are kept, and the text is another one from the same distribution. A text with a
    /// [`Sampler`](crate::sampling::Sampler) of its own is drawn by that.
    pub fn with_rejection(mut self, rejection: bool) -> Self {
        self.rejection = rejection && self.options.sampler.is_none();
        self
    }

    /// Reads each piece of text at once and computes the logits of all its positions: the same bits, and every stage is
    /// shown to the trace once a step.
    pub fn whole(mut self) -> Self {
        self.text.whole();
        self
    }

    /// The same text so far, to be continued with another stream of the seed's random numbers. Keys and values are
    /// shared, not copied.
    ///
    /// # Panics
    /// If guessed tokens wait to be given out.
    pub fn fork(&self, stream: u64) -> Self
    where
        T: Clone,
    {
        assert!(self.ready.is_empty(), "a fork between two turns");
        let options = self.options.clone().stream(stream);
        Self {
            model: self.model,
            uniform: options.uniform(),
            options,
            text: self.text.clone(),
            stream: self.stream.clone(),
            draft: self.draft.as_ref().map(|draft| draft.fork()),
            rejection: self.rejection,
            passes: self.passes,
            guess: None,
            ready: VecDeque::new(),
            failed: None,
            pieces: self.pieces.clone(),
            finished: self.finished,
            forced: self.forced,
            trace: self.trace.clone(),
        }
    }

    /// Reads all that is unread but the newest token, so that forks need not. The first turn would do it as well.
    pub fn prefill(&mut self) {
        self.text.make_room(self.model.config.n_positions);
        read_all_but_newest(self.model, &mut self.text, &mut self.trace);
        self.prepare_draft();
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Prompt and new tokens.
    pub fn ids(&self) -> &[TokenId] {
        let ids = self.text.ids();
        &ids[..ids.len() - self.ready.len()]
    }

    /// The new tokens so far.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.ids()[self.text.prompt_len()..]
    }

    /// The text that the new tokens have made certain since it was last taken: whole characters, and nothing that could
    /// still become a stop string. Empty without [`with_text`](Self::with_text).
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.pieces)
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished.filter(|_| self.ready.is_empty())
    }

    /// Ends it after the tokens that were given out, for a reason of the caller's.
    pub fn finish(&mut self, reason: FinishReason) {
        self.text.take_back(self.ready.len());
        self.ready.clear();
        self.finished = Some(reason);
    }

    /// How often the text outgrew `n_positions` and its older half was forgotten.
    pub fn slides(&self) -> usize {
        self.text.slides()
    }

    /// What the draft has brought; `None` without one.
    pub fn passes(&self) -> Option<Passes> {
        self.draft.as_ref().map(|_| self.passes)
    }

    /// Random numbers beside the text's own: for a draft's draws, and for what is drawn after a rejection.
    fn other_numbers(&self, n: u64) -> Uniform {
        Uniform::with_stream(self.options.seed, self.options.stream ^ (n << 62))
    }

    /// How token `k` of a guess is kept, if not by the text's own draw.
    pub(super) fn rejection(&self, guess: &[TokenId], k: usize) -> Option<Rejection> {
        let (guess, draft) = (*guess.get(k)?, self.draft.as_ref().filter(|_| self.rejection)?);
        let q = draft.drawn_from(k).filter(|_| self.options.sample)?.to_vec();
        Some(Rejection { q, guess, v: self.other_numbers(2).at(self.text.new_ids().len() as u64) })
    }

    /// The text as its draft sees it, and the draft.
    pub(super) fn view(&mut self) -> (View<'_>, Option<&mut (dyn Draft + 'm)>) {
        let view = View {
            ids: self.text.ids(),
            prompt_len: self.text.prompt_len(),
            start: self.text.start(),
            options: &self.options,
            eos: self.options.ends(self.model),
            uniform: if self.rejection { self.other_numbers(1) } else { self.uniform.clone() },
        };
        (view, self.draft.as_deref_mut())
    }

    pub(super) fn prepare_draft(&mut self) {
        if let (view, Some(draft)) = self.view() {
            draft.prepare(&view);
        }
    }

    /// How many tokens a guess may have: not more than can be used before the text ends or its positions do.
    pub(super) fn room_for_guess(&self) -> usize {
        let seen = self.text.read_len() + self.text.unread().len();
        let positions = self.model.config.n_positions.saturating_sub(seen + 1);
        let tokens = self.options.max_new_tokens.saturating_sub(self.text.new_ids().len() + 1);
        positions.min(tokens)
    }

    /// Whether every position is taken.
    pub(super) fn is_full(&self) -> bool {
        self.text.ids().len() >= self.model.config.n_positions
    }

    /// Whether the text is as long as it may be.
    pub(super) fn is_long_enough(&self) -> bool {
        let stop = self.options.context_policy == ContextPolicy::Stop && self.is_full();
        stop || self.text.new_ids().len() >= self.options.max_new_tokens
    }

    /// How many tokens the newest step could see: those it read, and those before whose keys and values were kept.
    pub(crate) fn seen(&self) -> usize {
        self.text.read_len()
    }

    /// Where it is.
    pub(crate) fn mark(&self) -> Mark<'m> {
        let text = self.text.mark(self.model.config.n_positions);
        Mark { text, stream: self.stream.clone(), finished: self.finished }
    }

    /// Takes back the newest step: the same step taken again has the same bits. `mark` was made before it; steps are
    /// taken back one by one.
    pub(crate) fn rewind(&mut self, mark: &Mark<'m>) {
        self.text.rewind(&mark.text);
        (self.stream, self.finished) = (mark.stream.clone(), mark.finished);
    }

    /// From here on these options, which have been checked.
    pub(crate) fn set_options(&mut self, options: Options) {
        self.uniform = options.uniform();
        self.options = options;
    }

    /// `id` will come next, whatever is chosen.
    pub(crate) fn force(&mut self, id: Option<TokenId>) {
        self.forced = id;
    }
}

/// The text of a generation, piece by piece: see [`Generation::pieces`].
#[derive(Debug)]
pub struct Pieces<'m>(Generation<'m>);

impl<'m> Generation<'m> {
    /// The text of the new tokens as they are chosen, in pieces of whole characters. A token that makes no text certain gives
    /// no piece.
    pub fn pieces(self) -> Pieces<'m> {
        Pieces(self)
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(error) = self.0.next()? {
                return Some(Err(error));
            }
            let piece = self.0.take_text();
            if !piece.is_empty() {
                return Some(Ok(piece));
            }
        }
    }
}

impl<T: Trace> std::fmt::Debug for Generation<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (new, finished) = (self.new_ids(), self.finish_reason());
        f.debug_struct("Generation")
            .field("new_ids", &new)
            .field("finished", &finished)
            .finish_non_exhaustive()
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
