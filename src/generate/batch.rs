//! How are several texts written at once?
//!
//! A token alone keeps the processor waiting: every weight is read from memory and used once. The newest tokens of
//! several texts are rows of one matrix, and each weight that is read serves them all.
//!
//! ```text
//! loop:
//!     x = hidden([newest ids of each text])      # rows of one matrix; each text has its own cache
//!     logits = head(x[the last row of each])
//!     for each text: ids.append(choose(its logits))
//!     texts that are finished leave; others may join
//! ```
//!
//! No row knows of the others: each text is, bit for bit, what [`Generation`] makes of it alone, whenever it joins and
//! whoever is with it. Nothing is padded. A new text's prompt is read in the turns of the others, a part at a time.

use super::{Chosen, FinishReason, Generation, PREFILL};
use crate::error::Result;
use crate::kv_cache::Sequence;
use crate::model::Gpt2;
use crate::sampling::NoWatch;
use crate::trace::NoTrace;
use rayon::prelude::*;

/// Texts that are written together. `G` is a [`Generation`], or has one and what else its owner keeps with it.
///
/// ```
/// use gpt2::generate::{Batch, Generation, Options};
///
/// let lm = gpt2::checkpoint::bundled();
/// let mut batch = Batch::new(&lm.model);
/// for prompt in ["Once upon a time", "The cat"] {
///     let options = Options { max_new_tokens: 5, ..Options::default() };
///     batch.push(Generation::new(&lm.model, &lm.bpe.encode(prompt), options)?);
/// }
/// while !batch.is_empty() {
///     batch.step(|_, chosen| assert!(chosen.is_ok()));
///     for text in batch.take_finished() {
///         println!("{}", lm.bpe.decode_lossy(text.new_ids())?);
///     }
/// }
/// # Ok::<(), gpt2::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Batch<'m, G> {
    model: &'m Gpt2,
    texts: Vec<Text<G>>,
    /// Empty between two turns: its memory is used again.
    reads: Vec<Sequence<'static>>,
    /// The last row of each text that is read to its end.
    last: Vec<usize>,
}

/// One of them.
#[derive(Debug)]
struct Text<G> {
    inner: G,
    /// Which row of this turn's logits is its own, if it is read to its end.
    logits: Option<usize>,
}

/// How many tokens a turn read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Of prompts, and of texts that slide.
    pub prompt_tokens: usize,
    /// Single ones: each text's newest.
    pub newest_tokens: usize,
}

impl<'m, G: AsMut<Generation<'m>> + Send> Batch<'m, G> {
    /// No text yet.
    pub fn new(model: &'m Gpt2) -> Self {
        Self { model, texts: Vec::new(), reads: Vec::new(), last: Vec::new() }
    }

    /// How many texts are in it.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// One text more. It may join at any time.
    ///
    /// # Panics
    /// If it is another model's.
    pub fn push(&mut self, mut text: G) {
        assert!(std::ptr::eq(text.as_mut().model, self.model), "texts of one model");
        self.texts.push(Text { inner: text, logits: None });
    }

    /// One turn: every text whose prompt is read gets one token more. `each` is called with it on any thread, and may
    /// [`finish`](Generation::finish) the text. An error ends its text; the others go on.
    ///
    /// A turn reads a limited part of long prompts; a text that waits for the rest of its own is not shown.
    pub fn step(&mut self, each: impl Fn(&mut G, Result<Chosen>) + Sync) -> Turn {
        for Text { inner, logits } in &mut self.texts {
            *logits = None;
            let generation = inner.as_mut();
            if generation.finished.is_none()
                && let Err(error) = generation.begin_turn()
            {
                generation.finished = Some(FinishReason::Length);
                each(inner, Err(error));
            }
        }

        let mut reads = emptied(std::mem::take(&mut self.reads));
        let (mut turn, mut rows) = (Turn::default(), 0);
        self.last.clear();
        for Text { inner, logits } in &mut self.texts {
            let generation = inner.as_mut();
            let unread = generation.unread;
            let part = if unread > 1 { unread.min(PREFILL - turn.prompt_tokens) } else { unread };
            if generation.finished.is_some() || part == 0 {
                continue;
            }
            *if unread > 1 { &mut turn.prompt_tokens } else { &mut turn.newest_tokens } += part;
            rows += part;
            if part == unread {
                *logits = Some(self.last.len());
                self.last.push(rows - 1);
            }
            reads.push(generation.read(part).0);
        }
        if reads.is_empty() {
            return turn;
        }
        let hidden = self.model.hidden(&mut reads, &mut NoTrace); // [T, C]
        self.reads = emptied(reads);
        if self.last.is_empty() {
            return turn;
        }
        let logits = self.model.head(&hidden.select(&self.last), &mut NoTrace); // [texts, V]
        self.texts.par_iter_mut().for_each(|Text { inner, logits: row }| {
            if let Some(row) = *row {
                let generation = inner.as_mut();
                let chosen = generation.choose(logits.row(row), &mut NoWatch);
                if chosen.is_err() {
                    generation.finished = Some(FinishReason::Length);
                }
                each(inner, chosen);
            }
        });
        turn
    }

    /// Takes out the texts that are finished, in the order in which they joined.
    pub fn take_finished(&mut self) -> impl Iterator<Item = G> {
        self.texts.extract_if(.., |text| text.inner.as_mut().finished.is_some()).map(|text| text.inner)
    }
}

impl<'m> AsMut<Generation<'m>> for Generation<'m> {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// The memory of a list, for elements that borrow from elsewhere: the standard library collects in place.
fn emptied<'b>(mut list: Vec<Sequence<'_>>) -> Vec<Sequence<'b>> {
    list.clear();
    list.into_iter().map(|_| unreachable!("it is empty")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sampled, small};
    use super::*;
    use crate::bpe::TokenId;
    use crate::generate::{ContextPolicy, Options};
    use crate::sampling::Processors;
    use std::sync::Mutex;

    /// A text and its tokens: ids, and log-probabilities by their bits.
    struct Written<'m> {
        number: usize,
        generation: Generation<'m>,
        chosen: Vec<(TokenId, u64)>,
        error: Option<String>,
    }

    impl<'m> AsMut<Generation<'m>> for Written<'m> {
        fn as_mut(&mut self) -> &mut Generation<'m> {
            &mut self.generation
        }
    }

    impl<'m> Written<'m> {
        fn new(model: &'m Gpt2, number: usize) -> Self {
            let (prompt, options) = request(number);
            let generation = Generation::new(model, &prompt, options).expect("a prompt");
            Self { number, generation, chosen: Vec::new(), error: None }
        }

        /// Every fourth text is ended by its owner, as a stop string would.
        fn token(&mut self, chosen: Result<Chosen>) {
            match chosen {
                Ok(chosen) => self.chosen.push((chosen.id, chosen.logprob.to_bits())),
                Err(error) => self.error = Some(error.to_string()),
            }
            if self.number % 4 == 3 && self.chosen.len() == 17 {
                self.generation.finish(FinishReason::Stop);
            }
        }

        fn result(&self) -> impl PartialEq + std::fmt::Debug {
            (&self.chosen, self.generation.finish_reason(), self.generation.slides(), &self.error)
        }
    }

    /// Prompts shorter and longer than the 64 positions, and than what a turn reads; all kinds of options.
    fn request(number: usize) -> (Vec<TokenId>, Options) {
        let len = [1, 5, 63, 64, 200, 2, 400, 33, 90, 7, 20][number % 11];
        let prompt = (0..len).map(|i| ((i + number) * 7 % 211) as TokenId).collect();
        let sampled = sampled(number as u64, [40, 100, 3, 1, 150][number % 5]);
        let options = match number % 6 {
            0 => Options { sampling: None, ..sampled },
            1 => Options { ignore_eos: false, ..sampled },
            2 if len < 64 => Options { context_policy: ContextPolicy::Error, ..sampled },
            3 if len < 64 => Options { context_policy: ContextPolicy::Stop, ..sampled },
            4 => Options {
                processors: Processors {
                    repetition_penalty: 1.2,
                    no_repeat_ngram_size: 2,
                    ..Default::default()
                },
                ..sampled
            },
            5 => {
                let ban = (0..211).map(|id| (id, f32::NEG_INFINITY)).collect();
                Options { processors: Processors { logit_bias: ban, ..Default::default() }, ..sampled }
            }
            _ => sampled,
        };
        (prompt, options)
    }

    #[test]
    fn each_text_is_what_it_is_alone() {
        let model = small();
        let count = 33;
        let alone: Vec<Written<'_>> = (0..count)
            .map(|number| {
                let mut text = Written::new(&model, number);
                while let Some(chosen) = text.generation.next() {
                    text.token(chosen);
                }
                text
            })
            .collect();
        let slid = alone.iter().filter(|text| text.generation.slides() > 1).count();
        let failed = alone.iter().filter(|text| text.error.is_some()).count();
        assert!(slid > 3 && failed > 3, "{slid} slide, {failed} fail");
        for size in [1, 2, 5, 8, 40] {
            let mut batch = Batch::new(&model);
            let mut waiting = 0..count;
            let mut done = 0;
            loop {
                while batch.len() < size
                    && let Some(number) = waiting.next()
                {
                    batch.push(Written::new(&model, number));
                }
                if batch.is_empty() {
                    break;
                }
                batch.step(Written::token);
                for text in batch.take_finished() {
                    assert_eq!(text.result(), alone[text.number].result(), "{} of {size}", text.number);
                    done += 1;
                }
            }
            assert_eq!(done, count);
        }
    }

    #[test]
    fn a_turn_reads_so_much_of_prompts_and_no_more() {
        let lm = crate::checkpoint::bundled();
        let options = Options { max_new_tokens: 3, ..Options::default() };
        let mut batch = Batch::new(&lm.model);
        for len in [300, 10, 1, 200] {
            batch.push(Generation::new(&lm.model, &vec![9; len], options.clone()).expect("a prompt"));
        }
        let mut turns = Vec::new();
        while !batch.is_empty() {
            let tokens = Mutex::new(0);
            let turn =
                batch.step(|_, chosen| *tokens.lock().expect("a count") += usize::from(chosen.is_ok()));
            let read = batch.texts.iter().map(|text| text.inner.cache.len()).collect::<Vec<_>>();
            turns.push((read, turn, tokens.into_inner().expect("a count")));
            let _ = batch.take_finished().count();
        }
        let turn = |prompt_tokens, newest_tokens| Turn { prompt_tokens, newest_tokens };
        assert_eq!(turns[0], (vec![256, 0, 1, 0], turn(256, 1), 1));
        assert_eq!(turns[1], (vec![300, 10, 2, 200], turn(44 + 10 + 200, 1), 4));
        assert_eq!(turns[2], (vec![301, 11, 3, 201], turn(0, 4), 4));
        assert_eq!(turns.iter().map(|(_, _, tokens)| tokens).sum::<usize>(), 4 * 3);
    }

    #[test]
    fn the_list_of_reads_keeps_its_memory() {
        let list: Vec<Sequence<'_>> = Vec::with_capacity(9);
        let pointer = list.as_ptr().addr();
        let again = emptied(list);
        assert_eq!((again.as_ptr().addr(), again.capacity()), (pointer, 9));
    }
}
