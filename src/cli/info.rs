//! `gpt2 info`: what a model is made of.

use super::failure::Failure;
use super::{CacheArgs, Common, ModelArgs};
use gpt2::kv_cache::KvCache;
use gpt2::simd::Simd;
use serde_json::json;
use std::io::{self, BufWriter, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open_to_run(&args.cache)?;
    let (model, config) = (&lm.model, &lm.model.config);
    let tensors = &lm.tensors.tensors;
    let weight_bytes: usize = tensors.values().map(|t| t.bytes.len()).sum();
    let cache_bytes = KvCache::bytes_for(config, model.kv_cache_dtype, config.n_positions);
    let embedding = (model.wte.rows() + model.wpe.rows()) * config.n_embd;
    let threads = rayon::current_num_threads();
    let numbers = [
        ("vocab_size", config.vocab_size),
        ("n_positions", config.n_positions),
        ("n_embd", config.n_embd),
        ("n_layer", config.n_layer),
        ("n_head", config.n_head),
        ("n_inner", config.n_inner),
        ("parameters", model.parameters()),
        ("embedding_parameters", embedding),
        ("weight_bytes", weight_bytes),
        ("kv_cache_bytes", cache_bytes),
        ("threads", threads),
    ];
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let mut report = serde_json::Map::new();
        report.insert("model".into(), json!(lm.name));
        report.extend(numbers.iter().map(|(key, value)| (key.to_string(), json!(value))));
        report.insert("activation_function".into(), json!(config.activation.name()));
        report.insert("layer_norm_epsilon".into(), json!(config.layer_norm_epsilon));
        report.insert("scale_attn_weights".into(), json!(config.scale_attn_weights));
        report
            .insert("scale_attn_by_inverse_layer_idx".into(), json!(config.scale_attn_by_inverse_layer_idx));
        report.insert("tie_word_embeddings".into(), json!(config.tie_word_embeddings));
        report.insert("eos_token_ids".into(), json!(config.eos_token_ids));
        report.insert("dtype".into(), json!(model.wte.dtype().name()));
        report.insert("simd".into(), json!(Simd::current().name()));
        let table = tensors.iter().map(|(name, t)| json!({"name": name, "dtype": t.dtype, "shape": t.shape}));
        report.insert("tensors".into(), table.collect());
        return writeln!(out, "{}", serde_json::Value::Object(report))
            .and_then(|()| out.flush())
            .map_err(Failure::output);
    }
    let mut print = || -> io::Result<()> {
        writeln!(out, "{:<32} {}", "model", lm.name)?;
        for (key, value) in numbers {
            let note = if key.ends_with("bytes") {
                format!("  ({:.1} MB)", value as f64 / 1e6)
            } else {
                String::new()
            };
            writeln!(out, "{key:<32} {value}{note}")?;
        }
        writeln!(out, "{:<32} {}", "activation_function", config.activation.name())?;
        writeln!(out, "{:<32} {}", "layer_norm_epsilon", config.layer_norm_epsilon)?;
        writeln!(out, "{:<32} {}", "scale_attn_weights", config.scale_attn_weights)?;
        writeln!(
            out,
            "{:<32} {}",
            "scale_attn_by_inverse_layer_idx", config.scale_attn_by_inverse_layer_idx
        )?;
        writeln!(out, "{:<32} {}", "tie_word_embeddings", config.tie_word_embeddings)?;
        writeln!(out, "{:<32} {:?}", "eos_token_ids", config.eos_token_ids)?;
        writeln!(out, "{:<32} {}", "instruction set", Simd::current().name())?;
        writeln!(out, "\n{:<44} {:<6} shape", "tensor", "dtype")?;
        for (name, t) in tensors {
            writeln!(out, "{:<44} {:<6} {:?}", name.escape_debug().to_string(), t.dtype, t.shape)?;
        }
        out.flush()
    };
    print().map_err(Failure::output)
}
