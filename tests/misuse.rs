//! Safe functions called with wrong arguments: a wrong shape is a panic with a message, never undefined behaviour.
//!
//! `.ci/run` runs this file again under the address sanitizer.

use gpt2::attention;
use gpt2::bpe::{Bpe, Merge, PieceMerges, StreamDecoder};
use gpt2::checkpoint::{LanguageModel, bundled, random::random};
use gpt2::config::Config;
use gpt2::error::Error;
use gpt2::format::Bytes;
use gpt2::format::safetensors::{Growing, SafeTensors, Slot, Tensor, Writer};
use gpt2::inspect::diff;
use gpt2::kv_cache::{KvCache, Sequence};
use gpt2::layer_norm::LayerNorm;
use gpt2::linear::Linear;
use gpt2::matmul::{self, plain};
use gpt2::model::Gpt2;
use gpt2::tensor::{Dtype, Matrix, Outputs, Weights};
use gpt2::trace::{NoTrace, Stage, Trace};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
        .expect("a panic with a message")
}

/// Runs `work`, which must panic, and returns the message.
#[track_caller]
fn panics<T>(what: &str, work: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => panic!("{what}: nothing is said"),
        Err(panic) => said(&*panic),
    }
}

/// `work` must panic with a message that contains `part`.
#[track_caller]
fn says<T>(what: &str, part: &str, work: impl FnOnce() -> T) {
    let message = panics(what, work);
    assert!(message.contains(part), "{what}: {message:?} lacks {part:?}");
}

/// V 97, C 64, H 4, D 16, 2 layers, 80 positions.
fn config() -> Config {
    let json = br#"{"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 80, "vocab_size": 97}"#;
    Config::from_json(json).expect("a configuration")
}

fn model() -> Gpt2 {
    random(config(), Dtype::F32)
}

/// Few rows and many rows use different kernels.
const LENGTHS: [usize; 2] = [3, 40];

fn ids(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| i * 31 % 97).collect()
}

fn bits(x: &Matrix) -> Vec<u32> {
    x.data().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn what_threads_share() {
    fn shared<T: Send + Sync>() {}
    shared::<Gpt2>();
    shared::<Bpe>();
    shared::<LanguageModel>();
    shared::<KvCache>();
    shared::<Error>();
    shared::<SafeTensors>();
}

#[test]
fn a_model_is_printed_in_a_few_lines() {
    let lm = bundled();
    let x = lm.model.forward(&[1, 2, 3], &mut KvCache::new(&lm.model.config), &mut NoTrace);
    for text in
        [format!("{lm:?}"), format!("{:?}", lm.model.h), format!("{:?}", lm.tensors), format!("{x:?}")]
    {
        assert!((8..4000).contains(&text.len()), "{text}");
    }
}

#[test]
fn a_model_with_a_wrong_part() {
    type Spoil = fn(&mut Gpt2);
    let spoilt: [(&str, Spoil); 28] = [
        ("ln_1.weight too short", |m| m.h[0].ln_1.weight.truncate(63)),
        ("ln_1.bias too short", |m| m.h[1].ln_1.bias.truncate(63)),
        ("ln_2.weight empty", |m| m.h[0].ln_2.weight.clear()),
        ("ln_2.bias too long", |m| m.h[0].ln_2.bias.push(0.0)),
        ("ln_f.weight too long", |m| m.ln_f.weight.push(0.0)),
        ("ln_f.bias empty", |m| m.ln_f.bias.clear()),
        ("c_attn.bias too short", |m| m.h[0].attn.c_attn.bias.truncate(191)),
        ("attn.c_proj.bias too long", |m| m.h[0].attn.c_proj.bias.push(0.0)),
        ("c_fc.bias empty", |m| m.h[0].mlp.c_fc.bias.clear()),
        ("mlp.c_proj.bias too short", |m| m.h[1].mlp.c_proj.bias.truncate(63)),
        ("c_attn of two parts", |m| m.h[0].attn.c_attn = linear(64, 128)),
        ("c_attn of three and a bit", |m| m.h[0].attn.c_attn = linear(64, 193)),
        ("c_attn of nothing", |m| m.h[0].attn.c_attn = linear(64, 0)),
        ("attn.c_proj too narrow", |m| m.h[0].attn.c_proj = linear(64, 63)),
        ("c_fc of other inputs", |m| m.h[0].mlp.c_fc = linear(65, 256)),
        ("mlp.c_proj too wide", |m| m.h[0].mlp.c_proj = linear(256, 65)),
        ("wte too narrow", |m| m.wte = weights(97, 63)),
        ("wte of too few tokens", |m| m.wte = weights(2, 64)),
        ("wpe too wide", |m| m.wpe = weights(80, 65)),
        ("wpe of too few positions", |m| m.wpe = weights(2, 64)),
        ("lm_head too wide", |m| m.lm_head = weights(97, 65)),
        ("no heads", |m| m.h[0].attn.n_head = 0),
        ("three heads", |m| m.h[0].attn.n_head = 3),
        ("more heads than numbers", |m| m.h[1].attn.n_head = 65),
        ("half the heads", |m| m.h[1].attn.n_head = 2),
        ("one block more", |m| m.h.push(m.h[0].clone())),
        ("one block less", |m| m.h.truncate(1)),
        ("no block", |m| m.h.clear()),
    ];
    for (what, spoil) in spoilt {
        for dtype in Dtype::ALL {
            let mut model = random(config(), dtype);
            spoil(&mut model);
            for len in LENGTHS {
                let what = format!("{what}, {}, {len} tokens", dtype.name());
                let mut cache = KvCache::new(&config());
                panics(&what, || model.forward(&ids(len), &mut cache, &mut NoTrace));
            }
        }
    }
}

#[test]
fn a_model_built_of_wrong_tensors() {
    let whole = model();
    for part in 0..whole.tensors().len() {
        for shape in [[0, 0], [1, 1], [65, 64], [64, 97]] {
            let build = || {
                let mut number = 0..;
                whole.map_tensors(|_, tensor| match number.next() == Some(part) {
                    true => weights(shape[0], shape[1]),
                    false => tensor,
                })
            };
            says("a tensor", "the shape of transformer.", build);
        }
    }
    let mut no_heads = config();
    no_heads.n_head = 0;
    panics("no heads", || Gpt2::build::<()>(no_heads.clone(), |spec| Ok(weights(spec.len(), 1))));
}

fn weights(rows: usize, cols: usize) -> Weights {
    Weights::from_f32(rows, cols, &vec![0.5; rows * cols])
}

fn linear(rows: usize, cols: usize) -> Linear {
    Linear { weight: weights(rows, cols), bias: vec![0.5; cols] }
}

#[test]
fn a_configuration_that_is_not_the_models() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 7] = [
        ("more positions", |c| c.n_positions = 1000),
        ("three heads", |c| c.n_head = 3),
        ("twice the heads", |c| c.n_head = 8),
        ("one layer", |c| c.n_layer = 1),
        ("three layers", |c| c.n_layer = 3),
        ("narrower", |c| c.n_embd = 32),
        ("wider", |c| c.n_embd = 128),
    ];
    for (what, change) in changes {
        let mut model = model();
        change(&mut model.config);
        let long = ids(100);
        panics(what, || model.forward(&long, &mut KvCache::new(&model.config), &mut NoTrace));
    }
    let mut no_heads = config();
    no_heads.n_head = 0;
    panics("no heads", || KvCache::new(&no_heads));
    panics("eight bits", || KvCache::with_dtype(&config(), Dtype::I8));
}

#[test]
fn the_cache_of_another_model() {
    let model = model();
    for (layers, c, h) in [(1, 64, 4), (3, 64, 4), (2, 64, 8), (2, 64, 2), (2, 32, 2), (2, 128, 8)] {
        let mut other = config();
        (other.n_layer, other.n_embd, other.n_head) = (layers, c, h);
        other.n_inner = 4 * c;
        let other = random(other, Dtype::F32);
        for past in [0, 1, 64, 70] {
            for len in [1, 9] {
                let mut cache = KvCache::new(&other.config);
                if past > 0 {
                    other.forward(&ids(past), &mut cache, &mut NoTrace);
                }
                says("another cache", "cache", || model.forward(&ids(len), &mut cache, &mut NoTrace));
            }
        }
    }
}

#[test]
fn wrong_ids() {
    let model = model();
    let forward = |ids: &[u32]| model.forward(ids, &mut KvCache::new(&model.config), &mut NoTrace);
    says("none", "at least one token", || forward(&[]));
    says("the first id too many", "row 97", || forward(&[0, 97]));
    says("the last id there is", "row 4294967295", || forward(&[u32::MAX]));
    says("too many", "n_positions 80", || forward(&ids(81)));
    let mut cache = KvCache::new(&model.config);
    model.forward(&ids(79), &mut cache, &mut NoTrace);
    says("one too many", "n_positions 80", || model.forward(&ids(2), &mut cache, &mut NoTrace));
    cache.truncate(usize::MAX);
    assert_eq!(cache.len(), 79);
    let (good, mut other) = (ids(3), KvCache::new(&model.config));
    let mut batch = [Sequence { ids: &good, cache: &mut cache }, Sequence { ids: &[], cache: &mut other }];
    panics("one of a batch", || model.hidden(&mut batch, &mut NoTrace));
    assert_eq!(model.hidden(&mut [], &mut NoTrace).rows(), 0);
    let qkv = Matrix::zeros(2, 3 * 64);
    says("three heads", "C = H * D", || attention::plain(&qkv, 3, 1.0));
    says("no heads", "C = H * D", || attention::plain(&qkv, 0, 1.0));
    says("two parts", "C = H * D", || attention::plain(&Matrix::zeros(2, 128), 4, 1.0));
    says("a head's input", "[T, C]", || model.head(&Matrix::zeros(1, 65), &mut NoTrace));
}

/// A pass that panics leaves the cache unchanged.
#[test]
fn a_pass_that_panics_leaves_the_cache_unchanged() {
    /// Panics at a stage of the second block.
    struct PanicsAt(Stage, Option<usize>);
    impl Trace for PanicsAt {
        fn wants(&self, _: Stage) -> bool {
            true
        }
        fn enter_block(&mut self, i: Option<usize>) {
            self.1 = i;
        }
        fn record(&mut self, stage: Stage, _: &[usize], _: &mut [f32]) {
            assert!(stage != self.0 || self.1 != Some(1), "enough seen");
        }
        fn record_ids(&mut self, _: Stage, _: &[u32]) {}
    }
    let model = model();
    let expected = bits(&model.forward(&ids(70), &mut KvCache::new(&model.config), &mut NoTrace));
    for stage in [Stage::Ln1, Stage::AttnScores, Stage::AttnHeads, Stage::MlpAct] {
        let mut cache = KvCache::new(&model.config);
        let mut got = bits(&model.forward(&ids(70)[..60], &mut cache, &mut NoTrace));
        let mut fork = cache.clone();
        says("a trace", "enough", || model.forward(&[5; 20], &mut cache, &mut PanicsAt(stage, None)));
        assert_eq!(cache.len(), 60);
        got.extend(bits(&model.forward(&ids(70)[60..], &mut cache, &mut NoTrace)));
        assert!(got == expected, "{stage:?}");
        let again = bits(&model.forward(&ids(70)[60..], &mut fork, &mut NoTrace));
        assert!(again == expected[60 * 97..], "{stage:?}: the cache that shares the pages");
    }
}

/// A trace hands a stage on; it may hand on a matrix of any shape.
#[test]
fn a_trace_that_changes_shapes() {
    type Reshape = fn([usize; 2]) -> [usize; 2];
    struct Reshapes(Stage, Reshape);
    impl Trace for Reshapes {
        fn wants(&self, _: Stage) -> bool {
            false
        }
        fn enter_block(&mut self, _: Option<usize>) {}
        fn record(&mut self, _: Stage, _: &[usize], _: &mut [f32]) {}
        fn record_ids(&mut self, _: Stage, _: &[u32]) {}
        fn tap(&mut self, stage: Stage, value: Matrix) -> Matrix {
            if stage != self.0 {
                return value;
            }
            let [rows, cols] = self.1([value.rows(), value.cols()]);
            Matrix::zeros(rows, cols)
        }
    }
    let inside = [
        Stage::Wte,
        Stage::Wpe,
        Stage::Ln1,
        Stage::AttnCAttn,
        Stage::AttnHeads,
        Stage::AttnCProj,
        Stage::AttnResidual,
        Stage::Ln2,
        Stage::MlpCFc,
        Stage::MlpAct,
        Stage::MlpCProj,
    ];
    let shapes: [(&str, Reshape); 7] = [
        ("one row more", |[rows, cols]| [rows + 1, cols]),
        ("one row less", |[rows, cols]| [rows - 1, cols]),
        ("no rows", |[_, cols]| [0, cols]),
        ("one column more", |[rows, cols]| [rows, cols + 1]),
        ("one column less", |[rows, cols]| [rows, cols - 1]),
        ("no columns", |[rows, _]| [rows, 0]),
        ("turned", |[rows, cols]| [cols, rows]),
    ];
    for dtype in Dtype::ALL {
        let model = random(config(), dtype);
        for (what, shape) in shapes {
            for (stage, len) in inside.into_iter().flat_map(|stage| LENGTHS.map(|len| (stage, len))) {
                let (what, mut cache) = (format!("{what} of {stage:?}"), KvCache::new(&model.config));
                panics(&what, || model.forward(&ids(len), &mut cache, &mut Reshapes(stage, shape)));
            }
            for stage in [Stage::Drop, Stage::Block, Stage::LnF, Stage::LmHead] {
                let (mut cache, mut trace) = (KvCache::new(&model.config), Reshapes(stage, shape));
                // between blocks, and after them, some shapes fit
                let _ = catch_unwind(AssertUnwindSafe(|| model.forward(&ids(5), &mut cache, &mut trace)));
            }
        }
    }
}

/// A trace may write any value, even one that is not finite.
#[test]
fn any_value_passes_through() {
    struct Writes(f32);
    impl Trace for Writes {
        fn wants(&self, _: Stage) -> bool {
            true
        }
        fn enter_block(&mut self, _: Option<usize>) {}
        fn record(&mut self, _: Stage, _: &[usize], values: &mut [f32]) {
            values.fill(self.0);
        }
        fn record_ids(&mut self, _: Stage, _: &[u32]) {}
    }
    for dtype in Dtype::ALL {
        let model = random(config(), dtype);
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE / 2.0] {
            for len in LENGTHS {
                let mut cache = KvCache::new(&model.config);
                let logits = model.forward(&ids(len), &mut cache, &mut Writes(number));
                assert!(logits.data().iter().all(|x| x.to_bits() == number.to_bits()));
            }
        }
    }
}

#[test]
fn matrices() {
    says("too few", "[2, 3]", || Matrix::from_vec(2, 3, vec![0.0; 5]));
    panics("more than usize::MAX", || Matrix::from_vec(1 << 63, 2, vec![]));
    panics("more than usize::MAX", || Matrix::from_vec(usize::MAX, usize::MAX, vec![0.0]));
    panics("more than memory", || Matrix::zeros(1 << 40, 1 << 40));
    let mut x = Matrix::zeros(2, 3);
    says("a row outside", "row 2 of Matrix [2, 3]", || x.row(2).len());
    says("a row far outside", "[2, 3]", || x.row(usize::MAX / 3 + 1).len());
    says("a row outside to write", "row 7", || x.row_mut(7).fill(1.0));
    panics("rows outside", || x.select(&[0, 2]));
    panics("two shapes", || x.clone() + Matrix::zeros(3, 2));
    let norm = LayerNorm { weight: vec![1.0; 3], bias: vec![0.0; 3], eps: 1e-5 };
    says("another width", "[C]", || norm.forward(&Matrix::zeros(2, 4)));
    assert_eq!(norm.forward(&Matrix::zeros(0, 3)).rows(), 0);
}

#[test]
fn weights_of_a_wrong_size() {
    let bytes = Bytes::aligned_copy(&[0; 64]);
    says("too few", "[rows, cols]", || Weights::new(4, 5, Dtype::F32, bytes.clone()));
    says("too many", "[rows, cols]", || Weights::new(4, 5, Dtype::F16, bytes.clone()));
    says("more than usize::MAX", "[rows, cols]", || Weights::new(1 << 62, 4, Dtype::F32, bytes.slice(0..0)));
    says("no scales", "scales", || Weights::new(4, 16, Dtype::I8, bytes.clone()));
    says("not aligned", "aligned", || Weights::new(1, 8, Dtype::F32, bytes.slice(2..34)));
    says("not aligned", "aligned", || Weights::new(1, 8, Dtype::Bf16, bytes.slice(1..17)));
    panics("too few numbers", || Weights::from_f32(2, 2, &[0.0; 3]));
    for outputs in [Outputs::Rows, Outputs::Cols] {
        says("too few panels", "panels", || Weights::int8(4, 17, outputs, bytes.clone(), vec![1.0; 17]));
        says("too few scales", "scale", || Weights::int8(4, 4, outputs, bytes.clone(), vec![1.0; 3]));
        let none = Bytes::aligned_copy(&[]);
        panics("more than usize::MAX", || Weights::int8(1 << 62, 1, outputs, none.clone(), vec![1.0]));
        panics("more than usize::MAX", || Weights::int8(1, 1 << 62, outputs, none.clone(), vec![1.0]));
    }
    let wide = weights(4, 5);
    for w in [wide.clone(), wide.quantize(Outputs::Cols), wide.quantize(Outputs::Rows)] {
        panics("a row outside", || w.read_row(4, &mut [0.0; 5]));
        panics("a row too short", || w.read_row(0, &mut [0.0; 4]));
        panics("a row too long", || w.read_row(0, &mut [0.0; 6]));
    }
    panics("a part outside", || bytes.slice(60..65).len());
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    let reversed = 5..2;
    panics("a part the wrong way round", || bytes.slice(reversed).len());
    panics("a part of a part", || bytes.slice(8..16).slice(0..9).len());
}

/// Weights `[rows, cols]`, once for each number type.
fn each_type(rows: usize, cols: usize, outputs: Outputs) -> impl Iterator<Item = Weights> {
    Dtype::ALL.into_iter().map(move |dtype| match dtype {
        Dtype::F32 => weights(rows, cols),
        Dtype::I8 => weights(rows, cols).quantize(outputs),
        _ => Weights::new(rows, cols, dtype, Bytes::aligned_copy(&vec![0x3c; 2 * rows * cols])),
    })
}

#[test]
fn products_of_shapes_that_do_not_fit() {
    for t in [1, 3, 17, 40] {
        for w in each_type(64, 33, Outputs::Cols) {
            for (k, n) in [(63, 33), (65, 33), (0, 33), (33, 33), (64, 32), (64, 34), (64, 0)] {
                let (x, bias) = (Matrix::zeros(t, k), vec![0.0; n]);
                says("affine", "w [K, N]", || matmul::affine(&x, &w, &bias));
                says("plain", "w [K, N]", || plain::affine(&x, &w, &bias));
            }
        }
        for w in each_type(33, 64, Outputs::Rows) {
            for c in [63, 65, 0, 33] {
                let x = Matrix::zeros(t, c);
                says("by rows", "w [V, C]", || matmul::by_rows(&x, &w));
                says("plain", "w [V, C]", || plain::by_rows(&x, &w));
            }
        }
    }
}

/// With no rows, no columns or nothing to sum, the result follows the definition.
#[test]
fn products_of_nothing() {
    for (t, k, n) in
        [(0, 5, 7), (3, 0, 7), (40, 0, 7), (3, 5, 0), (40, 5, 0), (0, 0, 0), (3, 0, 0), (40, 0, 0)]
    {
        let x = Matrix::from_vec(t, k, vec![0.5; t * k]);
        let bias: Vec<f32> = (0..n).map(|n| n as f32).collect();
        for w in each_type(k, n, Outputs::Cols) {
            assert_eq!(
                matmul::affine(&x, &w, &bias).data(),
                plain::affine(&x, &w, &bias).data(),
                "{t} {k} {n} {w:?}"
            );
        }
        for w in each_type(n, k, Outputs::Rows) {
            assert_eq!(matmul::by_rows(&x, &w).data(), plain::by_rows(&x, &w).data(), "{t} {k} {n} {w:?}");
        }
    }
}

/// Threads write columns of one result, in registers of 16 and what is left of them. Each shape gives the bits of the plain
/// loop, on any number of threads.
#[test]
fn products_of_odd_shapes_on_several_threads() {
    let numbers = |n: usize| (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect::<Vec<f32>>();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for (t, k, n) in [(1, 1, 1), (2, 15, 17), (3, 17, 47), (9, 257, 33), (21, 31, 49), (25, 260, 16)] {
            let (x, bias) = (Matrix::from_vec(t, k, numbers(t * k)), numbers(n));
            let (wide, turned) =
                (Weights::from_f32(k, n, &numbers(k * n)), Weights::from_f32(n, k, &numbers(k * n)));
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                let (w, by_rows) = (wide.rounded(dtype), turned.rounded(dtype));
                let what = format!("{threads} threads, [{t}, {k}, {n}], {}", dtype.name());
                let got = pool.install(|| (matmul::affine(&x, &w, &bias), matmul::by_rows(&x, &by_rows)));
                assert!(bits(&got.0) == bits(&plain::affine(&x, &w, &bias)), "{what}");
                assert!(bits(&got.1) == bits(&plain::by_rows(&x, &by_rows)), "{what}");
            }
            let (w, by_rows) = (wide.quantize(Outputs::Cols), turned.quantize(Outputs::Rows));
            let product = || (bits(&matmul::affine(&x, &w, &bias)), bits(&matmul::by_rows(&x, &by_rows)));
            assert!(pool.install(product) == product(), "{threads} threads, [{t}, {k}, {n}], int8");
        }
    }
}

/// Eight-bit weights lie in panels of their outputs; the other dimension is not that of a result.
#[test]
fn eight_bits_in_the_order_of_the_other_product() {
    for (rows, cols) in [(64, 64), (64, 32), (32, 64)] {
        let w = weights(rows, cols);
        let (x, y) = (Matrix::zeros(3, rows), Matrix::zeros(3, cols));
        let affine = || matmul::affine(&x, &w.quantize(Outputs::Rows), &vec![0.0; cols]);
        says("affine", "order of their outputs", affine);
        says("by rows", "order of their outputs", || matmul::by_rows(&y, &w.quantize(Outputs::Cols)));
    }
}

/// Matrices without numbers may have any number of rows.
#[test]
fn more_rows_than_memory() {
    let rows = || Matrix::from_vec(usize::MAX, 0, vec![]);
    says("a result", "larger than memory", || matmul::affine(&rows(), &weights(0, 3), &[0.0; 3]));
    assert_eq!(matmul::affine(&rows(), &weights(0, 0), &[]).rows(), usize::MAX);
}

/// A program with another `GPT2_SIMD` takes an instruction set of this machine, or says what there is.
#[test]
fn a_wrong_instruction_set() {
    use gpt2::simd::Simd;
    assert!(Simd::available().contains(&Simd::current()), "{:?}", Simd::current());
    for wrong in ["neon", "simd128", "avx1024", "AVX2 "] {
        let test = std::env::current_exe().expect("this program");
        let again = std::process::Command::new(test)
            .args(["--exact", "products_of_nothing"])
            .env("GPT2_SIMD", wrong)
            .output()
            .expect("this program, again");
        assert!(again.status.success(), "GPT2_SIMD={wrong}");
    }
}

fn slot(name: &str, dtype: &'static str, shape: &[usize]) -> Slot {
    Slot { name: name.into(), dtype, shape: shape.to_vec() }
}

#[test]
fn files_that_are_written_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, none) = (folder.path().join("a"), BTreeMap::new());
    let create = |slots: &[Slot]| Writer::create(&path, slots, &none);
    says("a name twice", "two tensors", || create(&[slot("a", "F32", &[1]), slot("a", "F16", &[2])]));
    says("a type that there is not", "F33", || create(&[slot("a", "F33", &[1])]));
    says("more than any file", "larger", || create(&[slot("a", "F32", &[1 << 40, 1 << 40])]));
    let mut writer = create(&[slot("a", "F32", &[1]), slot("b", "F32", &[1])]).expect("a writer");
    says("another name", "c", || writer.write("c", &[]));
    says("too few bytes", "a", || writer.write("a", &[0; 3]));
    says("too many bytes", "a", || writer.write("a", &[0; 5]));
    writer.write("a", &[0; 4]).expect("a");
    says("one is missing", "never written", || writer.finish());

    let mut growing = Growing::create(&path).expect("a file");
    says("too few bytes", "a", || growing.append(slot("a", "F32", &[2]), &[0; 7]));
    says("a type that there is not", "F33", || growing.append(slot("a", "F33", &[2]), &[0; 8]));
    growing.append(slot("a", "F32", &[2]), &[1; 8]).expect("a");
    says("a name twice", "two tensors", || growing.append(slot("a", "F32", &[2]), &[0; 8]));
    growing.append(slot("b", "F32", &[1]), &[2; 4]).expect("b");
    growing.finish(&none).expect("a file");
    let found = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
    assert_eq!((&*found.tensors["a"].bytes, &*found.tensors["b"].bytes), (&[1; 8][..], &[2; 4][..]));
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "nothing else is left");
}

/// Tensors that cannot come from a file: their shape does not match their bytes.
#[test]
fn tensors_made_by_hand() {
    let tensor = |dtype: &str, shape: &[usize], bytes: usize| {
        let (dtype, bytes) = (dtype.to_string(), Bytes::aligned_copy(&vec![1; bytes]));
        let tensor = Tensor { dtype, shape: shape.to_vec(), bytes };
        SafeTensors { tensors: BTreeMap::from([("lm_head".into(), tensor)]), ..Default::default() }
    };
    let made = [
        tensor("F32", &[2, 3], 24),
        tensor("F32", &[2, 3], 7),
        tensor("F32", &[2, 3], 4000),
        tensor("I64", &[2, 3], 0),
        tensor("U8", &[usize::MAX, usize::MAX], 9),
        tensor("nonsense", &[0], 9),
    ];
    for a in &made {
        for b in &made {
            diff(a, b, 1e-4).expect("a comparison").to_string();
        }
    }
}

#[test]
fn unknown_token_ids() {
    let bpe = Bpe::gpt2();
    for id in [50_257, u32::MAX] {
        assert!(bpe.decode(&[0, id]).is_err_and(|error| error.to_string().contains("number 2")));
        assert!(bpe.decode_lossy(&[id]).is_err() && StreamDecoder::new(&bpe).push(id).is_err());
        assert_eq!((bpe.token_bytes(id), bpe.token_text(id)), (None, None));
    }
    let merge = Merge { rank: 0, left: 1, right: 2, merged: u32::MAX, at: usize::MAX };
    let merges = vec![merge, Merge { at: 0, ..merge }, merge];
    let piece = PieceMerges { start: 7, end: 0, symbols: vec![1, 2], merges };
    assert_eq!(piece.states().last(), Some(vec![u32::MAX]));
}
