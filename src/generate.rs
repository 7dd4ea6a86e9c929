//! How does a model write? It predicts one token, appends it, and starts again.
//!
//! ```text
//! while not finished:
//!     begin:  is there a position for the next token?     # if there is a draft, it guesses the next tokens
//!     read:   logits = model(ids)[-1]                     # [V]; the cache holds all ids but the newest
//!     end:    next = choose(logits);  ids.append(next)    # finished: end-of-text, a stop string or the length limit
//! ```
//!
//! This is *autoregression*: each token is conditioned on everything before it, including the model's own choices.
//! [`Generation`] is this loop as an iterator, and it is the only such loop. A [`batch`] runs the three parts of a turn
//! for several texts and reads all of them in one pass; a single text is a batch of one. With a [`draft`], the model
//! reads a guess together with the newest token, and one turn can yield several tokens.
//!
//! [`text`] is a text as the model sees it; `generation` holds the rest of a generation's state; [`Options`] are the
//! user's settings; [`stop`] finds stop strings, which may end inside a token.
//!
//! # Example
//!
//! The loop by hand, and the crate's:
//!
//! ```
//! use gpt2::{generate::Options, sampling::{Uniform, sample}, trace::NoTrace};
//!
//! let lm = gpt2::checkpoint::bundled();
//! let mut ids = lm.bpe.encode("Once upon a time");
//! for n in 0..8 {
//!     let logits = lm.model.next_logits(&ids, &mut lm.model.new_cache(), &mut NoTrace); // [1, V]
//!     ids.push(sample(&mut logits.row(0).to_vec(), 0.8, 40, 1.0, Uniform::new(2).at(n)).unwrap());
//! }
//! let text: String = lm.generate("Once upon a time", Options::sampled(2).max_new_tokens(8))?.collect::<Result<_, _>>()?;
//! assert_eq!(lm.bpe.decode_lossy(&ids)?, format!("Once upon a time{text}"));
//! # Ok::<(), gpt2::error::Error>(())
//! ```

pub mod batch;
mod check;
pub mod draft;
mod generation;
mod rewind;
pub mod stop;
pub mod text;

pub use crate::sampling::{ContextPolicy, Options};
pub use batch::Batch;
pub use check::check_ids;
pub(crate) use check::check_prompt;
pub use draft::{Draft, Passes, Rejection, View};
pub use generation::Pieces;
pub(crate) use rewind::Mark;
pub use stop::{FinishReason, StopStrings, TextStream};
pub use text::Text;

use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, Uniform, Watch, argmax};
use crate::softmax::log_softmax;
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Stage, Trace};
use std::collections::VecDeque;
use std::sync::Arc;
use text::read_to_end;

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Its id.
    pub id: TokenId,
    /// Its log-probability in nats under the model's own distribution, before temperature and filters.
    pub logprob: f64,
}

/// A text that is being generated: an iterator over its new tokens.
pub struct Generation<'m, T: Trace = NoTrace> {
    model: &'m Gpt2,
    options: Options,
    text: Text,
    /// Number `n` of the stream chooses new token `n`.
    uniform: Uniform,
    /// Decodes the new tokens, if their text is wanted or must be searched for stop strings.
    stream: Option<TextStream<'m>>,
    draft: Option<Box<dyn Draft + 'm>>,
    /// Whether guesses are accepted by the ratio of their probabilities ([`Rejection`]).
    rejection: bool,
    passes: Passes,
    /// This turn's guess; `None` between turns.
    guess: Option<Vec<TokenId>>,
    /// Tokens that are chosen but not yet returned, each with its piece of the text.
    ready: VecDeque<(Chosen, String)>,
    /// The error to return after them.
    failed: Option<Error>,
    /// The text of returned tokens that the caller has not taken yet.
    pieces: String,
    finished: Option<FinishReason>,
    /// Replaces the next choice.
    forced: Option<TokenId>,
    /// Receives every stage of every step.
    pub trace: T,
}

impl<'m, T: Trace> Generation<'m, T> {
    /// The next token; `watch` sees every change of the scores. [`Iterator::next`] does the same without a watch.
    pub fn next_watched(&mut self, watch: &mut dyn Watch) -> Option<Result<Chosen>> {
        if self.wants_turn() {
            self.failed = self.turn(watch).err();
        }
        self.give()
    }

    /// One turn of the loop.
    fn turn(&mut self, watch: &mut dyn Watch) -> Result<()> {
        self.begin()?;
        let x = read_to_end(self.model, &mut self.text, &mut self.trace); // [1 + guess, C]
        let logits = self.model.head(&x, &mut self.trace); // [1 + guess, V]
        self.end(&logits, logits.rows() - self.rows(), watch)
    }

    /// Whether the text goes on and nothing is waiting to be returned.
    fn wants_turn(&self) -> bool {
        self.ready.is_empty() && self.failed.is_none() && self.finished.is_none()
    }

    /// The first part of a turn: makes room for the next token and asks the draft for a guess.
    fn begin(&mut self) -> Result<()> {
        if self.guess.is_some() {
            return Ok(()); // the turn has begun, but part of the prompt is still unread
        }
        if self.options.context_policy == ContextPolicy::Error && self.is_full() {
            return Err(Error::NoPositions { n_positions: self.model.config.n_positions });
        }
        self.text.make_room(self.model.config.n_positions);
        if self.passes.passes == 0 {
            self.prepare_draft();
        }
        let room = self.room_for_guess();
        let (view, draft) = self.view();
        let guess = draft.map_or_else(Vec::new, |draft| draft.guess(&view, room));
        self.text.guess(&guess);
        self.guess = Some(guess);
        Ok(())
    }

    /// How many rows of logits the turn needs: one for the newest token and one for each guessed token.
    fn rows(&self) -> usize {
        1 + self.guess.as_ref().map_or(0, Vec::len)
    }

    /// The last part of a turn: logits `[rows, V]` from row `first` on -> the next token, and one more for each guessed
    /// token that was right. All of them join the text.
    fn end(&mut self, logits: &Matrix, first: usize, watch: &mut dyn Watch) -> Result<()> {
        let guess = self.guess.take().unwrap_or_default();
        self.text.take_back(guess.len());
        let mut right = 0; // how many guessed tokens are what is chosen
        let result = loop {
            let rejection = self.rejection(&guess, right);
            if let Err(error) = self.choose(logits.row(first + right), rejection, watch) {
                break Err(error);
            }
            let is_right = guess.get(right) == self.text.ids().last();
            right += usize::from(is_right);
            if !is_right || self.finished.is_some() {
                break Ok(());
            }
        };
        self.text.forget(guess.len() - right);
        let Passes { passes, tokens, drafted, accepted } = &mut self.passes;
        *passes += 1;
        *tokens += self.ready.len();
        *drafted += guess.len();
        *accepted += right;
        if let Some(draft) = &mut self.draft {
            draft.learn(right, guess.len());
        }
        result
    }

    /// logits `[V]` of the last position -> the next token. It joins the text, and waits to be returned.
    fn choose(&mut self, logits: &[f32], rejection: Option<Rejection>, watch: &mut dyn Watch) -> Result<()> {
        let mut scores = Matrix::of_row(logits); // [1, V]
        let (ids, prompt_len) = (self.text.ids(), self.text.prompt_len());
        let history = History { ids, prompt_len, eos: self.options.ends(self.model) };
        let u = self.uniform.at((ids.len() - prompt_len) as u64);
        let with_rejection = rejection.map(|rule| self.options.clone().sampler(Arc::new(rule)));
        let options = with_rejection.as_ref().unwrap_or(&self.options);
        let id = options.choose(scores.row_mut(0), &history, u, &mut self.trace, watch);
        let id = self.forced.take().or(id);

        let logprob = id.map_or(f64::NAN, |id| log_softmax(logits, id as usize));
        let Some(id) = id.filter(|_| logprob.is_finite()) else {
            let sound = log_softmax(logits, argmax(logits) as usize).is_finite();
            return Err(if sound { Error::NoToken } else { Error::NotFinite });
        };
        self.trace.record_ids(Stage::NextId, &[id]);
        self.text.push(id);
        let (ends, long_enough) = (self.options.ends(self.model), self.is_long_enough());
        let (end, piece) = end_with(id, ends, self.stream.as_mut(), long_enough);
        self.finished = end;
        self.ready.push_back((Chosen { id, logprob }, piece));
        Ok(())
    }

    /// Returns the next waiting token, or the error after the last one.
    fn give(&mut self) -> Option<Result<Chosen>> {
        if let Some((chosen, piece)) = self.ready.pop_front() {
            self.pieces += &piece;
            return Some(Ok(chosen));
        }
        let error = self.failed.take()?;
        self.finished = Some(FinishReason::Length);
        Some(Err(error))
    }
}

impl<T: Trace> Iterator for Generation<'_, T> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_watched(&mut NoWatch)
    }
}

/// Whether and why a text ends with token `id`, which has just joined it, and the piece of text that is now certain.
pub(crate) fn end_with(
    id: TokenId,
    ends: &[TokenId],
    mut stream: Option<&mut TextStream<'_>>,
    long_enough: bool,
) -> (Option<FinishReason>, String) {
    let ends_here = ends.contains(&id);
    let mut piece = match &mut stream {
        Some(stream) if !ends_here => stream.push(id),
        _ => String::new(),
    };
    let reason = match &stream {
        _ if ends_here => Some(FinishReason::Eos),
        Some(stream) if stream.stopped() => Some(FinishReason::Stop),
        _ => long_enough.then_some(FinishReason::Length),
    };
    if let (Some(stream), Some(_)) = (stream, reason) {
        piece += &stream.finish();
    }
    (reason, piece)
}

#[cfg(test)]
mod tests;
