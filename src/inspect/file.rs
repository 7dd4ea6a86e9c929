//! Every stage in one file, which NumPy and PyTorch read:
//!
//! ```python
//! from safetensors.numpy import load_file
//! trace = load_file("trace.safetensors")
//! print(trace["transformer.h.0.attn.weights"][3])      # block 0, head 3: [T, T]
//! ```
//!
//! Each stage goes to the disk as soon as it is computed. Beside the model, memory holds one stage, not all of them;
//! the largest are a block's scores and weights, 8 * H * T * T bytes together, and the logits, 4 * T * V bytes.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::format::safetensors::{Slot, Writer};
use crate::trace::{Place, Stage, Trace};
use byteorder::{ByteOrder, LittleEndian};
use std::collections::BTreeMap;
use std::path::Path;

/// A [`Trace`] that writes what it is shown into a safetensors file, under the names of the stages.
///
/// F32 all but the ids, which are I64. `next_id` is -1 where no token could be chosen, because the logits are not
/// finite. What the file says of itself is made by [`metadata`](super::metadata()).
#[derive(Debug)]
pub struct TraceFile {
    writer: Writer,
    block: Option<usize>,
    problem: Option<Error>,
}

impl TraceFile {
    /// What a file of all stages holds for a prompt of `t` tokens, in forward order.
    pub fn slots(config: &Config, t: usize) -> Vec<Slot> {
        let slot = |place: Place| {
            let dtype = if place.stage.is_ids() { "I64" } else { "F32" };
            Slot { name: place.to_string(), dtype, shape: place.stage.shape(config, t, t) }
        };
        Place::all(config.n_layer).map(slot).collect()
    }

    /// Begins a file of these stages: some or all of [`slots`](Self::slots), and others that are written with
    /// [`write`](Self::write).
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create(path: &Path, slots: &[Slot], metadata: &BTreeMap<String, String>) -> Result<Self> {
        Ok(Self { writer: Writer::create(path, slots, metadata)?, block: None, problem: None })
    }

    /// Writes numbers under a name, if the file is to have it. A problem is kept for [`finish`](Self::finish).
    pub fn write(&mut self, name: &str, values: &[f32]) {
        self.write_bytes(name, bytemuck::cast_slice(values));
    }

    fn write_bytes(&mut self, name: &str, bytes: &[u8]) {
        if self.problem.is_none() && self.writer.has(name) {
            self.problem = self.writer.write(name, bytes).err();
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`], also from earlier writes.
    ///
    /// # Panics
    /// If a stage that the file is to have was never shown.
    pub fn finish(mut self) -> Result<()> {
        let next_id = Stage::NextId.describe().name;
        if !self.writer.is_written(next_id) {
            let mut none = [0; 8];
            LittleEndian::write_i64(&mut none, -1);
            self.write_bytes(next_id, &none);
        }
        match self.problem {
            Some(problem) => Err(problem),
            None => self.writer.finish(),
        }
    }
}

impl Trace for TraceFile {
    fn wants(&self, stage: Stage) -> bool {
        self.writer.has(&Place::new(stage, self.block).to_string())
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
    }

    fn record(&mut self, stage: Stage, _: &[usize], values: &mut [f32]) {
        self.write(&Place::new(stage, self.block).to_string(), values);
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        self.write_bytes(stage.describe().name, bytemuck::cast_slice(&ids));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Bytes, safetensors::SafeTensors};
    use crate::inspect::next_token;
    use crate::sampling::Sampling;
    use crate::trace::Recorder;

    fn open(path: &Path) -> SafeTensors {
        SafeTensors::parse(path, &Bytes::map(path).expect("a file")).expect("tensors")
    }

    #[test]
    fn the_file_holds_what_a_recorder_keeps() {
        let lm = crate::checkpoint::bundled();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.safetensors");
        let (ids, sampling) = (lm.bpe.encode("Once upon a time"), Some(Sampling::with_seed(3)));
        let slots = TraceFile::slots(&lm.model.config, ids.len());
        let mut file = TraceFile::create(&path, &slots, &BTreeMap::new()).expect("a file");
        next_token(&lm.model, &ids, sampling.as_ref(), &mut file).expect("a token");
        file.finish().expect("a file");

        let mut recorder = Recorder::new();
        next_token(&lm.model, &ids, sampling.as_ref(), &mut recorder).expect("a token");
        let found = open(&path);
        assert_eq!(found.tensors.len(), recorder.stages.len());
        for stage in &recorder.stages {
            let tensor = &found.tensors[&stage.name()];
            assert_eq!(tensor.shape, stage.shape);
            if stage.stage.is_ids() {
                let ids: Vec<i64> = stage.ids.iter().map(|id| i64::from(*id)).collect();
                assert_eq!((&*tensor.dtype, &*tensor.bytes), ("I64", bytemuck::cast_slice(&ids)));
            } else {
                assert_eq!((&*tensor.dtype, &*tensor.bytes), ("F32", bytemuck::cast_slice(&stage.values)));
            }
        }
    }

    #[test]
    fn some_stages_and_no_next_token() {
        let mut lm = crate::checkpoint::bundled();
        lm.model.ln_f.weight[3] = f32::NAN;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.safetensors");
        let mut slots = TraceFile::slots(&lm.model.config, 2);
        slots.retain(|slot| slot.name.ends_with("h.1.attn.scores") || slot.name == "next_id");
        slots.push(Slot { name: "more".into(), dtype: "F32", shape: vec![1] });
        let mut file = TraceFile::create(&path, &slots, &BTreeMap::new()).expect("a file");
        assert!(!file.wants(Stage::AttnScores), "outside the blocks");
        file.enter_block(Some(1));
        assert!(file.wants(Stage::AttnScores) && !file.wants(Stage::AttnWeights));
        next_token(&lm.model, &[1, 2], None, &mut file).expect("a prompt");
        file.write("more", &[1.5]);
        file.write("nobody asked for this", &[1.5]);
        file.finish().expect("a file");
        let found = open(&path);
        assert_eq!(
            found.tensors.keys().collect::<Vec<_>>(),
            ["more", "next_id", "transformer.h.1.attn.scores"]
        );
        assert_eq!(*found.tensors["next_id"].bytes, (-1i64).to_le_bytes());
    }
}
