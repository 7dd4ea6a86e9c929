//! The tokenizer on one thread: bytes of text per second.
//!
//!     cargo bench --bench tokenizer
//!     GPT2_BENCH_TEXT=FILE cargo bench --bench tokenizer     # a text of your own
//!
//! Without a file, the text consists of GPT-2's own words, the n-th of them n times rarer than the first (Zipf's law).
//! Real text has more rare words and is slower to encode: use real text to compare tokenizers
//! (`benches/peers/compare_tokenizers.py`).

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use gpt2::bpe::{Bpe, TokenId};
use std::sync::LazyLock;

static BPE: LazyLock<Bpe> = LazyLock::new(Bpe::gpt2);
static TEXT: LazyLock<String> = LazyLock::new(|| match std::env::var_os("GPT2_BENCH_TEXT") {
    Some(path) => std::fs::read_to_string(path).expect("a text file"),
    None => words(),
});
static IDS: LazyLock<Vec<TokenId>> = LazyLock::new(|| BPE.encode(&*TEXT));

fn main() {
    divan::main();
}

/// Two megabytes of words that begin with a space.
fn words() -> String {
    let words: Vec<String> = (0..50_256)
        .filter_map(|id| BPE.decode_lossy(&[id]).ok())
        .filter(|word| word.starts_with(' ') && word[1..].chars().all(char::is_alphabetic) && word.len() > 1)
        .collect();
    let mut text = String::new();
    let mut state = 1u64;
    while text.len() < 2_000_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // e^(u ln n) for a uniform u: rank r has a probability of about 1 / r
        let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
        let rank = (words.len() as f64).powf(uniform) as usize - 1;
        text.push_str(&words[rank.min(words.len() - 1)]);
        if state >> 60 == 0 {
            text.push_str(".\n");
        }
    }
    text
}

#[divan::bench(sample_count = 11, max_time = 10.0)]
fn encode(bencher: Bencher<'_, '_>) {
    let (bpe, text) = (&*BPE, &*TEXT);
    bencher.counter(BytesCount::of_str(text)).bench_local(|| bpe.encode(black_box(text)));
}

#[divan::bench(sample_count = 11, max_time = 10.0)]
fn decode(bencher: Bencher<'_, '_>) {
    let (bpe, ids) = (&*BPE, &*IDS);
    bencher.counter(BytesCount::of_str(&**TEXT)).bench_local(|| bpe.decode(black_box(ids)));
}
