//! From a model to files that [`open`](super::open) reads.

use super::LanguageModel;
use super::int8;
use crate::error::{Error, Result};
use crate::format::safetensors::{Slot, Writer, write_whole};
use crate::model::Gpt2;
use crate::tensor::{Dtype, Weights};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The key of `__metadata__` under which a file carries its `config.json`.
pub(super) const CONFIG: &str = "config";

/// What a model's folder may hold beside its weights, copied as it is.
const COMPANIONS: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// A safetensors file that is on its way to hold a model.
#[derive(Debug)]
pub struct Save<'a> {
    writer: Writer,
    parts: Vec<Part<'a>>,
}

/// A tensor of the file.
struct Part<'a> {
    slot: Slot,
    bytes: Cow<'a, [u8]>,
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slot.fmt(f)
    }
}

impl<'a> Save<'a> {
    /// Begins the file: the model's tensors under their names in a checkpoint, and its configuration.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] if the file cannot be made, or eight-bit weights were made of numbers that are
    /// not finite.
    pub fn begin(model: &'a Gpt2, name: &str, path: &Path) -> Result<Self> {
        let parts = parts(model).map_err(|problem| Error::file(path, problem))?;
        let mut metadata = BTreeMap::from([
            ("model".to_string(), name.to_string()),
            (CONFIG.into(), model.config.to_json()),
            ("version".into(), concat!("gpt2-explained ", env!("CARGO_PKG_VERSION")).into()),
        ]);
        if parts.iter().any(|part| part.slot.dtype == "I8") {
            metadata.extend(int8::metadata());
        }
        let slots: Vec<Slot> = parts.iter().map(|part| part.slot.clone()).collect();
        Ok(Self { writer: Writer::create(path, &slots, &metadata)?, parts })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
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
        for Part { slot, bytes } in &self.parts {
            self.writer.write(&slot.name, bytes)?;
            progress(bytes.len());
        }
        self.writer.finish()
    }
}

/// Copies what a model's folder holds beside its weights from `from` to `to`; a `config.json` is made where there is
/// none.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] if one cannot be read or written.
pub fn companions(lm: &LanguageModel, from: Option<&Path>, to: &Path) -> Result<()> {
    write_whole(&to.join("config.json"), lm.model.config.to_json().as_bytes())?;
    for name in COMPANIONS {
        let Some(source) = from.map(|from| from.join(name)).filter(|source| source.is_file()) else {
            continue;
        };
        write_whole(&to.join(name), &std::fs::read(&source).map_err(Error::io(&source))?)?;
    }
    Ok(())
}

/// All tensors of a model, in forward order.
fn parts(model: &Gpt2) -> std::result::Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    table(&mut parts, "transformer.wte.weight".into(), &model.wte)?;
    table(&mut parts, "transformer.wpe.weight".into(), &model.wpe)?;
    for (i, block) in model.h.iter().enumerate() {
        let name = |rest: &str| format!("transformer.h.{i}.{rest}");
        for (norm, layer) in [("ln_1", &block.ln_1), ("ln_2", &block.ln_2)] {
            vector(&mut parts, name(&format!("{norm}.weight")), &layer.weight);
            vector(&mut parts, name(&format!("{norm}.bias")), &layer.bias);
        }
        for (linear, layer) in [
            ("attn.c_attn", &block.attn.c_attn),
            ("attn.c_proj", &block.attn.c_proj),
            ("mlp.c_fc", &block.mlp.c_fc),
            ("mlp.c_proj", &block.mlp.c_proj),
        ] {
            table(&mut parts, name(&format!("{linear}.weight")), &layer.weight)?;
            vector(&mut parts, name(&format!("{linear}.bias")), &layer.bias);
        }
    }
    vector(&mut parts, "transformer.ln_f.weight".into(), &model.ln_f.weight);
    vector(&mut parts, "transformer.ln_f.bias".into(), &model.ln_f.bias);
    if !model.config.tie_word_embeddings {
        table(&mut parts, "lm_head.weight".into(), &model.lm_head)?;
    }
    Ok(parts)
}

fn vector<'a>(parts: &mut Vec<Part<'a>>, name: String, numbers: &'a [f32]) {
    let slot = Slot { name, dtype: "F32", shape: vec![numbers.len()] };
    parts.push(Part { slot, bytes: Cow::Borrowed(bytemuck::cast_slice(numbers)) });
}

fn table<'a>(parts: &mut Vec<Part<'a>>, name: String, w: &'a Weights) -> std::result::Result<(), String> {
    let (dtype, shape) = match w.dtype() {
        Dtype::F32 => ("F32", vec![w.rows(), w.cols()]),
        Dtype::F16 => ("F16", vec![w.rows(), w.cols()]),
        Dtype::Bf16 => ("BF16", vec![w.rows(), w.cols()]),
        Dtype::I8 => ("I8", w.panel_shape().to_vec()),
    };
    if let Some(scales) = w.scales() {
        if let Some(i) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(format!("tensor {name:?} holds a number that is not finite, in output channel {i}"));
        }
        vector(parts, int8::scale_name(&name), scales);
    }
    parts.push(Part { slot: Slot { name, dtype, shape }, bytes: Cow::Borrowed(w.stored()) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{bundled, open};
    use crate::kv_cache::KvCache;
    use crate::trace::NoTrace;

    fn logits(model: &Gpt2) -> Vec<u32> {
        let ids = [7, 400, 50_000, 3, 7, 12_345];
        let logits = model.forward(&ids, &mut KvCache::new(&model.config), &mut NoTrace);
        logits.data().iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn what_is_saved_is_opened_with_the_same_bits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        let lm = bundled();
        for model in [lm.model.clone(), lm.model.quantize()] {
            Save::begin(&model, "tales", &path).expect("a file").finish().expect("a file");
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
        let error =
            Save::begin(&model, "", &folder.path().join("x.safetensors")).expect_err("a problem").to_string();
        assert!(error.contains("transformer.h.2.mlp.c_fc.weight") && error.contains("channel 77"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
