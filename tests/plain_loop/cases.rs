//! Random models, prompts and options.

use super::plain::TOKENS;
use gpt2::bpe::Bpe;
use gpt2::checkpoint::random;
use gpt2::config::{Config, TokenId};
use gpt2::generate::{ContextPolicy, Options};
use gpt2::model::Gpt2;
use gpt2::sampling::options::Row;
use gpt2::tensor::Dtype;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// A tokenizer of [`TOKENS`]. All other ids of a model have no text, as in padded vocabularies.
pub static BPE: LazyLock<Bpe> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|name| folder.path().join(name));
    let ids: Map<String, Value> = (0..).zip(TOKENS).map(|(id, token)| (token.1.into(), json!(id))).collect();
    std::fs::write(&vocab, Value::Object(ids).to_string()).expect("vocab.json");
    std::fs::write(&merges, "a b\nb a\na ab\n").expect("merges.txt");
    Bpe::from_files(&vocab, &merges).expect("a tokenizer")
});

/// A model of up to 39 tokens and 20 positions, and one of its vocabulary to draft for it. One model in fifty is damaged.
pub fn models() -> impl Strategy<Value = (Gpt2, Gpt2)> {
    let config = |v: usize| {
        let shape = (1..3usize, 1..4usize, 1..8usize, 1..21usize, prop::bool::weighted(0.7));
        (shape, prop::collection::vec(0..v + 1, 0..3)).prop_map(move |((n_layer, n_head, d, n_positions, tied), eos)| {
            json!({
                "n_layer": n_layer, "n_head": n_head, "n_embd": n_head * d, "n_positions": n_positions, "vocab_size": v,
                "tie_word_embeddings": tied, "eos_token_id": eos,
            })
        })
    };
    let numbers = (
        select(&Dtype::ALL[..]),
        select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        0..4i32,
        prop::bool::weighted(0.02),
    );
    let model = (2..40usize).prop_flat_map(move |v| (config(v), config(v)));
    (model, numbers).prop_map(|((config, of_draft), (dtype, kv_cache_dtype, sharper, damaged))| {
        let [mut model, draft] = [(config, dtype), (of_draft, Dtype::F32)].map(|(config, dtype)| {
            let config = Config::from_json(config.to_string().as_bytes()).expect("a configuration");
            Gpt2 { kv_cache_dtype, ..random::random(config, dtype) }
        });
        // the larger the last norm, the less even the distribution
        model.ln_f.weight.iter_mut().for_each(|w| *w *= 8f32.powi(sharper));
        if damaged {
            model.ln_f.bias[0] = f32::NAN;
        }
        (model, draft)
    })
}

/// Prompts from none to twice the positions. One in fifty has an unknown id.
pub fn prompt(model: &Gpt2) -> impl Strategy<Value = Vec<TokenId>> + use<> {
    let v = model.config.vocab_size as TokenId;
    let known = prop_oneof![
        1 => Just(0..1),
        9 => Just(1..5),
        9 => Just(1..2 * model.config.n_positions + 3),
    ];
    let known = known.prop_flat_map(move |len| prop::collection::vec(0..v, len));
    (known, prop::bool::weighted(0.02)).prop_map(move |(mut ids, unknown)| {
        ids.extend(unknown.then_some(v));
        ids
    })
}

/// Options with any of the table's rows.
pub fn options(model: &Gpt2) -> impl Strategy<Value = Options> + use<> {
    let v = model.config.vocab_size as TokenId;
    let rows: Vec<_> = Options::table().iter().map(|row| value(row, v)).collect();
    (rows, 0..3u64).prop_map(|(values, stream)| {
        let mut options = Options::plain(0).max_new_tokens(12).stream(stream);
        for (row, value) in Options::table().iter().zip(values) {
            if let Some(value) = value {
                row.read(&mut options, &value, &|_| Vec::new()).expect("a value");
            }
        }
        options
    })
}

/// A value of a row, or none.
fn value(row: &Row, v: TokenId) -> BoxedStrategy<Option<Value>> {
    match row.name {
        "seed" | "max-new-tokens" | "context-policy" => values(row.name, v).prop_map(Some).boxed(),
        name => prop::option::weighted(0.3, values(name, v)).boxed(),
    }
}

/// Values of a row for a model of `v` tokens. A new row of the table needs an arm here, and its rule in the plain loop.
fn values(name: &str, v: TokenId) -> BoxedStrategy<Value> {
    let id = 0..v;
    match name {
        "greedy" | "ignore-eos" => Just(json!(true)).boxed(),
        "logit-bias" => {
            let bias = prop_oneof![3 => (-8.0..8.0f32).prop_map(|x| json!(x)), 1 => Just(json!("-inf"))];
            prop::collection::vec((id, bias), 1..5).prop_map(|biases| json!(biases)).boxed()
        }
        "repetition-penalty" => (0.3..3.0f32).prop_map(|x| json!(x)).boxed(),
        "presence-penalty" | "frequency-penalty" => (-1.0..1.0f32).prop_map(|x| json!(x)).boxed(),
        "no-repeat-ngram-size" => (1..5u32).prop_map(|n| json!(n)).boxed(),
        "bad-words" => {
            let word = prop::collection::vec(id, 1..4);
            prop::collection::vec(word, 1..4).prop_map(|words| json!(words)).boxed()
        }
        "min-new-tokens" => (0..8u32).prop_map(|n| json!(n)).boxed(),
        "temperature" => prop_oneof![9 => 0.05..5.0f32, 1 => select(vec![1e-38, 1e-30, 1e30])]
            .prop_map(|x| json!(x))
            .boxed(),
        "top-k" => (0..v + 2).prop_map(|k| json!(k)).boxed(),
        "top-p" | "min-p" => {
            prop_oneof![8 => 0.0..1.0f64, 1 => Just(0.0), 1 => Just(1.0)].prop_map(|p| json!(p)).boxed()
        }
        "typical-p" => prop_oneof![9 => 0.01..1.0f64, 1 => Just(1.0)].prop_map(|p| json!(p)).boxed(),
        "epsilon-cutoff" | "eta-cutoff" => {
            prop_oneof![0.0..0.1f64, 0.0..1.0f64].prop_map(|p| json!(p)).boxed()
        }
        "seed" => any::<u64>().prop_map(|seed| json!(seed)).boxed(),
        "max-new-tokens" => (0..25u32).prop_map(|n| json!(n)).boxed(),
        "stop" => prop::collection::vec("[abé]{1,3}", 1..3).prop_map(|stop| json!(stop)).boxed(),
        "context-policy" => {
            let policy = prop_oneof![2 => Just(ContextPolicy::Slide), 1 => select(&ContextPolicy::ALL[..])];
            policy.prop_map(|policy| json!(policy.name())).boxed()
        }
        new => panic!("no values for the row {new}"),
    }
}
