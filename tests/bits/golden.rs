//! Hashes of exact bits, kept in `tests/bits/snapshots/`.

use crate::matrix::expected;
use crate::models::{self, Named, ids};
use gpt2::ARITHMETIC;
use gpt2::bpe::TokenId;
use gpt2::generate::{Chosen, Generation, Options};
use gpt2::model::Gpt2;
use gpt2::tensor::{Dtype, Matrix};
use gpt2::trace::{Digest, NoTrace, Recorder};

/// A line of the snapshot.
fn line(model: &str, what: &str, shape: &[usize], hash: u64) -> String {
    format!("{model:<22} {what:<32} {:<14} {hash:016x}\n", format!("{shape:?}"))
}

fn hash(values: &[f32]) -> u64 {
    Digest::of_values("", &[values.len()], values).hash
}

/// Every stage of a pass that continues a cache, then the logits of one more token.
fn passes(Named { name, model }: &Named) -> String {
    // more than 256 positions for attention; fewer if a large vocabulary makes each row of logits expensive
    let past = if model.config.vocab_size > 10_000 { 20 } else { 260 };
    let ids = ids(model, (past + 21).min(model.config.n_positions), 0);
    let (past, new) = ids.split_at(ids.len() - 21);
    let (newest, new) = new.split_last().expect("21 ids");

    let mut cache = model.new_cache();
    let logits =
        |what: &str, logits: &Matrix| line(name, what, &[logits.rows(), logits.cols()], hash(logits.data()));
    let mut lines = logits("prefill", &model.forward(past, &mut cache, &mut NoTrace));
    let mut recorder = Recorder::new();
    model.forward(new, &mut cache, &mut recorder);
    let digests = recorder.stages.iter().map(Digest::of);
    lines.extend(digests.map(|digest| line(name, &digest.name, &digest.shape, digest.hash)));
    lines + &logits("one token", &model.forward(&[*newest], &mut cache, &mut NoTrace))
}

/// The logits that each cell of the matrix must give.
fn prompts(Named { name, model }: &Named) -> String {
    let logits: Vec<f32> = expected(model).concat().into_iter().map(f32::from_bits).collect();
    line(name, "after eight prompts", &[8, model.config.vocab_size], hash(&logits))
}

/// A text that slides past the last position.
fn text(name: &str, model: &Gpt2, what: &str, options: Options) -> String {
    let prompt = ids(model, model.config.n_positions - 4, 1);
    let options = options.max_new_tokens(12).ignore_eos(true);
    let mut generation = Generation::new(model, &prompt, options).expect("a prompt");
    let chosen: Vec<Chosen> = generation.by_ref().map(|chosen| chosen.expect("a token")).collect();
    assert_eq!(generation.slides(), 1);
    let ids: Vec<TokenId> = chosen.iter().map(|chosen| chosen.id).collect();
    let logprobs: Vec<f32> = chosen.iter().map(|chosen| chosen.logprob as f32).collect();
    let place = gpt2::trace::Place::new(gpt2::trace::Stage::InputIds, None);
    line(name, &format!("{what}: ids"), &[ids.len()], Digest::of_ids(place, &ids).hash)
        + &line(name, &format!("{what}: log-probabilities"), &[logprobs.len()], hash(&logprobs))
}

fn texts(Named { name, model }: &Named) -> String {
    let plain = Options::plain(5).typical_p(0.9).min_p(0.001);
    let cut = Options::plain(6).top_k(50).top_p(0.95).eta_cutoff(3e-4);
    text(name, model, "greedy", Options::default())
        + &text(name, model, "typical, min-p", plain)
        + &text(name, model, "top-k, top-p, eta", cut)
}

#[test]
fn hashes() {
    let mut lines = format!("arithmetic {ARITHMETIC}\n");
    lines.extend(models::all().iter().map(|named| passes(named) + &prompts(named)));
    lines.extend(models::middle().iter().filter(|named| named.model.wte.dtype() == Dtype::F32).map(texts));
    insta::assert_snapshot!("golden", lines);
}

/// The changelog must name every version of the arithmetic.
#[test]
fn the_changelog_names_the_version() {
    let changelog = include_str!("../../CHANGELOG.md");
    assert!(changelog.contains(&format!("Arithmetic version {ARITHMETIC}")));
}
