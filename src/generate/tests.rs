use super::*;
use crate::checkpoint;
use crate::sampling::Effects;
use std::path::Path;

/// 64 positions, 211 tokens.
pub(super) fn small() -> Gpt2 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/base");
    checkpoint::open(&folder).expect("a fixture").model
}

pub(super) fn sampled(seed: u64, max_new_tokens: usize) -> Options {
    Options::sampled(seed).max_new_tokens(max_new_tokens).ignore_eos(true)
}

/// The rest of a text: ids and the bits of the log-probabilities.
fn write(generation: &mut Generation<'_>) -> (Vec<TokenId>, Vec<u64>) {
    let chosen: Vec<Chosen> = generation.map(|chosen| chosen.expect("a token")).collect();
    (chosen.iter().map(|c| c.id).collect(), chosen.iter().map(|c| c.logprob.to_bits()).collect())
}

#[test]
fn a_slide_is_a_fresh_start_with_the_newest_half() {
    let model = small();
    let greedy = Options { max_new_tokens: 150, ignore_eos: true, ..Options::default() };
    for prompt in [1, 40, 64, 65, 200] {
        let prompt: Vec<TokenId> = (0..prompt).map(|i| i * 7 % 211).collect();
        let mut generation = Generation::new(&model, &prompt, greedy.clone()).expect("a prompt");
        let mut ids = prompt.clone();
        let mut slides = 0;
        let mut fresh: Option<Generation<'_>> = None;
        while let Some(chosen) = generation.next() {
            let chosen = chosen.expect("a token");
            if generation.slides() > slides {
                slides = generation.slides();
                let kept = &ids[ids.len() - 32..];
                fresh = Some(Generation::new(&model, kept, greedy.clone()).expect("a prompt"));
            }
            if let Some(fresh) = &mut fresh {
                let again = fresh.next().expect("not at an end").expect("a token");
                assert_eq!((again.id, again.logprob.to_bits()), (chosen.id, chosen.logprob.to_bits()));
            }
            ids.push(chosen.id);
        }
        assert!(slides >= 3, "{slides} after {} ids", prompt.len());
    }
}

#[test]
fn what_the_model_has_forgotten_is_still_history() {
    let model = small();
    let options = Options::default().max_new_tokens(180).ignore_eos(true).no_repeat_ngram_size(1);
    let mut ids = write(&mut Generation::new(&model, &[5, 6], options).expect("a prompt")).0;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 180, "no token twice, across slides");
}

#[test]
fn the_policy_decides_where_positions_end() {
    let model = small();
    let with = |policy, prompt: usize, max_new_tokens| {
        let options = Options { context_policy: policy, ..sampled(1, max_new_tokens) };
        Generation::new(&model, &vec![3; prompt], options)
    };
    let mut stop = with(ContextPolicy::Stop, 60, 100).expect("options");
    assert_eq!((write(&mut stop).0.len(), stop.finish_reason()), (4, Some(FinishReason::Length)));
    let mut full = with(ContextPolicy::Stop, 64, 100).expect("options");
    assert!(full.next().is_none() && full.finish_reason() == Some(FinishReason::Length));
    let error = with(ContextPolicy::Error, 60, 100).expect("options").last().expect("a turn");
    assert!(error.is_err_and(|e| e.to_string().contains("64 positions")));
    let mut fits = with(ContextPolicy::Error, 60, 4).expect("options");
    assert_eq!(write(&mut fits).0.len(), 4);
    for policy in [ContextPolicy::Stop, ContextPolicy::Error] {
        let error = with(policy, 65, 1).expect_err("too long");
        assert!(error.to_string().contains("65 tokens"), "{error}");
        assert_eq!(ContextPolicy::from_name(policy.name()), Some(policy));
    }
    assert_eq!(ContextPolicy::from_name("shift"), None);
}

#[test]
fn forks_are_runs_of_their_own_stream() {
    let model = small();
    let prompt: Vec<TokenId> = (0..90).collect(); // longer than the window
    for prompt in [&prompt[..], &prompt[..20], &prompt[..1]] {
        let mut base = Generation::new(&model, prompt, sampled(7, 30)).expect("a prompt");
        let alone = write(&mut Generation::new(&model, prompt, sampled(7, 30)).expect("a prompt"));
        base.prefill();
        let texts: Vec<_> = (0..4).map(|stream| write(&mut base.fork(stream))).collect();
        assert_eq!(texts[0], alone);
        for stream in 1..4 {
            let options = sampled(7, 30).stream(stream as u64);
            assert_eq!(
                texts[stream],
                write(&mut Generation::new(&model, prompt, options).expect("a prompt"))
            );
            assert_ne!(texts[stream], texts[0]);
        }
        assert_eq!(write(&mut base), alone, "forks leave it alone");
    }
}

#[test]
fn a_text_without_new_tokens_is_not_read() {
    let model = small();
    let prompt: Vec<TokenId> = (0..90).collect(); // longer than the window
    let mut text = Generation::new(&model, &prompt, sampled(7, 0)).expect("a prompt");
    text.prefill();
    assert_eq!((text.slides(), text.cache().len()), (0, 0));
    assert_eq!((text.fork(1).count(), text.finish_reason()), (0, Some(FinishReason::Length)));
}

#[test]
fn watching_changes_nothing() {
    let model = small();
    let alone = write(&mut Generation::new(&model, &[1, 2, 3], sampled(7, 20)).expect("a prompt"));
    let mut generation = Generation::new(&model, &[1, 2, 3], sampled(7, 20)).expect("a prompt");
    let mut ids = Vec::new();
    loop {
        let mut effects = Effects::default();
        let Some(chosen) = generation.next_watched(&mut effects) else { break };
        ids.push(chosen.expect("a token").id);
        let [temperature, top_k] = &effects.0[..] else { panic!("{effects:?}") };
        assert_eq!((&*temperature.step, temperature.removed), ("temperature", 0));
        assert_eq!((&*top_k.step, top_k.removed, top_k.left), ("top-k", 211 - 40, 40));
        assert!(top_k.removed_mass > 0.0 && top_k.removed_mass < 1.0);
    }
    assert_eq!(ids, alone.0);
}

#[test]
fn nothing_left_to_choose_is_an_error() {
    let model = small();
    let bans: Vec<_> = (0..211).map(|id| (id, f32::NEG_INFINITY)).collect();
    for options in [Options::default(), Options::sampled(1)] {
        let options = options.logit_bias(bans.clone());
        let mut generation = Generation::new(&model, &[1], options).expect("a prompt");
        let error = generation.next().expect("a turn").expect_err("nothing to choose");
        assert!(error.to_string().contains("no token is left"), "{error}");
        assert!(generation.next().is_none());
    }
}

#[test]
fn options_are_checked() {
    let model = small();
    for (options, part) in [
        (Options::default().max_new_tokens(8).min_new_tokens(9), "min-new-tokens 9"),
        (Options::default().logit_bias(vec![(211, 1.0)]), "token id 211"),
        (Options::plain(0).top_p(-0.1), "top-p"),
    ] {
        let error = Generation::new(&model, &[1], options).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}
