//! How are several texts generated at once?
//!
//! Decoding a single token is limited by memory: every weight is read and used only once. The newest tokens of several
//! texts form the rows of one matrix, so each weight is read once for all of them.
//!
//! ```text
//! loop:
//!     x = hidden([newest ids of each text])      # rows of one matrix; each text has its own cache
//!     logits = head(x[the last row of each])
//!     for each text: ids.append(choose(its logits))
//!     finished texts leave; others may join
//! ```
//!
//! Rows do not depend on each other: each text is, bit for bit, what [`Generation`] gives for it alone, whenever it
//! joins and whatever else is in the batch. There is no padding. The prompt of a new text is read in parts, during the
//! turns of the other texts.

pub use super::text::Turn;

use super::text::read;
use super::{Chosen, Generation};
use crate::error::Result;
use crate::model::Gpt2;
use crate::sampling::NoWatch;
use crate::trace::NoTrace;
use rayon::prelude::*;

/// Texts that are generated together. `G` is a [`Generation`], or a type that holds one together with the caller's
/// data.
///
/// ```
/// use gpt2::generate::{Batch, Generation, Options};
///
/// let lm = gpt2::checkpoint::bundled();
/// let mut batch = Batch::new(&lm.model);
/// for prompt in ["Once upon a time", "The cat"] {
///     let options = Options::default().max_new_tokens(5);
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
    texts: Vec<Member<G>>,
}

/// One text of a batch.
#[derive(Debug)]
struct Member<G> {
    inner: G,
    /// Its first row in this turn's logits; `None` while part of it is unread.
    logits: Option<usize>,
}

impl<'m, G: AsMut<Generation<'m>> + Send> Batch<'m, G> {
    /// An empty batch.
    pub fn new(model: &'m Gpt2) -> Self {
        Self { model, texts: Vec::new() }
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Adds a text. It may join between any two turns.
    ///
    /// # Panics
    /// If it belongs to another model.
    pub fn push(&mut self, mut text: G) {
        assert!(std::ptr::eq(text.as_mut().model, self.model), "the text must use the batch's model");
        self.texts.push(Member { inner: text, logits: None });
    }

    /// One turn: every text whose prompt is fully read gets its next token, or several with a draft. `each` is called
    /// with each of them, on any thread, and may [`finish`](Generation::finish) the text. An error ends its text; the
    /// others go on.
    ///
    /// A turn reads a limited number of prompt tokens. `each` is not called for a text whose prompt is not fully read.
    pub fn step(&mut self, each: impl Fn(&mut G, Result<Chosen>) + Sync) -> Turn {
        for Member { inner, .. } in &mut self.texts {
            let generation = inner.as_mut();
            if generation.wants_turn() {
                generation.failed = generation.begin().err();
            }
        }
        let running = self.texts.iter_mut().map(|text| text.inner.as_mut()).filter(|text| text.wants_turn());
        let pass = read(self.model, running.map(|running| &mut running.text), &mut NoTrace);
        let (hidden, turn) = pass.unzip(); // [rows, C]
        let hidden = hidden.filter(|hidden| hidden.rows() > 0);
        let logits = hidden.map(|hidden| self.model.head(&hidden, &mut NoTrace)); // [rows, V]
        let mut rows = 0;
        for Member { inner, logits } in &mut self.texts {
            let generation = inner.as_mut();
            let is_read = generation.wants_turn() && generation.text.unread().is_empty();
            *logits = is_read.then_some(rows);
            rows += if is_read { generation.rows() } else { 0 };
        }
        self.texts.par_iter_mut().for_each(|Member { inner, logits: first }| {
            let generation = inner.as_mut();
            if let (Some(first), Some(logits)) = (*first, &logits) {
                generation.failed = generation.end(logits, first, &mut NoWatch).err();
            }
            while let Some(chosen) = inner.as_mut().give() {
                each(inner, chosen);
            }
        });
        turn.unwrap_or_default()
    }

    /// Removes the finished texts and returns them in the order in which they joined.
    pub fn take_finished(&mut self) -> impl Iterator<Item = G> {
        self.texts.extract_if(.., |text| text.inner.as_mut().finished.is_some()).map(|text| text.inner)
    }
}

impl<'m> AsMut<Generation<'m>> for Generation<'m> {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

#[cfg(test)]
mod tests;
