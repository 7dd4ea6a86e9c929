//! How does the model read what is new of many texts in one pass?

use super::Text;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::Trace;
use std::cell::Cell;

/// One pass reads at most this many ids of texts with several unread ids. This bounds memory and does not change
/// results.
const PREFILL: usize = 256;

/// How many ids a pass over many texts read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Ids of texts with several unread ids: of prompts, of texts that slid, and of guesses.
    pub prompt_tokens: usize,
    /// Newest ids: one for each text that had nothing else to read.
    pub newest_tokens: usize,
}

/// Reads the next ids of each text in one pass: everything unread, but about 256 ids at most of texts with several
/// unread ids, counted together -> the hidden rows of the texts that are now fully read. `[rows, C]`
///
/// Such a text gets the row of its newest id; with a guess, one more row for each guessed id. `None` if there is nothing
/// to read.
pub fn read<'t>(
    model: &Gpt2,
    texts: impl IntoIterator<Item = &'t mut Text>,
    trace: &mut impl Trace,
) -> Option<(Matrix, Turn)> {
    let (lent, mut rows) = LISTS.take();
    let mut batch = emptied(lent);
    rows.clear();
    let (mut turn, mut first) = (Turn::default(), 0);
    for text in texts {
        let unread = text.unread().len();
        let part = match PREFILL.saturating_sub(turn.prompt_tokens) {
            room if unread > room && unread > text.rows && !text.whole => room.min(unread - text.rows),
            _ => unread,
        };
        if part == 0 {
            continue;
        }
        *if unread > 1 { &mut turn.prompt_tokens } else { &mut turn.newest_tokens } += part;
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
    Some((hidden, turn))
}

/// Reads all that is unread -> the hidden rows of the newest ids. `[rows, C]`
///
/// # Panics
/// If nothing is unread.
pub fn read_to_end(model: &Gpt2, text: &mut Text, trace: &mut impl Trace) -> Matrix {
    loop {
        let (hidden, _) = read(model, [&mut *text], trace).expect("something to read");
        if text.unread().is_empty() {
            return hidden;
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
