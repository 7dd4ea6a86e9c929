//! GPT-2 from first principles: how does a language model write text?
//!
//! It turns a sequence of tokens into one score for every token of its vocabulary, makes probabilities of the scores,
//! draws one token, appends it, and runs again:
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
//! Each module opens with the question it answers, the formula, and the naive code.
//!
//! | | module | question |
//! |---|---|---|
//! | 1 | [`bpe`] | How does text become numbers, and numbers text? |
//! | 2 | [`embedding`] | How does a token id become numbers, and where is it said which comes first? |
//! | 3 | [`layer_norm`] | How is a vector kept at a size that the next layer can work with? |
//! | 4 | [`attention`] | How does a position learn from the positions before it? |
//! | 5 | [`mlp`] | What does a position do on its own, with what attention brought it? |
//! | 6 | [`block`] | What happens in one layer of the transformer? |
//! | 7 | [`model`] | How do token ids become a score for every possible next token? |
//! | 8 | [`softmax`] | How do scores become probabilities? |
//! | 9 | [`sampling`] | Which token comes next? |
//! | 10 | [`generate`] | How does a model write? |
//!
//! Beside the path: [`score`] measures how likely a text is; [`search`] looks for likely ones, or writes several
//! tokens at once; [`kv_cache`] keeps what need not be computed again;
//! [`config`], [`tensor`], [`linear`] and [`math`] are what the lessons are made of; [`matmul`] is where the speed is;
//! [`quantize`] rounds weights to eight bits; [`checkpoint`] maps files; [`trace`] shows every stage.
//!
//! # Letters
//!
//! | letter | meaning |
//! |---|---|
//! | `T` | new tokens: the rows of every matrix on the path |
//! | `S` | all tokens so far, the cache's included |
//! | `C` | `n_embd`, the width of the residual stream |
//! | `H` | `n_head`, attention heads |
//! | `D` | `C / H`, the width of a head |
//! | `V` | `vocab_size` |
//!
//! # In ten lines
//!
//! ```
//! use gpt2::generate::{Generation, Options};
//! use gpt2::sampling::Sampling;
//!
//! let lm = gpt2::checkpoint::bundled(); // or checkpoint::open("path/to/gpt2")?
//! let prompt = lm.bpe.encode("Once upon a time");
//! let options = Options { max_new_tokens: 20, sampling: Some(Sampling::with_seed(1)), ..Options::default() };
//! let mut generation = Generation::new(&lm.model, &prompt, options)?;
//! while let Some(token) = generation.next() {
//!     print!("{}", lm.bpe.decode_lossy(&[token?.id])?);
//! }
//! assert_eq!(generation.new_ids().len(), 20);
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
//! let mut cache = lm.model.new_cache();
//! let logits = lm.model.forward(&ids, &mut cache, &mut NoTrace); // [T, V]
//! let next = argmax(logits.row(ids.len() - 1));
//! ids.push(next);
//! assert_eq!(lm.bpe.decode_lossy(&[next])?, " time");
//! # Ok::<(), gpt2::error::Error>(())
//! ```
//!
//! # The same bits everywhere
//!
//! For one checkpoint, one prompt and one set of options, every stage's output is the same bit for bit, on any number
//! of threads, with the cache or without, with tracing or without, on every instruction set. How: each output is
//! computed by one fixed sequence of correctly rounded operations, whatever threads share out.
//! [`arithmetic`] states the sequence, and what holds the promise.

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian and are used in place");

/// The version of the arithmetic: it changes when any bit of any stage may. Traces carry it.
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
pub mod inspect;
pub mod linear;
pub mod math;
pub mod matmul;
pub mod quantize;
pub mod simd;
pub mod tensor;
pub mod trace;
