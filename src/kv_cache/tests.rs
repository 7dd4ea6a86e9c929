//! Caches of halves keep rounded numbers, and no operation changes what a cache means.

mod sequences;

use super::*;
use crate::checkpoint::random;
use crate::model::Gpt2;
use crate::simd::tests::under_each;
use crate::tensor::{Bf16, F16, Number};
use crate::trace::{NoTrace, Stage, Trace};
use std::marker::PhantomData;

/// Rounds the keys and values that go into the cache.
struct Rounded<N>(PhantomData<N>);

impl<N: Number> Trace for Rounded<N> {
    fn wants(&self, _: Stage) -> bool {
        false
    }
    fn enter_block(&mut self, _: Option<usize>) {}
    fn record_ids(&mut self, _: Stage, _: &[u32]) {}
    fn record(&mut self, stage: Stage, shape: &[usize], qkv: &mut [f32]) {
        if stage == Stage::AttnCAttn {
            for row in qkv.chunks_exact_mut(shape[1]) {
                row[shape[1] / 3..].iter_mut().for_each(|x| *x = N::widen(N::round(*x)));
            }
        }
    }
}

/// Five heads of 66 dimensions, no whole number of registers; texts of several pages, and past a block of sums.
fn model(dtype: Dtype) -> Gpt2 {
    let shape = br#"{"n_layer": 2, "n_embd": 330, "n_head": 5, "n_positions": 300, "vocab_size": 97}"#;
    let config = Config::from_json(shape).expect("a configuration");
    Gpt2 { kv_cache_dtype: dtype, ..random::random(config, Dtype::F32) }
}

fn logits(model: &Gpt2, steps: usize, trace: &mut impl Trace) -> Vec<u32> {
    let ids: Vec<u32> = (0..270).map(|i| i * i % 97).collect();
    let mut cache = model.new_cache();
    let all = ids.chunks(steps).flat_map(|ids| model.forward(ids, &mut cache, trace).data().to_vec());
    all.map(f32::to_bits).collect()
}

fn keeps_rounded_numbers<N: Number>(dtype: Dtype) {
    let (halves, wide) = (model(dtype), model(Dtype::F32));
    let expected = logits(&wide, 270, &mut Rounded::<N>(PhantomData));
    assert_ne!(logits(&wide, 270, &mut NoTrace), expected, "rounding is seen");
    under_each(|simd| {
        for steps in [270, 7] {
            let got = logits(&halves, steps, &mut NoTrace);
            assert!(got == expected, "{simd:?}, {} in steps of {steps}", dtype.name());
        }
    });
}

#[test]
fn a_cache_of_halves_is_one_of_rounded_numbers() {
    keeps_rounded_numbers::<F16>(Dtype::F16);
    keeps_rounded_numbers::<Bf16>(Dtype::Bf16);
}

#[test]
fn halves_take_half() {
    let config = model(Dtype::F32).config;
    let bytes = |dtype| KvCache::bytes_for(&config, dtype, 100);
    assert_eq!(bytes(Dtype::F32), 2 * 128 * 2 * 330 * 4); // whole pages
    assert_eq!((bytes(Dtype::F16), bytes(Dtype::Bf16)), (bytes(Dtype::F32) / 2, bytes(Dtype::F32) / 2));
}
