//! Which operations, in which order? The specification of every bit.
//!
//! `(a + b) + c` and `a + (b + c)` differ in floating point. A program that lets the order of a sum depend on the number
//! of threads, the size of a batch or the width of a register gives other logits in other circumstances, and, where two
//! tokens are nearly as likely, another text. This one does not:
//!
//! **For one checkpoint, one prompt and one set of options, every stage's output, and so the text, is the same bit for
//! bit**
//!
//! - for any number of threads,
//! - for any batch size, and any other prompts in the batch,
//! - for a prompt read at once, in pieces of any size, or token by token through the key/value cache,
//! - with or without a trace,
//! - under AVX-512, AVX2 and NEON; on a processor without fused multiply-add, where `f32::mul_add` is a slow, correctly
//!   rounded function; and in WebAssembly, where it is a few operations in f64 (`src/simd/fused.rs`).
//!
//! So a snapshot of every stage holds on every machine, speculative decoding is *exactly* plain decoding, and "why did
//! my output change?" has an answer. It follows from one rule: *each output is computed by one fixed sequence of correctly
//! rounded operations*. Threads share out outputs, or whole blocks of a sum, never the inside of one. What follows is that
//! sequence, for version [`ARITHMETIC`](crate::ARITHMETIC) of it; all numbers are f32 unless said otherwise,
//! `fma(a, b, c) = a * b + c` is rounded once, and every other operation is rounded to nearest, ties to even.
//!
//! # Products
//!
//! Of [`matmul`](crate::matmul): linear layers, the output head (where `bias` is 0), a query with a key (over the head's
//! dimensions), weights with values (over the positions, from position 0 of the cache).
//!
//! ```text
//! y = bias + 0                # -0 becomes 0
//! for each block of 256 consecutive k:
//!     p = 0
//!     for k in the block, in order:  p = fma(x[k], w[k], p)
//!     y = y + p
//! ```
//!
//! ```
//! use gpt2::matmul::{affine, plain};
//! use gpt2::tensor::{Matrix, Weights};
//!
//! let number = |i: usize| (i * i % 1009) as f32 * 1e-3 - 0.5;
//! let w = Weights::from_f32(600, 48, &(0..600 * 48).map(number).collect::<Vec<_>>());
//! let bias: Vec<f32> = (0..48).map(number).collect();
//! let x = Matrix::from_vec(40, 600, (7..24_007).map(number).collect());
//! let first = Matrix::from_vec(1, 600, x.row(0).to_vec());
//!
//! let (many, few) = (affine(&x, &w, &bias), affine(&first, &w, &bias)); // two different loops
//! assert_eq!(many.row(0), few.row(0));
//! assert_eq!(many.data(), plain::affine(&x, &w, &bias).data()); // and the loop above
//! ```
//!
//! Weights of sixteen bits are widened to f32, which is exact: the bits are those of an f32 checkpoint that holds the
//! rounded values.
//!
//! Weights of eight bits ([`quantize`](crate::quantize)) are multiplied as whole numbers, which is exact in any order. What
//! enters such a product is rounded as well, with a `scale` and a whole number `zero` for each block of 256 `k`; `low` and
//! `high` are the least and the largest of 0 and the block's numbers, and `round` is to the nearest, ties to even:
//!
//! ```text
//! y = 0
//! for each block of 256 consecutive k:
//!     scale = high / 255 - low / 255,   inverse = 1 / scale       # all three are 0 if scale is below 2^-126
//!     zero  = min(round(-low * inverse), 255)
//!     q[k]  = limit(round(x[k] * inverse) + zero, 0, 255)
//!     y     = fma(scale, sum of (q[k] - zero) * w8[k], y)
//! y = fma(scale_w, y, bias)
//! ```
//!
//! A page of keys behind the last position, and a weight of 0 for a position that a row does not see, add
//! exact zeros; so a row has the same bits alone and beside others.
//!
//! # Sums over a row
//!
//! Of [`math`](crate::math): the mean and the variance of a layer norm, the denominator of softmax. Sixteen partial sums,
//! then a tree, all in f64:
//!
//! ```text
//! s = [0; 16]                                                     # f64
//! for i, in order:       s[i mod 16] = s[i mod 16] + x[i]
//! for w in 8, 4, 2, 1:   for i below w:  s[i] = s[i] + s[i + w]
//! sum = s[0]
//! ```
//!
//! ```
//! let x: Vec<f32> = (0..100).map(|i| 1.0 / (i as f32 + 0.3)).collect();
//! let mut s = [0.0f64; 16];
//! for (i, x) in x.iter().enumerate() {
//!     s[i % 16] += f64::from(*x);
//! }
//! for w in [8, 4, 2, 1] {
//!     for i in 0..w {
//!         s[i] += s[i + w];
//!     }
//! }
//! assert_eq!(gpt2::math::sum(&x).to_bits(), s[0].to_bits());
//! ```
//!
//! So the probabilities of a row of any length add up to 1 within 2^-23, or 1.2e-7: what is rounded to f32 is their common
//! denominator, and each quotient.
//!
//! # Everything else, element by element
//!
//! | what | operations |
//! |---|---|
//! | embedding | `wte[id] + wpe[position]` |
//! | layer norm | `m = f32(sum(x) / C)`, `v = f32(sum((x - m) * (x - m)) / C)`, `scale = 1 / sqrt(v + eps)`, `y = fma((x - m) * scale, weight, bias)` |
//! | keys, values | as they are; with `--kv-cache-dtype` rounded to the nearest finite f16 or bf16, ties to even, when they enter the cache, which is all that attention reads (`attn.c_attn` shows them before) |
//! | scores | the product, then `* scale`, where `scale = 1 / sqrt(D)`, divided by the block's number if the checkpoint wants it |
//! | softmax | `e = exp(x - max(x))`, `p = e / f32(sum(e))` |
//! | log-probability | in f64: `x - max(x) - ln(sum(exp(x - max(x))))` |
//! | residual | `x + y` |
//! | `gelu_new` | `u = fma(0.044715 * x * x, x, x)`, `0.5 * x * (1 + tanh(0.7978846 * u))` |
//! | `gelu` | `0.5 * x * (1 + erf(x * 0.70710677))` |
//! | `silu` | `x / (1 + exp(-x))` |
//! | temperature | `x / temperature` |
//!
//! # Functions
//!
//! The C library's `exp` differs from system to system in its last bits. [`math`](crate::math) has its own, each a fixed
//! sequence of the operations above, without tables and branches:
//!
//! | function | largest error, against f64 |
//! |---|---|
//! | `exp` | 1 unit in the last place, through the subnormals to 0 |
//! | `tanh`, `erf` | 2 units in the last place |
//! | `ln`, in f64, for log-probabilities | 1 unit in the last place |
//!
//! # Random numbers
//!
//! ChaCha12, keyed by the seed as `rand`'s `seed_from_u64` says, the text's number as its stream; the upper 53 bits of a
//! `u64`, times 2^-53, are one `u` in \[0, 1) for each drawn token ([`Uniform`](crate::sampling::Uniform)). The token is the
//! first id at which the running sum of the probabilities, in f64 and in the order of ids, exceeds `u` times their whole sum
//! ([`draw`](crate::sampling::draw)).
//!
//! # What is not promised
//!
//! Which of the many NaNs a NaN is. That a checkpoint whose activations overflow to infinity behaves. That two versions of
//! [`ARITHMETIC`](crate::ARITHMETIC) agree: the changelog says when it changes. That another program agrees to the last bit:
//! PyTorch sums in an order that depends on the machine; the tests hold this one within 1e-4 of it.
//!
//! # What holds it
//!
//! - Every kernel, `matrixmultiply`'s as well, equals its plain loop on random shapes, under every instruction set:
//!   equality, not a tolerance (`src/matmul/tests.rs`, `src/matmul/int8/tests.rs`).
//! - The whole model, in f32, f16, bf16 and int8: threads 1, 2, 3, 7; batches of 1, 2, 5, 8; prompts at once, in pieces,
//!   token by token, with guesses taken back; every instruction set (`tests/bits/matrix.rs`).
//! - Hashes of every stage, in the repository; the same file must be met on x86-64, on arm64 and in WebAssembly
//!   (`tests/bits/golden.rs`, `.ci/arm64`, `.ci/wasm`).
//! - A product whose order is changed on purpose gives other bits, so that none of these is empty (`src/matmul/tests.rs`,
//!   `src/math/sums.rs`).
//!
//! The promise in a few lines: a prompt at once and token by token, on one thread and on three.
//!
//! ```
//! use gpt2::trace::NoTrace;
//!
//! let lm = gpt2::checkpoint::bundled();
//! let ids = lm.bpe.encode("Once upon a time there was a king who had three daughters");
//! let run = |threads: usize, piece: usize| -> Vec<u32> {
//!     let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
//!     let mut cache = lm.model.new_cache();
//!     let mut read = |ids| lm.model.next_logits(ids, &mut cache, &mut NoTrace); // [1, V]
//!     let logits = pool.install(|| ids.chunks(piece).map(&mut read).last()).expect("a prompt");
//!     logits.data().iter().map(|x| x.to_bits()).collect()
//! };
//! assert_eq!(run(1, ids.len()), run(3, 1));
//! ```
