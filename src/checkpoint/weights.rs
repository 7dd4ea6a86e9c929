//! The tensors of a checkpoint become the fields of the model: every name and shape is checked.

use super::int8;
use crate::config::Config;
use crate::format::Bytes;
use crate::format::safetensors::{SafeTensors, Tensor};
use crate::model::{Gpt2, Spec};
use crate::tensor::{Dtype, Weights};

/// The model of these tensors.
///
/// # Errors
/// What is missing or has the wrong shape, in a sentence that names the tensor.
pub fn model(tensors: &SafeTensors, config: Config) -> Result<Gpt2, String> {
    let found = Names { tensors, prefix: prefix(tensors)? };
    // no memory for blocks that the file does not have
    (0..config.n_layer).try_for_each(|i| found.get(&format!("transformer.h.{i}.ln_1.weight")).map(drop))?;
    Gpt2::build(config, |spec| found.weights(spec))
}

/// What most names begin with.
const TRANSFORMER: &str = "transformer.";

/// The output head, where it is not tied.
const LM_HEAD: &str = "lm_head.weight";

/// `transformer.` where the names have it, else nothing: OpenAI's first files had none.
fn prefix(tensors: &SafeTensors) -> Result<&'static str, String> {
    [TRANSFORMER, ""]
        .into_iter()
        .find(|prefix| tensors.tensors.contains_key(&format!("{prefix}wte.weight")))
        .ok_or_else(|| {
            "tensor \"transformer.wte.weight\" is missing; is this a GPT-2 checkpoint?".to_string()
        })
}

/// The tensors of a file under the names of Hugging Face.
struct Names<'a> {
    tensors: &'a SafeTensors,
    /// What the file has in place of `transformer.`
    prefix: &'static str,
}

impl Names<'_> {
    /// The tensor of this name, and its name in the file.
    fn get(&self, name: &str) -> Result<(String, &Tensor), String> {
        let name = match name.strip_prefix(TRANSFORMER) {
            Some(rest) => format!("{}{rest}", self.prefix),
            None => name.to_string(),
        };
        match self.tensors.tensors.get(&name) {
            Some(tensor) => Ok((name, tensor)),
            None if name == LM_HEAD => {
                Err(format!("tensor {name:?} is missing, and tie_word_embeddings is false"))
            }
            None => Err(format!("tensor {name:?} is missing; does config.json belong to this file?")),
        }
    }

    /// The numbers of a tensor, left where they are.
    fn weights(&self, spec: &Spec) -> Result<Weights, String> {
        let ((name, tensor), [rows, cols]) = (self.get(&spec.name)?, spec.matrix());
        if let Some(outputs) = spec.role.outputs().filter(|_| tensor.dtype == "I8") {
            return int8::weights(self.tensors, &name, spec, outputs);
        }
        if tensor.shape != spec.shape {
            let (found, needed) = (&tensor.shape, &spec.shape);
            return Err(format!("tensor {name:?} has shape {found:?}, config.json needs {needed:?}"));
        }
        let known = [(Dtype::F32, "F32"), (Dtype::F16, "F16"), (Dtype::Bf16, "BF16")];
        let (dtype, _) = known.into_iter().find(|(_, name)| *name == tensor.dtype).ok_or_else(|| {
            format!("tensor {name:?} is stored as {}; it can be F32, F16 or BF16", tensor.dtype)
        })?;
        // The format does not promise alignment; files that lack it are rare, and are copied.
        let aligned = tensor.bytes.as_ptr().addr().is_multiple_of(dtype.size());
        let bytes = if aligned { tensor.bytes.clone() } else { Bytes::aligned_copy(&tensor.bytes) };
        Ok(Weights::new(rows, cols, dtype, bytes))
    }
}

/// The configuration of a file that has none: sizes from the shapes, heads of 64, everything else GPT-2's.
///
/// # Errors
/// What keeps the shapes from being those of a GPT-2.
pub fn guess_config(tensors: &SafeTensors) -> Result<Config, String> {
    let found = Names { tensors, prefix: prefix(tensors)? };
    let shape = |name: &str| -> Result<[usize; 2], String> {
        let (name, tensor) = found.get(name)?;
        <[usize; 2]>::try_from(tensor.shape.clone())
            .map_err(|s| format!("tensor {name:?} has shape {s:?}, not a matrix"))
    };
    let ([vocab_size, n_embd], [n_positions, _]) =
        (shape("transformer.wte.weight")?, shape("transformer.wpe.weight")?);
    let [_, n_inner] = shape("transformer.h.0.mlp.c_fc.weight")?;
    let n_layer = (0..).take_while(|i| found.get(&format!("transformer.h.{i}.ln_1.weight")).is_ok()).count();
    if n_embd % 64 != 0 {
        return Err(format!(
            "without config.json beside it, n_embd must be a multiple of 64; it is {n_embd}"
        ));
    }
    let tied = !tensors.tensors.contains_key(LM_HEAD);
    let json = serde_json::json!({
        "vocab_size": vocab_size, "n_positions": n_positions, "n_embd": n_embd, "n_layer": n_layer,
        "n_head": n_embd / 64, "n_inner": n_inner, "tie_word_embeddings": tied,
    });
    Config::from_json(json.to_string().as_bytes())
}
