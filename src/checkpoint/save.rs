//! From a model to files that [`open`](super::open) reads.

use super::folder::COMPANIONS;
use super::{GenerationConfig, LanguageModel, int8};
use crate::error::{Error, Result};
use crate::format::safetensors::{Slot, Writer, write_whole};
use crate::model::{Gpt2, Spec};
use crate::tensor::{Dtype, Weights};
use std::collections::BTreeMap;
use std::path::Path;

/// The key of `__metadata__` under which a file carries its `config.json`.
pub(super) const CONFIG: &str = "config";

/// The key under which it carries its `generation_config.json`.
pub(super) const GENERATION_CONFIG: &str = "generation_config";

/// A safetensors file that is on its way to hold a model.
#[derive(Debug)]
pub struct Save {
    writer: Writer,
    tensors: Vec<(Spec, Weights)>,
}

impl Save {
    /// Begins the file: the model's tensors under their names in a checkpoint, its configuration, and its defaults for
    /// generation.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] if the file cannot be made, or eight-bit weights were made of numbers that are
    /// not finite.
    pub fn begin(model: &Gpt2, name: &str, defaults: &GenerationConfig, path: &Path) -> Result<Self> {
        let tensors = model.tensors();
        let mut slots = Vec::new();
        for (spec, weights) in &tensors {
            slots.extend(scales(spec, weights).map_err(|problem| Error::file(path, problem))?);
            slots.push(slot(spec, weights));
        }
        let mut metadata = BTreeMap::from([
            ("model".to_string(), name.to_string()),
            (CONFIG.into(), model.config.to_json()),
            ("version".into(), concat!("gpt2-explained ", env!("CARGO_PKG_VERSION")).into()),
        ]);
        if !defaults.options.is_empty() {
            metadata.insert(GENERATION_CONFIG.into(), defaults.to_json());
        }
        if tensors.iter().any(|(_, weights)| weights.dtype() == Dtype::I8) {
            metadata.extend(int8::metadata());
        }
        Ok(Self { writer: Writer::create(path, &slots, &metadata)?, tensors })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.tensors.iter().map(|(_, weights)| weights.bytes()).sum()
    }

    /// Writes all tensors, and gives the file its name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk or the folder refuses.
    pub fn finish(self) -> Result<()> {
        self.finish_with(|_| ())
    }

    /// The same; `progress` is called after each tensor with its bytes.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_with(mut self, mut progress: impl FnMut(usize)) -> Result<()> {
        for (Spec { name, .. }, weights) in &self.tensors {
            self.writer.write(name, weights.stored())?;
            if let Some(scales) = weights.scales() {
                self.writer.write(&int8::scale_name(name), bytemuck::cast_slice(scales))?;
            }
            progress(weights.bytes());
        }
        self.writer.finish()
    }
}

/// How the file holds a tensor.
fn slot(spec: &Spec, weights: &Weights) -> Slot {
    let (dtype, shape) = match weights.dtype() {
        Dtype::F32 => ("F32", spec.shape.clone()),
        Dtype::F16 => ("F16", spec.shape.clone()),
        Dtype::Bf16 => ("BF16", spec.shape.clone()),
        Dtype::I8 => ("I8", weights.panel_shape().to_vec()),
    };
    Slot { name: spec.name.clone(), dtype, shape }
}

/// How it holds the scales of one in eight bits.
fn scales(spec: &Spec, weights: &Weights) -> std::result::Result<Option<Slot>, String> {
    let Some(scales) = weights.scales() else { return Ok(None) };
    if let Some(i) = scales.iter().position(|scale| !scale.is_finite()) {
        let name = &spec.name;
        return Err(format!("tensor {name:?} holds a number that is not finite, in output channel {i}"));
    }
    Ok(Some(Slot { name: int8::scale_name(&spec.name), dtype: "F32", shape: vec![scales.len()] }))
}

/// Copies what a model's folder holds beside its weights from `from` to `to`. A `config.json` is made where there is none,
/// and without `from` a `tokenizer.json`.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] if one cannot be read or written.
pub fn companions(lm: &LanguageModel, from: Option<&Path>, to: &Path) -> Result<()> {
    write_whole(&to.join("config.json"), lm.model.config.to_json().as_bytes())?;
    if from.is_none() {
        let json = lm.bpe.to_tokenizer_json().map_err(Error::in_file(to))?;
        write_whole(&to.join("tokenizer.json"), json.as_bytes())?;
        write_whole(&to.join("tokenizer_config.json"), br#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#)?;
    }
    if !lm.generation_config.options.is_empty() {
        write_whole(&to.join("generation_config.json"), lm.generation_config.to_json().as_bytes())?;
    }
    for (name, _) in COMPANIONS {
        let Some(source) = from.map(|from| from.join(name)).filter(|source| source.is_file()) else {
            continue;
        };
        write_whole(&to.join(name), &std::fs::read(&source).map_err(Error::io(&source))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{bundled, open};
    use crate::trace::NoTrace;

    fn logits(model: &Gpt2) -> Vec<u32> {
        let ids = [7, 400, 50_000, 3, 7, 12_345];
        let logits = model.forward(&ids, &mut model.new_cache(), &mut NoTrace);
        logits.data().iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn what_is_saved_is_opened_with_the_same_bits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        let lm = bundled();
        for model in [lm.model.clone(), lm.model.quantize()] {
            Save::begin(&model, "tales", &lm.generation_config, &path)
                .expect("a file")
                .finish()
                .expect("a file");
            let opened = open(&path).expect("a model");
            assert_eq!(opened.model.config, model.config);
            assert_eq!(opened.model.wte.dtype(), model.wte.dtype());
            assert_eq!(logits(&opened.model), logits(&model));
            let lines = (opened.tensors.tensors.values()).filter(|t| t.dtype == "I8");
            assert!(
                lines.clone().all(|t| t.bytes.as_ptr().addr().is_multiple_of(64)),
                "panels begin with a cache line"
            );
            assert_eq!(lines.count(), if model.wte.dtype() == Dtype::I8 { 1 + 6 * 4 } else { 0 });
        }
        assert_ne!(logits(&lm.model), logits(&lm.model.quantize()));
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut model = bundled().model;
        let mut numbers = model.h[2].mlp.c_fc.weight.to_f32();
        numbers[5 * 512 + 77] = f32::INFINITY;
        model.h[2].mlp.c_fc.weight = Weights::from_f32(128, 512, &numbers);
        let model = model.quantize();
        let path = folder.path().join("x.safetensors");
        let error =
            Save::begin(&model, "", &GenerationConfig::default(), &path).expect_err("a problem").to_string();
        assert!(error.contains("transformer.h.2.mlp.c_fc.weight") && error.contains("channel 77"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
