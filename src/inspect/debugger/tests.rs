use super::*;
use crate::checkpoint;
use crate::generate::{ContextPolicy, FinishReason};
use crate::kv_cache::KvCache;
use crate::sampling::{History, NoWatch};
use crate::trace::{NoTrace, Recorder, Stage};
use std::path::Path;

/// 64 positions, 211 tokens, 2 blocks of 4 heads.
fn small() -> LanguageModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/base");
    checkpoint::open(&folder).expect("a fixture")
}

fn options(max_new_tokens: usize) -> Options {
    Options::sampled(4).max_new_tokens(max_new_tokens).ignore_eos(true)
}

fn session<'m>(lm: &'m LanguageModel, prompt: &[TokenId], max_new_tokens: usize) -> Session<'m> {
    Session::new(lm, prompt, options(max_new_tokens), StopStrings::default()).expect("a prompt")
}

/// Walks to the end and returns the step, name and hash of every stage.
fn walk(session: &mut Session<'_>) -> Vec<(usize, String, u64)> {
    let mut seen = Vec::new();
    loop {
        let digest = session.digest();
        seen.push((session.step_number(), digest.name.clone(), digest.hash));
        if !session.next_stage() {
            return seen;
        }
    }
}

fn back_to_the_start(session: &mut Session<'_>) {
    while session.previous_stage() {}
}

#[test]
fn the_walk_is_the_generation() {
    let lm = small();
    let prompt = [3, 1, 4, 1, 5];
    let mut session = session(&lm, &prompt, 4);
    let seen = walk(&mut session);
    let generation =
        Generation::with_trace(&lm.model, &prompt, options(4), Recorder::new()).expect("a prompt");
    let mut generation = generation.whole();
    for chosen in generation.by_ref() {
        chosen.expect("a token");
    }
    assert_eq!(session.new_ids(), generation.new_ids());
    assert_eq!(session.finish_reason(), generation.finish_reason());
    let expected: Vec<u64> = generation.trace.stages.iter().map(|stage| Digest::of(stage).hash).collect();
    assert_eq!(seen.iter().map(|s| s.2).collect::<Vec<_>>(), expected);
}

/// Going back and forward again gives the same numbers, also across slides.
#[test]
fn there_and_back_again() {
    let lm = small();
    for prompt in [1, 20, 60, 64, 90] {
        let prompt: Vec<TokenId> = (0..prompt).collect();
        let mut session = session(&lm, &prompt, 80);
        let seen = walk(&mut session);
        let slides = session.slides();
        assert!(slides > 0 || prompt.len() < 20);
        for steps in [1, 7, 300, 100_000] {
            let mut at = seen.len() - 1;
            for _ in 0..steps {
                if !session.previous_stage() {
                    assert_eq!(at, 0);
                    break;
                }
                at -= 1;
                let digest = session.digest();
                assert_eq!(
                    (session.step_number(), &digest.name, digest.hash),
                    (seen[at].0, &seen[at].1, seen[at].2)
                );
            }
            assert_eq!(walk(&mut session), seen[at..]);
            assert_eq!(session.slides(), slides);
        }
    }
}

#[test]
fn numbers_are_computed_again_on_request() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4, 1, 5], 3);
    loop {
        let places: Vec<Place> = session.places().collect();
        for place in places {
            let stage = session.values(place).expect("a stage of this step");
            let digest = Digest::of(&stage);
            let (_, expected) = session.step().stages.iter().find(|(p, _)| *p == place).expect("the stage");
            assert_eq!(&digest, expected);
        }
        assert_eq!(session.values(Place::new(Stage::Block, Some(2))), None, "there are only blocks 0 and 1");
        assert_eq!(session.explain(5), *session.explanation());
        let step = session.step_number();
        while session.step_number() == step {
            if !session.next_stage() {
                assert_eq!((step, session.new_ids().len()), (2, 3));
                return;
            }
        }
    }
}

#[test]
fn the_last_lens_equals_the_model() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4, 1, 5], 2);
    while session.step_number() == 0 {
        let blocks = session.lens(5);
        assert_eq!((blocks.len(), blocks[1].len()), (2, 5));
        assert_eq!(blocks[1], session.explanation().model);
        while session.next_stage() && session.step_number() == 0 {}
    }
    assert_eq!(session.lens(5)[1], session.explanation().model);
}

#[test]
fn a_change_applies_from_here_on_and_can_be_undone() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4, 1, 5], 4);
    let plain = walk(&mut session);
    back_to_the_start(&mut session);
    let edits = [
        (Edit::Head { block: 1, head: 2 }, Stage::AttnHeads),
        (Edit::Attention { block: 1 }, Stage::AttnCProj),
        (Edit::Mlp { block: 1 }, Stage::MlpCProj),
    ];
    for (edit, stage) in edits {
        let place = Place::new(stage, Some(1));
        let changed = Settings { edits: vec![edit], ..session.settings().clone() };
        session.change(changed.clone()).expect("an edit");
        assert_eq!(session.settings(), &changed);
        let values = session.values(place).expect("a stage");
        let part = if stage == Stage::AttnHeads {
            2 * values.shape[1] / 4..3 * values.shape[1] / 4
        } else {
            0..values.shape[1]
        };
        for row in values.values.chunks(values.shape[1]) {
            assert!(row[part.clone()].iter().all(|x| *x == 0.0));
            assert!(stage != Stage::AttnHeads || row[..part.start].iter().all(|x| *x != 0.0));
        }
        let other = walk(&mut session);
        let first = plain.iter().zip(&other).find(|(a, b)| a != b).expect("a difference").0;
        assert_eq!(first.1, place.to_string(), "all stages before it are equal");
        assert_eq!(session.settings().edits, [edit], "later steps inherit it");
        back_to_the_start(&mut session);
        assert_eq!(walk(&mut session), other, "and keep it going back and forward");
        back_to_the_start(&mut session);
        assert!(session.undo() && !session.undo());
        assert_eq!(walk(&mut session), plain);
        back_to_the_start(&mut session);
    }
}

#[test]
fn a_forced_token_is_read_next() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4], 3);
    session.change(Settings { forced: Some(77), ..session.settings().clone() }).expect("a token");
    assert_eq!(session.result().ok(), Some(77));
    let forced = walk(&mut session);
    assert_eq!((session.new_ids()[0], session.settings().forced), (77, None));
    let new = session.new_ids().to_vec();
    // The rest equals the continuation of a prompt that ends with this token, drawn with the later positions' numbers.
    let (options, mut ids) = (options(3), vec![3, 1, 4, 77]);
    for n in 1..3 {
        let mut scores = lm.model.next_logits(&ids, &mut KvCache::new(&lm.model.config), &mut NoTrace);
        let history = History { ids: &ids, prompt_len: 3, eos: &[] };
        let u = options.uniform().at(n);
        let id = options.choose(scores.row_mut(0), &history, u, &mut NoTrace, &mut NoWatch);
        ids.push(id.expect("a token"));
    }
    assert_eq!(new, ids[3..]);
    back_to_the_start(&mut session);
    assert_eq!(walk(&mut session), forced);
}

#[test]
fn another_seed_is_another_draw() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4], 3);
    let plain = walk(&mut session);
    let with = |session: &Session<'_>, seed| {
        let mut settings = session.settings().clone();
        settings.options.seed = seed;
        settings
    };
    let uniform = |session: &Session<'_>| session.explanation().chosen.as_ref().and_then(|c| c.uniform);
    let before = uniform(&session);
    session.change(with(&session, 5)).expect("a seed");
    assert_ne!(uniform(&session), before);
    session.change(with(&session, 4)).expect("a seed");
    assert_eq!(uniform(&session), before, "step n draws number n of its stream");
    back_to_the_start(&mut session);
    assert_eq!(walk(&mut session), plain);
}

#[test]
fn bad_settings_are_refused_and_change_nothing() {
    let lm = small();
    let mut session = session(&lm, &[3, 1, 4], 2);
    while session.place().stage != Stage::Probs {
        session.next_stage();
    }
    let (before, hash) = (session.settings().clone(), session.digest().hash);
    let mut cold = before.clone();
    cold.options.temperature = 0.0;
    let with = |edit| Settings { edits: vec![edit], ..before.clone() };
    for (settings, part) in [
        (cold, "temperature 0"),
        (with(Edit::Head { block: 2, head: 0 }), "no block 2"),
        (with(Edit::Head { block: 0, head: 4 }), "no head 4; the model has 4, 0 to 3"),
        (with(Edit::Mlp { block: usize::MAX }), "no block"),
        (Settings { forced: Some(211), ..before.clone() }, "token id 211"),
    ] {
        let error = session.change(settings).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!((session.settings(), session.digest().hash), (&before, hash));
    }
    assert!(!session.undo());
}

#[test]
fn every_kind_of_end() {
    let mut lm = small();
    let none = Session::new(&lm, &[1], options(0), StopStrings::default()).expect_err("no token");
    assert!(none.to_string().contains("no token to step through"), "{none}");
    let full = Options { context_policy: ContextPolicy::Stop, ..options(9) };
    assert!(Session::new(&lm, &[1; 64], full, StopStrings::default()).is_err());
    let strict = || Options { context_policy: ContextPolicy::Error, ..options(9) };
    assert!(Session::new(&lm, &[1; 64], strict(), StopStrings::default()).is_err());
    let mut filling = Session::new(&lm, &[1; 62], strict(), StopStrings::default()).expect("a prompt");
    let seen = walk(&mut filling);
    assert_eq!((filling.step_number(), filling.finish_reason()), (1, None));
    assert!(filling.problem().is_some_and(|e| e.to_string().contains("64 positions")));
    back_to_the_start(&mut filling);
    assert!(filling.problem().is_none());
    assert_eq!(walk(&mut filling), seen);

    let ends = Options { ignore_eos: false, ..options(9) };
    let mut ending = Session::new(&lm, &[1], ends, StopStrings::default()).expect("a prompt");
    let eos = lm.model.config.eos_token_ids[0];
    ending.change(Settings { forced: Some(eos), ..ending.settings().clone() }).expect("a token");
    while ending.next_stage() {}
    assert_eq!((ending.finish_reason(), ending.step_number()), (Some(FinishReason::Eos), 0));
    assert_eq!(ending.text(), "");

    drop((filling, ending));
    lm.model.ln_f.weight[0] = f32::NAN;
    let mut damaged = session(&lm, &[1, 2], 5);
    let seen = walk(&mut damaged);
    assert_eq!(seen.last().map(|s| &*s.1), Some("probs"));
    assert!(damaged.result().is_err_and(|e| e.to_string().contains("damaged")));
    assert_eq!((damaged.finish_reason(), damaged.seen_ids()), (None, &[1, 2][..]));
    back_to_the_start(&mut damaged);
    assert_eq!(walk(&mut damaged), seen);
}

#[test]
fn a_stop_string_ends_the_text() {
    let lm = checkpoint::bundled();
    let prompt = lm.bpe.encode("Once upon a");
    let options = Options { max_new_tokens: 20, ..Options::default() };
    let stop = StopStrings::new([","]).expect("a string");
    let mut session = Session::new(&lm, &prompt, options, stop).expect("a prompt");
    let seen = walk(&mut session);
    assert_eq!(session.finish_reason(), Some(FinishReason::Stop));
    assert!(session.text().starts_with(" time") && !session.text().contains(','), "{}", session.text());
    back_to_the_start(&mut session);
    assert_eq!(session.read_ids(), prompt);
    assert_eq!(walk(&mut session), seen);
}
