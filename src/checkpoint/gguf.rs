//! GPT-2 in a GGUF file, as llama.cpp's `convert_hf_to_gguf.py` writes it: names, settings, tokenizer.

mod write;

pub use write::{Storage, write};

use super::transpose::transpose;
use crate::bpe::{Bpe, Found, Parts};
use crate::config::{Config, TokenId};
use crate::error::{Error, Result};
use crate::format::Bytes;
use crate::format::gguf::{Gguf, MAGIC};
use crate::format::safetensors::{SafeTensors, Tensor};
use crate::simd::widen_f16;
use byteorder::{ByteOrder, LittleEndian};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What names begin with, Hugging Face's and GGUF's; those of blocks after their numbers.
const NAMES: [(&str, &str); 10] = [
    ("transformer.wte.", "token_embd."),
    ("transformer.wpe.", "position_embd."),
    ("transformer.ln_f.", "output_norm."),
    ("lm_head.", "output."),
    ("ln_1.", "attn_norm."),
    ("attn.c_attn.", "attn_qkv."),
    ("attn.c_proj.", "attn_output."),
    ("ln_2.", "ffn_norm."),
    ("mlp.c_fc.", "ffn_up."),
    ("mlp.c_proj.", "ffn_down."),
];

/// The settings of a model, Hugging Face's and GGUF's.
const SETTINGS: [(&str, &str); 6] = [
    ("n_positions", "gpt2.context_length"),
    ("n_embd", "gpt2.embedding_length"),
    ("n_layer", "gpt2.block_count"),
    ("n_head", "gpt2.attention.head_count"),
    ("n_inner", "gpt2.feed_forward_length"),
    ("layer_norm_epsilon", "gpt2.attention.layer_norm_epsilon"),
];

/// How a token is found, and GGUF's code for it.
const FOUND: [(Found, i64); 3] = [(Found::Merged, 1), (Found::Special, 3), (Found::Added, 4)];

/// GGUF's code for an id without a token.
const UNUSED: i64 = 5;

/// Numbers in a block of `Q8_0`, which has one scale.
const BLOCK: usize = 32;

/// The configuration, the tensors under Hugging Face's names, and the tokenizer if the file has one.
///
/// # Errors
/// [`Error::File`] that says what cannot be used.
pub fn read(path: &Path, file: &Bytes) -> Result<(Config, SafeTensors, Option<Bpe>)> {
    let gguf = Gguf::parse(path, file)?;
    let bpe = tokenizer(&gguf).map_err(Error::in_file(path))?;
    let config = config(&gguf).map_err(Error::in_file(path))?;
    let mut tensors = SafeTensors::default();
    for (name, tensor) in gguf.tensors {
        let name = renamed(&name, ("blk.", "transformer.h."), NAMES.map(|(hf, gguf)| (gguf, hf)));
        let tensor = tensor_of(&name, tensor)
            .map_err(|problem| Error::file(path, format!("tensor {name:?}: {problem}")))?;
        tensors.tensors.insert(name, tensor);
    }
    Ok((config, tensors, bpe))
}

/// The tokenizer alone.
///
/// # Errors
/// As [`read`].
pub fn read_tokenizer(path: &Path, file: &Bytes) -> Result<Option<Bpe>> {
    tokenizer(&Gguf::parse(path, file)?).map_err(Error::in_file(path))
}

/// A tensor's name in the other format; a name that is in neither stays.
fn renamed(name: &str, blocks: (&str, &str), names: [(&str, &str); 10]) -> String {
    let (start, rest) = match name.strip_prefix(blocks.0).and_then(|rest| rest.split_once('.')) {
        Some((i, rest)) => (format!("{}{i}.", blocks.1), rest),
        None => (String::new(), name),
    };
    let to = names.iter().find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)));
    format!("{start}{}", to.as_deref().unwrap_or(rest))
}

fn config(gguf: &Gguf) -> Result<Config, String> {
    let value = |key: &str| gguf.values.get(key);
    let architecture = value("general.architecture").and_then(Value::as_str).unwrap_or("unknown");
    if architecture != "gpt2" {
        return Err(format!("a GGUF file of the architecture {architecture:?}; only \"gpt2\" can be used"));
    }
    let mut config = Map::new();
    for (hf, key) in SETTINGS {
        config.extend(value(key).map(|value| (hf.to_string(), value.clone())));
    }
    let tokens = gguf.tensors.get("token_embd.weight").and_then(|tensor| tensor.shape.first());
    config.extend(tokens.map(|rows| ("vocab_size".to_string(), json!(rows))));
    let head = gguf.tensors.get("output.weight");
    let tied = head.is_none_or(|head| {
        (gguf.tensors.get("token_embd.weight")).is_some_and(|wte| *wte.bytes == *head.bytes)
    });
    config.insert("tie_word_embeddings".into(), json!(tied));
    config.insert("eos_token_id".into(), value("tokenizer.ggml.eos_token_id").cloned().unwrap_or_default());
    Config::from_json(Value::from(config).to_string().as_bytes())
}

fn tokenizer(gguf: &Gguf) -> Result<Option<Bpe>, String> {
    let value = |key: &str| gguf.values.get(&format!("tokenizer.ggml.{key}"));
    let texts = |key: &str| {
        let list =
            value(key).and_then(Value::as_array).ok_or_else(|| format!("tokenizer.ggml.{key} is missing"))?;
        let texts = list.iter().map(|text| text.as_str().map(String::from)).collect::<Option<Vec<_>>>();
        texts.ok_or_else(|| format!("tokenizer.ggml.{key} is not a list of texts"))
    };
    let Some(model) = value("model").and_then(Value::as_str) else { return Ok(None) };
    let pre = value("pre").and_then(Value::as_str).unwrap_or("gpt-2");
    if model != "gpt2" || !["gpt-2", "gpt2", "default"].contains(&pre) {
        return Err(format!("the tokenizer is {model:?} with the pattern {pre:?}; only GPT-2's can be used"));
    }
    let flag = |key: &str| value(key).and_then(Value::as_bool).unwrap_or(false);
    if flag("add_eos_token") {
        return Err("tokenizer.ggml.add_eos_token is true; a token after every text is not supported".into());
    }
    let codes = value("token_type").and_then(Value::as_array);
    let code = |id: usize| codes.map_or(Some(1), |codes| codes.get(id)?.as_i64());
    let found =
        |code: i64| FOUND.iter().find(|(_, own)| *own == code).map_or(Found::Merged, |(found, _)| *found);
    let token = |(id, text)| Some((text, found(code(id).filter(|code| *code != UNUSED)?)));
    let tokens = texts("tokens")?.into_iter().enumerate().map(token).collect();
    let bos = value("bos_token_id").and_then(Value::as_u64).and_then(|id| TokenId::try_from(id).ok());
    let begins = flag("add_bos_token");
    let parts = Parts { tokens, merges: texts("merges")?, first: bos.filter(|_| begins) };
    Bpe::from_parts(&parts).map(Some).map_err(|problem| format!("tokenizer: {problem}"))
}

/// A tensor in a type that the model uses, linear layers as `[in, out]`.
fn tensor_of(name: &str, tensor: Tensor) -> Result<Tensor, String> {
    let Tensor { dtype, shape, bytes } = tensor;
    let (dtype, bytes) = match &*dtype {
        "Q8_0" => ("F32", Bytes::aligned_copy(bytemuck::cast_slice(&widen_blocks(&bytes)))),
        "F32" | "F16" | "BF16" => (&*dtype, bytes),
        _ => {
            return Err(format!(
                "it is {dtype}; F32, F16, BF16 and Q8_0 are read: convert the model to one of them"
            ));
        }
    };
    let linear = name.contains(".c_") && name.ends_with(".weight");
    let (shape, bytes) = match shape[..] {
        [rows, cols] if linear => {
            let size = if dtype == "F32" { 4 } else { 2 };
            (vec![cols, rows], Bytes::aligned_copy(&transpose(&bytes, [rows, cols], size)))
        }
        _ => (shape, bytes),
    };
    Ok(Tensor { dtype: dtype.into(), shape, bytes })
}

/// The numbers of blocks of `Q8_0`: the f16 scale times each of 32 whole numbers, which is exact in f32.
fn widen_blocks(blocks: &[u8]) -> Vec<f32> {
    let mut numbers = vec![0.0; blocks.len() / (2 + BLOCK) * BLOCK];
    numbers.par_chunks_mut(BLOCK).zip(blocks.par_chunks(2 + BLOCK)).for_each(|(numbers, block)| {
        let scale = widen_f16(LittleEndian::read_u16(block));
        numbers.iter_mut().zip(&block[2..]).for_each(|(x, q)| *x = scale * f32::from(*q as i8));
    });
    numbers
}

/// Whether a file is of this format.
pub fn is(file: &Bytes) -> bool {
    file.starts_with(MAGIC)
}
