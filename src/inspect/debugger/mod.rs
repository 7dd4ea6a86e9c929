//! How does one walk through a text in the making, stage by stage, and back?
//!
//! ```text
//! a turn of the loop = what was read before (ids, keys and values) + what is asked for (options, ablations)
//! to look at it:       take the whole turn, keep a line for each stage, show the lines one by one
//! to see the numbers:  take the turn back, and take it again with somebody who keeps the stage asked for
//! to go back:          take the turn back
//! ```
//!
//! The arithmetic is exact: a turn that is taken again has the same bits. So nothing needs to be stopped half-way, and
//! nothing but one stage is kept in memory; a position in the walk is a turn and a number of a stage in it.
//!
//! Each turn has its own [`Settings`]. A change makes the turn be taken again with the new ones, which the next turns
//! then inherit. Going back to an earlier turn goes back to its settings, and forward again to those that came after;
//! a change there drops what came after, as in an editor's history.
//!
//! [`Session`] is the walk without input and output; `gpt2 generate --debug` gives it a voice.
//!
//! ```
//! use gpt2::generate::{Options, StopStrings};
//! use gpt2::inspect::debugger::{Edit, Session, Settings};
//!
//! let lm = gpt2::checkpoint::bundled();
//! let prompt = lm.bpe.encode("Once upon a");
//! let mut session = Session::new(&lm, &prompt, Options::default(), StopStrings::default())?;
//! while session.place().to_string() != "probs" {
//!     session.next_stage();
//! }
//! let with = session.explanation().model[0]; // the likeliest token, and how likely it is
//! session.change(Settings { edits: vec![Edit::Mlp { block: 0 }], ..session.settings().clone() })?;
//! assert_ne!(session.explanation().model[0], with); // without the first block's feed-forward layer
//! assert!(session.undo());
//! assert_eq!(session.explanation().model[0], with);
//! # Ok::<(), gpt2::error::Error>(())
//! ```

mod eye;

pub use eye::Edit;

use super::Lens;
use super::lens::Candidate;
use crate::bpe::TokenId;
use crate::checkpoint::LanguageModel;
use crate::error::{Error, Result};
use crate::generate::{FinishReason, Generation, Mark, Options, StopStrings, TextStream};
use crate::sampling::Explanation;
use crate::trace::{Digest, Place, Recorded};
use eye::{Eye, Look};
use std::fmt;

/// Candidates of each distribution that an explanation names, unless more are asked for.
const CANDIDATES: usize = 5;

/// What a turn is taken with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Processors, filters, temperature and seed. Turn `n` takes number `n` of the seed's stream.
    pub options: Options,
    /// What is switched off. Keys and values that earlier turns have made stay as they were made.
    pub edits: Vec<Edit>,
    /// The token that comes next in place of the chosen one; the next turn does not inherit it.
    pub forced: Option<TokenId>,
}

/// A turn of the loop: one token.
struct Turn<'m> {
    mark: Mark<'m>,
    /// The settings it has had; the last are in force.
    settings: Vec<Settings>,
    stages: Vec<(Place, Digest)>,
    explanation: Explanation,
    /// The new token; an error where none could be chosen.
    result: Result<TokenId>,
}

impl Turn<'_> {
    fn settings(&self) -> &Settings {
        self.settings.last().expect("a turn has settings")
    }
}

/// A walk through a generation. It is always at a stage of a turn.
pub struct Session<'m> {
    lm: &'m LanguageModel,
    stop: StopStrings,
    generation: Generation<'m, Eye<'m>>,
    /// The turns up to this one; the generation is at the end of the last.
    turns: Vec<Turn<'m>>,
    /// The settings of turns that were taken back, the next one last.
    ahead: Vec<Vec<Settings>>,
    stage: usize,
    /// Why the next turn could not begin.
    refused: Option<Error>,
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (turns, stage) = (self.turns.len(), self.stage);
        f.debug_struct("Session").field("turns", &turns).field("stage", &stage).finish_non_exhaustive()
    }
}

impl<'m> Session<'m> {
    /// Takes the first turn and stands at its first stage.
    ///
    /// # Errors
    /// As [`Generation::new`], and [`Error::Input`] if there is no token to write.
    pub fn new(
        lm: &'m LanguageModel,
        prompt: &[TokenId],
        options: Options,
        stop: StopStrings,
    ) -> Result<Self> {
        let generation = Generation::with_trace(&lm.model, prompt, options.clone(), Eye::default())?
            .with_text(TextStream::new(&lm.bpe, stop.clone()))
            .whole();
        if generation.finish_reason().is_some() {
            return Err(Error::input(
                "there is no token to step through: max-new-tokens is 0, or the prompt takes all positions",
            ));
        }
        let (turns, ahead) = (Vec::new(), Vec::new());
        let mut session = Self { lm, stop, generation, turns, ahead, stage: 0, refused: None };
        session.take(vec![Settings { options, edits: Vec::new(), forced: None }])?;
        Ok(session)
    }

    /// Takes one turn. An error if it cannot even begin; then nothing changes.
    fn take(&mut self, settings: Vec<Settings>) -> Result<()> {
        let mark = self.generation.mark();
        let mut explanation = Explanation::new(CANDIDATES);
        let now = settings.last().expect("settings");
        let result = self.step(now, Look::Digests, &mut explanation);
        let stages = std::mem::take(&mut self.generation.trace.digests);
        if stages.is_empty() {
            self.generation.rewind(&mark);
            return result.map(drop);
        }
        self.turns.push(Turn { mark, settings, stages, explanation, result });
        Ok(())
    }

    /// The step itself, with what is to be seen of it.
    fn step(
        &mut self,
        settings: &Settings,
        look: Look<'m>,
        explanation: &mut Explanation,
    ) -> Result<TokenId> {
        self.generation.set_options(settings.options.clone());
        self.generation.force(settings.forced);
        let n_head = self.lm.model.config.n_head;
        self.generation.trace.begin(n_head, settings.edits.clone(), look);
        let result = match self.generation.next_watched(explanation) {
            Some(result) => result.map(|chosen| chosen.id),
            None => Err(Error::input("the text has ended")),
        };
        self.generation.force(None);
        self.generation.take_text(); // it may be taken back: `text` decodes anew
        result
    }

    /// Takes the newest turn back, and again with another look at it.
    fn look_again(&mut self, look: Look<'m>, candidates: usize) -> Explanation {
        let turn = self.turns.pop().expect("a turn");
        self.generation.rewind(&turn.mark);
        let mut explanation = Explanation::new(candidates);
        let _ = self.step(turn.settings(), look, &mut explanation); // as before: the same bits
        self.turns.push(turn);
        explanation
    }

    fn turn(&self) -> &Turn<'m> {
        self.turns.last().expect("a turn")
    }

    /// Which turn this is: 0 chooses the first new token.
    pub fn turn_number(&self) -> usize {
        self.turns.len() - 1
    }

    /// The stages of this turn, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.turn().stages.iter().map(|(place, _)| *place)
    }

    /// Where the walk is.
    pub fn place(&self) -> Place {
        self.turn().stages[self.stage].0
    }

    /// What there is to see at this place.
    pub fn digest(&self) -> &Digest {
        &self.turn().stages[self.stage].1
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        self.turn().settings()
    }

    /// How the token of this turn is chosen.
    pub fn explanation(&self) -> &Explanation {
        &self.turn().explanation
    }

    /// The same with `n` candidates of each distribution.
    pub fn explain(&mut self, n: usize) -> Explanation {
        self.look_again(Look::Nothing, n)
    }

    /// The token of this turn.
    ///
    /// # Errors
    /// Why none could be chosen.
    pub fn result(&self) -> std::result::Result<TokenId, &Error> {
        self.turn().result.as_ref().copied()
    }

    /// Why the text cannot go on, where that is no end of its own.
    pub fn problem(&self) -> Option<&Error> {
        self.refused.as_ref().or(self.turn().result.as_ref().err())
    }

    /// Why the text ends with this turn; `None` if it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.generation.finish_reason().filter(|_| self.turn().result.is_ok())
    }

    /// How often the text has slid: see [`ContextPolicy`](crate::generate::ContextPolicy).
    pub fn slides(&self) -> usize {
        self.generation.slides()
    }

    /// The tokens that this turn reads: the prompt, or the newest one.
    pub fn read_ids(&self) -> &[TokenId] {
        let ids = self.seen_ids();
        let count = self.turn().stages.first().map_or(0, |(_, digest)| digest.shape[0]);
        &ids[ids.len() - count..]
    }

    /// The tokens that this turn's queries can see, those it reads included. `[S]`
    pub fn seen_ids(&self) -> &[TokenId] {
        let ids = self.generation.ids();
        let before = &ids[..ids.len() - usize::from(self.turn().result.is_ok())];
        &before[before.len() - self.generation.seen()..]
    }

    /// The new tokens, that of this turn included.
    pub fn new_ids(&self) -> &[TokenId] {
        self.generation.new_ids()
    }

    /// The text of the new tokens, cut at a stop string.
    pub fn text(&self) -> String {
        let mut stream = TextStream::new(&self.lm.bpe, self.stop.clone());
        let ends = self.generation.finish_reason() == Some(FinishReason::Eos);
        let ids = self.generation.new_ids();
        let shown = &ids[..ids.len() - usize::from(ends)];
        let text: String = shown.iter().map(|id| stream.push(*id)).collect();
        text + &stream.finish()
    }

    /// Goes to the next stage, of this turn or of the next one. `false` where the text ends.
    pub fn next_stage(&mut self) -> bool {
        if self.stage + 1 < self.turn().stages.len() {
            self.stage += 1;
            return true;
        }
        if self.problem().is_some() || self.generation.finish_reason().is_some() {
            return false;
        }
        let settings = self.ahead.pop().unwrap_or_else(|| vec![self.inherited()]);
        self.refused = self.take(settings).err();
        if self.refused.is_none() {
            self.stage = 0;
        }
        self.refused.is_none()
    }

    /// Goes to the stage before, of this turn or of the one before. `false` at the beginning.
    pub fn previous_stage(&mut self) -> bool {
        self.refused = None;
        if self.stage > 0 {
            self.stage -= 1;
            return true;
        }
        if self.turns.len() == 1 {
            return false;
        }
        let turn = self.turns.pop().expect("a turn");
        self.generation.rewind(&turn.mark);
        self.ahead.push(turn.settings);
        self.stage = self.turn().stages.len() - 1;
        true
    }

    /// The settings of this turn, for the next one.
    fn inherited(&self) -> Settings {
        Settings { forced: None, ..self.settings().clone() }
    }

    /// Takes this turn again with other settings; what came after it is dropped. The place stays.
    ///
    /// # Errors
    /// [`Error::Input`] if an option is out of its range, an edit names what the model has not, or the forced token is
    /// unknown. Then nothing changes.
    pub fn change(&mut self, settings: Settings) -> Result<()> {
        let model = &self.lm.model;
        settings.options.check(model)?;
        settings.edits.iter().try_for_each(|edit| edit.check(&model.config))?;
        settings.forced.map_or(Ok(()), |id| crate::generate::check_ids(model, &[id]))?;
        let mut history = self.turn().settings.clone();
        history.push(settings);
        self.take_again(history);
        Ok(())
    }

    /// Takes the newest change of this turn back. `false` if there is none.
    pub fn undo(&mut self) -> bool {
        let mut history = self.turn().settings.clone();
        let any = history.len() > 1;
        if any {
            history.pop();
            self.take_again(history);
        }
        any
    }

    fn take_again(&mut self, history: Vec<Settings>) {
        self.ahead.clear();
        self.refused = None;
        let turn = self.turns.pop().expect("a turn");
        self.generation.rewind(&turn.mark);
        self.take(history).expect("a turn that was taken can be taken again");
        self.stage = self.stage.min(self.turn().stages.len() - 1);
    }

    /// The numbers of a stage of this turn; `None` if it has no such stage.
    pub fn values(&mut self, place: Place) -> Option<Recorded> {
        self.look_again(Look::Stage(place), 0);
        self.generation.trace.kept.take()
    }

    /// What the model would say after each block, at the last position: the `n` likeliest tokens.
    pub fn lens(&mut self, n: usize) -> Vec<Vec<Candidate>> {
        self.look_again(Look::Lens(Lens::new(&self.lm.model, n)), 0);
        let blocks = self.generation.trace.lens.take().map_or_else(Vec::new, |lens| lens.blocks);
        blocks.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
