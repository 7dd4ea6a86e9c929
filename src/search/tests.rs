//! Compares the search with a plain one, with an exhaustive search, and with runs of single texts.

mod plain;

use super::*;
use crate::bpe::TokenId;
use crate::checkpoint::{self, random};
use crate::config::Config;
use crate::error::Error;
use crate::generate::{ContextPolicy, Generation, Options};
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch};
use crate::softmax::{log_probabilities, log_softmax};
use crate::tensor::Dtype;
use crate::trace::NoTrace;
use plain::{Plain, plain};
use proptest::prelude::*;
use std::path::Path;
use std::sync::OnceLock;

/// 9 tokens, 10 positions.
fn tiny() -> &'static Gpt2 {
    static MODEL: OnceLock<Gpt2> = OnceLock::new();
    MODEL.get_or_init(|| {
        let json = r#"{"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 9, "n_positions": 10}"#;
        let mut config = Config::from_json(json.as_bytes()).expect("a configuration");
        config.eos_token_ids = vec![0, 3];
        random::random(config, Dtype::F32)
    })
}

/// 211 tokens, 64 positions.
fn base(eos: &[TokenId]) -> Gpt2 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/base");
    let mut model = checkpoint::open(&folder).expect("a fixture").model;
    model.config.eos_token_ids = eos.into();
    model
}

type Found = Vec<(Vec<TokenId>, u32)>;

/// The ids and the bits of the scores that a search finds; none if the options forbid every continuation.
fn search(model: &Gpt2, prompt: &[TokenId], options: &Options, beams: &Beams) -> Found {
    let mut search = BeamSearch::new(model, prompt, options.clone(), beams.clone()).expect("options");
    search.by_ref().for_each(|step| drop(step.expect("a step")));
    let found = match search.into_found() {
        Err(Error::Input(problem)) if problem.contains("forbid every continuation") => return Found::new(),
        found => found.expect("hypotheses"),
    };
    found.into_iter().map(|found| (found.ids, found.score.to_bits())).collect()
}

fn any_beams() -> impl Strategy<Value = Beams> {
    let shape = prop_oneof![
        3 => (2..5usize).prop_map(|k| (k, 1, 0.0)),
        1 => (1..3usize, 2..4usize, 0.1..3.0f32).prop_map(|(k, groups, penalty)| (k * groups, groups, penalty)),
    ];
    let length_penalty = prop_oneof![Just(-1.0), Just(0.0), Just(0.5), Just(1.0), Just(2.0), -2.0..3.0f64];
    (shape, length_penalty, prop::sample::select(&EarlyStopping::ALL[..]), any::<prop::sample::Index>())
        .prop_map(
            |((num_beams, num_beam_groups, diversity_penalty), length_penalty, early_stopping, wanted)| {
                Beams {
                    num_beams,
                    num_beam_groups,
                    diversity_penalty,
                    length_penalty,
                    early_stopping,
                    num_return_sequences: 1 + wanted.index(num_beams),
                }
            },
        )
}

fn any_processors(v: TokenId) -> impl Strategy<Value = Options> {
    let bias = prop::collection::vec((0..v, prop_oneof![-3.0..3.0f32, -1.0..6.0f32]), 0..6);
    (
        bias,
        prop::option::of(0.5..2.0f32),
        0..4usize,
        prop::collection::vec(prop::collection::vec(0..v, 1..3), 0..2),
        0..4usize,
    )
        .prop_map(|(logit_bias, repetition, n, bad_words, min_new_tokens)| Options {
            logit_bias,
            repetition_penalty: repetition.unwrap_or(1.0),
            no_repeat_ngram_size: if n < 2 { 0 } else { n },
            bad_words,
            min_new_tokens,
            ..Options::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..crate::properties::config() })]

    /// With every option, also past the last position, bit for bit.
    #[test]
    fn equal_to_the_plain_search(
        beams in any_beams(),
        processors in any_processors(9),
        prompt in prop::collection::vec(0..9u32, 1..14),
        max_new_tokens in 4..16usize,
        ignore_eos in prop::bool::weighted(0.2),
        seed in prop::option::weighted(0.3, 0..1000u64),
        temperature in 0.3..2.0f32,
        top_p in prop::option::of(0.3..1.0f64),
    ) {
        let options = Options { max_new_tokens, ignore_eos, ..processors };
        let options = match seed.filter(|_| beams.num_beam_groups == 1) {
            None => options,
            Some(seed) => Options { sample: true, seed, temperature, top_p, ..options },
        };
        let (found, mut plain) = (search(tiny(), &prompt, &options, &beams), plain(tiny(), &prompt, &options, &beams));
        if found.is_empty() {
            plain.retain(|(_, score)| f32::from_bits(*score) > f32::NEG_INFINITY);
        }
        prop_assert_eq!(found, plain);
    }
}

#[test]
fn a_search_of_all_finds_the_best_of_all() {
    let model = tiny();
    let (prompt, longest) = ([4, 5], 3);
    let logit_bias = vec![(0, -0.4), (1, -0.3), (5, 0.6), (7, 0.2), (8, f32::NEG_INFINITY)];
    let options = Options::default().max_new_tokens(longest).logit_bias(logit_bias);
    for length_penalty in [-1.0, 0.0, 0.5, 1.0, 2.0] {
        let early_stopping = EarlyStopping::Never;
        let beams = Beams {
            num_beams: 600,
            length_penalty,
            early_stopping,
            num_return_sequences: 600,
            ..Beams::default()
        };
        let found = search(model, &prompt, &options, &beams);

        let mut all: Found = Vec::new();
        let mut texts: Vec<Plain> = vec![(vec![], 0.0)];
        while let Some((new, score)) = texts.pop() {
            let ids = [&prompt[..], &new].concat();
            let mut x = model.next_logits(&ids, &mut model.new_cache(), &mut NoTrace).row(0).to_vec();
            log_probabilities(&mut x);
            let history = History { ids: &ids, prompt_len: 2, eos: &[0, 3] };
            options.process(&mut x, &history, &mut NoWatch);
            for (id, x) in (0..8).zip(x) {
                let (new, score) = ([&new[..], &[id]].concat(), score + x);
                if [0, 3].contains(&id) || new.len() == longest {
                    all.push((new.clone(), (score / beams.divisor(new.len())).to_bits()));
                } else {
                    texts.push((new, score));
                }
            }
        }
        assert_eq!((all.len(), found.len()), (2 + 6 * 2 + 36 * 8, 302));
        let by_score = |a: &(Vec<TokenId>, u32), b: &(Vec<TokenId>, u32)| {
            f32::from_bits(b.1).total_cmp(&f32::from_bits(a.1)).then(a.0.cmp(&b.0))
        };
        all.sort_by(by_score);
        let mut sorted = found.clone();
        sorted.sort_by(by_score);
        assert_eq!(sorted, all, "length penalty {length_penalty}");
        assert_eq!(found[0].1, all[0].1);
    }
}

/// Each row of the batch has the same bits as a separate run, even though beams share pages.
#[test]
fn beams_are_runs_of_their_own() {
    let model = base(&[77]);
    let prompt: Vec<TokenId> = (0..30).map(|i| i * 13 % 211).collect();
    let beams = Beams { num_beams: 6, num_return_sequences: 6, ..Beams::default() };
    let options = Options { max_new_tokens: 34, ..Options::default() }; // crosses the end of a page, at 64
    let mut search = BeamSearch::new(&model, &prompt, options, beams).expect("options");
    search.by_ref().for_each(|step| drop(step.expect("a step")));
    for found in search.into_found().expect("hypotheses") {
        let ids = [&prompt[..], &found.ids].concat();
        let logits = model.forward(&ids[..ids.len() - 1], &mut model.new_cache(), &mut NoTrace);
        for (i, logprob) in found.logprobs.iter().enumerate() {
            let row = logits.row(prompt.len() + i - 1);
            assert_eq!(logprob.to_bits(), log_softmax(row, found.ids[i] as usize).to_bits(), "token {i}");
        }
        assert!(
            (found.score - (found.logprobs.iter().sum::<f64>() / found.ids.len() as f64) as f32).abs() < 1e-5
        );
    }
}

#[test]
fn one_beam_without_ends_is_greedy_also_past_the_positions() {
    let model = base(&[]);
    for prompt in [1, 40, 64, 65, 200] {
        let prompt: Vec<TokenId> = (0..prompt).map(|i| i * 7 % 211).collect();
        let options = Options { max_new_tokens: 100, ..Options::default() };
        let greedy: Vec<TokenId> = Generation::new(&model, &prompt, options.clone())
            .expect("a prompt")
            .map(|chosen| chosen.expect("a token").id)
            .collect();
        let one = Beams { num_beams: 1, ..Beams::default() };
        assert_eq!(search(&model, &prompt, &options, &one)[0].0, greedy);
    }
}

#[test]
fn beams_slide_together() {
    let model = base(&[77, 5]);
    for early_stopping in EarlyStopping::ALL {
        let beams = Beams { num_beams: 4, early_stopping, num_return_sequences: 4, ..Beams::default() };
        for prompt in [3, 63, 64, 65, 150] {
            let prompt: Vec<TokenId> = (0..prompt).map(|i| i * 7 % 211).collect();
            let options = Options::default().max_new_tokens(130).min_new_tokens(100);
            let found = search(&model, &prompt, &options, &beams);
            assert_eq!(
                found,
                plain(&model, &prompt, &options, &beams),
                "{early_stopping:?} {}",
                prompt.len()
            );
            assert!(found.iter().all(|found| found.0.len() > 100));
        }
    }
}

#[test]
fn the_policy_decides_where_positions_end() {
    let model = base(&[]);
    let with = |context_policy, prompt: usize, max_new_tokens| {
        let options = Options { context_policy, max_new_tokens, ..Options::default() };
        BeamSearch::new(&model, &vec![3; prompt], options, Beams::default())
    };
    let mut stop = with(ContextPolicy::Stop, 60, 100).expect("options");
    assert_eq!(stop.by_ref().count(), 4);
    assert_eq!(stop.into_found().expect("a text")[0].ids.len(), 4);
    let full = with(ContextPolicy::Stop, 64, 100).expect("options");
    assert!(full.into_found().expect("a text")[0].ids.is_empty());
    let mut error = with(ContextPolicy::Error, 60, 100).expect("options");
    let last = error.by_ref().last().expect("a step");
    assert!(last.is_err_and(|e| e.to_string().contains("64 positions")));
    assert!(error.next().is_none());
    for policy in [ContextPolicy::Stop, ContextPolicy::Error] {
        assert!(with(policy, 65, 1).is_err());
    }
    let mut slide = with(ContextPolicy::Slide, 60, 100).expect("options");
    slide.by_ref().for_each(|step| drop(step.expect("a step")));
    assert_eq!(slide.slides(), 3); // 64 + 33 + 33 + 33 > 160
}

#[test]
fn more_beams_than_candidates() {
    let model = tiny();
    for num_beams in [10, 100, 1000] {
        let beams = Beams { num_beams, num_return_sequences: num_beams, ..Beams::default() };
        let options = Options { max_new_tokens: 2, ..Options::default() };
        let found = search(model, &[1], &options, &beams);
        assert_eq!(found.len(), num_beams.min(2 + 7 * 9), "7 tokens that go on, 9 after each");
        let all = BeamSearch::new(model, &[1], options, beams).expect("options");
        let first: Vec<usize> = all.map(|step| step.expect("a step").rounds[0].candidates.len()).collect();
        assert_eq!(first[0], 9);
    }
}

#[test]
fn bans_leave_what_is_left() {
    let model = tiny();
    let ban = |ids: std::ops::Range<TokenId>| {
        let logit_bias: Vec<_> = ids.map(|id| (id, f32::NEG_INFINITY)).collect();
        move |options: Options| options.logit_bias(logit_bias.clone()).max_new_tokens(5)
    };
    let beams = Beams { num_beams: 3, num_return_sequences: 3, ..Beams::default() };
    for options in [Options::default(), Options::sampled(1)] {
        let all = ban(0..9)(options.clone());
        let mut nothing = BeamSearch::new(model, &[1], all, beams.clone()).expect("options");
        assert!(nothing.next().expect("a step").expect("no error").rounds[0].candidates.is_empty());
        assert!(nothing.next().is_none());
        assert!(nothing.into_found().is_err_and(|e| e.to_string().contains("forbid")));

        let only_ends = ban(1..9)(options);
        assert_eq!(search(model, &[1], &only_ends, &beams).len(), 1, "one end at once, then nothing");
        let one = only_ends.ignore_eos(true);
        assert_eq!(search(model, &[1], &one, &beams)[0].0, [0; 5], "one text");
    }
    let options = Options::default().no_repeat_ngram_size(1).max_new_tokens(50).ignore_eos(true);
    let mut dead_end = BeamSearch::new(model, &[1], options, beams).expect("options");
    assert_eq!(dead_end.by_ref().filter(|step| step.is_ok()).count(), 9, "8 tokens, then none");
    assert!(dead_end.into_found().is_err(), "nothing has ended");
}

#[test]
fn damage_and_extremes_are_errors() {
    let mut model = tiny().clone();
    model.ln_f.bias[0] = f32::NAN;
    let mut search = BeamSearch::new(&model, &[1], Options::default(), Beams::default()).expect("options");
    assert!(search.next().expect("a step").is_err_and(|e| e.to_string().contains("damaged")));
    assert!(search.next().is_none());
    for options in [Options::default(), Options::plain(1)] {
        let options = options.logit_bias(vec![(5, 3e38)]);
        let mut search = BeamSearch::new(tiny(), &[1], options, Beams::default()).expect("options");
        let error = search.find_map(Result::err).expect("an error");
        assert!(error.to_string().contains("too extreme"), "{error}");
    }
    for (prompt, part) in [(&[][..], "empty"), (&[9], "token id 9")] {
        let error = BeamSearch::new(tiny(), prompt, Options::default(), Beams::default()).err();
        assert!(error.is_some_and(|e| e.to_string().contains(part)), "{part}");
    }
}

#[test]
fn groups_differ_and_do_not_draw() {
    let model = base(&[77]);
    let options = Options { max_new_tokens: 8, ..Options::default() };
    let groups = |diversity_penalty| Beams {
        num_beams: 6,
        num_beam_groups: 3,
        diversity_penalty,
        num_return_sequences: 6,
        ..Beams::default()
    };
    let firsts = |beams: &Beams| -> Vec<TokenId> {
        let mut search = BeamSearch::new(&model, &[5, 6], options.clone(), beams.clone()).expect("options");
        let step = search.next().expect("a step").expect("a step");
        step.rounds.iter().map(|round| round.candidates[0].id).collect()
    };
    let same = firsts(&groups(1e-6));
    assert!(same.iter().all(|id| *id == same[0]), "{same:?}");
    let mut differing = firsts(&groups(20.0));
    differing.sort_unstable();
    differing.dedup();
    assert_eq!(differing.len(), 3);
    let drawn = options.clone().sample(true);
    assert!(BeamSearch::new(&model, &[5], drawn, groups(1.0)).is_err());
}
