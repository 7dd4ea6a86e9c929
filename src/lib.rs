//! GPT-2 from first principles.
#![allow(missing_docs)]
pub mod attention;
pub mod block;
pub mod bpe;
pub mod checkpoint;
pub mod config;
pub mod embedding;
pub mod error;
pub mod generate;
pub mod kv_cache;
pub mod layer_norm;
pub mod linear;
pub mod math;
pub mod matmul;
pub mod mlp;
pub mod model;
pub mod sampling;
pub mod score;
pub mod simd;
pub mod softmax;
pub mod tensor;
pub mod trace;
