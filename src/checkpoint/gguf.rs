//! GPT-2 in a GGUF file, as llama.cpp's `convert_hf_to_gguf.py` writes it: names, settings, tokenizer.

use super::turned::turned;
use crate::bpe::{Bpe, Found, Parts};
use crate::config::{Config, TokenId};
use crate::error::{Error, Result};
use crate::format::gguf::{Entry, Gguf, Writer};
use crate::format::safetensors::{SafeTensors, Slot, Tensor};
use crate::format::{Bytes, gguf};
use crate::model::{Gpt2, Role, Spec};
use crate::simd::{round_f16, widen_f16};
use crate::tensor::{Dtype, Weights};
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

/// How a token is found, and GGUF's code for it. 5 is an id that stands for nothing.
const FOUND: [(Found, i64); 3] = [(Found::Merged, 1), (Found::Special, 3), (Found::Added, 4)];

/// Numbers in a block of `Q8_0`, which has one scale.
const BLOCK: usize = 32;

/// What a number of `Q8_0` is less than: the largest f16 times 127.
const MOST: f32 = 65_504.0 * 127.0;

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
    let types = value("token_type").and_then(Value::as_array);
    let found = |id: usize| match types {
        Some(types) => {
            let code = types.get(id).and_then(Value::as_i64);
            FOUND.iter().find(|(_, known)| Some(*known) == code)
        }
        None => Some(&FOUND[0]),
    };
    let tokens = texts("tokens")?.into_iter().enumerate();
    let tokens = tokens.map(|(id, text)| found(id).map(|(found, _)| (text, *found))).collect();
    let begins = value("add_bos_token").and_then(Value::as_bool).unwrap_or(false);
    let bos = value("bos_token_id").and_then(Value::as_u64).and_then(|id| TokenId::try_from(id).ok());
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
            (vec![cols, rows], Bytes::aligned_copy(&turned(&bytes, [rows, cols], size)))
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

/// The blocks of these numbers, with the arithmetic of ggml's `quantize_row_q8_0_ref`.
fn blocks(numbers: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0; numbers.len() / BLOCK * (2 + BLOCK)];
    blocks.par_chunks_mut(2 + BLOCK).zip(numbers.par_chunks(BLOCK)).for_each(|(block, numbers)| {
        let scale = numbers.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        LittleEndian::write_u16(block, round_f16(scale));
        block[2..].iter_mut().zip(numbers).for_each(|(q, x)| *q = (x * inverse).round() as i8 as u8);
    });
    blocks
}

/// What the matrices of a file are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A number type of the model.
    Plain(Dtype),
    /// Blocks of 32 numbers of 8 bits with one scale.
    Q8_0,
}

/// Writes a model with its tokenizer; `progress` is called after each tensor with its weights. Vectors and `wpe` are F32,
/// as llama.cpp expects. Rows that are no whole blocks are F16 in place of Q8_0.
///
/// # Errors
/// [`Error::File`] if the model has something that llama.cpp's GPT-2 lacks; [`Error::Io`] if the file cannot be written.
pub fn write(
    lm: (&Gpt2, &Bpe, &str),
    path: &Path,
    storage: Storage,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    let (model, bpe, name) = lm;
    let settings: Value = serde_json::from_str(&model.config.to_json()).unwrap_or_default();
    for (key, only) in [
        ("activation_function", json!("gelu_new")),
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
    ] {
        if settings[key] != only {
            let problem = format!(
                "{key} is {}; llama.cpp's GPT-2 has {only}: write safetensors instead",
                settings[key]
            );
            return Err(Error::file(path, problem));
        }
    }
    let entry = |key: &str, value: Entry| (key.to_string(), value);
    let text = |key: &str, value: &str| entry(key, Entry::Text(value.into()));
    let mut values = vec![text("general.architecture", "gpt2"), text("general.name", name)];
    for (hf, key) in SETTINGS {
        let value = &settings[hf];
        let number = value.as_u64().map(|number| Entry::Number(number as u32));
        values.push(entry(key, number.unwrap_or(Entry::Float(value.as_f64().unwrap_or_default() as f32))));
    }
    values.extend(tokenizer_entries(model, bpe).map_err(Error::in_file(path))?);
    let stored = |spec: &Spec| -> (&'static str, Vec<usize>) {
        let mut shape = spec.shape.clone();
        if spec.role == Role::Linear {
            shape.reverse();
        }
        let whole = shape[shape.len() - 1].is_multiple_of(BLOCK);
        let dtype = match (spec.role, storage) {
            (Role::Gain | Role::Bias | Role::Positions, _) => "F32",
            (_, Storage::Q8_0) if whole => "Q8_0",
            (_, Storage::Q8_0 | Storage::Plain(Dtype::F16)) => "F16",
            (_, Storage::Plain(Dtype::Bf16)) => "BF16",
            (_, Storage::Plain(_)) => "F32",
        };
        (dtype, shape)
    };
    let slot = |(spec, _): &(Spec, Weights)| {
        let (dtype, shape) = stored(spec);
        let name = renamed(&spec.name, ("transformer.h.", "blk."), NAMES);
        Slot { name, dtype, shape }
    };
    let tensors = model.tensors();
    let slots: Vec<Slot> = tensors.iter().map(slot).collect();
    let mut writer = Writer::create(path, &values, &slots)?;
    for ((spec, weights), Slot { dtype, .. }) in tensors.iter().zip(&slots) {
        let as_is = |dtype| weights.rounded(dtype).stored().to_vec();
        let turn = |bytes: Vec<u8>, size| match spec.role {
            Role::Linear => turned(&bytes, spec.matrix(), size),
            _ => bytes,
        };
        writer.write(&match *dtype {
            "Q8_0" => {
                let numbers = turn(as_is(Dtype::F32), 4);
                let numbers = Bytes::aligned_copy(&numbers);
                let numbers: &[f32] = bytemuck::cast_slice(&numbers);
                if let Some(wrong) = numbers.iter().find(|x| x.abs() >= MOST || x.is_nan()) {
                    let problem = format!("tensor {:?} holds {wrong}, which Q8_0 cannot hold", spec.name);
                    return Err(Error::file(path, problem));
                }
                blocks(numbers)
            }
            "F16" => turn(as_is(Dtype::F16), 2),
            "BF16" => turn(as_is(Dtype::Bf16), 2),
            _ => turn(as_is(Dtype::F32), 4),
        })?;
        progress(spec.len());
    }
    writer.finish()
}

/// The tokenizer's values. Ids without a token get a name, so that there are as many tokens as rows of `wte`. GPT-2's own
/// tokenizer is left out where it is too large: then it only stands in for one that the model lacks.
fn tokenizer_entries(model: &Gpt2, bpe: &Bpe) -> Result<Vec<(String, Entry)>, String> {
    let size = model.config.vocab_size;
    let entry = |key: &str, value: Entry| (format!("tokenizer.ggml.{key}"), value);
    let mut entries = Vec::new();
    let own = bpe.vocab_size();
    if own > size && own != Bpe::gpt2().vocab_size() {
        return Err(format!("the tokenizer has {own} tokens, the model {size}; GGUF needs as many"));
    }
    if let [_, _, ..] = model.config.eos_token_ids[..] {
        let count = model.config.eos_token_ids.len();
        return Err(format!("a GGUF file has one end id, the model {count}; leave one in config.json"));
    }
    if own <= size {
        let problem = |problem| format!("{problem}, which GGUF cannot hold; a text would get other ids");
        let mut parts = bpe.parts().map_err(problem)?;
        parts.tokens.resize(size, None);
        let tokens = (0..).zip(&parts.tokens).map(|(id, token)| match token {
            Some((text, _)) => text.clone(),
            None => format!("[PAD{id}]"),
        });
        let code =
            |found: Found| FOUND.iter().find(|(known, _)| *known == found).map_or(5, |(_, code)| *code);
        let types =
            parts.tokens.iter().map(|token| token.as_ref().map_or(5, |(_, found)| code(*found)) as i32);
        entries.push(entry("model", Entry::Text("gpt2".into())));
        entries.push(entry("pre", Entry::Text("gpt-2".into())));
        entries.push(entry("tokens", Entry::Texts(tokens.collect())));
        entries.push(entry("token_type", Entry::Numbers(types.collect())));
        entries.push(entry("add_bos_token", Entry::Bool(parts.first.is_some())));
        entries.push(entry("merges", Entry::Texts(std::mem::take(&mut parts.merges))));
        entries.extend(parts.first.map(|id| entry("bos_token_id", Entry::Number(id))));
    }
    entries.extend(model.config.eos_token_ids.first().map(|id| entry("eos_token_id", Entry::Number(*id))));
    Ok(entries)
}

/// Whether a file is of this format.
pub fn is(file: &Bytes) -> bool {
    file.starts_with(gguf::MAGIC)
}
