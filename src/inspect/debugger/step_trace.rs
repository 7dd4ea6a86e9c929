//! The stepper's [`Trace`]: applies the edits and keeps the requested numbers.

use super::super::Lens;
use super::super::edit::{Edit, apply};
use crate::model::Gpt2;
use crate::trace::{Digest, Place, Recorder, Stage, Trace};

/// Traces one step.
#[derive(Default)]
pub(super) struct StepTrace<'m> {
    /// The parts of a model that are switched off.
    pub edits: Option<(&'m Gpt2, Vec<Edit>)>,
    /// The digest of every stage, if they are requested.
    pub digests: Option<Vec<(Place, Digest)>>,
    /// The stage whose numbers the recorder keeps.
    pub wanted: Option<Place>,
    pub recorder: Recorder,
    /// Reads the residual stream of the last position, after each block.
    pub lens: Option<Lens<'m>>,
    pub block: Option<usize>,
}

impl Trace for StepTrace<'_> {
    fn wants(&self, stage: Stage) -> bool {
        self.digests.is_some() || self.wanted == Some(Place::new(stage, self.block))
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
        self.recorder.enter_block(i);
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        let place = Place::new(stage, self.block);
        if let Some((model, edits)) = &self.edits {
            apply(edits, model, place, values);
        }
        if let Some(digests) = &mut self.digests {
            digests.push((place, Digest::of_values(place.to_string(), shape, values)));
        }
        if self.wanted == Some(place) {
            self.recorder.record(stage, shape, values);
        }
        if let (Stage::Block, Some(lens)) = (stage, &mut self.lens) {
            lens.read(&values[values.len() - shape[1]..]); // the last position
        }
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let place = Place::new(stage, None);
        if let Some(digests) = &mut self.digests {
            digests.push((place, Digest::of_ids(place, ids)));
        }
        if self.wanted == Some(place) {
            self.recorder.record_ids(stage, ids);
        }
    }
}
