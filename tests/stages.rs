//! Every stage fires in forward order and with its shape, in prefill and in decoding.

use gpt2::checkpoint::{self, LanguageModel};
use gpt2::generate::{Generation, Options};
use gpt2::inspect::next_token;
use gpt2::trace::{NoTrace, Place, Recorded, Recorder, Stage};
use std::path::Path;

const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];

fn open(name: &str) -> LanguageModel {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    checkpoint::open(fixtures.join(name)).expect("a fixture")
}

/// Three steps of a generation with all their stages: T = 5, 1, 1 new tokens and S = 5, 6, 7 tokens so far.
fn steps(lm: &LanguageModel, options: Options) -> (Vec<u32>, Vec<Vec<Recorded>>) {
    let options = options.max_new_tokens(3).ignore_eos(true);
    let mut generation =
        Generation::with_trace(&lm.model, &PROMPT, options, Recorder::new()).expect("a prompt");
    let mut steps = Vec::new();
    while let Some(token) = generation.next() {
        token.expect("a token");
        steps.push(std::mem::take(&mut generation.trace.stages));
    }
    (generation.new_ids().to_vec(), steps)
}

#[test]
fn in_order_and_in_shape() {
    for name in ["base", "odd-heads", "inner-erf", "untied"] {
        let lm = open(name);
        let config = &lm.model.config;
        let expected: Vec<Place> = Place::all(config.n_layer).collect();
        let check = |stages: &[Recorded], t: usize, s: usize, head_rows: usize| {
            let fired: Vec<Place> = stages.iter().map(Recorded::place).collect();
            assert_eq!(fired, expected, "{name}, {t} of {s} tokens");
            for stage in stages {
                let rows = if stage.stage == Stage::LmHead { head_rows } else { t };
                assert_eq!(stage.shape, stage.stage.shape(config, rows, s), "{} of {name}", stage.name());
                let len = if stage.stage.is_ids() { stage.ids.len() } else { stage.values.len() };
                assert_eq!(len, stage.shape.iter().product::<usize>(), "{} of {name}", stage.name());
            }
        };
        let mut whole = Recorder::new();
        next_token(&lm.model, &PROMPT, &Options::sampled(1), &mut whole).expect("a token");
        check(&whole.stages, 5, 5, 5);
        for options in [Options::sampled(1), Options::default()] {
            let (_, steps) = steps(&lm, options);
            for (stages, (t, s)) in steps.iter().zip([(5, 5), (1, 6), (1, 7)]) {
                check(stages, t, s, 1); // generation needs the logits of the last position only
            }
        }
    }
}

/// A step with the cache equals the last rows of a pass over all tokens, bit for bit.
#[test]
fn the_cache_changes_no_stage() {
    for name in ["base", "odd-heads"] {
        let lm = open(name);
        let (new, steps) = steps(&lm, Options::sampled(1));
        let ids = [&PROMPT[..], &new[..2]].concat(); // the tokens read up to the third step
        let mut whole = Recorder::new();
        next_token(&lm.model, &ids, &Options::default(), &mut whole).expect("a token");
        for step in
            steps[2].iter().filter(|stage| stage.stage != Stage::NextId && stage.stage != Stage::Probs)
        {
            let all = whole.get(&step.name()).expect("the same stage");
            if step.stage == Stage::InputIds {
                assert_eq!(step.ids, all.ids[6..]);
                continue;
            }
            let width = all.shape[all.shape.len() - 1];
            let rows: Vec<&[f32]> = all.values.chunks(width).collect();
            let heads = if all.shape.len() == 3 { all.shape[0] } else { 1 };
            let last: Vec<f32> =
                rows.chunks(rows.len() / heads).flat_map(|head| head[head.len() - 1]).copied().collect();
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&step.values), bits(&last), "{} of {name}", step.name());
        }
    }
}

/// Recording does not change the result.
#[test]
fn the_same_token_with_and_without_a_trace() {
    let lm = open("base");
    for seed in 0..5 {
        let options = Options::sampled(seed);
        let seen = next_token(&lm.model, &PROMPT, &options, &mut Recorder::new()).expect("a token");
        let unseen = next_token(&lm.model, &PROMPT, &options, &mut NoTrace).expect("a token");
        assert_eq!(seen, unseen);
    }
}
