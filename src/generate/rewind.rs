//! Going back: a generation that is set to where it was before a step takes the same step again, bit for bit.
//!
//! A step adds one id and the keys and values of what it read. To take it back, both are cut to their length before it;
//! only a slide, which throws keys and values away, needs a copy of them.

use super::{FinishReason, Generation, Options};
use crate::bpe::TokenId;
use crate::kv_cache::KvCache;
use crate::trace::Trace;

/// Where a generation was before a step.
pub(crate) struct Mark {
    ids: usize,
    unread: usize,
    cached: usize,
    /// Keys and values, where the step is about to throw them away.
    cache: Option<KvCache>,
    finished: Option<FinishReason>,
    slides: usize,
}

impl<T: Trace> Generation<'_, T> {
    /// Reads each piece of text at once and computes the logits of all its positions: the same bits, and every stage is
    /// shown to the trace once a step, as in [`next_token`](crate::inspect::next_token).
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Prompt and new tokens.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// How many tokens the newest step could see: those it read, and those before whose keys and values were kept.
    pub(crate) fn seen(&self) -> usize {
        self.cache.len()
    }

    /// Where it is.
    pub(crate) fn mark(&self) -> Mark {
        let slides = self.cache.len() + self.unread > self.model.config.n_positions;
        Mark {
            ids: self.ids.len(),
            unread: self.unread,
            cached: self.cache.len(),
            cache: slides.then(|| self.cache.clone()),
            finished: self.finished,
            slides: self.slides,
        }
    }

    /// Takes back the newest step. `mark` was made before it; steps are taken back one by one.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        match &mark.cache {
            Some(cache) => self.cache = cache.clone(),
            None => self.cache.truncate(mark.cached),
        }
        self.ids.truncate(mark.ids);
        (self.unread, self.finished, self.slides) = (mark.unread, mark.finished, mark.slides);
    }

    /// From here on these options, which have been checked. The next token takes number `n` of the seed's stream.
    pub(crate) fn set_options(&mut self, options: Options, n: u64) {
        self.options = options;
        self.uniform = self.options.uniform();
        self.uniform.skip_to(n);
    }

    /// `id` will come next, whatever is chosen.
    pub(crate) fn force(&mut self, id: Option<TokenId>) {
        self.forced = id;
    }
}
