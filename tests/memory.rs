//! The memory of a batch, of beams and of a score is what `gpt2::guide::commands` says.

#[path = "common/allocator.rs"]
mod allocator;

use allocator::peak;
use gpt2::checkpoint::random;
use gpt2::config::{Config, TokenId};
use gpt2::generate::{Batch, Generation, Options};
use gpt2::kv_cache::KvCache;
use gpt2::model::Gpt2;
use gpt2::score::{Windows, score_each};
use gpt2::search::{BeamSearch, Beams};
use gpt2::tensor::Dtype;
use std::ops::ControlFlow;

fn model() -> Gpt2 {
    let shape = br#"{"n_layer": 3, "n_embd": 128, "n_head": 4, "n_positions": 512, "vocab_size": 3000}"#;
    random::random(Config::from_json(shape).expect("a configuration"), Dtype::F32)
}

/// The peak of work on one thread of its own, whose buffers are still empty.
fn fresh_peak(work: impl FnOnce() + Send) -> usize {
    let alone = || {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().expect("a thread");
        pool.install(work);
    };
    // joined, so that the buffers of the thread are freed before the next measurement
    peak(|| std::thread::scope(|scope| scope.spawn(alone).join().expect("no panic")))
}

fn ids(len: usize) -> Vec<TokenId> {
    (0..len as TokenId).map(|i| i * i % 2999).collect()
}

/// `lines` texts, at most `size` of them at a time.
fn batch(model: &Gpt2, lines: usize, size: usize, prompt: usize, new: usize) {
    let options = Options::sampled(1).max_new_tokens(new).ignore_eos(true);
    let mut batch = Batch::new(model);
    let mut waiting = 0..lines;
    loop {
        while batch.len() < size && waiting.next().is_some() {
            batch.push(Generation::new(model, &ids(prompt), options.clone()).expect("options"));
        }
        if batch.is_empty() {
            break;
        }
        batch.step(|_, chosen| assert!(chosen.is_ok()));
        batch.take_finished().for_each(drop);
    }
}

/// A search in which every beam is a group of its own, so that the beams share nothing but the prompt.
fn beams(model: &Gpt2, k: usize, prompt: usize, new: usize) {
    let options = Options::default().max_new_tokens(new).ignore_eos(true);
    let diversity_penalty = if k > 1 { 50.0 } else { 0.0 };
    let beams = Beams { num_beams: k, num_beam_groups: k, diversity_penalty, ..Beams::default() };
    let search = BeamSearch::new(model, &ids(prompt), options, beams).expect("options");
    search.for_each(|step| assert!(step.is_ok()));
}

fn score(model: &Gpt2, len: usize, windows: Windows) {
    let each = |_, _| ControlFlow::Continue(());
    score_each(model, &ids(len), windows, each).expect("scores");
}

/// Positions per page of the cache.
const PAGE: usize = 64;

/// The formulas of the guide, in bytes, on one thread.
struct Bounds<'m>(&'m Gpt2);

impl Bounds<'_> {
    /// Keys and values; the cache consists of whole pages.
    fn kv(&self, positions: usize) -> usize {
        KvCache::bytes_for(&self.0.config, self.0.kv_cache_dtype, positions)
    }

    fn logits(&self, rows: usize) -> usize {
        4 * rows * self.0.config.vocab_size
    }

    fn activations(&self, widths: usize, rows: usize) -> usize {
        4 * widths * self.0.config.n_embd * rows
    }

    fn batch(&self, n: usize, prompt: usize, new: usize) -> usize {
        let rows = n + (n * prompt).min(256);
        n * self.kv(prompt + new) + self.logits(n + 4) + self.activations(64, rows)
    }

    fn beams(&self, k: usize, prompt: usize, new: usize) -> usize {
        let shared = prompt / PAGE * PAGE;
        let rows = k + prompt.min(256);
        self.kv(shared) + k * self.kv(prompt - shared + new) + self.logits(k + 4) + self.activations(36, rows)
    }

    fn score(&self, window: usize) -> usize {
        self.kv(window) + self.logits(64) + self.activations(18, window)
    }
}

/// The peak is within the bound, and at least half of it.
fn check(what: &str, peak: usize, bound: usize) -> usize {
    println!("{what}: {peak} of {bound} bytes, {:.0}%", 100.0 * peak as f64 / bound as f64);
    assert!(peak <= bound, "{what}: {peak} bytes exceed {bound}");
    assert!(peak >= bound / 2, "{what}: {peak} bytes; {bound} says too little");
    peak
}

/// Ten times the work takes hardly more memory.
fn same(what: &str, few: usize, many: usize) {
    assert!(many <= few + few / 10, "{what}: {few} bytes became {many}");
}

/// The only test of this file: the allocator counts for the whole process.
#[test]
fn the_guide_says_how_much_memory_is_taken() {
    let model = model();
    let bounds = Bounds(&model);
    let batch = |lines, n, prompt| {
        let what = format!("{lines} lines of {prompt} tokens, {n} at a time");
        check(&what, fresh_peak(|| batch(&model, lines, n, prompt, 70)), bounds.batch(n, prompt, 70))
    };
    batch(4, 4, 4);
    batch(16, 16, 4);
    batch(16, 16, 300);
    same("a batch", batch(6, 4, 300), batch(60, 4, 300));

    for (k, prompt, new) in [(4, 4, 70), (16, 4, 70), (4, 300, 70), (16, 300, 70)] {
        let what = format!("{k} beams, {prompt} + {new} tokens");
        check(&what, fresh_peak(|| beams(&model, k, prompt, new)), bounds.beams(k, prompt, new));
    }

    let score = |len, window| {
        let what = format!("a score of {len} tokens, window {window}");
        let windows = Windows { window, stride: window / 2 };
        check(&what, fresh_peak(|| score(&model, len, windows)), bounds.score(window))
    };
    same("a score, whole window", score(600, 512), score(6000, 512));
    same("a score", score(600, 100), score(6000, 100));
}
