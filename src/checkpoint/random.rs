//! Models of GPT-2's sizes with random weights: as slow or fast as real ones, for benchmarks.

use crate::attention::Attention;
use crate::block::Block;
use crate::config::Config;
use crate::format::Bytes;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::model::Gpt2;
use crate::tensor::{Dtype, Outputs, Weights};

/// OpenAI's four sizes: name, n_layer, n_head, n_embd.
const SIZES: [(&str, usize, usize, usize); 4] =
    [("124M", 12, 12, 768), ("355M", 24, 16, 1024), ("774M", 36, 20, 1280), ("1.5B", 48, 25, 1600)];

/// The configuration of one of OpenAI's sizes: `124M`, `355M`, `774M` or `1.5B`.
pub fn size(name: &str) -> Option<Config> {
    let (_, n_layer, n_head, n_embd) = SIZES.into_iter().find(|(size, ..)| *size == name)?;
    let json = serde_json::json!({ "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd });
    Config::from_json(json.to_string().as_bytes()).ok()
}

/// A model with random weights, which are the same each time. In int8, `wpe` stays f32.
pub fn random(config: Config, dtype: Dtype) -> Gpt2 {
    let mut state = 1u64;
    let mut matrix = |rows: usize, cols: usize| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.05
        };
        let bytes = match dtype {
            // I8 is made from f32 below
            Dtype::F32 | Dtype::I8 => {
                let numbers: Vec<f32> = (0..rows * cols).map(|_| next()).collect();
                Bytes::aligned_copy(bytemuck::cast_slice(&numbers))
            }
            // the bits of 2^-5 and a random sign and mantissa
            Dtype::F16 => half(rows * cols, || (next().to_bits() >> 8) as u16 & 0x83ff | 0x2800),
            Dtype::Bf16 => half(rows * cols, || (next().to_bits() >> 16) as u16),
        };
        let stored = if dtype == Dtype::I8 { Dtype::F32 } else { dtype };
        Weights::new(rows, cols, stored, bytes)
    };
    let (c, inner) = (config.n_embd, config.n_inner);
    let norm = || LayerNorm { weight: vec![1.0; c], bias: vec![0.0; c], eps: config.layer_norm_epsilon };
    let finish = |w: Weights, outputs| if dtype == Dtype::I8 { w.quantize(outputs) } else { w };
    let (wte, wpe) = (finish(matrix(config.vocab_size, c), Outputs::Rows), matrix(config.n_positions, c));
    let mut linear =
        |rows, cols| Linear { weight: finish(matrix(rows, cols), Outputs::Cols), bias: vec![0.0; cols] };
    let h = (0..config.n_layer)
        .map(|i| Block {
            ln_1: norm(),
            attn: Attention {
                n_head: config.n_head,
                scale: config.attention_scale(i),
                c_attn: linear(c, 3 * c),
                c_proj: linear(c, c),
            },
            ln_2: norm(),
            mlp: Mlp { c_fc: linear(c, inner), act: config.activation, c_proj: linear(inner, c) },
        })
        .collect();
    Gpt2 { wte: wte.clone(), wpe, h, ln_f: norm(), lm_head: wte, config }
}

fn half(count: usize, mut next: impl FnMut() -> u16) -> Bytes {
    let numbers: Vec<u16> = (0..count).map(|_| next()).collect();
    Bytes::aligned_copy(bytemuck::cast_slice(&numbers))
}
