//! The numbers that fix a model's shape, under the names of HF's `config.json`.

use crate::activation::Activation;
use serde::Deserialize;

/// The number of a token: a row of the embedding table.
pub type TokenId = u32;

/// A model's hyperparameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens in the vocabulary, V.
    pub vocab_size: usize,
    /// The longest sequence.
    pub n_positions: usize,
    /// The width of the residual stream, C.
    pub n_embd: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Attention heads a block, H.
    pub n_head: usize,
    /// The width inside the feed-forward layer: 4 C unless said otherwise.
    pub n_inner: usize,
    /// The function inside the feed-forward layer.
    pub activation: Activation,
    /// eps of the layer norms.
    pub layer_norm_epsilon: f32,
    /// Whether attention scores are divided by sqrt(D).
    pub scale_attn_weights: bool,
    /// Whether they are divided by the layer's number (from 1) as well.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the output head is `wte` itself.
    pub tie_word_embeddings: bool,
    /// Ids that end a text.
    pub eos_token_ids: Vec<TokenId>,
}

/// `config.json` as it is written; what is left out has HF's default.
#[derive(Deserialize)]
#[serde(default)]
struct File {
    model_type: Option<String>,
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    tie_word_embeddings: bool,
    eos_token_id: Option<Ids>,
    add_cross_attention: bool,
}

/// One id or a list of them.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(TokenId),
    Many(Vec<TokenId>),
}

impl Ids {
    pub(crate) fn into_vec(self) -> Vec<TokenId> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            model_type: None,
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
            eos_token_id: Some(Ids::One(50_256)),
            add_cross_attention: false,
        }
    }
}

/// No real model is larger in any dimension; a larger number is a damaged or hostile file.
const LARGEST: usize = 1 << 24;

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that names the key.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let file: File =
            serde_json::from_slice(json).map_err(|e| format!("not a GPT-2 configuration: {e}"))?;
        if let Some(kind) = file.model_type.filter(|kind| kind != "gpt2") {
            return Err(format!("model_type is {kind:?}; only \"gpt2\" can be used"));
        }
        if file.add_cross_attention {
            return Err("add_cross_attention is true; an encoder-decoder model cannot be used".into());
        }
        let name = &file.activation_function;
        let activation = Activation::from_name(name).ok_or_else(|| {
            format!("activation_function {name:?} is unknown; known are gelu_new, gelu, gelu_pytorch_tanh, relu, silu and swish")
        })?;
        let n_inner = file.n_inner.unwrap_or(file.n_embd.saturating_mul(4));
        for (key, value) in [
            ("vocab_size", file.vocab_size),
            ("n_positions", file.n_positions),
            ("n_embd", file.n_embd),
            ("n_layer", file.n_layer),
            ("n_head", file.n_head),
            ("n_inner", n_inner),
        ] {
            if value == 0 || value > LARGEST {
                return Err(format!("{key} is {value}; it must be from 1 to {LARGEST}"));
            }
        }
        if !file.n_embd.is_multiple_of(file.n_head) {
            return Err(format!("n_embd {} is not a multiple of n_head {}", file.n_embd, file.n_head));
        }
        let layer_norm_epsilon = file.layer_norm_epsilon as f32;
        if !(0.0..=1.0).contains(&layer_norm_epsilon) {
            return Err(format!("layer_norm_epsilon is {}; it must be from 0 to 1", file.layer_norm_epsilon));
        }
        Ok(Self {
            vocab_size: file.vocab_size,
            n_positions: file.n_positions,
            n_embd: file.n_embd,
            n_layer: file.n_layer,
            n_head: file.n_head,
            n_inner,
            activation,
            layer_norm_epsilon,
            scale_attn_weights: file.scale_attn_weights,
            scale_attn_by_inverse_layer_idx: file.scale_attn_by_inverse_layer_idx,
            tie_word_embeddings: file.tie_word_embeddings,
            eos_token_ids: file.eos_token_id.map(Ids::into_vec).unwrap_or_default(),
        })
    }

    /// The text of a `config.json` that says the same.
    pub fn to_json(&self) -> String {
        let ids = match &self.eos_token_ids[..] {
            [id] => serde_json::json!(id),
            ids => serde_json::json!(ids),
        };
        let file = serde_json::json!({
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

    /// What attention scores of block `layer` are multiplied by.
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
mod tests {
    use super::*;

    #[test]
    fn defaults_are_gpt2_small() {
        let config = Config::from_json(b"{}").expect("defaults");
        assert_eq!((config.n_layer, config.n_head, config.n_embd, config.n_inner), (12, 12, 768, 3072));
        assert_eq!(
            (config.vocab_size, config.n_positions, config.eos_token_ids),
            (50_257, 1024, vec![50_256])
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        for json in [
            r#"{}"#,
            r#"{"n_embd": 60, "n_head": 5, "n_inner": 7, "activation_function": "silu", "tie_word_embeddings": false,
                "layer_norm_epsilon": 3e-6, "scale_attn_weights": false, "eos_token_id": [1, 2]}"#,
            r#"{"scale_attn_by_inverse_layer_idx": true, "eos_token_id": null, "activation_function": "gelu"}"#,
        ] {
            let config = Config::from_json(json.as_bytes()).expect("a configuration");
            assert_eq!(Config::from_json(config.to_json().as_bytes()), Ok(config), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (json, part) in [
            (r#"{"activation_function": "mish"}"#, "\"mish\""),
            (r#"{"n_head": 7}"#, "n_head 7"),
            (r#"{"n_layer": 0}"#, "n_layer is 0"),
            (r#"{"n_embd": 18446744073709551615}"#, "n_embd"),
            (r#"{"model_type": "llama"}"#, "llama"),
            (r#"{"n_layer": "two"}"#, "not a GPT-2 configuration"),
            ("[1, 2", "not a GPT-2 configuration"),
            (r#"{"layer_norm_epsilon": -1}"#, "layer_norm_epsilon"),
        ] {
            let error = Config::from_json(json.as_bytes()).expect_err(json);
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
