//! Models of GPT-2's sizes with random weights: as fast as real ones, for benchmarks.

use crate::config::Config;
use crate::format::Bytes;
use crate::model::{Gpt2, Role};
use crate::tensor::{Dtype, Weights};
use std::convert::Infallible;

/// OpenAI's four sizes: name, n_layer, n_head, n_embd.
const SIZES: [(&str, usize, usize, usize); 4] =
    [("124M", 12, 12, 768), ("355M", 24, 16, 1024), ("774M", 36, 20, 1280), ("1.5B", 48, 25, 1600)];

/// The configuration of one of OpenAI's sizes: `124M`, `355M`, `774M` or `1.5B`.
pub fn size(name: &str) -> Option<Config> {
    let (_, n_layer, n_head, n_embd) = SIZES.into_iter().find(|(size, ..)| *size == name)?;
    let json = serde_json::json!({ "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd });
    Config::from_json(json.to_string().as_bytes()).ok()
}

/// A model with random matrices, the same each time. Layer norms have weight 1, and all biases are 0. In int8, `wpe` is f32.
pub fn random(config: Config, dtype: Dtype) -> Gpt2 {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.05
    };
    let model = Gpt2::build(config, |spec| {
        let [rows, cols] = spec.matrix();
        let all = 0..rows * cols;
        let half = |bits: Vec<u16>| {
            Weights::new(rows, cols, dtype, Bytes::aligned_copy(bytemuck::cast_slice(&bits)))
        };
        Ok::<_, Infallible>(match (spec.role, dtype) {
            (Role::Gain, _) => Weights::from_f32(rows, cols, &vec![1.0; cols]),
            (Role::Bias, _) => Weights::from_f32(rows, cols, &vec![0.0; cols]),
            // the bits of 2^-5 and a random sign and mantissa
            (_, Dtype::F16) => half(all.map(|_| (next().to_bits() >> 8) as u16 & 0x83ff | 0x2800).collect()),
            (_, Dtype::Bf16) => half(all.map(|_| (next().to_bits() >> 16) as u16).collect()),
            (_, Dtype::F32 | Dtype::I8) => {
                Weights::from_f32(rows, cols, &all.map(|_| next()).collect::<Vec<f32>>())
            }
        })
    });
    match (model, dtype) {
        (Ok(model), Dtype::I8) => model.quantize(),
        (Ok(model), _) => model,
    }
}
