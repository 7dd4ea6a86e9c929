//! The kernels at the shapes of GPT-2 124M, and the operations around them.
//!
//!     cargo bench --bench kernels                    # all, about a minute
//!     cargo bench --bench kernels -- 'affine.*bf16'  # some
//!     GPT2_SIMD=avx2 cargo bench --bench kernels     # another instruction set
//!
//! `gpt2 bench` measures whole models against the machine's limits; this bench shows which part of a model is slow; the
//! bench `trace` measures the cost of tracing. With few rows, throughput should approach memory bandwidth (bytes of
//! weights per second); with many rows, it should approach peak arithmetic (one item is one operation; a
//! multiply-add counts as two). The plain loop is there for comparison.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use gpt2::activation::Activation;
use gpt2::checkpoint::random;
use gpt2::config::Config;
use gpt2::kv_cache::Sequence;
use gpt2::layer_norm::LayerNorm;
use gpt2::model::Gpt2;
use gpt2::softmax::softmax;
use gpt2::tensor::{Dtype, Matrix, Weights};
use gpt2::trace::NoTrace;
use gpt2::{math, matmul};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// Few and many.
const ROWS: [usize; 4] = [1, 8, 64, 512];
const C: usize = 768;

fn main() {
    divan::main();
}

/// A model with one block, whose linear layers and head have the shapes of GPT-2 124M. Built once for each dtype.
fn one_block(dtype: Dtype) -> &'static Gpt2 {
    static MADE: LazyLock<Mutex<HashMap<&'static str, &'static Gpt2>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().expect("no panic");
    made.entry(dtype.name()).or_insert_with(|| {
        let config = Config::from_json(br#"{"n_layer": 1}"#).expect("a configuration");
        Box::leak(Box::new(random::random(config, dtype)))
    })
}

fn numbers(rows: usize, cols: usize) -> Matrix {
    let number = |i: usize| ((i * 7919 + i / 31) % 2003) as f32 / 1001.5 - 1.0;
    Matrix::from_vec(rows, cols, (0..rows * cols).map(number).collect())
}

/// Measures a product with `w`: in bytes for few rows, in operations for many.
fn product(bencher: Bencher<'_, '_>, rows: usize, w: &Weights, mut work: impl FnMut()) {
    if rows <= 16 {
        bencher.counter(BytesCount::new(w.bytes())).bench_local(&mut work);
    } else {
        bencher.counter(ItemsCount::new(2 * rows * w.rows() * w.cols())).bench_local(&mut work);
    }
}

#[divan::bench_group(sample_count = 9, max_time = 0.4)]
mod products {
    use super::*;

    fn affine(bencher: Bencher<'_, '_>, rows: usize, w: &Weights) {
        let (x, bias) = (numbers(rows, w.rows()), vec![0.1; w.cols()]);
        product(bencher, rows, w, || drop(black_box(matmul::affine(&x, w, &bias))));
    }

    fn each() -> impl Iterator<Item = Case> {
        Dtype::ALL.into_iter().flat_map(|dtype| ROWS.map(|rows| Case { dtype, rows }))
    }

    #[derive(Clone, Copy)]
    struct Case {
        dtype: Dtype,
        rows: usize,
    }

    impl std::fmt::Display for Case {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{} {}", self.dtype.name(), self.rows)
        }
    }

    #[divan::bench(args = each())]
    fn affine_c_attn(bencher: Bencher<'_, '_>, case: Case) {
        affine(bencher, case.rows, &one_block(case.dtype).h[0].attn.c_attn.weight);
    }

    #[divan::bench(args = each())]
    fn affine_c_fc(bencher: Bencher<'_, '_>, case: Case) {
        affine(bencher, case.rows, &one_block(case.dtype).h[0].mlp.c_fc.weight);
    }

    #[divan::bench(args = each())]
    fn affine_c_proj(bencher: Bencher<'_, '_>, case: Case) {
        affine(bencher, case.rows, &one_block(case.dtype).h[0].mlp.c_proj.weight);
    }

    /// The same product by the naive loop, on one thread.
    #[divan::bench(args = [1, 64])]
    fn c_fc_by_the_plain_loop(bencher: Bencher<'_, '_>, rows: usize) {
        let w = &one_block(Dtype::F32).h[0].mlp.c_fc.weight;
        let (x, bias) = (numbers(rows, w.rows()), vec![0.1; w.cols()]);
        product(bencher, rows, w, || drop(black_box(matmul::plain::affine(&x, w, &bias))));
    }

    /// Generation needs only the logits of the last position, so few rows matter most here.
    #[divan::bench(args = each().filter(|case| case.rows <= 64))]
    fn by_rows_lm_head(bencher: Bencher<'_, '_>, case: Case) {
        let w = &one_block(case.dtype).lm_head;
        let x = numbers(case.rows, C);
        product(bencher, case.rows, w, || drop(black_box(matmul::by_rows(&x, w))));
    }
}

/// One block. A short and a long context differ only in attention.
#[divan::bench_group(sample_count = 15, max_time = 1.0)]
mod block {
    use super::*;

    /// Reads `new` tokens after `past` cached ones, for `batch` texts at once.
    fn run(bencher: Bencher<'_, '_>, new: usize, past: usize, batch: usize) {
        let model = one_block(Dtype::F32);
        let ids: Vec<u32> = (0..past + new).map(|i| (i * 7919 % 50_257) as u32).collect();
        let mut caches = vec![model.new_cache(); batch];
        if past > 0 {
            for cache in &mut caches {
                model.hidden(&mut [Sequence { ids: &ids[..past], cache }], &mut NoTrace);
            }
        }
        bencher.counter(ItemsCount::new(new * batch)).bench_local(|| {
            let mut batch: Vec<Sequence<'_>> =
                caches.iter_mut().map(|cache| Sequence { ids: &ids[past..], cache }).collect();
            black_box(model.hidden(&mut batch, &mut NoTrace));
            caches.iter_mut().for_each(|cache| cache.truncate(past));
        });
    }

    #[divan::bench(args = [(32, 1), (900, 1), (32, 8), (900, 8)])]
    fn one_token(bencher: Bencher<'_, '_>, (past, batch): (usize, usize)) {
        run(bencher, 1, past, batch);
    }

    #[divan::bench(args = [64, 512, 1023])]
    fn prompt(bencher: Bencher<'_, '_>, tokens: usize) {
        run(bencher, tokens, 0, 1);
    }
}

#[divan::bench_group(sample_count = 50, max_time = 0.5)]
mod elements {
    use super::*;

    #[divan::bench(args = [1, 512])]
    fn layer_norm(bencher: Bencher<'_, '_>, rows: usize) {
        let ln = LayerNorm { weight: vec![1.1; C], bias: vec![0.1; C], eps: 1e-5 };
        let x = numbers(rows, C);
        bencher.counter(ItemsCount::new(rows * C)).bench_local(|| black_box(ln.forward(&x)));
    }

    #[divan::bench(args = [32, 900, 50_257])]
    fn softmax_of(bencher: Bencher<'_, '_>, len: usize) {
        let x = numbers(1, len);
        let inputs = bencher.counter(ItemsCount::new(len)).with_inputs(|| x.clone());
        inputs.bench_local_refs(|x| softmax(x.data_mut()));
    }

    #[divan::bench(args = [1, 512])]
    fn gelu_tanh(bencher: Bencher<'_, '_>, rows: usize) {
        let x = numbers(rows, 4 * C);
        let inputs = bencher.counter(ItemsCount::new(rows * 4 * C)).with_inputs(|| x.clone());
        inputs.bench_local_values(|x| Activation::GeluTanh.forward(x));
    }

    #[divan::bench]
    fn largest_of_logits(bencher: Bencher<'_, '_>) {
        let x = numbers(1, 50_257);
        bencher.counter(ItemsCount::new(50_257usize)).bench_local(|| math::max(black_box(x.data())));
    }
}
