//! What a [`Session`] shows of its current step.

use super::super::lens::Candidate;
use super::super::{Lens, Pass};
use super::step_trace::StepTrace;
use super::{Session, Settings};
use crate::bpe::TokenId;
use crate::error::Error;
use crate::generate::FinishReason;
use crate::sampling::Explanation;
use crate::trace::{Digest, Place, Recorded};

impl Session<'_> {
    /// The index of the current step: step 0 chooses the first new token.
    pub fn step_number(&self) -> usize {
        self.steps.len() - 1
    }

    /// The stages of this step, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.step().stages.iter().map(|(place, _)| *place)
    }

    /// The current stage.
    pub fn place(&self) -> Place {
        self.step().stages[self.stage].0
    }

    /// The digest of the current stage.
    pub fn digest(&self) -> &Digest {
        &self.step().stages[self.stage].1
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        self.step().settings()
    }

    /// How the token of this step is chosen.
    pub fn explanation(&self) -> &Explanation {
        &self.step().explanation
    }

    /// Like [`explanation`](Self::explanation), but with `n` candidates of each distribution.
    pub fn explain(&mut self, n: usize) -> Explanation {
        self.rerun_for(StepTrace::default(), n)
    }

    /// The token of this step.
    ///
    /// # Errors
    /// The reason why none could be chosen.
    pub fn result(&self) -> std::result::Result<TokenId, &Error> {
        self.step().result.as_ref().copied()
    }

    /// Why the text cannot go on, if an error stops it rather than a regular end.
    pub fn problem(&self) -> Option<&Error> {
        self.refused.as_ref().or(self.result().err())
    }

    /// Why the text ends with this step; `None` if it goes on.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.generation.finish_reason().filter(|_| self.result().is_ok())
    }

    /// How often the text has slid: see [`ContextPolicy`](crate::generate::ContextPolicy).
    pub fn slides(&self) -> usize {
        self.generation.slides()
    }

    /// The tokens that this step reads: the prompt, or the newest one.
    pub fn read_ids(&self) -> &[TokenId] {
        let ids = self.seen_ids();
        let count = self.step().stages.first().map_or(0, |(_, digest)| digest.shape[0]);
        &ids[ids.len() - count..]
    }

    /// The tokens that this step's queries can see, including those it reads. `[S]`
    pub fn seen_ids(&self) -> &[TokenId] {
        let ids = self.generation.ids();
        let before = &ids[..ids.len() - usize::from(self.result().is_ok())];
        &before[before.len() - self.generation.seen()..]
    }

    /// The new tokens, including this step's.
    pub fn new_ids(&self) -> &[TokenId] {
        self.generation.new_ids()
    }

    /// The text of the new tokens, cut at a stop string.
    pub fn text(&self) -> String {
        let (ids, end) = (self.new_ids(), self.generation.finish_reason());
        let shown = ids.len() - usize::from(end == Some(FinishReason::Eos));
        self.stream.clone().decode(&ids[..shown])
    }

    /// This step, to be asked [how](crate::inspect::how()) a number and [why](crate::inspect::why()) a token came about.
    pub fn pass(&self) -> Pass<'_> {
        let (seen, read) = (self.seen_ids().len(), self.read_ids().len());
        let Settings { options, edits, forced } = self.settings().clone();
        let ids = self.generation.ids();
        let ids = ids[..ids.len() - usize::from(self.result().is_ok())].to_vec();
        let prompt_len = self.generation.ids().len() - self.generation.new_ids().len();
        let mut past = self.generation.cache().clone();
        past.truncate(seen - read);
        Pass { model: &self.lm.model, ids, prompt_len, read, past, options, edits, forced, kept: None }
    }

    /// The numbers of a stage of this step; `None` if the step has no such stage.
    pub fn values(&mut self, place: Place) -> Option<Recorded> {
        self.rerun_for(StepTrace { wanted: Some(place), ..StepTrace::default() }, 0);
        self.generation.trace.recorder.stages.pop()
    }

    /// The `n` likeliest next tokens after each block, at the last position: see [`Lens`].
    pub fn lens(&mut self, n: usize) -> Vec<Vec<Candidate>> {
        let lens = Some(Lens::new(&self.lm.model, n));
        self.rerun_for(StepTrace { lens, ..StepTrace::default() }, 0);
        let blocks = self.generation.trace.lens.take().map(|lens| lens.blocks);
        blocks.into_iter().flatten().flatten().collect()
    }
}
