//! `gpt2 info`: a model's configuration, parameters, tensors and memory.

use super::failure::Failure;
use super::model::{CacheArgs, Common, ModelArgs};
use super::progress;
use super::report::{output, print_json};
use gpt2::checkpoint::{Finding, LanguageModel, check};
use gpt2::kv_cache::KvCache;
use gpt2::simd::Simd;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Examine every file of --model: missing or extra files and tensors, wrong shapes, numbers that are not finite, the
    /// tokenizer files that are used. Exit code 1 if there is a problem
    #[arg(long)]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    if args.check {
        return check_files(args);
    }
    let lm = args.model.open_to_run(&args.cache)?;
    if args.json { as_json(&lm) } else { as_text(&lm) }
}

/// Prints all findings.
fn check_files(args: &Args) -> Result<(), Failure> {
    let Some(model) = &args.model.model else {
        return Err(Failure::Usage("--check looks at files: add --model, with a folder or a file".into()));
    };
    let spinner = progress::spinner("reading every number");
    let findings = check(model)?;
    spinner.finish_and_clear();
    let problems = findings.iter().filter(|finding| finding.problem).count();
    if args.json {
        let list =
            findings.iter().map(|f| json!({"about": f.about, "finding": f.finding, "problem": f.problem}));
        print_json(&json!({"problems": problems, "findings": list.collect::<Value>()}))?;
    } else {
        let mut out = output();
        for Finding { about, finding, problem } in &findings {
            let mark = if *problem { "PROBLEM " } else { "" };
            writeln!(out, "{about:<11} {mark}{finding}")?;
        }
        out.flush()?;
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::Work(format!("{}: 1 problem", model.display()))),
        count => Err(Failure::Work(format!("{}: {count} problems", model.display()))),
    }
}

/// Keys and values, in the order in which they are printed.
fn table(lm: &LanguageModel) -> Vec<(&'static str, Value)> {
    let (model, config) = (&lm.model, &lm.model.config);
    let weight_bytes: usize = lm.tensors.tensors.values().map(|tensor| tensor.bytes.len()).sum();
    // the shortest decimal, as config.json has it
    let epsilon: Option<f64> = config.layer_norm_epsilon.to_string().parse().ok();
    vec![
        ("model", json!(lm.name)),
        ("vocab_size", json!(config.vocab_size)),
        ("n_positions", json!(config.n_positions)),
        ("n_embd", json!(config.n_embd)),
        ("n_layer", json!(config.n_layer)),
        ("n_head", json!(config.n_head)),
        ("n_inner", json!(config.n_inner)),
        ("parameters", json!(model.parameters())),
        ("embedding_parameters", json!((model.wte.rows() + model.wpe.rows()) * config.n_embd)),
        ("weight_bytes", json!(weight_bytes)),
        ("kv_cache_bytes", json!(KvCache::bytes_for(config, model.kv_cache_dtype, config.n_positions))),
        ("dtype", json!(model.wte.dtype().name())),
        ("activation_function", json!(config.activation.name())),
        ("layer_norm_epsilon", json!(epsilon)),
        ("scale_attn_weights", json!(config.scale_attn_weights)),
        ("scale_attn_by_inverse_layer_idx", json!(config.scale_attn_by_inverse_layer_idx)),
        ("tie_word_embeddings", json!(config.tie_word_embeddings)),
        ("eos_token_ids", json!(config.eos_token_ids)),
        ("threads", json!(rayon::current_num_threads())),
        ("simd", json!(Simd::current().name())),
    ]
}

fn as_json(lm: &LanguageModel) -> Result<(), Failure> {
    let tensors = lm.tensors.tensors.iter();
    let tensors = tensors.map(|(name, t)| json!({"name": name, "dtype": t.dtype, "shape": t.shape}));
    let table = table(lm).into_iter().chain([("notes", json!(lm.notes)), ("tensors", tensors.collect())]);
    print_json(&table.collect::<BTreeMap<_, Value>>())
}

fn as_text(lm: &LanguageModel) -> Result<(), Failure> {
    let mut out = output();
    for (key, value) in table(lm) {
        match (value.as_str(), value.as_f64()) {
            (Some(text), _) => writeln!(out, "{key:<32} {text}")?,
            (_, Some(bytes)) if key.ends_with("_bytes") => {
                writeln!(out, "{key:<32} {value}  ({:.1} MB)", bytes / 1e6)?;
            }
            _ => writeln!(out, "{key:<32} {value}")?,
        }
    }
    writeln!(out, "\n{:<44} {:<6} shape", "tensor", "dtype")?;
    for (name, t) in &lm.tensors.tensors {
        writeln!(out, "{:<44} {:<6} {:?}", name.escape_debug().to_string(), t.dtype, t.shape)?;
    }
    Ok(out.flush()?)
}
