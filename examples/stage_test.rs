//! A test for a port: compares each stage it computes with ours. `cargo run --release --example stage_test`.
//!
//! The port here is only a short layer norm. Snapshots work as well: `render` prints a hash of every stage, which is
//! the same on every machine and can be kept with `insta::assert_snapshot!`.

use gpt2::generate::Options;
use gpt2::inspect::next_token;
use gpt2::trace::Recorder;

/// The port: x `[T, C]` -> `[T, C]`.
fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let c = weight.len();
    let normalised = |row: &[f32]| {
        let mean = row.iter().sum::<f32>() / c as f32;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / c as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        (0..c).map(|i| (row[i] - mean) * scale * weight[i] + bias[i]).collect::<Vec<_>>()
    };
    x.chunks(c).flat_map(normalised).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled();
    let mut recorder = Recorder::new();
    next_token(&lm.model, &lm.bpe.encode("Once upon a time"), &Options::default(), &mut recorder)?;
    for (i, block) in lm.model.h.iter().enumerate() {
        let stage = |name: &str| recorder.get(&format!("transformer.h.{i}.{name}")).ok_or("no such stage");
        let (read, ours) = (stage("attn_residual")?, stage("ln_2")?);
        let port = layer_norm(&read.values, &block.ln_2.weight, &block.ln_2.bias, block.ln_2.eps);
        let largest = ours.values.iter().fold(0f32, |m, x| m.max(x.abs()));
        let off = ours.values.iter().zip(&port).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("block {i}: ln_2 is off by {:.1e} of its largest value", off / largest);
        assert!(off <= 1e-4 * largest, "the port's layer norm is wrong in block {i}");
    }
    Ok(())
}
