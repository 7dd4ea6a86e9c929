//! Keeps every stage of a forward pass.

use super::{Place, Stage, Trace};
use std::fmt;

/// One recorded stage.
#[derive(Clone, PartialEq)]
pub struct Recorded {
    /// Which one.
    pub stage: Stage,
    /// In which block.
    pub block: Option<usize>,
    /// The shape of `values`, or the number of `ids`.
    pub shape: Vec<usize>,
    /// The numbers, row-major; empty for ids.
    pub values: Vec<f32>,
    /// The ids of the stages that are ids.
    pub ids: Vec<u32>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name(), self.shape)
    }
}

impl Recorded {
    /// Which stage of which block.
    pub fn place(&self) -> Place {
        Place::new(self.stage, self.block)
    }

    /// The name in a trace file.
    pub fn name(&self) -> String {
        self.place().to_string()
    }
}

/// A [`Trace`] that keeps everything it is shown, in order.
///
/// A long prompt has large scores, weights and logits; [`TraceFile`](crate::inspect::TraceFile) writes them to a file.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    block: Option<usize>,
    /// The stages so far.
    pub stages: Vec<Recorded>,
}

impl Recorder {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stage with this name, the last one if there are several.
    pub fn get(&self, name: &str) -> Option<&Recorded> {
        let place = Place::parse(name)?;
        self.stages.iter().rev().find(|s| s.place() == place)
    }
}

impl Trace for Recorder {
    fn wants(&self, _: Stage) -> bool {
        true
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        let Place { stage, block, .. } = Place::new(stage, self.block);
        let (shape, values) = (shape.to_vec(), values.to_vec());
        self.stages.push(Recorded { stage, block, shape, values, ids: Vec::new() });
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let (shape, ids) = (vec![ids.len()], ids.to_vec());
        self.stages.push(Recorded { stage, block: None, shape, values: Vec::new(), ids });
    }
}
