//! The models whose bits are checked: the bundled one and its int8 copy, every fixture, and random ones of medium size.

use gpt2::bpe::TokenId;
use gpt2::checkpoint::{self, random};
use gpt2::config::Config;
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;

/// A shape that needs every kernel: sums longer than a block of 256 (n_embd, n_inner, and attention over more than 256
/// positions), more columns than one stripe of 512, widths that are not multiples of 16, several pages of the cache.
const MIDDLE: &str =
    r#"{"n_layer": 2, "n_embd": 330, "n_head": 5, "n_inner": 1290, "n_positions": 320, "vocab_size": 1031}"#;

/// One head, wider than a block.
const ONE_HEAD: &str = r#"{"n_layer": 1, "n_embd": 272, "n_head": 1, "n_positions": 80, "vocab_size": 97, "activation_function": "gelu"}"#;

/// A model with a name.
pub struct Named {
    pub name: String,
    pub model: Gpt2,
}

pub fn bundled() -> Named {
    Named { name: "tales-8m bf16".into(), model: checkpoint::bundled().model }
}

/// The bundled model in eight bits. Unlike random weights, it has outputs of different scales and outlier activations.
pub fn quantized() -> Named {
    Named { name: "tales-8m int8".into(), model: checkpoint::bundled().model.quantize() }
}

/// `tests/fixtures/models`: each option of GPT-2, in f32, f16 and bf16.
pub fn fixtures() -> Vec<Named> {
    let mut opened = crate::fixtures();
    opened.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(opened.len() >= 12, "{} fixtures", opened.len());
    let named =
        |(name, model): (String, Gpt2)| Named { name: format!("{name} {}", model.wte.dtype().name()), model };
    opened.into_iter().map(named).collect()
}

/// Random models: one for each number type of the weights, and one for each of keys and values.
pub fn middle() -> Vec<Named> {
    let random = |name: &str, json: &str, dtype: Dtype| {
        let config = Config::from_json(json.as_bytes()).expect("a configuration");
        Named { name: format!("{name} {}", dtype.name()), model: random::random(config, dtype) }
    };
    let mut models: Vec<Named> =
        Dtype::ALL.into_iter().map(|dtype| random("middle", MIDDLE, dtype)).collect();
    models.push(random("one head", ONE_HEAD, Dtype::F32));
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let mut named = random(&format!("{} keys", dtype.name()), MIDDLE, Dtype::F32);
        named.model.kv_cache_dtype = dtype;
        models.push(named);
    }
    models
}

pub fn all() -> Vec<Named> {
    let mut models = vec![bundled(), quantized()];
    models.extend(fixtures());
    models.extend(middle());
    models
}

/// Some ids of the model's vocabulary, different for each `seed`.
pub fn ids(model: &Gpt2, count: usize, seed: usize) -> Vec<TokenId> {
    (0..count).map(|i| ((i * i + 31 * seed * (i + 1) + 7 * i) % model.config.vocab_size) as TokenId).collect()
}

/// Eight prompts: one longer than a page of the cache (64) if the model has enough positions, and some short ones.
pub fn prompts(model: &Gpt2) -> Vec<Vec<TokenId>> {
    let longest = 66.min(model.config.n_positions);
    let lengths = [longest, 1, 3, 9, 2, 5, 4, 6].into_iter().enumerate();
    lengths.map(|(seed, len)| ids(model, len, seed)).collect()
}
