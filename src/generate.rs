//! How does a model write? It predicts one token, appends it, and starts again.
//!
//! ```text
//! loop:
//!     logits = forward(ids)[-1]        # the cache remembers all but the newest id
//!     next = choose(logits)
//!     ids.append(next)
//!     stop at end-of-text, at a stop string, or when enough is written
//! ```
//!
//! That is *autoregression*: each token is conditioned on everything before it, the model's own choices included.
//! [`Generation`] is this loop as an iterator.
//!
//! There is one loop. A turn of it has three parts: *begin* (is there a position for the next token?), *read* (the model
//! reads what it has not read), *end* (choose, and append). [`batch`] takes the same turns for several texts and reads all of
//! them in one pass; a single text is a batch of one. A [`draft`] adds a guess to what is read, so that a turn can give
//! several tokens.
//!
//! [`text`] is a text as the model sees it; [`options`] says what may be asked for; [`stop`] finds where a text ends between
//! the tokens.

pub mod batch;
mod choice;
pub mod draft;
pub mod options;
pub mod stop;
pub mod text;

pub use batch::Batch;
pub use draft::{Draft, Passes, View};
pub use options::{ContextPolicy, FinishReason, Options};
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
use text::{read_all_but_newest, read_to_end};

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

/// Where a generation was before a step.
#[derive(Debug)]
pub(crate) struct Mark<'m> {
    text: text::Mark,
    stream: Option<TextStream<'m>>,
    finished: Option<FinishReason>,
}

impl<'m> Generation<'m> {
    /// Begins after `prompt`.
    ///
    /// # Errors
    /// [`Error::Input`] if the prompt is empty or has an id that the model does not know, [`Error::Option`] if an option is
    /// out of its range.
    pub fn new(model: &'m Gpt2, prompt: &[TokenId], options: Options) -> Result<Self> {
        Self::with_trace(model, prompt, options, NoTrace)
    }
}

impl<'m, T: Trace> Generation<'m, T> {
    /// Begins after `prompt`, with every stage shown to `trace`.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn with_trace(model: &'m Gpt2, prompt: &[TokenId], options: Options, trace: T) -> Result<Self> {
        check_prompt(model, prompt, &options)?;
        let (uniform, text) = (options.uniform(), Text::new(model, prompt));
        let (stream, draft, guess, failed, finished, forced) = Default::default();
        let (passes, ready, pieces) = Default::default();
        let mut new = Self {
            model,
            options,
            text,
            uniform,
            stream,
            draft,
            passes,
            guess,
            ready,
            failed,
            pieces,
            finished,
            forced,
            trace,
        };
        new.finished = new.is_long_enough().then_some(FinishReason::Length);
        Ok(new)
    }

    /// Follows the text of the new tokens: a stop string of `stream` ends it, and [`take_text`](Self::take_text) gives it.
    pub fn with_text(mut self, stream: TextStream<'m>) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Lets `draft` guess what comes next. The text stays the same, bit for bit.
    pub fn with_draft(self, draft: impl Draft + 'm) -> Self {
        self.with_any_draft(Some(Box::new(draft)))
    }

    /// The same with a draft chosen at run time, or none.
    pub fn with_any_draft(mut self, draft: Option<Box<dyn Draft + 'm>>) -> Self {
        self.draft = draft;
        self
    }

    /// Reads each piece of text at once and computes the logits of all its positions: the same bits, and every stage is
    /// shown to the trace once a step.
    pub fn whole(mut self) -> Self {
        self.text.whole();
        self
    }

    /// The same text so far, to be continued with another stream of the seed's random numbers. Keys and values are
    /// shared, not copied.
    ///
    /// # Panics
    /// If guessed tokens wait to be given out.
    pub fn fork(&self, stream: u64) -> Self
    where
        T: Clone,
    {
        assert!(self.ready.is_empty(), "a fork between two turns");
        let mut options = self.options.clone();
        if let Some(sampling) = &mut options.sampling {
            sampling.stream = stream;
        }
        Self {
            model: self.model,
            uniform: options.uniform(),
            options,
            text: self.text.clone(),
            stream: self.stream.clone(),
            draft: self.draft.as_ref().map(|draft| draft.fork()),
            passes: self.passes,
            guess: None,
            ready: VecDeque::new(),
            failed: None,
            pieces: self.pieces.clone(),
            finished: self.finished,
            forced: self.forced,
            trace: self.trace.clone(),
        }
    }

    /// Reads all that is unread but the newest token, so that forks need not. The first turn would do it as well.
    pub fn prefill(&mut self) {
        self.text.make_room(self.model.config.n_positions);
        read_all_but_newest(self.model, &mut self.text, &mut self.trace);
        self.prepare_draft();
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Prompt and new tokens.
    pub fn ids(&self) -> &[TokenId] {
        let ids = self.text.ids();
        &ids[..ids.len() - self.ready.len()]
    }

    /// The new tokens so far.
    pub fn new_ids(&self) -> &[TokenId] {
        &self.ids()[self.text.prompt_len()..]
    }

    /// The text that the new tokens have made certain since it was last taken: whole characters, and nothing that could
    /// still become a stop string. Empty without [`with_text`](Self::with_text).
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.pieces)
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished.filter(|_| self.ready.is_empty())
    }

    /// Ends it after the tokens that were given out, for a reason of the caller's.
    pub fn finish(&mut self, reason: FinishReason) {
        self.text.take_back(self.ready.len());
        self.ready.clear();
        self.finished = Some(reason);
    }

    /// How often the text outgrew `n_positions` and its older half was forgotten.
    pub fn slides(&self) -> usize {
        self.text.slides()
    }

    /// What the draft has brought; `None` without one.
    pub fn passes(&self) -> Option<Passes> {
        self.draft.as_ref().map(|_| self.passes)
    }

    /// The next token, with every change of the scores shown to `watch`. [`Iterator::next`] does the same unwatched.
    pub fn next_watched(&mut self, watch: &mut (impl Watch + ?Sized)) -> Option<Result<Chosen>> {
        if self.wants_turn() {
            self.failed = self.turn(watch).err();
        }
        self.give()
    }

    /// One turn of the loop.
    fn turn(&mut self, watch: &mut (impl Watch + ?Sized)) -> Result<()> {
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
        let guess = draft.map_or_else(Vec::new, |draft| draft.guess(view, room));
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
    fn end(&mut self, logits: &Matrix, first: usize, watch: &mut (impl Watch + ?Sized)) -> Result<()> {
        let guess = self.guess.take().unwrap_or_default();
        self.text.take_back(guess.len());
        let (mut right, mut result) = (0, Ok(()));
        for k in 0..=guess.len() {
            match self.choose(logits.row(first + k), watch) {
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
    fn choose(&mut self, logits: &[f32], watch: &mut (impl Watch + ?Sized)) -> Result<(Chosen, String)> {
        let mut scores = Matrix::scratch(1, logits.len());
        let scores = scores.row_mut(0); // [V], what comes of what the model said
        scores.copy_from_slice(logits);
        let (ids, prompt_len) = (self.text.ids(), self.text.prompt_len());
        let history = History { ids, prompt_len, eos: self.options.ends(self.model) };
        let u = self.uniform.at((ids.len() - prompt_len) as u64);
        let id = self.options.choose(scores, &history, u, &mut self.trace, watch);
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

    /// The text as its draft sees it, and the draft.
    fn view(&mut self) -> (View<'_>, Option<&mut (dyn Draft + 'm)>) {
        let view = View {
            ids: self.text.ids(),
            prompt_len: self.text.prompt_len(),
            start: self.text.start(),
            options: &self.options,
            eos: self.options.ends(self.model),
            uniform: &self.uniform,
        };
        (view, self.draft.as_deref_mut())
    }

    fn prepare_draft(&mut self) {
        if let (view, Some(draft)) = self.view() {
            draft.prepare(view);
        }
    }

    /// How many tokens a guess may have: not more than can be used before the text ends or its positions do.
    fn room_for_guess(&self) -> usize {
        let seen = self.text.read_len() + self.text.unread().len();
        let positions = self.model.config.n_positions.saturating_sub(seen + 1);
        let tokens = self.options.max_new_tokens.saturating_sub(self.text.new_ids().len() + 1);
        positions.min(tokens)
    }

    /// Whether every position is taken.
    fn is_full(&self) -> bool {
        self.text.ids().len() >= self.model.config.n_positions
    }

    /// Whether the text is as long as it may be.
    fn is_long_enough(&self) -> bool {
        let stop = self.options.context_policy == ContextPolicy::Stop && self.is_full();
        stop || self.text.new_ids().len() >= self.options.max_new_tokens
    }

    /// How many tokens the newest step could see: those it read, and those before whose keys and values were kept.
    pub(crate) fn seen(&self) -> usize {
        self.text.read_len()
    }

    /// Where it is.
    pub(crate) fn mark(&self) -> Mark<'m> {
        let text = self.text.mark(self.model.config.n_positions);
        Mark { text, stream: self.stream.clone(), finished: self.finished }
    }

    /// Takes back the newest step: the same step taken again has the same bits. `mark` was made before it; steps are
    /// taken back one by one.
    pub(crate) fn rewind(&mut self, mark: &Mark<'m>) {
        self.text.rewind(&mark.text);
        (self.stream, self.finished) = (mark.stream.clone(), mark.finished);
    }

    /// From here on these options, which have been checked.
    pub(crate) fn set_options(&mut self, options: Options) {
        self.uniform = options.uniform();
        self.options = options;
    }

    /// `id` will come next, whatever is chosen.
    pub(crate) fn force(&mut self, id: Option<TokenId>) {
        self.forced = id;
    }
}

impl<T: Trace> Iterator for Generation<'_, T> {
    type Item = Result<Chosen>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_watched(&mut NoWatch)
    }
}

impl<T: Trace> std::fmt::Debug for Generation<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (new, finished) = (self.new_ids(), self.finish_reason());
        f.debug_struct("Generation")
            .field("new_ids", &new)
            .field("finished", &finished)
            .finish_non_exhaustive()
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

/// Every id is a row of the embedding table.
///
/// # Errors
/// [`Error::Input`] that names the first that is not.
pub fn check_ids(model: &Gpt2, ids: &[TokenId]) -> Result<()> {
    let size = model.config.vocab_size;
    match ids.iter().position(|id| *id as usize >= size) {
        Some(i) => Err(Error::input(format!(
            "token id {} (number {} of {}) is not below the model's vocab_size {size}; do text and model share a tokenizer?",
            ids[i],
            i + 1,
            ids.len()
        ))),
        None => Ok(()),
    }
}

/// There must be a prompt, its ids must be known, and every option within its range.
pub(crate) fn check_prompt(model: &Gpt2, prompt: &[TokenId], options: &Options) -> Result<()> {
    check_ids(model, prompt)?;
    if prompt.is_empty() {
        return Err(Error::input(
            "the prompt is empty; give at least one token, for example the end-of-text token",
        ));
    }
    options.check(model)?;
    let n_positions = model.config.n_positions;
    if options.context_policy != ContextPolicy::Slide && prompt.len() > n_positions {
        return Err(Error::input(format!(
            "the prompt has {} tokens and the model {n_positions} positions; context-policy slide would read its end",
            prompt.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
