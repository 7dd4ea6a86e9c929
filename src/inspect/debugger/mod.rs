//! How can one step through a generation stage by stage, forward and back?
//!
//! ```text
//! a turn of the loop = the state before it (ids, keys and values) + its settings (options, ablations)
//! step through it:     run the whole turn, keep a digest of each stage, show the digests one by one
//! see the numbers:     rewind the turn, and run it again with a trace that keeps the requested stage
//! go back:             rewind the turn
//! ```
//!
//! The computation is deterministic: a turn that runs again gives the same bits. So no turn ever stops half-way, and
//! memory holds the numbers of one stage only. A position in the walk is a turn and the index of a stage in it.
//!
//! Each turn has its own [`Settings`]. A change runs the turn again with new settings, which later turns inherit. Going
//! back to an earlier turn restores its settings; going forward again restores those that came after. A change there
//! drops what came after, as in an editor's undo history.
//!
//! [`Session`] is the walk without input and output; `gpt2 generate --debug` adds both.
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
//! assert_ne!(session.explanation().model[0], with); // without the MLP of the first block
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

/// How many candidates of each distribution an explanation lists by default.
const CANDIDATES: usize = 5;

/// The settings of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Processors, filters, temperature and seed. Turn `n` draws number `n` of the seed's stream.
    pub options: Options,
    /// The parts that are switched off. Keys and values from earlier turns stay as they were computed.
    pub edits: Vec<Edit>,
    /// The token that comes next instead of the chosen one. The next turn does not inherit it.
    pub forced: Option<TokenId>,
}

/// A turn of the loop, which writes one token.
struct Turn<'m> {
    /// Where to rewind to.
    mark: Mark<'m>,
    /// All settings of the turn, oldest first; the last are in force.
    settings: Vec<Settings>,
    stages: Vec<(Place, Digest)>,
    explanation: Explanation,
    /// The new token, or why none could be chosen.
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
    /// The turns up to the current one; the generation is at its end.
    turns: Vec<Turn<'m>>,
    /// The settings of the turns that were rewound, the next one last.
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
    /// Runs the first turn and begins at its first stage.
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

    /// Runs one turn. If it cannot even begin, this is an error and nothing changes.
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

    /// Runs the step itself, keeping what `look` requests.
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
        self.generation.take_text(); // not needed: `text` decodes again, because the turn may be rewound
        result
    }

    /// Rewinds the newest turn and runs it again, keeping what `look` requests.
    fn look_again(&mut self, look: Look<'m>, candidates: usize) -> Explanation {
        let turn = self.turns.pop().expect("a turn");
        self.generation.rewind(&turn.mark);
        let mut explanation = Explanation::new(candidates);
        let _ = self.step(turn.settings(), look, &mut explanation); // same result, same bits
        self.turns.push(turn);
        explanation
    }

    fn turn(&self) -> &Turn<'m> {
        self.turns.last().expect("a turn")
    }

    /// The index of the current turn: turn 0 chooses the first new token.
    pub fn turn_number(&self) -> usize {
        self.turns.len() - 1
    }

    /// The stages of this turn, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.turn().stages.iter().map(|(place, _)| *place)
    }

    /// The current stage.
    pub fn place(&self) -> Place {
        self.turn().stages[self.stage].0
    }

    /// The digest of the current stage.
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

    /// Like [`explanation`](Self::explanation), but with `n` candidates of each distribution.
    pub fn explain(&mut self, n: usize) -> Explanation {
        self.look_again(Look::Nothing, n)
    }

    /// The token of this turn.
    ///
    /// # Errors
    /// The reason why none could be chosen.
    pub fn result(&self) -> std::result::Result<TokenId, &Error> {
        self.turn().result.as_ref().copied()
    }

    /// Why the text cannot go on, if an error stops it rather than a regular end.
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

    /// The tokens that this turn's queries can see, including those it reads. `[S]`
    pub fn seen_ids(&self) -> &[TokenId] {
        let ids = self.generation.ids();
        let before = &ids[..ids.len() - usize::from(self.turn().result.is_ok())];
        &before[before.len() - self.generation.seen()..]
    }

    /// The new tokens, including this turn's.
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

    /// Goes to the next stage, in this turn or the next. `false` if the text ends.
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

    /// Goes to the previous stage, in this turn or the previous one. `false` at the beginning.
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

    /// The settings that the next turn inherits.
    fn inherited(&self) -> Settings {
        Settings { forced: None, ..self.settings().clone() }
    }

    /// Runs this turn again with other settings and drops all later turns. The current stage stays the same.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of range; [`Error::Input`] if an edit names a part that the model lacks,
    /// or the forced token is unknown. Then nothing changes.
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

    /// Undoes the newest change of this turn. `false` if there is none.
    pub fn undo(&mut self) -> bool {
        let mut history = self.turn().settings.clone();
        let any = history.len() > 1;
        if any {
            history.pop();
            self.take_again(history);
        }
        any
    }

    /// Runs this turn again with the last of these settings.
    fn take_again(&mut self, history: Vec<Settings>) {
        self.ahead.clear();
        self.refused = None;
        let turn = self.turns.pop().expect("a turn");
        self.generation.rewind(&turn.mark);
        self.take(history).expect("a turn that ran once can run again");
        self.stage = self.stage.min(self.turn().stages.len() - 1);
    }

    /// The numbers of a stage of this turn; `None` if the turn has no such stage.
    pub fn values(&mut self, place: Place) -> Option<Recorded> {
        self.look_again(Look::Stage(place), 0);
        self.generation.trace.kept.take()
    }

    /// The `n` likeliest next tokens after each block, at the last position: see [`Lens`].
    pub fn lens(&mut self, n: usize) -> Vec<Vec<Candidate>> {
        self.look_again(Look::Lens(Lens::new(&self.lm.model, n)), 0);
        let blocks = self.generation.trace.lens.take().map_or_else(Vec::new, |lens| lens.blocks);
        blocks.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
