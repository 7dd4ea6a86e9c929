//! What is in a model's files, and is it sound? All findings, where opening it names the first problem.

use super::folder::{COMPANIONS, Files, INDEX, SINGLE, WEIGHTS, files, place};
use super::{GenerationConfig, LanguageModel, open, weights};
use crate::bpe::Bpe;
use crate::config::Config;
use crate::error::Result;
use crate::format::Access;
use crate::format::safetensors::SafeTensors;
use crate::generate::{Generation, Options};
use crate::trace::Digest;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Something to know about a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// files, config, weights, numbers, tokenizer, generation or text
    pub about: &'static str,
    /// A sentence.
    pub finding: String,
    /// Whether it keeps the model from being what it should be.
    pub problem: bool,
}

/// What follows `[464, 3290]` ("The dog") in OpenAI's smallest model, greedily: a test of transformers,
/// `tests/models/gpt2/test_modeling_gpt2.py`.
const OPENAI: [u32; 18] =
    [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290];

/// Looks at all files of a model: a folder, a file, or a name in the Hugging Face cache.
///
/// # Errors
/// As [`open`], if there is nothing of that name.
pub fn check(model: impl AsRef<Path>) -> Result<Vec<Finding>> {
    let (folder, file) = place(model.as_ref())?;
    let mut found = Findings::default();
    if file.is_none() {
        found.files(&folder);
    }
    match files(model.as_ref(), Access::Mapped) {
        Err(error) => found.problem("files", error.to_string()),
        Ok(Files { config, generation_config, tensors, bpe, .. }) => {
            found.config(&config);
            found.weights(&tensors, &config);
            match bpe.map_or_else(|| Bpe::from_folder(&folder), |bpe| Ok(Some(bpe))) {
                Err(error) => found.problem("tokenizer", error.to_string()),
                Ok(bpe) => found.tokenizer(bpe.as_ref(), &config),
            }
            found.generation(generation_config);
        }
    }
    if !found.0.iter().any(|finding| finding.problem) {
        match open(model) {
            Err(error) => found.problem("files", error.to_string()),
            Ok(lm) => {
                lm.notes.iter().for_each(|note| found.note("weights", note.clone()));
                found.numbers(&lm);
                found.text(&lm);
            }
        }
    }
    Ok(found.0)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, about: &'static str, finding: String) {
        self.0.push(Finding { about, finding, problem: false });
    }

    fn problem(&mut self, about: &'static str, finding: String) {
        self.0.push(Finding { about, finding, problem: true });
    }

    /// What lies in the folder, and which of it counts.
    fn files(&mut self, folder: &Path) {
        let whole = folder.join("tokenizer.json").exists();
        for (name, what) in COMPANIONS.iter().chain(&WEIGHTS).filter(|(name, _)| folder.join(name).exists()) {
            let size = std::fs::metadata(folder.join(name)).map_or(0, |about| about.len());
            let purpose = match *name {
                "vocab.json" | "merges.txt" if whole => "not used: tokenizer.json precedes it",
                INDEX if folder.join(SINGLE).exists() => "not used: model.safetensors precedes it",
                _ => what,
            };
            self.note("files", format!("{name}: {size} bytes, {purpose}"));
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let known = |name: &String| {
            COMPANIONS.iter().any(|(known, _)| known == name)
                || name == INDEX
                || name.ends_with(".safetensors")
        };
        let mut others: Vec<String> =
            names.filter(|name| !known(name)).map(|name| format!("{name:?}")).collect();
        others.sort();
        if !others.is_empty() {
            self.note("files", format!("not read: {}", others.join(", ")));
        }
    }

    fn config(&mut self, config: &Config) {
        let &Config { n_layer, n_head, n_embd, n_positions, vocab_size, n_inner, .. } = config;
        self.note(
            "config",
            format!(
                "{n_layer} blocks of width {n_embd}, {n_head} heads of {}, n_inner {n_inner}, {n_positions} positions, {vocab_size} tokens",
                config.head_size()
            ),
        );
        self.note(
            "config",
            format!(
                "activation {}, layer_norm_epsilon {}",
                config.activation.name(),
                config.layer_norm_epsilon
            ),
        );
        let head = if config.tie_word_embeddings {
            "wte is the output head"
        } else {
            "lm_head is an output head of its own"
        };
        self.note("config", head.into());
    }

    fn weights(&mut self, tensors: &SafeTensors, config: &Config) {
        let mut types: BTreeMap<&str, usize> = BTreeMap::new();
        tensors.tensors.values().for_each(|tensor| *types.entry(&tensor.dtype).or_default() += 1);
        let types: Vec<String> = types.iter().map(|(dtype, count)| format!("{count} in {dtype}")).collect();
        self.note("weights", format!("tensors: {}", types.join(", ")));
        let problems = weights::problems(tensors, config);
        if problems.is_empty() {
            self.note(
                "weights",
                "none is missing or has the wrong shape; linear layers are [in, out]".into(),
            );
        }
        problems.into_iter().for_each(|problem| self.problem("weights", problem));
    }

    fn tokenizer(&mut self, bpe: Option<&Bpe>, config: &Config) {
        let rows = config.vocab_size;
        match bpe.map(Bpe::vocab_size) {
            None => self.note("tokenizer", "none: GPT-2's own is used".into()),
            Some(tokens) if tokens <= rows => {
                self.note("tokenizer", format!("{tokens} tokens, {rows} rows in wte"))
            }
            Some(tokens) => self.problem(
                "tokenizer",
                format!(
                    "{tokens} tokens, but only {rows} rows in wte; do tokenizer and model belong together?"
                ),
            ),
        }
    }

    /// The defaults for generation.
    fn generation(&mut self, config: Result<GenerationConfig>) {
        match config {
            Err(error) => self.problem("generation", error.to_string()),
            Ok(config) if config.options.is_empty() => (),
            Ok(config) => {
                let options = config.options.iter().map(|(key, value)| format!("{key} {value}"));
                let options: Vec<String> = options.collect();
                self.note("generation", format!("generation_config.json sets {}", options.join(", ")));
            }
        }
    }

    /// Numbers that are not finite, and a hash of all of them.
    fn numbers(&mut self, lm: &LanguageModel) {
        let tensors = lm.model.tensors();
        let counts = tensors.par_iter().map(|(spec, weights)| {
            let numbers = weights.to_f32();
            let nan = numbers.iter().filter(|x| x.is_nan()).count();
            let infinite = numbers.iter().filter(|x| x.is_infinite()).count();
            (&spec.name, nan, infinite, Digest::of_values("", &[numbers.len()], &numbers).hash)
        });
        let counts: Vec<_> = counts.collect();
        for (name, nan, infinite, _) in counts.iter().filter(|(_, nan, infinite, _)| nan + infinite > 0) {
            self.problem("numbers", format!("{name} holds {nan} NaN and {infinite} infinite numbers"));
        }
        let hash = counts.iter().fold(0u64, |all, (.., hash)| all.rotate_left(5) ^ hash);
        self.note(
            "numbers",
            format!("hash {hash:016x} of all weights as f32; it does not depend on the format"),
        );
    }

    /// Whether a model of the size of OpenAI's smallest writes what that one writes.
    fn text(&mut self, lm: &LanguageModel) {
        let &Config { n_layer, n_embd, vocab_size, .. } = &lm.model.config;
        if (n_layer, n_embd, vocab_size) != (12, 768, 50_257) {
            return;
        }
        let options = Options::default().max_new_tokens(OPENAI.len()).ignore_eos(true);
        let ids = Generation::new(&lm.model, &[464, 3290], options)
            .and_then(|text| text.map(|chosen| Ok(chosen?.id)).collect::<Result<Vec<_>>>());
        match ids {
            Err(error) => self.problem("text", error.to_string()),
            Ok(ids) if ids == OPENAI => self.note("text", "\"The dog\" goes on as in OpenAI's 124M".into()),
            Ok(ids) => {
                self.note("text", format!("\"The dog\" goes on with {ids:?}, not as in OpenAI's 124M"))
            }
        }
    }
}
