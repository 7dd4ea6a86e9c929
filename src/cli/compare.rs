//! `gpt2 compare`: one prompt continued in several ways, side by side. Where do they part, and what becomes of that?

mod table;

use super::failure::Failure;
use super::speculation::{Speculated, SpeculationArgs, Text};
use super::text::PromptArgs;
use super::{Common, ModelArgs};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{Generation, Options};
use gpt2::sampling::Sampling;
use rand::{TryRng, rngs::SysRng};
use serde::Serialize;
use std::io::{self, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Stop each continuation after this many tokens
    #[arg(long, value_name = "N", default_value_t = 24)]
    max_new_tokens: usize,
    /// Sample once with each of these temperatures
    #[arg(
        long,
        value_name = "T,T,...",
        value_delimiter = ',',
        default_value = "0.5,1,1.5",
        allow_negative_numbers = true
    )]
    temperatures: Vec<f32>,
    /// Sample from the K most likely tokens
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Start of the random numbers, the same for each temperature [default: drawn at random]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Go on after the end-of-text token
    #[arg(long)]
    ignore_eos: bool,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All continuations, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    prompt_ids: Vec<TokenId>,
    seed: u64,
    runs: Vec<Run>,
}

/// One continuation.
#[derive(Serialize)]
struct Run {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    ids: Vec<TokenId>,
    text: String,
    finish_reason: &'static str,
    /// Under the model's own distribution, before temperature and filters.
    logprobs: Vec<f64>,
    /// Their sum so far, after each token.
    running: Vec<f64>,
    /// How many of the first tokens are those of the greedy text: it parts after them.
    shared: usize,
    /// With a draft: which pass of the model gave each token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passes: Vec<usize>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    speculated: Option<Speculated>,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open()?;
    let draft = args.speculation.open(&lm)?;
    let prompt_ids = args.prompt.encode(&lm.bpe, true)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => SysRng
            .try_next_u64()
            .map_err(|e| Failure::Work(format!("no random seed from the system: {e}")))?,
    };
    let options = |sampling| {
        let (max_new_tokens, ignore_eos) = (args.max_new_tokens, args.ignore_eos);
        Options { max_new_tokens, ignore_eos, sampling, ..Options::default() }
    };
    let sampling = |temperature| Sampling { temperature, top_k: Some(args.top_k), ..Sampling::plain(seed) };
    for temperature in &args.temperatures {
        sampling(*temperature).check().map_err(|e| Failure::Usage(e.to_string()))?;
    }

    let begin = |sampling| Generation::new(&lm.model, &prompt_ids, options(sampling));
    let mut runs = vec![write(&lm, "greedy".into(), &mut begin(None)?)?];
    for temperature in &args.temperatures {
        let mut run = write(&lm, format!("T {temperature}"), &mut begin(Some(sampling(*temperature)))?)?;
        run.temperature = Some(*temperature);
        runs.push(run);
    }
    let mut text = args.speculation.or_lookup().text(begin(None)?, &lm, draft.as_ref())?;
    runs.push(write(&lm, "speculative".into(), &mut *text)?);
    let (greedy, others) = runs.split_at_mut(1);
    others.iter_mut().for_each(|run| run.shared = shared(&run.ids, &greedy[0].ids));

    let report = Report { prompt_ids, seed, runs };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        let line = serde_json::to_string(&report).map_err(|e| Failure::Work(e.to_string()))?;
        writeln!(out, "{line}").map_err(Failure::output)?;
    } else {
        table::print(&report, &lm.bpe, &mut out).map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}

/// Writes a continuation to its end.
fn write(lm: &LanguageModel, name: String, text: &mut (impl Text + ?Sized)) -> Result<Run, Failure> {
    let (mut logprobs, mut running, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(chosen) = text.next() {
        logprobs.push(chosen?.logprob);
        running.push(running.last().unwrap_or(&0.0) + logprobs[logprobs.len() - 1]);
        passes.extend(text.passes().map(|passes| passes.passes));
    }
    let ids = text.new_ids().to_vec();
    let known: Vec<TokenId> = ids.iter().copied().filter(|id| lm.bpe.token_bytes(*id).is_some()).collect();
    Ok(Run {
        name,
        temperature: None,
        text: lm.bpe.decode_lossy(&known)?,
        finish_reason: text.finish_reason().map_or("length", |reason| reason.name()),
        shared: ids.len(),
        ids,
        logprobs,
        running,
        passes,
        speculated: text.passes().map(Speculated::from),
    })
}

/// How many tokens two texts have in common before they part.
fn shared(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
