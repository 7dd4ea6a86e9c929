//! The methods of [`Generation`] beside the loop: construction and state.

use super::text::read_all_but_newest;
use super::{
    ContextPolicy, Draft, FinishReason, Generation, Options, Passes, Text, TextStream, check_prompt,
};
use crate::config::TokenId;
use crate::error::Result;
use crate::kv_cache::KvCache;
use crate::model::Gpt2;
use crate::trace::{NoTrace, Trace};
use std::collections::VecDeque;

impl<'m> Generation<'m> {
    /// Begins after `prompt`.
    ///
    /// # Errors
    /// [`Error::Input`](crate::error::Error::Input) if the prompt is empty, is too long for the context policy, or has an
    /// id outside the model's vocabulary; [`Error::Option`](crate::error::Error::Option) if an option is out of range.
    pub fn new(model: &'m Gpt2, prompt: &[TokenId], options: Options) -> Result<Self> {
        Self::with_trace(model, prompt, options, NoTrace)
    }
}

impl<'m, T: Trace> Generation<'m, T> {
    /// Begins after `prompt`; `trace` receives every stage.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn with_trace(model: &'m Gpt2, prompt: &[TokenId], options: Options, trace: T) -> Result<Self> {
        check_prompt(model, prompt, &options)?;
        let mut new = Self::of(model, options, Text::new(model, prompt), trace);
        new.finished = new.is_long_enough().then_some(FinishReason::Length);
        Ok(new)
    }

    /// A generation between two turns, without a stream or a draft.
    fn of(model: &'m Gpt2, options: Options, text: Text, trace: T) -> Self {
        Self {
            model,
            uniform: options.uniform(),
            options,
            text,
            stream: None,
            draft: None,
            rejection: false,
            passes: Passes::default(),
            guess: None,
            ready: VecDeque::new(),
            failed: None,
            pieces: String::new(),
            finished: None,
            forced: None,
            trace,
        }
    }

    /// Decodes the new tokens with `stream`: its stop strings end the text, and [`take_text`](Self::take_text) returns
    /// it.
    pub fn with_text(mut self, stream: TextStream<'m>) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Lets `draft` guess the next tokens. The text stays the same, bit for bit.
    pub fn with_draft(self, draft: impl Draft + 'm) -> Self {
        self.with_any_draft(Some(Box::new(draft)))
    }

    /// As [`with_draft`](Self::with_draft), with a draft chosen at run time, or none.
    pub fn with_any_draft(mut self, draft: Option<Box<dyn Draft + 'm>>) -> Self {
        self.draft = draft;
        self
    }

    /// Accepts drawn guesses by the ratio of their probabilities ([`Rejection`](super::Rejection)) instead of by equality
    /// with the text's own draw. More guesses are accepted, but the result is a different text from the same
    /// distribution. This has no effect with a custom [`Sampler`](crate::sampling::Sampler).
    pub fn with_rejection(mut self, rejection: bool) -> Self {
        self.rejection = rejection && self.options.sampler.is_none();
        self
    }

    /// Reads all unread tokens in one pass and computes the logits of all their positions. The bits are the same, and
    /// the trace receives every stage once per step.
    pub fn whole(mut self) -> Self {
        self.text.whole();
        self
    }

    /// A copy of the text so far that continues with another stream of the seed's random numbers. Keys and values are
    /// shared, not copied.
    ///
    /// # Panics
    /// If the newest turn chose several tokens and not all of them have been returned.
    pub fn fork(&self, stream: u64) -> Self
    where
        T: Clone,
    {
        assert!(self.ready.is_empty(), "fork only after all chosen tokens have been returned");
        let options = self.options.clone().stream(stream);
        Self {
            stream: self.stream.clone(),
            draft: self.draft.as_ref().map(|draft| draft.fork()),
            rejection: self.rejection,
            passes: self.passes,
            pieces: self.pieces.clone(),
            finished: self.finished,
            forced: self.forced,
            ..Self::of(self.model, options, self.text.clone(), self.trace.clone())
        }
    }

    /// Reads all unread tokens but the newest, so that forks share the result. Without it, the first turn of each fork
    /// would read them. A text that has ended reads nothing.
    pub fn prefill(&mut self) {
        if self.finished.is_some() {
            return;
        }
        self.text.make_room(self.model.config.n_positions);
        read_all_but_newest(self.model, &mut self.text, &mut self.trace);
        self.prepare_draft();
    }

    /// The options of this text.
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

    /// The text that has become certain since the last call: whole characters, and nothing that could still become a
    /// stop string. Empty without [`with_text`](Self::with_text).
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.pieces)
    }

    /// Why the text ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished.filter(|_| self.ready.is_empty())
    }

    /// Ends the text after the tokens returned so far, for the caller's `reason`.
    pub fn finish(&mut self, reason: FinishReason) {
        self.text.take_back(self.ready.len());
        self.ready.clear();
        self.finished = Some(reason);
    }

    /// How often the text outgrew `n_positions` and the model forgot its older half.
    pub fn slides(&self) -> usize {
        self.text.slides()
    }

    /// The counts of passes and guesses; `None` without a draft.
    pub fn passes(&self) -> Option<Passes> {
        self.draft.as_ref().map(|_| self.passes)
    }

    /// The keys and values of the tokens read.
    pub(crate) fn cache(&self) -> &KvCache {
        self.text.cache()
    }

    /// Whether the text fills all positions.
    pub(super) fn is_full(&self) -> bool {
        self.text.ids().len() >= self.model.config.n_positions
    }

    /// Whether the text has reached its length limit.
    pub(super) fn is_long_enough(&self) -> bool {
        let stop = self.options.context_policy == ContextPolicy::Stop && self.is_full();
        stop || self.text.new_ids().len() >= self.options.max_new_tokens
    }
}

/// The text of a generation, piece by piece: see [`Generation::pieces`].
#[derive(Debug)]
pub struct Pieces<'m>(Generation<'m>);

impl<'m> Generation<'m> {
    /// The text of the new tokens as they are chosen, in pieces of whole characters. A token that makes no text certain
    /// yields no piece.
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
        let mut all = f.debug_struct("Generation");
        all.field("new_ids", &new).field("finished", &finished).finish_non_exhaustive()
    }
}
