//! Hashes of exact bits, kept in `tests/bits/snapshots/`.

use crate::matrix::expected;
use crate::models::{self, Named, ids};
use gpt2::ARITHMETIC;
use gpt2::bpe::TokenId;
use gpt2::generate::{Chosen, Generation, Options};
use gpt2::matmul;
use gpt2::model::Gpt2;
use gpt2::tensor::{Dtype, Matrix, Weights};
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

/// `a * b + c`, rounded once, of numbers with any bits, and of some whose sum nearly cancels or lies beside the middle of
/// two numbers: by `f32::mul_add`, and as a product of `[1, a]` with `[c]` and `[b]`.
fn fused() -> String {
    let mut state = 1u64;
    let mut bits = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let (mut scalar, mut lanes) = (Vec::new(), Vec::new());
    for i in 0..2000u32 {
        // two times of three: few bits, so that the middles are met
        let kept = if i % 3 == 0 { u32::MAX } else { u32::MAX << (bits() % 23) };
        let mut a = f32::from_bits(bits() & kept);
        let mut b: Vec<f32> = (0..64).map(|_| f32::from_bits(bits() & kept)).collect();
        let near = |b: &f32| match bits() % 4 {
            0 => f32::from_bits(bits() & kept),
            1 => f32::from_bits((-a * b).to_bits().wrapping_add(bits() % 5)),
            _ => a * b * 2f32.powi((bits() % 60) as i32 - 30),
        };
        let mut c: Vec<f32> = b.iter().map(near).collect();
        if i % 10 == 0 {
            // beside the middle of two subnormals, by less than f64 shows
            a = (1.0 + f32::EPSILON) * 2f32.powi(-75);
            b.fill((1.0 - f32::EPSILON) * 2f32.powi(-75));
            c.fill_with(|| f32::from_bits(bits() & 0x807f_ffff));
        }
        scalar.extend(b.iter().zip(&c).map(|(b, c)| a.mul_add(*b, *c) + 0.0));
        let w = Weights::from_f32(2, b.len(), &[c, b].concat());
        let x = Matrix::from_vec(1, 2, vec![1.0, a]);
        lanes.extend_from_slice(matmul::affine(&x, &w, &[0.0; 64]).data());
    }
    let line = |what: &str, values: &[f32]| line("a * b + c", what, &[values.len()], hash(values));
    line("mul_add", &scalar) + &line("in a product", &lanes)
}

/// The text of the snapshot.
pub fn lines() -> String {
    let mut lines = format!("arithmetic {ARITHMETIC}\n{}", fused());
    lines.extend(models::all().iter().map(|named| passes(named) + &prompts(named)));
    lines.extend(models::middle().iter().filter(|named| named.model.wte.dtype() == Dtype::F32).map(texts));
    lines
}

#[test]
fn hashes() {
    let lines = lines();
    insta::assert_snapshot!("golden", lines);
}

/// The changelog must name every version of the arithmetic.
#[test]
fn the_changelog_names_the_version() {
    let changelog = include_str!("../../CHANGELOG.md");
    assert!(changelog.contains(&format!("Arithmetic version {ARITHMETIC}")));
}
