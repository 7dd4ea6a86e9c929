use super::*;
use crate::activation::Activation;
use crate::checkpoint::random::random;
use crate::config::Config;
use crate::generate::Options;
use crate::model::{Gpt2, Role};
use crate::tensor::{Dtype, Weights};
use crate::trace::{Recorder, Stage, Trace};
use proptest::prelude::*;

/// A random model with layer norms and biases that do something.
pub(crate) fn model(config: &str, dtype: Dtype, kv_cache_dtype: Dtype) -> Gpt2 {
    let config = Config::from_json(config.as_bytes()).expect("a configuration");
    let mut model = random(config, dtype).map_tensors(|spec, weights| match spec.role {
        Role::Gain | Role::Bias => {
            let [rows, cols] = spec.matrix();
            let wave = |i: usize| (i as f32 * 0.7 + spec.name.len() as f32).sin();
            Weights::from_f32(rows, cols, &(0..rows * cols).map(wave).collect::<Vec<_>>())
        }
        _ => weights,
    });
    model.kv_cache_dtype = kv_cache_dtype;
    model
}

/// Every stage of the pass, with the choice.
fn record(pass: &Pass<'_>) -> Recorder {
    let mut recorder = Recorder::new();
    let (logits, _) = pass.forward(&mut recorder);
    let last = logits.row(logits.rows() - 1);
    if let Some(id) = pass.choose(last, &mut recorder, &mut crate::sampling::NoWatch) {
        recorder.record_ids(Stage::NextId, &[id]);
    }
    recorder
}

/// Some numbers of every stage are computed again: the bits are those of the pass.
fn check(pass: &Pass<'_>, mut random: impl FnMut(usize) -> usize) {
    let act = pass.model.config.activation;
    for stage in record(pass).stages {
        for _ in 0..3 {
            let index: Vec<usize> = stage.shape.iter().map(|n| random(*n)).collect();
            let how = how(pass, stage.place(), &index).expect("a number");
            let flat = index.iter().zip(&stage.shape).fold(0, |flat, (i, n)| flat * n + i);
            match how.value {
                Value::Id(id) => assert_eq!(id, stage.ids[flat], "{}", how.name()),
                Value::Number(x) => {
                    let expected = stage.values[flat];
                    assert_eq!(x.to_bits(), expected.to_bits(), "{how:?}, not {expected}");
                    let (largest, count, sum) = how.largest(2);
                    assert_eq!(largest.len() + count, how.terms.len());
                    let all = largest.iter().map(|term| term.value).sum::<f64>() + sum;
                    let is_sum = match stage.stage {
                        Stage::AttnScores | Stage::AttnWeights | Stage::Probs => false,
                        Stage::MlpAct if matches!(act, Activation::Relu | Activation::Tanh) => {
                            assert_eq!((how.terms.len(), how.steps.len()), (0, 2), "{how:?}");
                            assert_eq!(how.steps[1].value, f64::from(x), "{how:?}");
                            false
                        }
                        _ => true,
                    };
                    let size: f64 = how.terms.iter().map(|term| term.value.abs()).sum();
                    let close = (all - f64::from(x)).abs() <= 1e-5 * size;
                    assert!(!is_sum || close, "{how:?}: the terms add up to {all}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..crate::properties::config() })]
    #[test]
    fn every_number_of_every_stage(
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::I8]),
        cache in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        act in prop::sample::select(vec!["gelu_new", "gelu", "quick_gelu", "relu", "silu", "tanh"]),
        (n_head, d) in prop::sample::select(vec![(1, 8), (2, 12), (3, 100)]),
        tied: bool,
        greedy: bool,
        ids in prop::collection::vec(0u32..61, 2..90),
        past in 0usize..90,
        seed: u64,
    ) {
        let model = model(&format!(
            r#"{{"n_layer": 2, "n_head": {n_head}, "n_embd": {}, "n_positions": 90, "vocab_size": 61,
            "activation_function": "{act}", "tie_word_embeddings": {tied}, "eos_token_id": 60}}"#, n_head * d
        ), dtype, cache);
        let options = Options::sampled(seed).sample(!greedy).temperature(0.7).top_k(9).repetition_penalty(1.2);
        let mut pass = Pass::of_prompt(&model, &ids, options).expect("a prompt");
        // the first of them are read by an earlier pass
        let past = past % ids.len();
        if past > 0 {
            model.next_logits(&ids[..past], &mut pass.past, &mut crate::trace::NoTrace);
            pass.read -= past;
        }
        let mut state = seed;
        check(&pass, |n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        });
    }
}

#[test]
fn what_is_switched_off_or_forced_says_so() {
    let lm = crate::checkpoint::bundled();
    let ids = lm.bpe.encode("Once upon a");
    let mut pass = Pass::of_prompt(&lm.model, &ids, Options::default()).expect("a prompt");
    pass.edits = vec![super::super::Edit::Head { block: 1, head: 2 }];
    pass.forced = Some(7);
    let place = Place::new(Stage::AttnHeads, Some(1));
    let d = lm.model.config.head_size();
    let off = how(&pass, place, &[1, 2 * d + 1]).expect("a number");
    assert_eq!(off.number(), Some(0.0));
    assert!(off.formula.ends_with(", but head 1 2 is switched off"), "{}", off.formula);
    let on = how(&pass, place, &[1, d]).expect("a number");
    assert!(on.number() != Some(0.0) && !on.formula.contains("switched off"), "{on:?}");
    let next = how(&pass, Place::new(Stage::NextId, None), &[0]).expect("an id");
    assert_eq!((next.value, &*next.formula), (Value::Id(7), "forced"));
}

#[test]
fn what_is_not_there_is_named() {
    let lm = crate::checkpoint::bundled();
    let pass = Pass::of_prompt(&lm.model, &[1, 2, 3], Options::default()).expect("a prompt");
    for (place, index, part) in [
        (Place::new(Stage::Ln1, Some(99)), vec![0, 0], "no transformer.h.99.ln_1"),
        (Place::new(Stage::LnF, None).at(1), vec![0, 0], "no step.1.transformer.ln_f"),
        (Place::new(Stage::LnF, None), vec![0], "is [3, 128] and has no number [0]"),
        (Place::new(Stage::LnF, None), vec![3, 0], "has no number [3, 0]"),
        (Place::new(Stage::AttnScores, Some(0)), vec![0, 0, 3], "has no number"),
    ] {
        let error = how(&pass, place, &index).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn as_text() {
    let lm = crate::checkpoint::bundled();
    let ids = lm.bpe.encode("Once upon a");
    let pass = Pass::of_prompt(&lm.model, &ids, Options::sampled(1)).expect("a prompt");
    let text = |name: &str, index: &[usize]| {
        let how = how(&pass, Place::parse(name).expect("a stage"), index).expect("a number");
        let line = format!(":{} ", how.code.line); // it moves
        how.lines(3).join("\n").replace(&line, ":LINE ")
    };
    let all = [
        text("input_ids", &[1]),
        text("transformer.drop", &[2, 5]),
        text("transformer.h.0.ln_1", &[2, 5]),
        text("transformer.h.1.attn.c_attn", &[2, 5]),
        text("transformer.h.1.attn.scores", &[0, 2, 1]),
        text("transformer.h.1.attn.scores", &[0, 1, 2]),
        text("transformer.h.1.attn.weights", &[0, 2, 1]),
        text("transformer.h.1.attn.heads", &[2, 5]),
        text("transformer.h.1.mlp.act", &[2, 5]),
        text("transformer.h.1.mlp.c_proj", &[2, 5]),
        text("lm_head", &[2, 640]),
        text("probs", &[640]),
        text("next_id", &[0]),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}
