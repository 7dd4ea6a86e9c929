//! The table: ranges, text, JSON and hostile values.

use super::*;
use crate::checkpoint;
use crate::sampling::{Effects, History, NoWatch};
use proptest::prelude::*;
use serde_json::{Map, Value};

const GONE: f32 = f32::NEG_INFINITY;

/// Every option on, but not so strong that no token is left.
fn everything() -> Options {
    Options::plain(7)
        .logit_bias(vec![(1, 0.5), (2, GONE)])
        .repetition_penalty(1.3)
        .presence_penalty(0.2)
        .frequency_penalty(0.1)
        .no_repeat_ngram_size(2)
        .bad_words(vec![vec![5], vec![6, 7]])
        .min_new_tokens(9)
        .temperature(0.9)
        .top_k(12)
        .top_p(0.9)
        .min_p(0.02)
        .typical_p(0.9)
        .epsilon_cutoff(0.01)
        .eta_cutoff(0.02)
        .ignore_eos(true)
        .max_new_tokens(20)
        .stop(vec!["END".into()])
        .context_policy(ContextPolicy::Error)
}

fn encode(text: &str) -> Vec<TokenId> {
    text.bytes().map(TokenId::from).collect()
}

#[test]
fn the_steps_are_taken_in_the_order_of_the_table() {
    let options = everything();
    let logits: Vec<f32> = (0..20).map(|i| (i as f32 * 1.7).sin() * 3.0).collect();
    let history = History { ids: &[3, 4, 3], prompt_len: 1, eos: &[0] };
    let (mut x, mut effects) = (logits.clone(), Effects::default());
    options.process(&mut x, &history, &mut effects);
    options.warp(&mut x, 1, &mut effects);
    let steps: Vec<&str> = effects.0.iter().map(|effect| &*effect.step).collect();
    let expected = [
        "logit-bias",
        "repetition-penalty",
        "presence-penalty, frequency-penalty",
        "no-repeat-ngram-size",
        "bad-words",
        "min-new-tokens",
        "temperature",
        "top-k",
        "top-p",
        "min-p",
        "typical-p",
        "epsilon-cutoff",
        "eta-cutoff",
    ];
    assert_eq!(steps, expected);
    for pair in effects.0.windows(2) {
        assert_eq!(pair[1].left, pair[0].left - pair[1].removed, "{:?}", pair[1]);
    }
    let mut unwatched = logits;
    options.process(&mut unwatched, &history, &mut NoWatch);
    options.warp(&mut unwatched, 1, &mut NoWatch);
    assert_eq!(x, unwatched, "being watched changes nothing");
}

#[test]
fn options_that_are_off_take_no_step() {
    let (mut x, mut effects) = ([0.0, 1.0], Effects::default());
    let history = History { ids: &[1, 1], prompt_len: 1, eos: &[0] };
    Options::default().process(&mut x, &history, &mut effects);
    assert_eq!(effects.0, []);
    Options::plain(0).warp(&mut x, 1, &mut effects);
    assert_eq!(effects.0.len(), 1, "temperature always");
    assert_eq!(x, [0.0, 1.0]);
}

#[test]
fn options_out_of_range_are_named() {
    let model = checkpoint::bundled().model;
    let size = model.config.vocab_size;
    let (beyond, off) = (size as TokenId, || Options::plain(0));
    for (options, part) in [
        (off().temperature(0.0), "temperature 0"),
        (off().temperature(f32::NAN), "temperature NaN"),
        (
            off().temperature(-0.1),
            "temperature -0.1 must be above 0 and finite; for the likeliest token use greedy",
        ),
        (off().top_p(-0.1), "top-p -0.1 must be from 0 to 1"),
        (off().min_p(1.5), "min-p 1.5 must be from 0 to 1"),
        (off().min_p(-0.5), "min-p -0.5"),
        (off().typical_p(0.0), "typical-p 0 must be above 0"),
        (off().typical_p(f64::NAN), "typical-p NaN"),
        (off().epsilon_cutoff(1.0), "epsilon-cutoff 1 must be from 0 to below 1"),
        (off().eta_cutoff(-1.0), "eta-cutoff -1"),
        (off().logit_bias(vec![(beyond, 1.0)]), "logit-bias: token id 50257"),
        (off().logit_bias(vec![(1, f32::NAN)]), "logit-bias of id 1: NaN"),
        (off().logit_bias(vec![(1, f32::INFINITY)]), "logit-bias of id 1: inf"),
        (off().repetition_penalty(0.0), "repetition-penalty 0"),
        (off().repetition_penalty(f32::NAN), "repetition-penalty NaN"),
        (off().presence_penalty(f32::INFINITY), "presence-penalty inf"),
        (off().frequency_penalty(f32::NAN), "frequency-penalty NaN"),
        (off().bad_words(vec![vec![]]), "bad-words"),
        (off().bad_words(vec![vec![1, beyond]]), "bad-words: token id 50257"),
        (off().stop(vec!["".into()]), "stop: an empty text"),
        (off().min_new_tokens(129), "min-new-tokens 129 must be at most max-new-tokens, which is 128"),
    ] {
        let error = options.check(&model).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    let ban = off().logit_bias(vec![(beyond - 1, GONE)]);
    assert!(ban.check(&model).is_ok() && everything().check(&model).is_ok());
    let ends = off().top_k(0).top_p(1.0).min_p(0.0).typical_p(1.0).epsilon_cutoff(0.0).eta_cutoff(0.0);
    let (mut x, scores) = ([0.5, 0.0, GONE, -3.0], [0.5, 0.0, GONE, -3.0]);
    ends.check(&model).expect("the ends of the ranges");
    ends.warp(&mut x, 1, &mut NoWatch);
    assert_eq!(x, scores, "and they change nothing");
}

#[test]
fn no_end_before_enough_is_written() {
    let options = Options::default().min_new_tokens(2);
    for (ids, banned) in [(&[7, 7, 7][..], true), (&[7, 7, 7, 1], true), (&[7, 7, 7, 1, 2], false)] {
        let mut x = [1.0; 4];
        let history = History { ids, prompt_len: 3, eos: &[2, 999] };
        options.process(&mut x, &history, &mut NoWatch);
        assert_eq!(x, [1.0, 1.0, if banned { GONE } else { 1.0 }, 1.0]);
    }
}

#[test]
fn options_that_are_on_are_written() {
    assert_eq!(
        json!(Options::sampled(3)),
        json!({"greedy": false, "temperature": 0.8, "top_k": 40, "top_p": null, "seed": 3})
    );
    let few = Options::default().max_new_tokens(3).context_policy(ContextPolicy::Stop);
    let greedy =
        json!(few.logit_bias(vec![(5, GONE), (6, 0.5)]).no_repeat_ngram_size(2).top_k(40).min_p(0.5));
    assert_eq!((&greedy["max_new_tokens"], &greedy["context_policy"]), (&json!(3), &json!("stop")));
    assert_eq!(greedy["logit_bias"], json!([[5, "-inf"], [6, 0.5]]));
    assert_eq!((&greedy["greedy"], &greedy["no_repeat_ngram_size"]), (&json!(true), &json!(2)));
    assert_eq!((greedy.get("min_new_tokens"), greedy.get("min_p")), (None, None));
    assert_eq!((&greedy["top_k"], &greedy["seed"]), (&Value::Null, &Value::Null));
    assert_eq!(json!(Options::plain(1).stream(4))["stream"], 4);
}

/// The options in the metadata of a trace can be read back completely.
#[test]
fn what_is_written_can_be_read() {
    for options in [everything(), Options::sampled(3), Options::plain(u64::MAX), Options::default()] {
        let written: Map<String, Value> = serde_json::from_str(&json!(options).to_string()).expect("JSON");
        let mut read = Options::sampled(9).min_p(0.5).stop(vec!["x".into()]);
        for row in TABLE {
            row.read(&mut read, written.get(&row.key()).unwrap_or(&Value::Null), &encode)
                .expect("its own value");
        }
        let usual = Options::default();
        let fixed = |row: &&Row| row.off.is_none() && !written.contains_key(&row.key());
        for row in TABLE.iter().filter(fixed) {
            row.read(&mut read, &row.write(&usual), &encode).expect("the default");
        }
        assert_eq!(json!(read), json!(options));
    }
    assert_eq!(json!(everything()).as_object().expect("an object").len(), TABLE.len(), "every row is on");
}

#[test]
fn texts_and_json_say_the_same() {
    let row = |name: &str| TABLE.iter().find(|row| row.name == name).expect("a row");
    for (name, text, value) in [
        ("logit-bias", "5=-inf", json!("5=-inf")),
        ("logit-bias", " 5 = 0.25", json!([[5, 0.25]])),
        ("bad-words", "ab", json!("ab")),
        ("bad-words", "ab", json!([[97, 98]])),
        ("stop", "off", json!(["off"])),
        ("top-k", "7", json!(7)),
        ("top-k", "off", json!(null)),
        ("top-p", "1e-1", json!(0.1)),
        ("presence-penalty", "0.123456789", json!(0.123456789)),
        ("seed", "18446744073709551615", json!(u64::MAX)),
        ("greedy", "on", json!(true)),
        ("ignore-eos", "off", json!(false)),
        ("context-policy", "stop", json!("stop")),
    ] {
        let (mut a, mut b) = (Options::sampled(1), Options::sampled(1));
        row(name).parse(&mut a, text, &encode).expect(text);
        row(name).read(&mut b, &value, &encode).expect(text);
        assert_eq!(a, b, "{name} {text}");
    }
    let mut twice = Options::default();
    for text in ["a", "b"] {
        row("stop").parse(&mut twice, text, &encode).expect("a text");
    }
    assert_eq!(twice.stop, ["a", "b"], "each flag adds one");
    for (name, text, value, is) in [
        ("top-k", "-3", json!("3"), "top-k must be a whole number, from 0"),
        ("seed", "-1", json!(-1), "seed must be a whole number, from 0 to 2^64 - 1"),
        ("temperature", "x", json!(1e300), "temperature must be a number, above 0"),
        ("logit-bias", "5", json!([5, 1]), "logit-bias must be ID=VALUE"),
        ("logit-bias", "x=1", json!("-1=1"), "logit-bias must be ID=VALUE"),
        ("logit-bias", "1=", json!([[5, 1, 1]]), "logit-bias must be ID=VALUE"),
        ("bad-words", "x", json!([5]), ""),
        ("stop", "x", json!(5), ""),
        ("ignore-eos", "1", json!(1), "ignore-eos must be on or off"),
        ("context-policy", "shift", json!("shift"), "context-policy must be slide, stop or error"),
    ] {
        let mut options = Options::sampled(1);
        match row(name).parse(&mut options, text, &encode) {
            Err(problem) => assert!(!is.is_empty() && problem.to_string().contains(is), "{problem}"),
            Ok(()) => assert!(is.is_empty(), "{name} {text}"),
        }
        let mut options = Options::sampled(1);
        let problem = row(name).read(&mut options, &value, &encode).expect_err(name).to_string();
        assert!(problem.starts_with(&format!("{} {value}: ", row(name).key())), "{problem}");
        assert_eq!(options, Options::sampled(1), "nothing is changed then");
    }
}

#[test]
fn names_are_told_apart() {
    for (i, row) in TABLE.iter().enumerate() {
        assert!(TABLE[..i].iter().all(|other| other != row), "{}", row.name);
        assert_eq!(row.value.is_empty(), row.what == bool::WHAT, "{}", row.name);
    }
    let on = |row: &&Row| {
        let mut options = everything();
        row.switch_off(&mut options) && options != everything()
    };
    assert_eq!(TABLE.iter().filter(on).count(), TABLE.len() - 4, "all but greedy, seed, length and policy");
}

proptest! {
    #![proptest_config(crate::properties::config())]
    /// Hostile values, ids that do not exist, no history, no scores: never a panic.
    #[test]
    fn anything_goes(
        x in prop::collection::vec(prop::num::f32::ANY, 0..20),
        ids in prop::collection::vec(0..30u32, 0..20),
        prompt_len in 0..40usize,
        eos in prop::collection::vec(0..30u32, 0..3),
        bias in prop::collection::vec((0..30u32, prop::num::f32::ANY), 0..3),
        penalties in prop::array::uniform3(prop::num::f32::ANY),
        n in 0..30usize,
        bad_words in prop::collection::vec(prop::collection::vec(0..30u32, 0..4), 0..4),
    ) {
        let [repetition_penalty, presence_penalty, frequency_penalty] = penalties;
        let options = Options {
            logit_bias: bias, repetition_penalty, presence_penalty, frequency_penalty,
            no_repeat_ngram_size: n, bad_words, min_new_tokens: 3, ..Options::default()
        };
        let mut processed = x.clone();
        options.process(&mut processed, &History { ids: &ids, prompt_len, eos: &eos }, &mut NoWatch);
        prop_assert_eq!(processed.len(), x.len());
    }
}
