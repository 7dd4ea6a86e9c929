//! A model with its tokenizer as a GGUF file.

use super::{BLOCK, FOUND, NAMES, SETTINGS, UNUSED, renamed, transpose};
use crate::bpe::{Bpe, Found};
use crate::error::{Error, Result};
use crate::format::Bytes;
use crate::format::gguf::{Entry, Writer};
use crate::format::safetensors::Slot;
use crate::model::{Gpt2, Role, Spec};
use crate::simd::round_f16;
use crate::tensor::{Dtype, Weights};
use byteorder::{ByteOrder, LittleEndian};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

/// What a number of `Q8_0` is less than: the largest f16 times 127.
const MOST: f32 = 65_504.0 * 127.0;

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
        let in_order = |bytes: Vec<u8>, size| match spec.role {
            Role::Linear => transpose(&bytes, spec.matrix(), size),
            _ => bytes,
        };
        writer.write(&match *dtype {
            "Q8_0" => {
                let numbers = in_order(as_is(Dtype::F32), 4);
                let numbers = Bytes::aligned_copy(&numbers);
                let numbers: &[f32] = bytemuck::cast_slice(&numbers);
                if let Some(wrong) = numbers.iter().find(|x| x.abs() >= MOST || x.is_nan()) {
                    let problem = format!("tensor {:?} holds {wrong}, which Q8_0 cannot hold", spec.name);
                    return Err(Error::file(path, problem));
                }
                blocks(numbers)
            }
            "F16" => in_order(as_is(Dtype::F16), 2),
            "BF16" => in_order(as_is(Dtype::Bf16), 2),
            _ => in_order(as_is(Dtype::F32), 4),
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
            |found: Found| FOUND.iter().find(|(own, _)| *own == found).map_or(UNUSED, |(_, code)| *code);
        let codes =
            parts.tokens.iter().map(|token| token.as_ref().map_or(UNUSED, |(_, found)| code(*found)) as i32);
        entries.push(entry("model", Entry::Text("gpt2".into())));
        entries.push(entry("pre", Entry::Text("gpt-2".into())));
        entries.push(entry("tokens", Entry::Texts(tokens.collect())));
        entries.push(entry("token_type", Entry::Numbers(codes.collect())));
        entries.push(entry("add_bos_token", Entry::Bool(parts.first.is_some())));
        entries.push(entry("merges", Entry::Texts(std::mem::take(&mut parts.merges))));
        entries.extend(parts.first.map(|id| entry("bos_token_id", Entry::Number(id))));
    }
    entries.extend(model.config.eos_token_ids.first().map(|id| entry("eos_token_id", Entry::Number(*id))));
    Ok(entries)
}
