//! The tensors of a checkpoint become the fields of the model: every name and shape is checked.

use super::int8;
use crate::config::Config;
use crate::format::Bytes;
use crate::format::safetensors::{SafeTensors, Tensor};
use crate::model::{Gpt2, Role, Spec};
use crate::tensor::{Dtype, Weights};
use byteorder::{ByteOrder, LittleEndian};
use std::collections::{BTreeMap, BTreeSet};

/// The model of these tensors, and notes about what a reader of the file would not expect.
///
/// The rules are those of HF's `from_pretrained`: a bias that is absent is 0, and a stored head that differs from `wte` is
/// used even if `config.json` ties the two.
///
/// # Errors
/// What is missing or has the wrong shape, in a sentence that names the tensor.
pub fn model(tensors: &SafeTensors, mut config: Config) -> Result<(Gpt2, Vec<String>), String> {
    let found = Names::of(tensors)?;
    // no memory for blocks that the file does not have
    (0..config.n_layer).try_for_each(|i| found.get(&format!("transformer.h.{i}.ln_1.weight")).map(drop))?;
    let mut notes = Vec::new();
    if !found.outer.is_empty() {
        notes.push(format!("the names begin with {}, which is taken off", shown(found.outer)));
    }
    if config.tie_word_embeddings && found.heads_differ() {
        config.tie_word_embeddings = false;
        notes.push(format!("{LM_HEAD} is used: it differs from wte, although config.json ties the two"));
    }
    let (mut used, mut absent) = (BTreeSet::new(), Vec::new());
    let (n_layer, tied) = (config.n_layer, config.tie_word_embeddings);
    let model = Gpt2::build(config, |spec| {
        let (name, tensor) = match found.get(&spec.name) {
            Err(_) if spec.role == Role::Bias => {
                absent.push(spec.name.clone());
                return Ok(Weights::from_f32(1, spec.len(), &vec![0.0; spec.len()]));
            }
            Err(_) if spec.name == WTE && tied && found.get(LM_HEAD).is_ok() => found.get(LM_HEAD)?,
            found => found?,
        };
        let weights = found.weights(spec, &name, tensor);
        used.insert(name);
        weights
    })?;
    notes.extend(listed(&absent).map(|names| format!("biases that the file lacks are 0: {names}")));
    notes.extend(found.surplus(&used, n_layer));
    Ok((model, notes))
}

/// All tensors that are missing, or have a wrong shape or an unknown type; [`model`] names only the first.
pub fn problems(tensors: &SafeTensors, config: &Config) -> Vec<String> {
    let found = match Names::of(tensors) {
        Err(problem) => return vec![problem],
        Ok(found) => found,
    };
    if config.n_layer > tensors.tensors.len() {
        let (n_layer, len) = (config.n_layer, tensors.tensors.len());
        return vec![format!("config.json has n_layer {n_layer}, the file only {len} tensors")];
    }
    let problem = |spec: &Spec| match found.get(&spec.name) {
        Err(_) if spec.role == Role::Bias => None,
        Err(_) if spec.name == WTE && config.tie_word_embeddings && found.get(LM_HEAD).is_ok() => None,
        Err(problem) => Some(problem),
        Ok((name, tensor)) => found.weights(spec, &name, tensor).err(),
    };
    Gpt2::specs(config.clone()).iter().filter_map(problem).collect()
}

/// What most names begin with.
const TRANSFORMER: &str = "transformer.";

/// The token embeddings.
const WTE: &str = "transformer.wte.weight";

/// The output head, where it is not tied.
const LM_HEAD: &str = "lm_head.weight";

/// Tensors of every file, without what their names begin with.
const ANCHORS: [&str; 4] = ["wpe.weight", "wte.weight", "h.0.ln_1.weight", "ln_f.weight"];

/// The tensors of a file under the names of Hugging Face.
struct Names<'a> {
    tensors: &'a SafeTensors,
    /// What all names begin with, such as `module.`; nothing in most files.
    outer: &'a str,
    /// What the file has in place of `transformer.`, with `outer`.
    prefix: &'a str,
}

impl<'a> Names<'a> {
    /// Finds what the names begin with: `transformer.`, nothing in OpenAI's first files, or either after the name of what a
    /// training program wrapped the model in.
    fn of(tensors: &'a SafeTensors) -> Result<Self, String> {
        let prefix = |name: &'a String| ANCHORS.iter().find_map(|anchor| name.strip_suffix(anchor));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for prefix in tensors.tensors.keys().filter_map(prefix).filter(|p| p.is_empty() || p.ends_with('.')) {
            *votes.entry(prefix).or_default() += 1;
        }
        let best = votes.into_iter().max_by_key(|(prefix, votes)| (*prefix == TRANSFORMER, *votes));
        let (prefix, _) =
            best.ok_or_else(|| format!("tensor {WTE:?} is missing; is this a GPT-2 checkpoint?"))?;
        Ok(Self { tensors, prefix, outer: prefix.strip_suffix(TRANSFORMER).unwrap_or(prefix) })
    }

    /// The tensor of this name, and its name in the file.
    fn get(&self, name: &str) -> Result<(String, &'a Tensor), String> {
        let name = match name.strip_prefix(TRANSFORMER) {
            Some(rest) => format!("{}{rest}", self.prefix),
            // beside a wrapped model, or in it
            None if self.tensors.tensors.contains_key(name) => name.to_string(),
            None => format!("{}{name}", self.outer),
        };
        match self.tensors.tensors.get(&name) {
            Some(tensor) => Ok((name, tensor)),
            None if name.ends_with(LM_HEAD) => {
                Err(format!("tensor {name:?} is missing, and tie_word_embeddings is false"))
            }
            None => Err(format!("tensor {name:?} is missing; does config.json belong to this file?")),
        }
    }

    /// Whether the file has an output head other than its token embeddings.
    fn heads_differ(&self) -> bool {
        match (self.get(WTE), self.get(LM_HEAD)) {
            (Ok((_, wte)), Ok((_, head))) => (&wte.shape, &*wte.bytes) != (&head.shape, &*head.bytes),
            _ => false,
        }
    }

    /// The numbers of a tensor, left where they are.
    fn weights(&self, spec: &Spec, name: &str, tensor: &Tensor) -> Result<Weights, String> {
        let [rows, cols] = spec.matrix();
        if let Some(outputs) = spec.role.outputs().filter(|_| tensor.dtype == "I8") {
            return int8::weights(self.tensors, name, spec, outputs);
        }
        let (shape, needed) = (&tensor.shape, &spec.shape);
        if spec.role == Role::Linear && *shape == [cols, rows] && rows != cols {
            return Err(format!(
                "tensor {name:?} has shape {shape:?}: transposed, as nn.Linear stores it; GPT-2's Conv1D is [in, out], {needed:?}"
            ));
        }
        if shape != needed {
            return Err(format!("tensor {name:?} has shape {shape:?}, config.json needs {needed:?}"));
        }
        if tensor.dtype == "F64" {
            let numbers = tensor.bytes.chunks_exact(8).map(|bytes| LittleEndian::read_f64(bytes) as f32);
            return Ok(Weights::from_f32(rows, cols, &numbers.collect::<Vec<f32>>()));
        }
        let known = [(Dtype::F32, "F32"), (Dtype::F16, "F16"), (Dtype::Bf16, "BF16")];
        let (dtype, _) = known.into_iter().find(|(_, name)| *name == tensor.dtype).ok_or_else(|| {
            format!("tensor {name:?} is stored as {}; it can be F32, F16, BF16 or F64", tensor.dtype)
        })?;
        // The format does not promise alignment; files that lack it are rare, and are copied.
        let aligned = tensor.bytes.as_ptr().addr().is_multiple_of(dtype.size());
        let bytes = if aligned { tensor.bytes.clone() } else { Bytes::aligned_copy(&tensor.bytes) };
        Ok(Weights::new(rows, cols, dtype, bytes))
    }

    /// Notes about tensors that no part of the model uses, but for the causal masks that older files hold.
    fn surplus(&self, used: &BTreeSet<String>, n_layer: usize) -> Vec<String> {
        let mask = |name: &&String| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
        let scale = |name: &&String| name.strip_suffix(".scale").is_some_and(|name| used.contains(name));
        let head = |name: &&String| self.get(LM_HEAD).is_ok_and(|(head, _)| **name == head); // equal to wte
        let unused = self.tensors.tensors.keys().filter(|name| !used.contains(*name));
        let unused = unused.filter(|name| !mask(name) && !scale(name) && !head(name));
        let block = |name: &String| -> Option<usize> {
            name.strip_prefix(self.prefix)?.strip_prefix("h.")?.split('.').next()?.parse().ok()
        };
        let (blocks, others): (Vec<_>, Vec<_>) = unused.partition(|name| block(name) >= Some(n_layer));
        let last = blocks.iter().filter_map(|name| block(name)).max().map(|last| {
            format!("config.json has n_layer {n_layer}, the file {} blocks; blocks from {n_layer} on are not used", last + 1)
        });
        last.into_iter().chain(listed(&others).map(|names| format!("not used: {names}"))).collect()
    }
}

/// A name in quotes, at most 80 characters of it.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(80).collect::<String>())
}

/// A list of names, shortened; `None` if there are none.
fn listed(names: &[impl AsRef<str>]) -> Option<String> {
    const MOST: usize = 3;
    let shown: Vec<String> = names.iter().take(MOST).map(|name| shown(name.as_ref())).collect();
    let rest = match names.len() {
        0 => return None,
        len if len > MOST => format!(" and {} more", len - MOST),
        _ => String::new(),
    };
    Some(shown.join(", ") + &rest)
}

/// The configuration of a file that has none: sizes from the shapes, heads of 64, everything else GPT-2's.
///
/// # Errors
/// What keeps the shapes from being those of a GPT-2.
pub fn guess_config(tensors: &SafeTensors) -> Result<Config, String> {
    let found = Names::of(tensors)?;
    let shape = |name: &str| -> Result<[usize; 2], String> {
        let (name, tensor) = found.get(name)?;
        <[usize; 2]>::try_from(tensor.shape.clone())
            .map_err(|s| format!("tensor {name:?} has shape {s:?}, not a matrix"))
    };
    let ([vocab_size, n_embd], [n_positions, _]) =
        (shape(WTE).or_else(|_| shape(LM_HEAD))?, shape("transformer.wpe.weight")?);
    let [_, n_inner] = shape("transformer.h.0.mlp.c_fc.weight")?;
    let n_layer = (0..).take_while(|i| found.get(&format!("transformer.h.{i}.ln_1.weight")).is_ok()).count();
    if n_embd % 64 != 0 {
        return Err(format!(
            "without config.json beside it, n_embd must be a multiple of 64; it is {n_embd}"
        ));
    }
    let tied = found.get(LM_HEAD).is_err() || found.get(WTE).is_err();
    let json = serde_json::json!({
        "vocab_size": vocab_size, "n_positions": n_positions, "n_embd": n_embd, "n_layer": n_layer,
        "n_head": n_embd / 64, "n_inner": n_inner, "tie_word_embeddings": tied,
    });
    Config::from_json(json.to_string().as_bytes())
}
