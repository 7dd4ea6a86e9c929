//! How a step runs, is rewound, and runs again.

use super::step_trace::StepTrace;
use super::{Session, Settings, Step};
use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::sampling::Explanation;

/// How many candidates of each distribution an explanation lists by default.
const CANDIDATES: usize = 5;

impl<'m> Session<'m> {
    /// Runs the next step. If it cannot even begin, this is an error and nothing changes.
    pub(super) fn push_step(&mut self, settings: Vec<Settings>) -> Result<()> {
        let (mark, mut explanation) = (self.generation.mark(), Explanation::new(CANDIDATES));
        let now = settings.last().expect("settings");
        let trace = StepTrace { digests: Some(Vec::new()), ..StepTrace::default() };
        let result = self.run(now, trace, &mut explanation);
        let stages = self.generation.trace.digests.take().unwrap_or_default();
        if stages.is_empty() {
            self.generation.rewind(&mark);
            return result.map(drop);
        }
        self.steps.push(Step { mark, settings, stages, explanation, result });
        Ok(())
    }

    /// Rewinds the newest step.
    pub(super) fn pop_step(&mut self) -> Step<'m> {
        let step = self.steps.pop().expect("a step");
        self.generation.rewind(&step.mark);
        step
    }

    /// Runs the computation of a step; `trace` keeps what it requests.
    fn run(
        &mut self,
        settings: &Settings,
        trace: StepTrace<'m>,
        explanation: &mut Explanation,
    ) -> Result<TokenId> {
        let edits = Some((&self.lm.model, settings.edits.clone()));
        self.generation.trace = StepTrace { edits, ..trace };
        self.generation.set_options(settings.options.clone());
        self.generation.force(settings.forced);
        let chosen = self.generation.next_watched(explanation);
        self.generation.force(None);
        self.generation.take_text(); // not needed: `text` decodes again, because the step may be rewound
        chosen.unwrap_or_else(|| Err(Error::input("the text has ended"))).map(|chosen| chosen.id)
    }

    /// Runs the newest step again to see more of it: what `trace` requests, and more or fewer candidates.
    pub(super) fn rerun_for(&mut self, trace: StepTrace<'m>, candidates: usize) -> Explanation {
        let step = self.pop_step();
        let mut explanation = Explanation::new(candidates);
        let _ = self.run(step.settings(), trace, &mut explanation); // same result, same bits
        self.steps.push(step);
        explanation
    }

    /// Runs the newest step again with the last of these settings.
    pub(super) fn rerun_with(&mut self, settings: Vec<Settings>) {
        self.ahead.clear();
        self.refused = None;
        self.pop_step();
        self.push_step(settings).expect("a step that ran once can run again");
        self.stage = self.stage.min(self.step().stages.len() - 1);
    }

    pub(super) fn step(&self) -> &Step<'m> {
        self.steps.last().expect("a step")
    }
}
