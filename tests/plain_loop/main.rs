//! Every way to generate a text writes what a page of plain code writes, bit for bit.
//!
//! - [`plain`]: the loop, with a fresh pass over the whole window for each token;
//! - [`chain`]: the steps from logits to a token, as they are written down;
//! - [`ways`]: alone, in a batch, forked, with a draft, watched, traced, by a beam;
//! - [`cases`]: random models, prompts and options.
//!
//! `PROPTEST_CASES=20000 cargo test --test plain_loop` tries more than the usual 256 cases.

mod cases;
mod chain;
mod plain;
#[path = "../common/properties.rs"]
mod properties;
mod ways;

use gpt2::model::Gpt2;
use gpt2::score::{Windows, score};
use plain::Written;
use proptest::prelude::*;
use rayon::ThreadPool;
use std::sync::LazyLock;
use ways::{Request, Writer};

static ONE_THREAD: LazyLock<ThreadPool> = LazyLock::new(|| threads(1));
static THREE_THREADS: LazyLock<ThreadPool> = LazyLock::new(|| threads(3));

fn threads(n: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads")
}

/// The plain loop's text.
fn plain((prompt, options): &Request, model: &Gpt2) -> Written {
    plain::write(model, prompt, options, |_| options.stream)
}

/// Everything about one text.
fn check_text(model: &Gpt2, draft: &Gpt2, request: &Request, fork: (usize, u64)) {
    let expected = plain(request, model);
    let v = model.config.vocab_size;
    assert!(
        expected.ids.len() <= request.1.max_new_tokens && expected.ids.iter().all(|id| (*id as usize) < v)
    );
    match ways::each_way(model, draft, request) {
        Err(refused) => assert_eq!(refused, expected),
        Ok(ways) => ways.into_iter().for_each(|(way, written)| assert_eq!(written, expected, "{way}")),
    }
    let (first, stream) = fork;
    let forked =
        plain::write(model, &request.0, &request.1, |n| if n < first { request.1.stream } else { stream });
    if let Ok(texts) = ways::forked(model, request, first, stream) {
        assert_eq!(texts, [expected, forked], "forked after {first}");
    }
    let options = request.1.clone().stop(vec![]).sample(false).ignore_eos(true);
    let greedy = (request.0.clone(), options);
    assert_eq!(ways::one_beam(model, &greedy), plain::one_beam(model, &greedy.0, &greedy.1), "one beam");
}

/// The score of each token of a text.
fn check_score(model: &Gpt2, (prompt, options): &Request, window: usize, stride: usize) {
    let ids = [&prompt[..], &plain(&(prompt.clone(), options.clone()), model).ids].concat();
    let known = ids.iter().all(|id| (*id as usize) < model.config.vocab_size);
    let found = score(model, &ids, Windows { window, stride }, |_| ());
    if ids.is_empty() || !known {
        return assert!(found.is_err());
    }
    let expected = plain::score(model, &ids, window, stride);
    if expected.iter().flatten().any(|bits| !f64::from_bits(*bits).is_finite()) {
        return assert!(found.is_err(), "the weights are damaged");
    }
    let found: Vec<_> = found.expect("scores").into_iter().map(|x| x.map(f64::to_bits)).collect();
    assert_eq!(found, expected, "window {window}, stride {stride}");
}

fn requests() -> impl Strategy<Value = ((Gpt2, Gpt2), Vec<Request>)> {
    cases::models().prop_flat_map(|models| {
        let request = (cases::prompt(&models.0), cases::options(&models.0));
        (Just(models), prop::collection::vec(request, 1..5))
    })
}

proptest! {
    #![proptest_config(properties::config())]

    #[test]
    fn every_way_writes_what_the_plain_loop_writes(
        ((model, draft), requests) in requests(),
        joins in prop::array::uniform4(0..4usize),
        fork in (0..6usize, 0..4u64),
        windows in any::<[prop::sample::Index; 2]>(),
    ) {
        let joins = &joins[..requests.len()];
        let expected: Vec<Written> = requests.iter().map(|request| plain(request, &model)).collect();
        ONE_THREAD.install(|| {
            check_text(&model, &draft, &requests[0], fork);
            if model.config.n_positions > 1 {
                let window = 2 + windows[0].index(model.config.n_positions - 1);
                check_score(&model, &requests[0], window, 1 + windows[1].index(window));
            }
            assert_eq!(ways::together(&model, &requests, joins), expected, "together");
        });
        THREE_THREADS.install(|| {
            let alone = Writer::new(&model, &requests[0]).map_or_else(|refused| refused, Writer::alone);
            assert_eq!(alone, expected[0], "on three threads");
            assert_eq!(ways::together(&model, &requests, joins), expected, "together on three threads");
        });
    }
}
