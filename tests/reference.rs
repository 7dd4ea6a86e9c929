//! Every stage, greedy continuation and score equals that of the reference, Hugging Face `transformers`.
//!
//! `tests/make_model_fixtures.py` makes the fixtures; this test needs no Python.

use gpt2::checkpoint::{self, LanguageModel};
use gpt2::format::{Bytes, safetensors::SafeTensors};
use gpt2::generate::{Generation, Options};
use gpt2::score::{Windows, mean_nll, score};
use gpt2::trace::Recorder;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(fixtures)
        .expect("fixtures")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 10, "{} fixture folders", folders.len());
    folders
}

fn open(folder: &Path) -> (LanguageModel, Value) {
    let text = std::fs::read_to_string(folder.join("reference.json")).expect("reference.json");
    (checkpoint::open(folder).expect("a checkpoint"), serde_json::from_str(&text).expect("JSON"))
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The largest difference, relative to the largest expected value; infinities must be equal.
fn difference(expected: &[f32], got: &[f32]) -> f32 {
    let largest = expected.iter().filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
    let off = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { (a - b).abs() };
    expected.iter().zip(got).map(off).fold(0.0, f32::max) / largest
}

#[test]
fn every_stage() {
    for folder in folders() {
        let (lm, _) = open(&folder);
        let path = folder.join("reference.safetensors");
        let reference = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
        let ids: Vec<u32> = reference.tensors["input_ids"]
            .bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b) as u32)
            .collect();
        let mut recorder = Recorder::new();
        lm.model.forward(&ids, &mut lm.model.new_cache(), &mut recorder);
        assert!(reference.tensors.len() >= 18, "{} stages in {}", reference.tensors.len(), path.display());
        assert_eq!(recorder.stages.len(), reference.tensors.len(), "{}", folder.display());
        for (name, tensor) in &reference.tensors {
            let got = recorder.get(name).unwrap_or_else(|| panic!("{name} was not traced"));
            assert_eq!(got.shape, tensor.shape, "{name} of {}", folder.display());
            if name == "input_ids" {
                assert_eq!(got.ids, ids);
                continue;
            }
            let off = difference(&f32s(&tensor.bytes), &got.values);
            assert!(off <= 1e-4, "{name} of {}: off by {off} of the largest", folder.display());
        }
    }
}

#[test]
fn greedy_continuations() {
    for folder in folders() {
        let (lm, reference) = open(&folder);
        for case in reference["greedy"].as_array().expect("cases") {
            let (prompt, expected) = (ids(&case["prompt_ids"]), ids(&case["ids"]));
            let options = Options::default().max_new_tokens(expected.len()).ignore_eos(true);
            let generation = Generation::new(&lm.model, &prompt, options).expect("a prompt");
            let got: Vec<u32> = generation.map(|chosen| chosen.expect("a token").id).collect();
            assert_eq!(got, expected, "{} after {} ids", folder.display(), prompt.len());
        }
    }
}

#[test]
fn scores() {
    for folder in folders() {
        let (lm, reference) = open(&folder);
        let case = &reference["score"];
        let got = score(&lm.model, &ids(&case["ids"]), Windows::of(&lm.model), |_| ()).expect("scores");
        let expected: Vec<Option<f64>> = serde_json::from_value(case["logprobs"].clone()).expect("logprobs");
        assert_eq!(got.len(), expected.len());
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let close = match (got, expected) {
                (Some(got), Some(expected)) => (got - expected).abs() < 1e-4,
                (got, expected) => got.is_none() && expected.is_none(),
            };
            assert!(close, "token {i} of {}: {got:?}, not {expected:?}", folder.display());
        }
        let nll = case["nll"].as_f64().expect("nll");
        assert!((mean_nll(&got).expect("scored tokens") - nll).abs() < 1e-5);
    }
}

/// Reading a prompt at once, in pieces or token by token gives the same bits.
#[test]
fn the_cache_changes_nothing() {
    for folder in folders() {
        let (lm, reference) = open(&folder);
        let ids = ids(&reference["score"]["ids"]);
        let whole = lm.model.forward(&ids, &mut lm.model.new_cache(), &mut gpt2::trace::NoTrace);
        for step in [1, 3, 17] {
            let mut cache = lm.model.new_cache();
            let pieces = ids.chunks(step).flat_map(|piece| {
                lm.model.forward(piece, &mut cache, &mut gpt2::trace::NoTrace).data().to_vec()
            });
            let same = pieces.map(f32::to_bits).eq(whole.data().iter().map(|x| x.to_bits()));
            assert!(same, "{} in steps of {step}", folder.display());
        }
    }
}
