//! How can one step through a generation stage by stage, forward and back?
//!
//! ```text
//! a step of the loop = the state before it (ids, keys and values) + its settings (options, ablations)
//! walk through it:     run the whole step, keep a digest of each stage, show the digests one by one
//! see the numbers:     rewind the step, and run it again with a trace that keeps the requested stage
//! go back:             rewind the step
//! ```
//!
//! The computation is deterministic: a step that runs again gives the same bits. So no step ever stops half-way, and
//! memory holds the numbers of one stage only. A position in the walk is a step and the index of a stage in it.
//!
//! Each step has its own [`Settings`]. A change runs the step again with new settings, which later steps inherit. Going
//! back to an earlier step restores its settings; going forward again restores those that came after. A change there
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

mod run;
mod state;
mod step_trace;

pub use super::Edit;

use crate::bpe::TokenId;
use crate::checkpoint::LanguageModel;
use crate::error::{Error, Result};
use crate::generate::{Generation, Mark, Options, StopStrings, TextStream};
use crate::sampling::Explanation;
use crate::trace::{Digest, Place};
use step_trace::StepTrace;

/// The settings of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Processors, filters, temperature and seed. Step `n` draws number `n` of the seed's stream.
    pub options: Options,
    /// The parts that are switched off. Keys and values from earlier steps stay as they were computed.
    pub edits: Vec<Edit>,
    /// The token that comes next instead of the chosen one. The next step does not inherit it.
    pub forced: Option<TokenId>,
}

/// A step of the loop, which writes one token.
#[derive(Debug)]
struct Step<'m> {
    /// Where to rewind to.
    mark: Mark<'m>,
    /// All settings of the step, oldest first; the last are in force.
    settings: Vec<Settings>,
    stages: Vec<(Place, Digest)>,
    explanation: Explanation,
    /// The new token, or why none could be chosen.
    result: Result<TokenId>,
}

impl Step<'_> {
    fn settings(&self) -> &Settings {
        self.settings.last().expect("a step has settings")
    }
}

/// A walk through a generation. It is always at a stage of a step.
#[derive(Debug)]
pub struct Session<'m> {
    lm: &'m LanguageModel,
    /// Decodes new tokens up to a stop string.
    stream: TextStream<'m>,
    generation: Generation<'m, StepTrace<'m>>,
    /// The steps up to the current one; the generation is at its end.
    steps: Vec<Step<'m>>,
    /// The settings of the steps that were rewound, the next one last.
    ahead: Vec<Vec<Settings>>,
    stage: usize,
    /// Why the next step could not begin.
    refused: Option<Error>,
}

impl<'m> Session<'m> {
    /// Runs the first step and begins at its first stage.
    ///
    /// # Errors
    /// As [`Generation::new`], and [`Error::Input`] if there is no token to write.
    pub fn new(
        lm: &'m LanguageModel,
        prompt: &[TokenId],
        options: Options,
        stop: StopStrings,
    ) -> Result<Self> {
        let stream = TextStream::new(&lm.bpe, stop);
        let generation = Generation::with_trace(&lm.model, prompt, options.clone(), StepTrace::default())?
            .with_text(stream.clone())
            .whole();
        if generation.finish_reason().is_some() {
            return Err(Error::input(
                "there is no token to step through: max-new-tokens is 0, or the prompt takes all positions",
            ));
        }
        let (steps, ahead) = (Vec::new(), Vec::new());
        let mut session = Self { lm, stream, generation, steps, ahead, stage: 0, refused: None };
        session.push_step(vec![Settings { options, edits: Vec::new(), forced: None }])?;
        Ok(session)
    }

    /// Goes to the next stage, in this step or the next. `false` if the text ends.
    pub fn next_stage(&mut self) -> bool {
        if self.stage + 1 < self.step().stages.len() {
            self.stage += 1;
            return true;
        }
        if self.problem().is_some() || self.generation.finish_reason().is_some() {
            return false;
        }
        let inherited = Settings { forced: None, ..self.settings().clone() };
        let settings = self.ahead.pop().unwrap_or_else(|| vec![inherited]);
        self.refused = self.push_step(settings).err();
        if self.refused.is_none() {
            self.stage = 0;
        }
        self.refused.is_none()
    }

    /// Goes to the previous stage, in this step or the previous one. `false` at the beginning.
    pub fn previous_stage(&mut self) -> bool {
        self.refused = None;
        if self.stage > 0 {
            self.stage -= 1;
            return true;
        }
        if self.steps.len() == 1 {
            return false;
        }
        let step = self.pop_step();
        self.ahead.push(step.settings);
        self.stage = self.step().stages.len() - 1;
        true
    }

    /// Runs this step again with other settings and drops all later steps. The current stage stays the same.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of range; [`Error::Input`] if an edit names a part that the model lacks,
    /// or the forced token is unknown. Then nothing changes.
    pub fn change(&mut self, settings: Settings) -> Result<()> {
        let model = &self.lm.model;
        settings.options.check(model)?;
        settings.edits.iter().try_for_each(|edit| edit.check(&model.config))?;
        settings.forced.map_or(Ok(()), |id| crate::generate::check_ids(model, &[id]))?;
        self.rerun_with([&self.step().settings[..], &[settings]].concat());
        Ok(())
    }

    /// Undoes the newest change of this step. `false` if there is none.
    pub fn undo(&mut self) -> bool {
        let mut history = self.step().settings.clone();
        history.pop();
        let any = !history.is_empty();
        if any {
            self.rerun_with(history);
        }
        any
    }
}

#[cfg(test)]
mod tests;
