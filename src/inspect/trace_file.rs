//! Every stage in one safetensors file, which NumPy and PyTorch can read.
//!
//! ```python
//! from safetensors.numpy import load_file
//! trace = load_file("trace.safetensors")
//! print(trace["transformer.h.0.attn.weights"][3])      # block 0, head 3: [T, T]
//! print(trace["probs"], trace["step.2.probs"])         # for the first and the third new token
//! print(trace["step.2.transformer.h.0.attn.weights"])  # [n_head, 1, S]: one new row over all tokens so far
//! ```
//!
//! The first step reads the prompt; its stages have the plain names. In later steps of a generation the names begin
//! with `step.1.`, `step.2.` and so on. If several texts follow one prompt, the names of the second begin with
//! `sequence.1.` (before `step`), and so on. The metadata says how each token was chosen.
//!
//! Each stage goes to disk as soon as it is computed, so memory holds one stage at a time. The largest are the scores
//! and weights of a block, 8 * H * T * T bytes together, and the logits, 4 * T * V bytes. A later step of GPT-2 124M
//! takes about 1 MB on disk, of which 0.4 MB are logits and probabilities.

use crate::bpe::Bpe;
use crate::error::{Error, Result};
use crate::format::safetensors::{Growing, Slot};
use crate::sampling::{Choice, Explanation, Watch};
use crate::trace::{Place, Stage, Trace};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many candidates of each distribution the metadata lists.
const CANDIDATES: usize = 5;

/// A [`Trace`] that writes stages to a safetensors file under their names.
///
/// Ids are I64, all other stages F32. [`metadata`](super::metadata()) makes the file's metadata.
#[derive(Debug)]
pub struct TraceFile {
    file: Growing,
    /// The names to write; `None` writes all.
    only: Option<BTreeSet<String>>,
    sequence: usize,
    step: usize,
    block: Option<usize>,
    /// Whether any token was chosen.
    chose: bool,
    problem: Option<Error>,
}

impl TraceFile {
    /// Begins a file.
    ///
    /// # Errors
    /// As [`Growing::create`].
    pub fn create(path: &Path) -> Result<Self> {
        let (only, sequence, step, block, chose, problem) = Default::default();
        Ok(Self { file: Growing::create(path)?, only, sequence, step, block, chose, problem })
    }

    /// Restricts the file to these names.
    pub fn only(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { only: Some(names.into_iter().collect()), ..self }
    }

    /// Begins text number `sequence` of several that follow one prompt.
    pub fn begin(&mut self, sequence: usize) {
        (self.sequence, self.step, self.block) = (sequence, 0, None);
    }

    /// Writes a tensor under a name, unless [`only`](Self::only) excludes it. [`finish`](Self::finish) reports an
    /// error.
    pub fn write(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.append(name.into(), "F32", shape, bytemuck::cast_slice(values));
    }

    /// Completes the file with this `__metadata__` and gives it its name. `next_id` is -1 if no token could be chosen.
    ///
    /// # Errors
    /// [`Error::Io`], also from earlier writes.
    pub fn finish(mut self, metadata: &BTreeMap<String, String>) -> Result<()> {
        if !self.chose {
            self.append(self.name(Stage::NextId), "I64", &[1], bytemuck::bytes_of(&-1i64));
        }
        match self.problem {
            Some(problem) => Err(problem),
            None => self.file.finish(metadata),
        }
    }

    /// A stage's name in the file.
    fn name(&self, stage: Stage) -> String {
        Place::new(stage, self.block).at(self.step).of(self.sequence).to_string()
    }

    fn has(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    fn append(&mut self, name: String, dtype: &'static str, shape: &[usize], bytes: &[u8]) {
        if self.problem.is_none() && self.has(&name) {
            self.problem = self.file.append(Slot { name, dtype, shape: shape.to_vec() }, bytes).err();
        }
    }
}

impl Trace for TraceFile {
    fn wants(&self, stage: Stage) -> bool {
        self.has(&self.name(stage))
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        self.append(self.name(stage), "F32", shape, bytemuck::cast_slice(values));
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let wide: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        self.append(self.name(stage), "I64", &[ids.len()], bytemuck::cast_slice(&wide));
        self.step += usize::from(stage == Stage::NextId);
        self.chose |= stage == Stage::NextId;
    }
}

/// A [`Watch`] that records as JSON how each token of a text was chosen.
#[derive(Debug)]
pub struct Choices<'a> {
    bpe: &'a Bpe,
    now: Explanation,
    /// One entry per token.
    pub all: Vec<Value>,
}

impl<'a> Choices<'a> {
    /// No choices yet; `bpe` gives the text of each token.
    pub fn new(bpe: &'a Bpe) -> Self {
        Self { bpe, now: Explanation::new(CANDIDATES), all: Vec::new() }
    }
}

impl Watch for Choices<'_> {
    fn saw(&mut self, step: &str, before: &[f32], after: &[f32]) {
        self.now.saw(step, before, after);
    }

    fn chose(&mut self, choice: &Choice<'_>) {
        let mut explanation = std::mem::replace(&mut self.now, Explanation::new(CANDIDATES));
        explanation.chose(choice);
        self.all.push(explanation.json(|id| self.bpe.decode_lossy(&[id]).unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests;
