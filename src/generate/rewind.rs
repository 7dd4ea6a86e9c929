//! How does a stepper go back, and steer what comes next?

use super::{FinishReason, Generation, Options, TextStream, text};
use crate::config::TokenId;
use crate::trace::Trace;

/// The state of a generation before a step.
#[derive(Debug)]
pub(crate) struct Mark<'m> {
    text: text::Mark,
    stream: Option<TextStream<'m>>,
    finished: Option<FinishReason>,
}

impl<'m, T: Trace> Generation<'m, T> {
    /// How many tokens the newest step could see: those it read, and those in the cache.
    pub(crate) fn seen(&self) -> usize {
        self.text.read_len()
    }

    /// The current state, for [`rewind`](Self::rewind).
    pub(crate) fn mark(&self) -> Mark<'m> {
        let text = self.text.mark(self.model.config.n_positions);
        Mark { text, stream: self.stream.clone(), finished: self.finished }
    }

    /// Undoes the newest step; taking it again gives the same bits. `mark` must have been made just before that step.
    /// Steps are undone one at a time.
    pub(crate) fn rewind(&mut self, mark: &Mark<'m>) {
        self.text.rewind(&mark.text);
        (self.stream, self.finished) = (mark.stream.clone(), mark.finished);
    }

    /// Replaces the options from here on. The caller has checked them.
    pub(crate) fn set_options(&mut self, options: Options) {
        self.uniform = options.uniform();
        self.options = options;
    }

    /// Forces the next token to be `id`, whatever is chosen; `None` cancels this.
    pub(crate) fn force(&mut self, id: Option<TokenId>) {
        self.forced = id;
    }
}
