//! What must be known about a text to continue it? Its ids, and which of them the model has read.
//!
//! ```text
//! ids    .. forgotten .. | read: in the cache | unread
//! ```
//!
//! [`read()`] makes the model read the newest ids of many texts in one pass. Everything else builds on it: a single text
//! is a batch of one, a beam is a text that forks, and a guess is read together with the text it may continue.

mod read;

pub use read::{Turn, read, read_all_but_newest, read_to_end};

use crate::config::TokenId;
use crate::kv_cache::KvCache;
use crate::model::Gpt2;

/// A text as the model sees it.
#[derive(Clone, Debug)]
pub struct Text {
    /// Prompt and new tokens. `[S]`
    ids: Vec<TokenId>,
    prompt_len: usize,
    /// Index of the first id that the model still sees, at position 0: above 0 after a slide.
    start: usize,
    /// Keys and values of the ids read, from `start` on.
    cache: KvCache,
    slides: usize,
    /// For how many of the newest ids a pass returns hidden rows.
    rows: usize,
    /// Whether one pass reads all that is unread, however long it is.
    whole: bool,
}

/// The state of a [`Text`] before a step.
#[derive(Debug)]
pub(crate) struct Mark {
    ids: usize,
    start: usize,
    cached: usize,
    /// Keys and values, if the step is about to discard them.
    cache: Option<KvCache>,
    slides: usize,
}

impl Text {
    /// A prompt that the model has not read.
    pub fn new(model: &Gpt2, prompt: &[TokenId]) -> Self {
        let cache = model.new_cache();
        let mut ids = Vec::with_capacity(prompt.len() + model.config.n_positions); // a token allocates nothing
        ids.extend_from_slice(prompt);
        Self { ids, prompt_len: prompt.len(), start: 0, cache, slides: 0, rows: 1, whole: false }
    }

    /// Prompt and new tokens. `[S]`
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// How many of the ids belong to the prompt.
    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// The new tokens.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.ids[self.prompt_len..]
    }

    /// The ids that the model has not read.
    pub fn unread(&self) -> &[TokenId] {
        &self.ids[self.start + self.cache.len()..]
    }

    /// Index of the first id that the model still sees.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How many positions the model has read.
    pub fn read_len(&self) -> usize {
        self.cache.len()
    }

    /// The keys and values of the ids read, from [`start`](Self::start) on.
    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// How often the text outgrew `n_positions` and the model forgot its older half.
    pub fn slides(&self) -> usize {
        self.slides
    }

    /// Appends a token.
    pub fn push(&mut self, id: TokenId) {
        self.ids.push(id);
    }

    /// Appends guesses, to be read with the text. A pass then returns a row for the newest token and for each guess.
    pub(crate) fn guess(&mut self, ids: &[TokenId]) {
        self.ids.extend_from_slice(ids);
        self.rows = 1 + ids.len();
    }

    /// Removes the last `n` ids. Those already read stay in the cache until they are [forgotten](Self::forget).
    pub(crate) fn take_back(&mut self, n: usize) {
        self.ids.truncate(self.ids.len() - n);
        self.rows = 1;
    }

    /// Removes the last `n` ids read from the cache.
    pub(crate) fn forget(&mut self, n: usize) {
        self.cache.truncate(self.cache.len() - n);
    }

    /// Makes each pass read all that is unread and return a row for every id it reads.
    pub(crate) fn whole(&mut self) {
        self.whole = true;
    }

    /// Shares the keys and values of another text with the same `start` and, from there on, the same ids.
    pub(crate) fn share(&mut self, other: &Self) {
        self.cache = other.cache.clone();
    }

    /// Gives this text its own copy of the cache page that the next position is written to.
    pub(crate) fn own_last_page(&mut self) {
        self.cache.own_last_page();
    }
    /// Slides a text longer than `n_positions`, beyond which there are no position embeddings: the newest half is kept
    /// and read again from position 0.
    pub(crate) fn make_room(&mut self, n_positions: usize) {
        if self.outgrows(n_positions) {
            self.slide(n_positions / 2);
            self.slides += 1;
        }
    }

    /// Whether the text needs more positions than there are.
    fn outgrows(&self, n_positions: usize) -> bool {
        self.ids.len() - self.start > n_positions
    }

    /// Forgets all but the newest `kept` ids, which will be read again from position 0.
    pub(crate) fn slide(&mut self, kept: usize) {
        self.start = self.ids.len() - kept.max(1).min(self.ids.len());
        self.cache.truncate(0);
    }

    /// Becomes the text `ids`, of which the model sees those from `start` on. Ids that are already read stay read,
    /// except the newest.
    pub(crate) fn follow(&mut self, ids: &[TokenId], start: usize) {
        self.cache.truncate(self.known(ids, start));
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.start = start;
    }

    /// How many of `ids`, from `start` on and without the newest, this text has already read.
    pub(crate) fn known(&self, ids: &[TokenId], start: usize) -> usize {
        if start != self.start {
            return 0;
        }
        let read = &self.ids[start..start + self.cache.len()];
        read.iter().zip(&ids[start..ids.len() - 1]).take_while(|(a, b)| a == b).count()
    }

    /// The current state, for [`rewind`](Self::rewind) after a step that adds ids and positions.
    pub(crate) fn mark(&self, n_positions: usize) -> Mark {
        Mark {
            ids: self.ids.len(),
            start: self.start,
            cached: self.cache.len(),
            cache: self.outgrows(n_positions).then(|| self.cache.clone()),
            slides: self.slides,
        }
    }

    /// Undoes the newest step. `mark` must have been made just before it.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        match &mark.cache {
            Some(cache) => self.cache = cache.clone(),
            None => self.cache.truncate(mark.cached),
        }
        self.ids.truncate(mark.ids);
        (self.start, self.slides) = (mark.start, mark.slides);
    }
}
