//! The numbers that fix a model's shape, under the names of HF's `config.json`.

use crate::activation::Activation;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// The id of a token: a row of the embedding table.
pub type TokenId = u32;

/// A model's hyperparameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens in the vocabulary, V.
    pub vocab_size: usize,
    /// The length of the longest sequence.
    pub n_positions: usize,
    /// The width of the residual stream, C.
    pub n_embd: usize,
    /// The number of blocks.
    pub n_layer: usize,
    /// Attention heads per block, H.
    pub n_head: usize,
    /// The width inside the feed-forward layer: 4 C by default.
    pub n_inner: usize,
    /// The nonlinearity of the feed-forward layer.
    pub activation: Activation,
    /// The eps of the layer norms.
    pub layer_norm_epsilon: f32,
    /// Whether attention scores are divided by sqrt(D).
    pub scale_attn_weights: bool,
    /// Whether they are also divided by the number of the block, from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the output head is `wte`.
    pub tie_word_embeddings: bool,
    /// Ids that end a text.
    pub eos_token_ids: Vec<TokenId>,
}

/// One id or a list of them, from JSON; none for null.
pub(crate) fn ids(json: &Value) -> Result<Vec<TokenId>, String> {
    let problem = |_| format!("{json} is not an id or a list of ids");
    match json {
        Value::Null => Ok(Vec::new()),
        Value::Array(_) => Vec::deserialize(json).map_err(problem),
        one => TokenId::deserialize(one).map(|id| vec![id]).map_err(problem),
    }
}

/// No real model is larger in any dimension; a larger number comes from a damaged or hostile file.
const LARGEST: usize = 1 << 24;

/// Other names of keys, which precede them: HF's `GPT2Config.attribute_map`.
const ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "n_embd"),
    ("max_position_embeddings", "n_positions"),
    ("num_attention_heads", "n_head"),
    ("num_hidden_layers", "n_layer"),
];

/// The keys of a `config.json`.
struct Keys(Map<String, Value>);

impl Keys {
    /// The value of a key, or HF's default if it is left out.
    fn get<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, String> {
        let alias = ALIASES.iter().find(|(alias, name)| *name == key && self.0.contains_key(*alias));
        let key = alias.map_or(key, |(alias, _)| alias);
        let Some(value) = self.0.get(key) else { return Ok(default) };
        T::deserialize(value).map_err(|e| format!("not a GPT-2 configuration: {key} is {value}: {e}"))
    }

    /// A size.
    fn size(&self, key: &str, default: usize) -> Result<usize, String> {
        bounded(key, self.get(key, default)?)
    }
}

fn bounded(key: &str, size: usize) -> Result<usize, String> {
    if (1..=LARGEST).contains(&size) {
        return Ok(size);
    }
    Err(format!("{key} is {size}; it must be from 1 to {LARGEST}"))
}

impl Config {
    /// Reads the text of a `config.json`. What is left out has HF's default, which is GPT-2's smallest size.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that names the key.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let keys = Keys(serde_json::from_slice(json).map_err(|e| format!("not a GPT-2 configuration: {e}"))?);
        let kind: Option<String> = keys.get("model_type", None)?;
        if let Some(kind) = kind.filter(|kind| kind != "gpt2") {
            return Err(format!("model_type is {kind:?}; only \"gpt2\" can be used"));
        }
        if keys.get("add_cross_attention", false)? {
            return Err("add_cross_attention is true; an encoder-decoder model cannot be used".into());
        }
        let name: String = keys.get("activation_function", "gelu_new".into())?;
        let activation = Activation::from_name(&name)?;
        let (n_embd, n_head) = (keys.size("n_embd", 768)?, keys.size("n_head", 12)?);
        if !n_embd.is_multiple_of(n_head) {
            return Err(format!("n_embd {n_embd} is not a multiple of n_head {n_head}"));
        }
        let eps: f64 = keys.get("layer_norm_epsilon", 1e-5)?;
        if !(0.0..=1.0).contains(&eps) {
            return Err(format!("layer_norm_epsilon is {eps}; it must be from 0 to 1"));
        }
        let eos: Value = keys.get("eos_token_id", json!(50_256))?;
        let eos =
            ids(&eos).map_err(|problem| format!("not a GPT-2 configuration: eos_token_id: {problem}"))?;
        Ok(Self {
            vocab_size: keys.size("vocab_size", 50_257)?,
            n_positions: keys.size("n_positions", 1024)?,
            n_embd,
            n_layer: keys.size("n_layer", 12)?,
            n_head,
            n_inner: bounded("n_inner", keys.get("n_inner", None)?.unwrap_or(4 * n_embd))?,
            activation,
            layer_norm_epsilon: eps as f32,
            scale_attn_weights: keys.get("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: keys.get("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings: keys.get("tie_word_embeddings", true)?,
            eos_token_ids: eos,
        })
    }

    /// The text of a `config.json` that says the same.
    pub fn to_json(&self) -> String {
        let ids = match &self.eos_token_ids[..] {
            [id] => json!(id),
            ids => json!(ids),
        };
        let file = json!({
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": self.vocab_size,
            "n_positions": self.n_positions, "n_embd": self.n_embd, "n_layer": self.n_layer, "n_head": self.n_head,
            "n_inner": self.n_inner, "activation_function": self.activation.name(),
            // the f32 as the f64 that it is: read again, it is the same
            "layer_norm_epsilon": f64::from(self.layer_norm_epsilon), "scale_attn_weights": self.scale_attn_weights,
            "scale_attn_by_inverse_layer_idx": self.scale_attn_by_inverse_layer_idx,
            "tie_word_embeddings": self.tie_word_embeddings, "eos_token_id": ids,
        });
        file.to_string()
    }

    /// The size of one attention head, D = C / H.
    pub fn head_size(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// The factor of the attention scores of block `layer`, which counts from 0.
    pub fn attention_scale(&self, layer: usize) -> f32 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= (self.head_size() as f32).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f32;
        }
        scale
    }
}

#[cfg(test)]
mod tests;
