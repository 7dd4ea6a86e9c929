//! The trace of `gpt2 trace`: all that it may want of a pass.

use gpt2::inspect::{Lens, TraceFile};
use gpt2::trace::{Digest, Place, Stage, Trace};

/// Passes each selected stage to the file or the table, and every block's output to the lens, as requested.
pub struct View<'m> {
    pub file: Option<TraceFile>,
    pub lens: Option<Lens<'m>>,
    pub digests: Option<Vec<Digest>>,
    pub block: Option<usize>,
    pub names: Vec<String>,
}

impl View<'_> {
    /// Whether the stage is selected.
    pub fn has(&self, place: Place) -> bool {
        self.names.contains(&place.to_string())
    }
}

impl Trace for View<'_> {
    fn wants(&self, stage: Stage) -> bool {
        let looks = self.file.is_some() || self.digests.is_some();
        looks && self.has(Place::new(stage, self.block))
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
        self.file.iter_mut().for_each(|file| file.enter_block(i));
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        let place = Place::new(stage, self.block);
        let (picked, mut file) = (self.has(place), self.file.as_mut());
        if let (Some(i), Stage::Block, Some(lens)) = (self.block, stage, &mut self.lens) {
            let (logits, name) = (lens.read(values), Lens::name(i));
            file.iter_mut()
                .for_each(|file| file.write(&name, &[logits.rows(), logits.cols()], logits.data()));
        }
        if let (Some(digests), true) = (&mut self.digests, picked) {
            digests.push(Digest::of_values(place.to_string(), shape, values));
        }
        file.iter_mut().for_each(|file| file.record(stage, shape, values));
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let place = Place::new(stage, None);
        let picked = self.has(place);
        if let (Some(digests), true) = (&mut self.digests, picked) {
            digests.push(Digest::of_ids(place, ids));
        }
        self.file.iter_mut().for_each(|file| file.record_ids(stage, ids));
    }
}
