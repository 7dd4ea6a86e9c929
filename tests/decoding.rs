//! Processed distributions, greedy texts and strided perplexities equal those of Hugging Face `transformers`.
//!
//! `tests/make_decoding_fixtures.py` makes the fixtures; this test needs no Python.

use gpt2::checkpoint::{self, LanguageModel};
use gpt2::generate::{FinishReason, Generation, Options};
use gpt2::sampling::{Effects, History, NoWatch};
use gpt2::score::{Windows, mean_nll, score};
use gpt2::softmax::softmax;
use gpt2::trace::NoTrace;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The cases under one key.
fn cases(key: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixtures().join("decoding.json")).expect("decoding.json");
    let mut all: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).expect("JSON");
    all.remove(key).expect(key)
}

/// The models by name, each opened once.
struct Models(BTreeMap<String, LanguageModel>);

impl Models {
    fn of(&mut self, case: &Value) -> &mut LanguageModel {
        let name = case["model"].as_str().expect("a name");
        let open = || checkpoint::open(fixtures().join("models").join(name)).expect("a checkpoint");
        self.0.entry(name.into()).or_insert_with(open)
    }
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// A JSON number, or a string for a value that JSON lacks, such as "-inf".
fn number(value: &Value) -> f32 {
    value.as_f64().map_or(f32::NEG_INFINITY, |x| x as f32)
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("numbers").iter().map(number).collect()
}

/// The options as the script writes them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    logit_bias: Vec<(u32, Value)>,
    repetition_penalty: Option<f32>,
    presence_penalty: f32,
    frequency_penalty: f32,
    no_repeat_ngram_size: usize,
    bad_words: Vec<Vec<u32>>,
    min_new_tokens: usize,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    epsilon_cutoff: Option<f64>,
    eta_cutoff: Option<f64>,
}

fn options(case: &Value) -> Options {
    let wanted: Wanted = serde_json::from_value(case["options"].clone()).expect("options");
    let biases = wanted.logit_bias.iter().map(|(id, bias)| (*id, number(bias)));
    Options::plain(0)
        .logit_bias(biases.collect::<Vec<_>>())
        .repetition_penalty(wanted.repetition_penalty.unwrap_or(1.0))
        .presence_penalty(wanted.presence_penalty)
        .frequency_penalty(wanted.frequency_penalty)
        .no_repeat_ngram_size(wanted.no_repeat_ngram_size)
        .bad_words(wanted.bad_words)
        .min_new_tokens(wanted.min_new_tokens)
        .temperature(wanted.temperature.unwrap_or(1.0))
        .top_k(wanted.top_k)
        .top_p(wanted.top_p)
        .min_p(wanted.min_p)
        .typical_p(wanted.typical_p)
        .epsilon_cutoff(wanted.epsilon_cutoff)
        .eta_cutoff(wanted.eta_cutoff)
}

/// Runs scores `[V]` through all steps. The probabilities must be those of the case, and removed tokens must have 0.
fn compare(case: &Value, mut scores: Vec<f32>) {
    let options = options(case);
    let (ids, eos) = (ids(&case["ids"]), ids(&case["eos"]));
    let history =
        History { ids: &ids, prompt_len: case["prompt_len"].as_u64().expect("a length") as usize, eos: &eos };
    let keep = case["keep"].as_u64().expect("a number") as usize;
    let mut watched = scores.clone();
    options.process(&mut scores, &history, &mut NoWatch);
    options.warp(&mut scores, keep, &mut NoWatch);
    let mut effects = Effects::default();
    options.process(&mut watched, &history, &mut effects);
    options.warp(&mut watched, keep, &mut effects);
    assert!(watched.iter().map(|x| x.to_bits()).eq(scores.iter().map(|x| x.to_bits())));
    softmax(&mut scores);
    for (id, (got, expected)) in scores.iter().zip(numbers(&case["probs"])).enumerate() {
        let same_side = (*got == 0.0) == (expected == 0.0) || got.max(expected) < 1e-30;
        assert!(
            same_side && (got - expected).abs() < 1e-5,
            "id {id}: {got}, not {expected}; {case}\n{effects:?}"
        );
    }
}

#[test]
fn distributions_of_made_up_scores() {
    let cases = cases("rows");
    assert!(cases.len() >= 100, "{}", cases.len());
    for case in cases {
        compare(&case, numbers(&case["scores"]));
    }
}

#[test]
fn distributions_of_models() {
    let (cases, mut models) = (cases("distributions"), Models(BTreeMap::new()));
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in cases {
        let model = &models.of(&case).model;
        let logits = model.next_logits(&ids(&case["ids"]), &mut model.new_cache(), &mut NoTrace);
        compare(&case, logits.row(0).to_vec());
    }
    assert_eq!(models.0.len(), 3);
}

#[test]
fn greedy_texts() {
    let (cases, mut models) = (cases("greedy"), Models(BTreeMap::new()));
    assert!(cases.len() >= 40, "{}", cases.len());
    for case in cases {
        let lm = models.of(&case);
        lm.model.config.eos_token_ids = ids(&case["eos"]);
        let options = options(&case).sample(false).max_new_tokens(30);
        let mut generation = Generation::new(&lm.model, &ids(&case["prompt_ids"]), options).expect("options");
        let got: Vec<u32> = generation.by_ref().map(|chosen| chosen.expect("a token").id).collect();
        assert_eq!(got, ids(&case["ids"]), "{case}");
        let finish_reason = generation.finish_reason().map(FinishReason::name);
        assert_eq!(finish_reason, case["finish_reason"].as_str(), "{case}");
    }
}

#[test]
fn strided_perplexities() {
    let (cases, mut models) = (cases("perplexity"), Models(BTreeMap::new()));
    assert!(cases.len() >= 24, "{}", cases.len());
    for case in cases {
        let [window, stride] = ["window", "stride"].map(|key| case[key].as_u64().expect("a number") as usize);
        let model = &models.of(&case).model;
        let scored = score(model, &ids(&case["ids"]), Windows { window, stride }, |_| ()).expect("scores");
        let not_scored = if stride == window { scored.len().div_ceil(window) } else { 1 };
        assert_eq!(scored.iter().filter(|logprob| logprob.is_none()).count(), not_scored);
        let (got, expected) = (mean_nll(&scored).expect("scores"), case["nll"].as_f64().expect("nll"));
        let relative = (got.exp() / expected.exp() - 1.0).abs();
        assert!(relative < 1e-4, "window {window}, stride {stride}: {got}, not {expected}");
    }
}
