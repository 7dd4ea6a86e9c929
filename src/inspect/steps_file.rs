//! A whole generation in one file: every stage of every step.
//!
//! ```python
//! from safetensors.numpy import load_file
//! trace = load_file("trace.safetensors")
//! print(trace["probs"], trace["step.2.probs"])         # behind the first and the third new token
//! print(trace["step.2.transformer.h.0.attn.weights"])  # [n_head, 1, S]: one new row over all tokens so far
//! ```
//!
//! The first step reads the prompt; its stages have the names and shapes of a trace of one forward pass
//! ([`TraceFile`](super::TraceFile)), so that the two can be compared. Those of later steps have `step.1.`, `step.2.` and
//! so on before their names. How each token was chosen is in the metadata, under `choices`. Where several texts are
//! written after one prompt, the stages of the second are in the file under `sequence.1.` and the same names, its
//! choices under `sequence.1.choices`, and so on.
//!
//! Each stage goes to the disk as soon as it is computed; memory holds one at a time. A step of GPT-2 124M takes about
//! 1 MB on the disk, 0.4 MB of it logits and probabilities.

use super::metadata;
use crate::bpe::{Bpe, TokenId};
use crate::checkpoint::LanguageModel;
use crate::error::{Error, Result};
use crate::format::safetensors::{Growing, Slot};
use crate::generate::Options;
use crate::sampling::{Choice, Explanation, Watch};
use crate::trace::{Place, Stage, Trace};
use serde_json::{Value, json};
use std::path::Path;

/// Candidates of each distribution that the file's metadata names.
const CANDIDATES: usize = 5;

/// A [`Trace`] of a [whole](crate::generate::Generation::whole) generation that writes a safetensors file.
#[derive(Debug)]
pub struct StepsFile {
    file: Growing,
    sequence: usize,
    step: usize,
    block: Option<usize>,
    problem: Option<Error>,
}

impl StepsFile {
    /// Begins a file.
    ///
    /// # Errors
    /// As [`Writer::create`](crate::format::safetensors::Writer::create).
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: Growing::create(path)?, sequence: 0, step: 0, block: None, problem: None })
    }

    /// What comes now is of this text.
    pub fn begin(&mut self, sequence: usize) {
        (self.sequence, self.step, self.block) = (sequence, 0, None);
    }

    /// Gives the file its name. `stop`: the strings that were to end a text; `choices`: for each text how each of its
    /// tokens was chosen.
    ///
    /// # Errors
    /// [`Error::Io`], also from earlier writes.
    pub fn finish(
        self,
        lm: &LanguageModel,
        prompt: &[TokenId],
        options: &Options,
        stop: &[String],
        choices: &[Vec<Value>],
    ) -> Result<()> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let mut about = metadata(lm, prompt, options, choices.first().map_or(&[], Vec::as_slice));
        if !stop.is_empty() {
            about.insert("stop".into(), json!(stop).to_string());
        }
        let later = choices.iter().enumerate().skip(1);
        about.extend(later.map(|(n, choices)| (format!("sequence.{n}.choices"), json!(choices).to_string())));
        self.file.finish(&about)
    }

    fn append(&mut self, stage: Stage, dtype: &'static str, shape: &[usize], bytes: &[u8]) {
        if self.problem.is_none() {
            let name = Place::new(stage, self.block).at(self.step).of(self.sequence).to_string();
            self.problem = self.file.append(Slot { name, dtype, shape: shape.to_vec() }, bytes).err();
        }
    }
}

impl Trace for StepsFile {
    fn wants(&self, _: Stage) -> bool {
        true
    }

    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
    }

    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        self.append(stage, "F32", shape, bytemuck::cast_slice(values));
    }

    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        self.append(stage, "I64", &[ids.len()], bytemuck::cast_slice(&ids));
        self.step += usize::from(stage == Stage::NextId);
    }
}

/// A [`Watch`] that keeps how each token of a text was chosen, as JSON.
#[derive(Debug)]
pub struct Choices<'a> {
    bpe: &'a Bpe,
    now: Explanation,
    /// One a token.
    pub all: Vec<Value>,
}

impl<'a> Choices<'a> {
    /// None yet; `bpe` has the tokens' texts.
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
mod tests {
    use super::*;
    use crate::format::{Bytes, safetensors::SafeTensors};
    use crate::generate::Generation;
    use crate::inspect::next_token;
    use crate::sampling::NoWatch;
    use crate::trace::Recorder;

    #[test]
    fn every_stage_of_every_step() {
        let lm = crate::checkpoint::bundled();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.safetensors");
        let prompt = lm.bpe.encode("Once upon a time");
        let options = Options::sampled(3).max_new_tokens(3);
        let file = StepsFile::create(&path).expect("a file");
        let generation = Generation::with_trace(&lm.model, &prompt, options.clone(), file).expect("a prompt");
        let (mut generation, mut choices) = (generation.whole(), Choices::new(&lm.bpe));
        while let Some(chosen) = generation.next_watched(&mut choices) {
            chosen.expect("a token");
        }
        let ids = generation.ids().to_vec();
        generation.trace.finish(&lm, &prompt, &options, &[], &[choices.all]).expect("a file");

        let found = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
        let places = Place::all(lm.model.config.n_layer).count();
        assert_eq!(found.tensors.len(), 3 * places);
        let mut recorder = Recorder::new();
        next_token(&lm.model, &prompt, &options, &mut recorder).expect("a token");
        for stage in recorder.stages.iter().filter(|stage| !stage.stage.is_ids()) {
            let tensor = &found.tensors[&stage.name()];
            assert_eq!(tensor.shape, stage.shape);
            assert_eq!(&*tensor.bytes, bytemuck::cast_slice::<_, u8>(&stage.values), "{}", stage.name());
        }
        assert_eq!(found.tensors["step.2.transformer.h.1.attn.weights"].shape, [4, 1, prompt.len() + 2]);
        assert_eq!(found.tensors["step.1.lm_head"].shape, [1, 50257]);
        assert_eq!(*found.tensors["step.2.next_id"].bytes, i64::from(ids[ids.len() - 1]).to_le_bytes());
        let said: Vec<Value> = serde_json::from_str(&found.metadata["choices"]).expect("JSON");
        assert_eq!(said.len(), 3);
        assert_eq!(said[2]["chosen"]["id"], ids[ids.len() - 1]);
    }

    /// Read at once or in pieces, through the cache or not: the same text.
    #[test]
    fn whole_is_the_same_text() {
        let lm = crate::checkpoint::bundled();
        let prompt: Vec<TokenId> = (0..300).collect();
        let options = || Options::sampled(1).max_new_tokens(4);
        let plain = Generation::new(&lm.model, &prompt, options()).expect("a prompt");
        let mut whole = Generation::new(&lm.model, &prompt, options()).expect("a prompt").whole();
        for chosen in plain {
            let again = whole.next_watched(&mut NoWatch).expect("a turn").expect("a token");
            assert_eq!(again, chosen.expect("a token"));
        }
    }
}
