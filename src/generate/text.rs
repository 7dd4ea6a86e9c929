//! What must be known of a text to go on with it? Its ids, and which of them the model has read.
//!
//! ```text
//! ids    .. forgotten .. | read: in the cache | unread
//! ```
//!
//! [`read`] has the model read the newest ids of many texts in one pass; everything that has a model read stands on it:
//! a single text is a batch of one, a beam is a text that forks, a guess is read with the text that it may continue.

use crate::config::TokenId;
use crate::kv_cache::{KvCache, Sequence};
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::Trace;
use std::cell::Cell;

/// The most ids of long texts that one pass reads: the result is the same, and the memory stays small.
pub(crate) const PREFILL: usize = 256;

/// A text, as far as the model is concerned.
#[derive(Clone, Debug)]
pub struct Text {
    /// Prompt and new tokens. `[S]`
    ids: Vec<TokenId>,
    prompt_len: usize,
    /// The first id that the model still sees, at position 0: later than 0 after a slide.
    start: usize,
    /// Keys and values of what was read, from `start` on.
    cache: KvCache,
    slides: usize,
    /// How many of its newest ids a pass gives a row for.
    rows: usize,
    /// Read in one piece, however long it is.
    whole: bool,
}

/// Where a [`Text`] was before a step.
#[derive(Debug)]
pub(crate) struct Mark {
    ids: usize,
    start: usize,
    cached: usize,
    /// Keys and values, where the step is about to throw them away.
    cache: Option<KvCache>,
    slides: usize,
}

impl Text {
    /// A prompt of which nothing is read.
    pub fn new(model: &Gpt2, prompt: &[TokenId]) -> Self {
        let cache = model.new_cache();
        Self {
            ids: prompt.into(),
            prompt_len: prompt.len(),
            start: 0,
            cache,
            slides: 0,
            rows: 1,
            whole: false,
        }
    }

    /// Prompt and new tokens. `[S]`
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// How many of the ids are the prompt's.
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

    /// The first id that the model still sees.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How many positions are read.
    pub fn read_len(&self) -> usize {
        self.cache.len()
    }

    /// How often the text outgrew `n_positions` and its older half was forgotten.
    pub fn slides(&self) -> usize {
        self.slides
    }

    /// The next token joins the text.
    pub fn push(&mut self, id: TokenId) {
        self.ids.push(id);
    }

    /// Guesses join the text, to be read with it: a pass gives a row for its newest token and each of these.
    pub(crate) fn guess(&mut self, ids: &[TokenId]) {
        self.ids.extend_from_slice(ids);
        self.rows = 1 + ids.len();
    }

    /// The last `n` ids leave the text. What was read of them stays until it is [forgotten](Self::forget).
    pub(crate) fn take_back(&mut self, n: usize) {
        self.ids.truncate(self.ids.len() - n);
        self.rows = 1;
    }

    /// Forgets the last `n` ids that were read.
    pub(crate) fn forget(&mut self, n: usize) {
        self.cache.truncate(self.cache.len() - n);
    }

    /// Reads in one piece, and gives a row for each id that it reads.
    pub(crate) fn whole(&mut self) {
        self.whole = true;
    }

    /// Shares the keys and values of another text, which begins with the same ids from `start` on.
    pub(crate) fn share(&mut self, other: &Self) {
        self.cache = other.cache.clone();
    }

    /// Makes the page of keys and values that the next position goes into this text's own.
    pub(crate) fn own_last_page(&mut self) {
        self.cache.own_last_page();
    }

    /// Keys and values of what is read.
    #[cfg(test)]
    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// Positions are learned up to `n_positions`. A longer text slides: the newest half is kept and read again from
    /// position 0.
    pub(crate) fn make_room(&mut self, n_positions: usize) {
        if self.outgrows(n_positions) {
            self.slide(n_positions / 2);
            self.slides += 1;
        }
    }

    /// Whether there are fewer positions than the text takes.
    fn outgrows(&self, n_positions: usize) -> bool {
        self.ids.len() - self.start > n_positions
    }

    /// Forgets all but the newest ids, which are read again from position 0.
    pub(crate) fn slide(&mut self, kept: usize) {
        self.start = self.ids.len() - kept.max(1).min(self.ids.len());
        self.cache.truncate(0);
    }

    /// Becomes the text `ids`, of which the model sees those from `start` on. What is read of them stays read, but for the
    /// newest.
    pub(crate) fn follow(&mut self, ids: &[TokenId], start: usize) {
        self.cache.truncate(self.known(ids, start));
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.start = start;
    }

    /// How many of `ids` from `start` on, but for the newest, are read here.
    pub(crate) fn known(&self, ids: &[TokenId], start: usize) -> usize {
        if start != self.start {
            return 0;
        }
        let read = &self.ids[start..start + self.cache.len()];
        read.iter().zip(&ids[start..ids.len() - 1]).take_while(|(a, b)| a == b).count()
    }

    /// Where it is now, to be gone back to after a step that ids and positions are added in.
    pub(crate) fn mark(&self, n_positions: usize) -> Mark {
        Mark {
            ids: self.ids.len(),
            start: self.start,
            cached: self.cache.len(),
            cache: self.outgrows(n_positions).then(|| self.cache.clone()),
            slides: self.slides,
        }
    }

    /// Takes back the newest step. `mark` was made before it.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        match &mark.cache {
            Some(cache) => self.cache = cache.clone(),
            None => self.cache.truncate(mark.cached),
        }
        self.ids.truncate(mark.ids);
        (self.start, self.slides) = (mark.start, mark.slides);
    }
}

/// What a pass over many texts gives.
#[derive(Debug)]
pub struct Pass {
    /// For each text that is now read to its end, in order: the hidden rows of its newest ids. `[rows, C]`
    pub hidden: Matrix,
    /// How many ids of prompts, slides and guesses were read.
    pub prompt_tokens: usize,
    /// How many texts had only their newest id to read.
    pub newest_tokens: usize,
}

/// The model reads the next ids of each text, in one pass: all that is unread, but of long texts no more than 256 ids
/// together. `None` if there is nothing to read.
///
/// A text that is read to its end gives the hidden row of its newest id, or as many as were asked for.
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

/// The model reads a text to its end -> the hidden rows of its newest ids. `[rows, C]`
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

/// The model reads all that is unread but the newest id.
pub fn read_all_but_newest(model: &Gpt2, text: &mut Text, trace: &mut impl Trace) {
    if let [_, .., newest] = *text.unread() {
        text.take_back(1);
        read_to_end(model, text, trace);
        text.push(newest);
    }
}

type Lists = (Vec<Sequence<'static>>, Vec<usize>);

thread_local! {
    /// The memory of lists that each pass makes: a token allocates none.
    static LISTS: Cell<Lists> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// The memory of a list, for elements that borrow from elsewhere: the standard library collects in place.
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
