//! Beam search finds what Hugging Face `transformers` finds: the same ids, the same scores.
//!
//! `tests/make_beam_fixtures.py` and `tests/make_beam_group_fixtures.py` make the fixtures; this test needs no Python.

mod common;

use common::{Checkpoint, fixture};
use gpt2::checkpoint::{self, LanguageModel};
use gpt2::generate::{FinishReason, Options, StopStrings, TextStream};
use gpt2::search::{BeamSearch, Beams, EarlyStopping, Hypothesis};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The options of a search, under HF's names.
#[derive(Deserialize)]
struct Case {
    model: String,
    prompt_ids: Vec<u32>,
    eos: Vec<u32>,
    options: Wanted,
    seed: Option<u64>,
    found: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    ids: Vec<u32>,
    score: f32,
}

/// `max_new_tokens` of the cases that do not set it.
const NEW_TOKENS: usize = 14;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    num_beams: usize,
    num_beam_groups: usize,
    diversity_penalty: f32,
    num_return_sequences: usize,
    length_penalty: f64,
    early_stopping: Value,
    max_new_tokens: usize,
    min_new_tokens: usize,
    logit_bias: Vec<(u32, Value)>,
    repetition_penalty: f32,
    no_repeat_ngram_size: usize,
    bad_words: Vec<Vec<u32>>,
    stop_strings: Vec<String>,
    temperature: f32,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            num_beams: 1,
            num_beam_groups: 1,
            diversity_penalty: 0.0,
            num_return_sequences: 1,
            length_penalty: 1.0,
            early_stopping: Value::Bool(false),
            max_new_tokens: NEW_TOKENS,
            min_new_tokens: 0,
            logit_bias: vec![],
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            bad_words: vec![],
            stop_strings: vec![],
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
        }
    }
}

impl Case {
    fn options(&self) -> (Options, Beams) {
        let wanted = &self.options;
        let bias = |(id, bias): &(u32, Value)| (*id, bias.as_f64().map_or(f32::NEG_INFINITY, |x| x as f32));
        let options = match self.seed {
            None => Options::default(),
            Some(seed) => Options::plain(seed),
        };
        let options = options
            .logit_bias(wanted.logit_bias.iter().map(bias).collect::<Vec<_>>())
            .repetition_penalty(wanted.repetition_penalty)
            .no_repeat_ngram_size(wanted.no_repeat_ngram_size)
            .bad_words(wanted.bad_words.clone())
            .min_new_tokens(wanted.min_new_tokens)
            .max_new_tokens(wanted.max_new_tokens)
            .temperature(wanted.temperature)
            .top_k(wanted.top_k)
            .top_p(wanted.top_p)
            .min_p(wanted.min_p)
            .typical_p(wanted.typical_p);
        let early_stopping = wanted.early_stopping.to_string().replace('"', "");
        let beams = Beams {
            num_beams: wanted.num_beams,
            length_penalty: wanted.length_penalty,
            early_stopping: EarlyStopping::from_name(&early_stopping).expect("true, false or never"),
            num_beam_groups: wanted.num_beam_groups,
            diversity_penalty: wanted.diversity_penalty,
            num_return_sequences: wanted.num_return_sequences,
        };
        (options, beams)
    }

    fn search(&self, lm: &LanguageModel) -> Vec<Hypothesis> {
        let (options, beams) = self.options();
        let mut search = BeamSearch::new(&lm.model, &self.prompt_ids, options, beams).expect("options");
        if !self.options.stop_strings.is_empty() {
            let stop = StopStrings::new(&self.options.stop_strings).expect("strings");
            search = search.stopping_at(&TextStream::new(&lm.bpe, stop));
        }
        search.by_ref().for_each(|step| drop(step.expect("a step")));
        search.into_found().expect("hypotheses")
    }
}

/// The cases under one key of a file.
fn cases(file: &str, key: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(fixture("..").join(file)).expect(file);
    let mut all: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(all.remove(key).expect(key)).expect(key)
}

/// Runs all cases; returns the largest difference between two scores.
fn compare(cases: &[Case]) -> f32 {
    let (mut models, mut worst) = (BTreeMap::new(), 0.0f32);
    for case in cases {
        let lm: &mut LanguageModel = models.entry(case.model.clone()).or_insert_with(|| {
            checkpoint::open(Checkpoint::copy(&case.model).with_bytes_as_tokens().path())
                .expect("a checkpoint")
        });
        lm.model.config.eos_token_ids.clone_from(&case.eos);
        let found = case.search(lm);
        let about = format!("{}, prompt {:?}, eos {:?}", case.model, case.prompt_ids, case.eos);
        let ids = |found: &Hypothesis| found.ids.clone();
        let expected: Vec<_> = case.found.iter().map(|found| found.ids.clone()).collect();
        assert_eq!(found.iter().map(ids).collect::<Vec<_>>(), expected, "{about}");
        for (found, expected) in found.iter().zip(&case.found) {
            let difference = (found.score - expected.score).abs();
            assert!(
                difference < 1e-4 * expected.score.abs().max(1.0),
                "{about}: {} {}",
                found.score,
                expected.score
            );
            worst = worst.max(difference);
            let last = found.ids.last().expect("a token");
            assert_eq!(found.finish_reason == FinishReason::Eos, case.eos.contains(last), "{about}");
            assert_eq!(found.logprobs.len(), found.ids.len());
        }
    }
    assert_eq!(models.len(), 3);
    worst
}

#[test]
fn every_width_length_penalty_and_stopping_rule() {
    let cases = cases("beams.json", "grid");
    let all: BTreeSet<String> = (cases.iter())
        .map(|c| format!("{} {} {}", c.options.num_beams, c.options.length_penalty, c.options.early_stopping))
        .collect();
    assert_eq!(all.len(), 7 * 5 * 3);
    assert_eq!(cases.len(), 3 * all.len());
    let early =
        |case: &&Case| case.found.iter().any(|found| case.eos.contains(found.ids.last().expect("a token")));
    assert_eq!(cases.iter().filter(early).count(), cases.len(), "many texts end early");
    println!("largest difference of two scores {:e}", compare(&cases));
}

#[test]
fn processors_ends_stop_strings_and_lengths() {
    let cases = cases("beams.json", "special");
    assert!(cases.len() >= 90, "{}", cases.len());
    println!("largest difference of two scores {:e}", compare(&cases));
}

#[test]
fn beam_sampling_with_the_same_numbers() {
    let cases = cases("beams.json", "drawn");
    assert!(cases.len() >= 60, "{}", cases.len());
    println!("largest difference of two scores {:e}", compare(&cases));
}

#[test]
fn groups_of_beams() {
    let cases = cases("beam-groups.json", "groups");
    assert!(cases.len() >= 90, "{}", cases.len());
    println!("largest difference of two scores {:e}", compare(&cases));
}
