//! The tensors of a checkpoint become the fields of the model: every name and shape is checked.

use super::int8;
use crate::attention::Attention;
use crate::block::Block;
use crate::config::Config;
use crate::format::Bytes;
use crate::format::safetensors::{SafeTensors, Tensor};
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::model::Gpt2;
use crate::tensor::{Dtype, Outputs, Weights};

/// The model of these tensors.
///
/// # Errors
/// What is missing or has the wrong shape, in a sentence that names the tensor.
pub fn model(tensors: &SafeTensors, config: Config) -> Result<Gpt2, String> {
    let found = Names { tensors, prefix: prefix(tensors)? };
    let (c, inner) = (config.n_embd, config.n_inner);
    let norm = |name: &str| -> Result<LayerNorm, String> {
        let (weight, bias) =
            (found.vector(&format!("{name}.weight"), c)?, found.vector(&format!("{name}.bias"), c)?);
        Ok(LayerNorm { weight, bias, eps: config.layer_norm_epsilon })
    };
    let linear = |name: &str, rows: usize, cols: usize| -> Result<Linear, String> {
        let weight = found.matrix(&format!("{name}.weight"), [rows, cols], Some(Outputs::Cols))?;
        Ok(Linear { weight, bias: found.vector(&format!("{name}.bias"), cols)? })
    };
    let wte = found.matrix("wte.weight", [config.vocab_size, c], Some(Outputs::Rows))?;
    let wpe = found.matrix("wpe.weight", [config.n_positions, c], None)?;
    let h = (0..config.n_layer)
        .map(|i| {
            Ok(Block {
                ln_1: norm(&format!("h.{i}.ln_1"))?,
                attn: Attention {
                    n_head: config.n_head,
                    scale: config.attention_scale(i),
                    c_attn: linear(&format!("h.{i}.attn.c_attn"), c, 3 * c)?,
                    c_proj: linear(&format!("h.{i}.attn.c_proj"), c, c)?,
                },
                ln_2: norm(&format!("h.{i}.ln_2"))?,
                mlp: Mlp {
                    c_fc: linear(&format!("h.{i}.mlp.c_fc"), c, inner)?,
                    act: config.activation,
                    c_proj: linear(&format!("h.{i}.mlp.c_proj"), inner, c)?,
                },
            })
        })
        .collect::<Result<Vec<Block>, String>>()?;
    let ln_f = norm("ln_f")?;
    let lm_head = match tensors.tensors.get("lm_head.weight") {
        Some(_) if !config.tie_word_embeddings => {
            let whole = Names { tensors, prefix: "" };
            whole.matrix("lm_head.weight", [config.vocab_size, c], Some(Outputs::Rows))?
        }
        None if !config.tie_word_embeddings => {
            return Err("tensor \"lm_head.weight\" is missing, and tie_word_embeddings is false".into());
        }
        _ => wte.clone(),
    };
    Ok(Gpt2 { config, wte, wpe, h, ln_f, lm_head })
}

/// `transformer.` where the names have it, else nothing: OpenAI's first files had none.
fn prefix(tensors: &SafeTensors) -> Result<&'static str, String> {
    ["transformer.", ""]
        .into_iter()
        .find(|prefix| tensors.tensors.contains_key(&format!("{prefix}wte.weight")))
        .ok_or_else(|| {
            "tensor \"transformer.wte.weight\" is missing; is this a GPT-2 checkpoint?".to_string()
        })
}

struct Names<'a> {
    tensors: &'a SafeTensors,
    prefix: &'static str,
}

impl Names<'_> {
    fn get(&self, name: &str) -> Result<(String, &Tensor), String> {
        let name = format!("{}{name}", self.prefix);
        match self.tensors.tensors.get(&name) {
            Some(tensor) => Ok((name, tensor)),
            None => Err(format!("tensor {name:?} is missing; does config.json belong to this file?")),
        }
    }

    /// A matrix, left where it is. It may be stored in eight bits where it is said which dimension counts the outputs.
    fn matrix(&self, name: &str, shape: [usize; 2], outputs: Option<Outputs>) -> Result<Weights, String> {
        let (name, tensor) = self.get(name)?;
        match outputs {
            Some(outputs) if tensor.dtype == "I8" => {
                int8::weights(self.tensors, &name, tensor, shape, outputs)
            }
            _ => weights(&name, tensor, &shape, shape),
        }
    }

    /// A vector, widened to f32.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, String> {
        let (name, tensor) = self.get(name)?;
        Ok(weights(&name, tensor, &[len], [1, len])?.to_f32())
    }
}

fn weights(
    name: &str,
    tensor: &Tensor,
    shape: &[usize],
    [rows, cols]: [usize; 2],
) -> Result<Weights, String> {
    if tensor.shape != shape {
        return Err(format!("tensor {name:?} has shape {:?}, config.json needs {shape:?}", tensor.shape));
    }
    let dtype = weight_dtype(tensor).ok_or_else(|| {
        format!("tensor {name:?} is stored as {}; it can be F32, F16 or BF16", tensor.dtype)
    })?;
    // The format does not promise alignment; files that lack it are rare, and are copied.
    let aligned = tensor.bytes.as_ptr().addr().is_multiple_of(dtype.size());
    let bytes = if aligned { tensor.bytes.clone() } else { Bytes::aligned_copy(&tensor.bytes) };
    Ok(Weights::new(rows, cols, dtype, bytes))
}

/// The number type, if weights can be stored in it.
fn weight_dtype(tensor: &Tensor) -> Option<Dtype> {
    match tensor.dtype.as_str() {
        "F32" => Some(Dtype::F32),
        "F16" => Some(Dtype::F16),
        "BF16" => Some(Dtype::Bf16),
        _ => None,
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
    let ([vocab_size, n_embd], [n_positions, _]) = (shape("wte.weight")?, shape("wpe.weight")?);
    let [_, n_inner] = shape("h.0.mlp.c_fc.weight")?;
    let n_layer = (0..).take_while(|i| found.get(&format!("h.{i}.ln_1.weight")).is_ok()).count();
    if n_embd % 64 != 0 {
        return Err(format!(
            "without config.json beside it, n_embd must be a multiple of 64; it is {n_embd}"
        ));
    }
    let tied = !tensors.tensors.contains_key("lm_head.weight");
    let json = serde_json::json!({
        "vocab_size": vocab_size, "n_positions": n_positions, "n_embd": n_embd, "n_layer": n_layer,
        "n_head": n_embd / 64, "n_inner": n_inner, "tie_word_embeddings": tied,
    });
    Config::from_json(json.to_string().as_bytes())
}
