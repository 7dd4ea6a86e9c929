//! Decoding a token allocates no memory: an allocator counts the allocations of all threads.

#[path = "common/allocator.rs"]
mod allocator;

use allocator::allocations;
use gpt2::checkpoint::{self, LanguageModel};
use gpt2::generate::{Batch, Generation, Options};

/// Every option that changes scores or chooses among them.
fn everything() -> Options {
    Options::sampled(1)
        .logit_bias(vec![(1, 0.5)])
        .repetition_penalty(1.3)
        .presence_penalty(0.2)
        .frequency_penalty(0.1)
        .no_repeat_ngram_size(3)
        .bad_words(vec![vec![5], vec![6, 7]])
        .min_new_tokens(9)
        .top_p(0.95)
        .min_p(0.001)
        .typical_p(0.95)
        .epsilon_cutoff(1e-4)
        .eta_cutoff(1e-4)
}

/// Positions per page of the cache: the first token of a page allocates memory for 64.
const PAGE: usize = 64;
const TOKENS: usize = 140;

/// The allocations of each turn, in which every one of `texts` texts gets a token. Turns that begin a page are left
/// out. All texts have the same length, so their pages begin in the same turn.
fn turns(lm: &LanguageModel, options: &Options, texts: usize) -> Vec<usize> {
    let options = options.clone().max_new_tokens(TOKENS).ignore_eos(true);
    let prompt = [7454, 2402, 257, 640]; // "Once upon a time"
    let new = || Generation::new(&lm.model, &prompt, options.clone()).expect("options");
    let mut counts = Vec::with_capacity(TOKENS);
    if texts == 1 {
        let mut text = new();
        for _ in 0..TOKENS {
            counts.push(allocations(|| assert!(text.next().is_some_and(|chosen| chosen.is_ok()))));
        }
    } else {
        let mut batch = Batch::new(&lm.model);
        (0..texts).for_each(|_| batch.push(new()));
        for _ in 0..TOKENS {
            counts.push(allocations(|| {
                batch.step(|_, chosen| assert!(chosen.is_ok()));
            }));
        }
    }
    // turn 0 reads the four positions of the prompt, turn i position i + 3
    let of_a_page = |i: &usize| *i == 0 || (i + 3).is_multiple_of(PAGE);
    let layers = lm.model.config.n_layer;
    for i in (0..TOKENS).filter(of_a_page).skip(1) {
        assert!(counts[i] <= texts * layers * 5, "a new page took {} allocations", counts[i]);
    }
    (0..TOKENS).filter(|i| !of_a_page(i)).map(|i| counts[i]).collect()
}

/// The only test of this file: the allocator counts for the whole process.
#[test]
fn a_token_allocates_nothing() {
    let lm = checkpoint::bundled();
    let sampled = Options::sampled(1);
    for (name, threads, texts, options) in [
        ("greedy", 1, 1, &Options::default()),
        ("everything", 1, 1, &everything()),
        ("a batch", 1, 3, &sampled),
        ("two threads", 2, 1, &sampled),
        ("a batch, two threads", 2, 3, &Options::default()),
    ] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            turns(&lm, options, texts); // each thread allocates the memory that it will reuse
            let counts = turns(&lm, options, texts);
            // one of several threads may meet a kind of work for the first time here
            let most = if threads == 1 { 0 } else { 16 };
            assert!(counts.iter().sum::<usize>() <= most, "{name}: {counts:?}");
        });
    }
}
