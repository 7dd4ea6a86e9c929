//! GPT-2 from first principles: how does a language model write text?
//!
//! It turns a sequence of tokens into one score (a *logit*) for each token of its vocabulary, converts the scores to
//! probabilities, draws one token, appends it, and runs again:
//!
//! ```text
//!  "Once upon a"
//!       | bpe              text -> ids                     [T]
//!       v
//!  +--> ids
//!  |    | embedding        wte[id] + wpe[position]         [T, C]
//!  |    | block x n_layer  x += attn(ln_1(x))              [T, C]
//!  |    |                  x += mlp(ln_2(x))               [T, C]
//!  |    | ln_f, head       logits of the last position     [V]
//!  |    | softmax          probabilities, with temperature [V]
//!  |    | sampling         one id
//!  +----+ append           until end-of-text or enough
//!       v
//!  " time"
//! ```
//!
//! # Reading order
//!
//! Each module opens with the question it answers, the formula, and the naive code. The notebooks in `notebooks/` go
//! deeper: they compute each step by hand, with the bundled model's numbers, and take it apart.
//!
//! | | module | question | notebook |
//! |---|---|---|---|
//! | 1 | [`bpe`] | How does text become numbers, and numbers text? | 1 |
//! | 2 | [`embedding`] | How does a token id become a vector, and how does the model know the order of the tokens? | 2 |
//! | 3 | [`layer_norm`] | How are the numbers of a vector kept at a size that the next layer can work with? | 4 |
//! | 4 | [`attention`] | How does a position learn from the positions before it? | 3 |
//! | 5 | [`mlp`] | What does a position compute on its own, from what attention brought it? | 4 |
//! | 6 | [`block`] | What happens in one layer of the transformer? | 4 |
//! | 7 | [`model`] | How do token ids become a score for every possible next token? | 5 |
//! | 8 | [`softmax`] | How do scores become probabilities? | 5 |
//! | 9 | [`sampling`] | Which token comes next? | 6 |
//! | 10 | [`generate`] | How does a model write? | 7 |
//!
//! The [glossary](guide::glossary) explains the words, and the [`guide`] has pages on the program, ports, checkpoints and
//! exactness. Off this path, [`score`] measures how likely a text is; [`search`] looks for likely texts, or generates
//! several tokens in one pass; [`inspect`] shows a whole generation and compares two, [`page`] in a browser; [`checkpoint`] opens models.
//!
//! # Floors
//!
//! A module imports only from the floors below its own, so it can be read without those above it (`tests/floors.rs`
//! checks the imports):
//!
//! | floor | modules |
//! |---|---|
//! | roof | [`page`]; [`inspect`]; [`search`], [`score`]; [`checkpoint`], [`quantize`] |
//! | lessons | [`generate`], [`sampling`], [`softmax`], [`model`], [`block`], [`mlp`], [`attention`], [`layer_norm`], [`embedding`], [`bpe`] |
//! | middle | [`trace`], [`kv_cache`], [`linear`], [`config`] |
//! | ground | [`activation`], [`matmul`], [`tensor`], [`math`], [`format`](mod@format), [`simd`], [`error`] |
//!
//! [`guide::maintain`] says where to make an addition.
//!
//! # Letters
//!
//! | letter | meaning |
//! |---|---|
//! | `T` | new tokens: the rows of every matrix on the path |
//! | `S` | all tokens so far, including those in the cache |
//! | `C` | `n_embd`, the width of the residual stream |
//! | `H` | `n_head`, attention heads |
//! | `D` | `C / H`, the width of a head |
//! | `V` | `vocab_size` |
//!
//! # In five lines
//!
//! ```
//! use gpt2::generate::Options;
//!
//! let lm = gpt2::checkpoint::bundled(); // or checkpoint::open("path/to/gpt2")?
//! for piece in lm.generate("Once upon a time", Options::sampled(1).max_new_tokens(20))? {
//!     print!("{}", piece?);
//! }
//! # Ok::<(), gpt2::error::Error>(())
//! ```
//!
//! One step of the loop by hand:
//!
//! ```
//! use gpt2::{sampling::argmax, trace::NoTrace};
//!
//! let lm = gpt2::checkpoint::bundled();
//! let mut ids = lm.bpe.encode("Once upon a");
//! let logits = lm.model.forward(&ids, &mut lm.model.new_cache(), &mut NoTrace); // [T, V]
//! let next = argmax(logits.row(ids.len() - 1));
//! ids.push(next);
//! assert_eq!(lm.bpe.decode_lossy(&[next])?, " time");
//! # Ok::<(), gpt2::error::Error>(())
//! ```
//!
//! # The same bits everywhere
//!
//! For one checkpoint, one prompt and one set of options, the output of every stage is identical bit for bit: on any
//! number of threads, with or without the cache, with or without tracing, on every instruction set. Each output is
//! computed by one fixed sequence of correctly rounded operations, however the work is split among threads.
//! [`arithmetic`] specifies this sequence and explains how it is enforced.

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian and are used in place");

/// The version of the arithmetic. It changes whenever any bit of any stage may change; every trace records it.
pub const ARITHMETIC: &str = "2";

pub mod bpe;
pub mod embedding;
pub mod layer_norm;
pub mod attention;
pub mod mlp;
pub mod block;
pub mod model;
pub mod softmax;
pub mod sampling;
pub mod generate;

pub mod kv_cache;
pub mod score;
pub mod search;

pub mod activation;
pub mod arithmetic;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod format;
pub mod guide;
pub mod inspect;
pub mod linear;
pub mod math;
pub mod matmul;
mod names;
pub mod page;
pub mod quantize;
pub mod simd;
pub mod tensor;
pub mod trace;

#[cfg(test)]
#[path = "../tests/common/properties.rs"]
mod properties;
