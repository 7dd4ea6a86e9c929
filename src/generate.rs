//! How does a model write? It predicts one token, appends it, and starts again.
//!
//! ```text
//! while not finished:
//!     begin:  is there a position for the next token?          # and what may it be: a guess, if there is a draft
//!     read:   logits = model(ids)[-1]                           # the cache remembers all but the newest id
//!     end:    next = choose(logits);  ids.append(next)          # finished: end-of-text, a stop string, enough is written
//! ```
//!
//! That is *autoregression*: each token is conditioned on everything before it, the model's own choices included.
//! [`Generation`] is this loop as an iterator. There is no other: a [`batch`] takes the three parts of a turn for several
//! texts, and reads all of them in one pass; a single text is a batch of one. With a [`draft`], a guess is read with the
//! newest token, and a turn can give several tokens.
//!
//! [`text`] is a text as the model sees it, `generation` the rest of what belongs to one; [`Options`] say what may
//! be asked for; [`stop`] finds where a text ends between the tokens.

pub mod batch;
pub mod draft;
mod finish;
mod generation;
pub mod stop;
pub mod text;

pub use crate::sampling::{ContextPolicy, Options};
pub use batch::Batch;
pub use draft::{Draft, Passes, Rejection, View};
pub use finish::FinishReason;
pub(crate) use generation::{Mark, check_prompt};
pub use generation::{Pieces, check_ids};
pub use stop::{StopStrings, TextStream};
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
    /// Which one.
    pub id: TokenId,
    /// The logarithm of its probability under the model's own distribution, before temperature and filters.
    pub logprob: f64,
}

/// A text in the making. Iterate for its new tokens.
pub struct Generation<'m, T: Trace = NoTrace> {
    model: &'m Gpt2,
    options: Options,
    text: Text,
    /// Number `n` of its stream is for new token `n`.
    uniform: Uniform,
    /// The text of the new tokens, where it is wanted or watched for stop strings.
    stream: Option<TextStream<'m>>,
    draft: Option<Box<dyn Draft + 'm>>,
    /// Guesses are kept by the ratio of probabilities.
    rejection: bool,
    passes: Passes,
    /// This turn's guess, while the model reads.
    guess: Option<Vec<TokenId>>,
    /// Chosen and not given out yet, each with its piece of the text.
    ready: VecDeque<(Chosen, String)>,
    /// What went wrong after them.
    failed: Option<Error>,
    /// The text that was given out and not taken.
    pieces: String,
    finished: Option<FinishReason>,
    /// Comes next, whatever is chosen.
    forced: Option<TokenId>,
    /// Sees every stage of every step.
    pub trace: T,
}

impl<'m, T: Trace> Generation<'m, T> {
    /// The next token, with every change of the scores shown to `watch`. [`Iterator::next`] does the same unwatched.
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

    /// Whether there is nothing to give out, and the text goes on.
    fn wants_turn(&self) -> bool {
        self.ready.is_empty() && self.failed.is_none() && self.finished.is_none()
    }

    /// The first part of a turn: is there a position for the next token, and what may it be?
    fn begin(&mut self) -> Result<()> {
        if self.guess.is_some() {
            return Ok(()); // the turn has begun, and the prompt is not read to its end yet
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

    /// How many rows of logits the turn needs: one for the newest token, and one for each that is guessed.
    fn rows(&self) -> usize {
        1 + self.guess.as_ref().map_or(0, Vec::len)
    }

    /// The last part of a turn: logits from row `first` on -> the next token, and those after it as far as the guess was
    /// right. All join the text.
    fn end(&mut self, logits: &Matrix, first: usize, watch: &mut dyn Watch) -> Result<()> {
        let guess = self.guess.take().unwrap_or_default();
        self.text.take_back(guess.len());
        let (mut right, mut result) = (0, Ok(()));
        for k in 0..=guess.len() {
            match self.choose(logits.row(first + k), self.rejection(&guess, k), watch) {
                Ok(chosen) => self.ready.push_back(chosen),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if guess.get(k) != self.text.ids().last() {
                break;
            }
            right += 1;
            if self.finished.is_some() {
                break;
            }
        }
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

    /// logits `[V]` of the last position -> the next token, which joins the text, and its piece of the text.
    fn choose(
        &mut self,
        logits: &[f32],
        rejection: Option<Rejection>,
        watch: &mut dyn Watch,
    ) -> Result<(Chosen, String)> {
        let mut scores = Matrix::scratch(1, logits.len());
        let scores = scores.row_mut(0); // [V], what comes of what the model said
        scores.copy_from_slice(logits);
        let (ids, prompt_len) = (self.text.ids(), self.text.prompt_len());
        let history = History { ids, prompt_len, eos: self.options.ends(self.model) };
        let u = self.uniform.at((ids.len() - prompt_len) as u64);
        let id = match rejection {
            None => self.options.choose(scores, &history, u, &mut self.trace, watch),
            Some(rejection) => {
                let options = self.options.clone().sampler(Arc::new(rejection));
                options.choose(scores, &history, u, &mut self.trace, watch)
            }
        };
        let id = self.forced.take().or(id);

        let logprob = id.map_or(f64::NAN, |id| log_softmax(logits, id as usize));
        let Some(id) = id.filter(|_| logprob.is_finite()) else {
            let sound = log_softmax(logits, argmax(logits) as usize).is_finite();
            return Err(if sound { Error::NoToken } else { Error::NotFinite });
        };
        self.trace.record_ids(Stage::NextId, &[id]);
        self.text.push(id);
        let ends = self.options.ends(self.model);
        let long_enough = self.is_long_enough();
        let (end, piece) = end_with(id, ends, self.stream.as_mut(), long_enough);
        self.finished = end;
        Ok((Chosen { id, logprob }, piece))
    }

    /// Gives out what is ready, or what went wrong.
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

/// Does a text end with the token `id`, which has just joined it? And which text has it made certain?
pub(crate) fn end_with(
    id: TokenId,
    ends: &[TokenId],
    stream: Option<&mut TextStream<'_>>,
    long_enough: bool,
) -> (Option<FinishReason>, String) {
    let ends_here = ends.contains(&id);
    let mut piece = String::new();
    let mut stops = false;
    if let Some(stream) = stream {
        if !ends_here {
            piece = stream.push(id);
        }
        stops = stream.stopped();
        if ends_here || stops || long_enough {
            piece += &stream.finish();
        }
    }
    let reason = match (ends_here, stops) {
        (true, _) => Some(FinishReason::Eos),
        (_, true) => Some(FinishReason::Stop),
        _ => long_enough.then_some(FinishReason::Length),
    };
    (reason, piece)
}

#[cfg(test)]
mod tests;
