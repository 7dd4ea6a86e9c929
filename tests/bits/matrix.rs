//! Any number of threads, any batch size and any way to read the prompts give the same logits.

use crate::models::{self, Named, prompts};
use gpt2::bpe::TokenId;
use gpt2::kv_cache::Sequence;
use gpt2::model::Gpt2;
use gpt2::simd::Simd;
use gpt2::tensor::Matrix;
use gpt2::trace::NoTrace;

const THREADS: [usize; 4] = [1, 2, 3, 7];
const BATCHES: [usize; 4] = [1, 2, 5, 8];
const READINGS: [Reading; 5] =
    [Reading::AtOnce, Reading::Pieces(64), Reading::Pieces(3), Reading::Pieces(1), Reading::Guesses];

/// How prompts are read into the cache.
#[derive(Clone, Copy, Debug)]
enum Reading {
    AtOnce,
    /// At most this many tokens of each sequence per pass; 1 is how decoding works.
    Pieces(usize),
    /// Token by token, each followed by a wrong guess that is then taken back, in a cache whose pages are shared with a
    /// clone: what speculative decoding and beam search do.
    Guesses,
}

impl Reading {
    /// The tokens of `left` that the next pass reads, and whether the last one is a guess.
    fn next(self, left: &[TokenId]) -> (Vec<TokenId>, bool) {
        match self {
            Self::AtOnce => (left.to_vec(), false),
            Self::Pieces(most) => (left[..most.min(left.len())].to_vec(), false),
            Self::Guesses => match left {
                [id, next, ..] => (vec![*id, next ^ 1], true),
                last => (last.to_vec(), false),
            },
        }
    }
}

/// The bits of the logits after each prompt, `[batch, V]`. All prompts are read in one batch.
fn last_logits(model: &Gpt2, prompts: &[Vec<TokenId>], reading: Reading) -> Vec<Vec<u32>> {
    let mut caches = vec![model.new_cache(); prompts.len()];
    let mut last = vec![Vec::new(); prompts.len()]; // [C] each
    loop {
        let passes: Vec<(usize, (Vec<TokenId>, bool))> = (0..prompts.len())
            .map(|i| (i, &prompts[i][caches[i].len()..]))
            .filter(|(_, left)| !left.is_empty())
            .map(|(i, left)| (i, reading.next(left)))
            .collect();
        if passes.is_empty() {
            break;
        }
        let held = matches!(reading, Reading::Guesses).then(|| caches.clone());
        let mut pass = passes.iter().peekable();
        let mut batch = Vec::new();
        for (i, cache) in caches.iter_mut().enumerate() {
            if let Some((_, (ids, _))) = pass.next_if(|(next, _)| *next == i) {
                batch.push(Sequence { ids, cache });
            }
        }
        let x = model.hidden(&mut batch, &mut NoTrace); // [T, C]
        drop(held);
        let mut row = 0;
        for (i, (ids, guess)) in &passes {
            row += ids.len();
            last[*i] = x.row(row - 1).to_vec();
            if *guess {
                let cache = &mut caches[*i];
                cache.truncate(cache.len() - 1);
            }
        }
    }
    let x = Matrix::from_vec(prompts.len(), model.config.n_embd, last.concat());
    let logits = model.head(&x, &mut NoTrace); // [batch, V]
    (0..prompts.len()).map(|i| logits.row(i).iter().map(|x| x.to_bits()).collect()).collect()
}

/// The logits after each of the eight prompts, each read alone and at once. The golden hashes cover them.
pub fn expected(model: &Gpt2) -> Vec<Vec<u32>> {
    let alone = |prompt| last_logits(model, std::slice::from_ref(prompt), Reading::AtOnce).remove(0);
    prompts(model).iter().map(alone).collect()
}

/// Which part of the matrix is checked.
#[derive(PartialEq)]
enum Part {
    All,
    /// A fifth: every number of threads with every batch size, each pair with a different reading.
    Diagonal,
}

fn check(models: &[Named], part: Part) {
    let expected: Vec<Vec<Vec<u32>>> = models.iter().map(|named| expected(&named.model)).collect();
    for (t, threads) in THREADS.into_iter().enumerate() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for ((Named { name, model }, expected), (b, batch)) in models
            .iter()
            .zip(&expected)
            .flat_map(|model| BATCHES.into_iter().enumerate().map(move |b| (model, b)))
        {
            let prompts = &prompts(model)[..batch];
            for (r, reading) in READINGS.into_iter().enumerate() {
                if part == Part::Diagonal && r != (t + b) % READINGS.len() {
                    continue;
                }
                let got = pool.install(|| last_logits(model, prompts, reading));
                let place = || format!("{name}: {threads} threads, batch {batch}, {reading:?}");
                assert!(got == expected[..batch], "{}: the bits differ", place());
            }
        }
    }
}

/// The part for the larger models: the whole matrix under the widest instruction set, the diagonal under the others.
/// The fixtures are small enough for the whole matrix under each of them.
fn part() -> Part {
    if Simd::current() == Simd::detect() { Part::All } else { Part::Diagonal }
}

#[test]
fn fixtures() {
    check(&models::fixtures(), Part::All);
}

#[test]
fn the_bundled_model() {
    check(&[models::bundled(), models::quantized()], part());
}

#[test]
fn random_models() {
    check(&models::middle(), part());
}
