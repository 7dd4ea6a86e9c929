//! llm.c's checkpoints: 256 whole numbers, then all weights.
//!
//! ```text
//! 20240326 | version | n_positions | vocab_size | n_layer | n_head | n_embd | padded vocab_size | 0 ...   256 x i32
//! wte | wpe | ln_1.weight of all blocks | ln_1.bias of all blocks | c_attn.weight of all blocks | ... | ln_f
//! ```
//!
//! Version 1 is F32, 3 F32 with rows of zeros after those of `wte`, 5 the same in BF16. Linear layers are `[out, in]`.
//! Source: llm.c's `train_gpt2.py`, `write_model`.

use super::transpose::transpose;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::format::Bytes;
use crate::format::safetensors::{SafeTensors, Tensor, write_whole_with};
use crate::model::{Gpt2, Role, Spec};
use crate::tensor::Dtype;
use byteorder::{ByteOrder, LittleEndian, WriteBytesExt};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// The first number.
const MAGIC: u32 = 20_240_326;

/// Bytes of the header.
const HEADER: usize = 256 * 4;

/// llm.c pads the rows of `wte` to a multiple of this.
const ROWS: usize = 128;

/// Whether a file is of this format.
pub fn is(file: &Bytes) -> bool {
    file.starts_with(&MAGIC.to_le_bytes())
}

/// The configuration, and the tensors under Hugging Face's names.
///
/// # Errors
/// [`Error::File`] that says what cannot be used.
pub fn read(path: &Path, file: &Bytes) -> Result<(Config, SafeTensors)> {
    read_file(file).map_err(Error::in_file(path))
}

fn read_file(file: &Bytes) -> Result<(Config, SafeTensors), String> {
    let header =
        file.get(..HEADER).ok_or("cut short: an llm.c checkpoint begins with 1024 bytes of header")?;
    let mut numbers = [0; 8];
    LittleEndian::read_u32_into(&header[..32], &mut numbers);
    let [_, version, n_positions, vocab_size, n_layer, n_head, n_embd, padded] = numbers;
    let (dtype, size) = match version {
        1 | 3 => ("F32", 4),
        5 => ("BF16", 2),
        _ => return Err(format!("an llm.c checkpoint of version {version}; versions 1, 3 and 5 are read")),
    };
    let padded = if version == 1 { vocab_size } else { padded };
    if padded < vocab_size {
        return Err(format!("the padded vocab_size {padded} is less than vocab_size {vocab_size}"));
    }
    let config = json!({
        "n_positions": n_positions, "vocab_size": vocab_size, "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd,
        "eos_token_id": vocab_size.checked_sub(1), // <|endoftext|> is the last of GPT-2's tokens
    });
    let config = Config::from_json(config.to_string().as_bytes())?;
    let needed = HEADER as u128 + size as u128 * numbers_of(&config, padded.into());
    if needed != file.len() as u128 {
        let problem = "is it cut, or of another program?";
        return Err(format!("{} bytes, but its header announces {needed}; {problem}", file.len()));
    }
    let (mut tensors, mut begin) = (SafeTensors::default(), HEADER);
    for Spec { name, shape, role } in in_order(&config) {
        let len = shape.iter().product::<usize>() * size;
        let all = file.slice(begin..begin + len);
        begin += if role == Role::Tokens { padded as usize * shape[1] * size } else { len };
        let bytes = match (role, &shape[..]) {
            (Role::Linear, [rows, cols]) => Bytes::aligned_copy(&transpose(&all, [*cols, *rows], size)),
            _ => all,
        };
        tensors.tensors.insert(name, Tensor { dtype: dtype.into(), shape, bytes });
    }
    Ok((config, tensors))
}

/// How many numbers a file holds, with the padding of `wte`.
fn numbers_of(config: &Config, padded: u128) -> u128 {
    let one = Gpt2::specs(Config { n_layer: 1, ..config.clone() }); // a list of all blocks may be longer than any memory
    let numbers = |spec: &Spec| match spec.role {
        Role::Tokens => padded * config.n_embd as u128,
        _ if spec.name.starts_with("transformer.h.") => spec.len() as u128 * config.n_layer as u128,
        _ => spec.len() as u128,
    };
    one.iter().map(numbers).sum()
}

/// The tensors in the order of the file: each kind for all blocks.
fn in_order(config: &Config) -> Vec<Spec> {
    let mut specs = Gpt2::specs(config.clone());
    let last = specs.split_off(specs.len() - 2);
    let blocks = specs.split_off(2);
    let kinds = blocks.len() / config.n_layer;
    for kind in 0..kinds {
        specs.extend(blocks.iter().skip(kind).step_by(kinds).cloned());
    }
    specs.extend(last);
    specs
}

/// Writes a model in F32 or BF16; `progress` is called after each tensor with its weights.
///
/// # Errors
/// [`Error::File`] if the model has something that llm.c lacks; [`Error::Io`] if the file cannot be written.
pub fn write(model: &Gpt2, path: &Path, dtype: Dtype, mut progress: impl FnMut(usize)) -> Result<()> {
    let Config { vocab_size, n_positions, n_embd, n_layer, n_head, .. } = model.config;
    let usual = json!({
        "vocab_size": vocab_size, "n_positions": n_positions, "n_embd": n_embd, "n_layer": n_layer, "n_head": n_head,
        "eos_token_id": vocab_size - 1,
    });
    let usual = Config::from_json(usual.to_string().as_bytes()).map_err(Error::in_file(path))?;
    if model.config != usual {
        let problem = "llm.c has only GPT-2 as OpenAI made it: gelu_new, n_inner 4 n_embd, a tied head, epsilon 1e-5, the last token as the end; write safetensors instead";
        return Err(Error::file(path, problem));
    }
    let version = match dtype {
        Dtype::F32 => 3,
        Dtype::Bf16 => 5,
        _ => return Err(Error::file(path, format!("llm.c has F32 and BF16, not {}", dtype.name()))),
    };
    let padded = vocab_size.next_multiple_of(ROWS);
    let tensors = model.tensors();
    write_whole_with(path, |file| {
        let mut header = Vec::with_capacity(HEADER);
        let numbers = [n_positions, vocab_size, n_layer, n_head, n_embd, padded].map(|number| number as u32);
        for number in [MAGIC, version].into_iter().chain(numbers) {
            header.write_u32::<LittleEndian>(number)?;
        }
        header.resize(HEADER, 0);
        file.write_all(&header)?;
        for spec in in_order(&model.config) {
            let weights =
                tensors.iter().find(|(own, _)| *own == spec).map(|(_, weights)| weights.rounded(dtype));
            let weights = weights.ok_or(std::io::ErrorKind::NotFound)?;
            match spec.role {
                Role::Linear => file.write_all(&transpose(weights.stored(), spec.matrix(), dtype.size()))?,
                _ => file.write_all(weights.stored())?,
            }
            if spec.role == Role::Tokens {
                file.write_all(&vec![0; (padded - vocab_size) * n_embd * dtype.size()])?;
            }
            progress(spec.len());
        }
        Ok(())
    })
}
