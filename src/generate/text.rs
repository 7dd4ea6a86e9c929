//! What must be known about a text to continue it? Its ids, and which of them the model has read.
//!
//! ```text
//! ids    .. forgotten .. | read: in the cache | unread
//! ```
//!
//! [`read`] makes the model read the newest ids of many texts in one pass. Everything else builds on it: a single text
//! is a batch of one, a beam is a text that forks, and a guess is read together with the text it may continue.

use crate::config::TokenId;
use crate::kv_cache::{KvCache, Sequence};
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::Trace;
use std::cell::Cell;

/// One pass reads at most this many ids of texts with several unread ids. This bounds memory and does not change
/// results.
pub(crate) const PREFILL: usize = 256;

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

    #[cfg(test)]
    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
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

/// The result of a pass over many texts.
#[derive(Debug)]
pub struct Pass {
    /// For each text that is now fully read, in order: the hidden rows of its newest ids. `[rows, C]`
    pub hidden: Matrix,
    /// How many ids were read of texts with several unread ids: prompts, slides and guesses.
    pub prompt_tokens: usize,
    /// How many texts had only their newest id to read.
    pub newest_tokens: usize,
}

/// Reads the next ids of each text in one pass: everything unread, but about 256 ids at most of texts with several
/// unread ids, counted together. `None` if there is nothing to read.
///
/// A text that is now fully read gets the hidden row of its newest id; with a guess, one more row for each guessed id.
pub fn read<'t>(
    model: &Gpt2,
    texts: impl IntoIterator<Item = &'t mut Text>,
    trace: &mut impl Trace,
) -> Option<Pass> {
    let (lent, mut rows) = LISTS.take();
    let mut batch = emptied(lent);
    rows.clear();
    let (mut prompt_tokens, mut newest_tokens, mut first) = (0, 0, 0);
    for text in texts {
        let unread = text.unread().len();
        let part = match PREFILL.saturating_sub(prompt_tokens) {
            room if unread > room && unread > text.rows && !text.whole => room.min(unread - text.rows),
            _ => unread,
        };
        if part == 0 {
            continue;
        }
        *if unread > 1 { &mut prompt_tokens } else { &mut newest_tokens } += part;
        if part == unread {
            let newest = if text.whole { part } else { text.rows };
            rows.extend(first + part - newest..first + part);
        }
        first += part;
        let begin = text.start + text.cache.len();
        batch.push(Sequence { ids: &text.ids[begin..begin + part], cache: &mut text.cache });
    }
    if batch.is_empty() {
        LISTS.set((emptied(batch), rows));
        return None;
    }
    let hidden = model.hidden(&mut batch, trace); // [T, C]
    let hidden = if rows.len() == hidden.rows() { hidden } else { hidden.select(&rows) }; // [rows, C]
    LISTS.set((emptied(batch), rows));
    Some(Pass { hidden, prompt_tokens, newest_tokens })
}

/// Reads all that is unread -> the hidden rows of the newest ids. `[rows, C]`
///
/// # Panics
/// If nothing is unread.
pub fn read_to_end(model: &Gpt2, text: &mut Text, trace: &mut impl Trace) -> Matrix {
    loop {
        let pass = read(model, [&mut *text], trace).expect("something to read");
        if text.unread().is_empty() {
            return pass.hidden;
        }
    }
}

/// Reads all that is unread except the newest id.
pub fn read_all_but_newest(model: &Gpt2, text: &mut Text, trace: &mut impl Trace) {
    if let [_, .., newest] = *text.unread() {
        text.take_back(1);
        read_to_end(model, text, trace);
        text.push(newest);
    }
}

type Lists = (Vec<Sequence<'static>>, Vec<usize>);

thread_local! {
    /// The lists of each pass, reused so that decoding a token does not allocate them.
    static LISTS: Cell<Lists> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Empties a list and keeps its memory for elements with another lifetime: the standard library collects in place.
fn emptied<'b>(mut list: Vec<Sequence<'_>>) -> Vec<Sequence<'b>> {
    list.clear();
    list.into_iter().map(|_| unreachable!("it is empty")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reads_keeps_its_memory() {
        let list: Vec<Sequence<'_>> = Vec::with_capacity(9);
        let pointer = list.as_ptr().addr();
        let again = emptied(list);
        assert_eq!((again.as_ptr().addr(), again.capacity()), (pointer, 9));
    }
}
