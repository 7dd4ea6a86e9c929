//! `gpt2 compare`: several continuations of one prompt side by side. Where do they diverge, and what does that cost?

mod table;

use super::decoding::random_seed;
use super::failure::Failure;
use super::model::{CacheArgs, Common, ModelArgs};
use super::report::{Speculated, json, note_slide};
use super::speculation::SpeculationArgs;
use super::text::PromptArgs;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{FinishReason, Generation, Options};
use gpt2::search::{BeamSearch, Beams, Hypothesis};
use serde::Serialize;
use std::io::{self, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Stop each continuation after this many tokens
    #[arg(long, value_name = "N", default_value_t = 24)]
    max_new_tokens: usize,
    /// Sample one continuation at each of these temperatures
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
    /// Search with B beams; 1 skips the beam search
    #[arg(long, value_name = "B", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    num_beams: u64,
    /// Seed of the random numbers, the same for each temperature [default: drawn at random]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Continue after the end-of-text token
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
    /// The length-normalized score of a beam search.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    ids: Vec<TokenId>,
    text: String,
    finish_reason: &'static str,
    /// Log-probabilities in nats under the model's own distribution, before temperature and filters.
    logprobs: Vec<f64>,
    /// The running sum of `logprobs`.
    running: Vec<f64>,
    /// How many leading tokens equal those of the greedy text.
    shared: usize,
    /// With a draft: the pass of the model that produced each token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passes: Vec<usize>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    speculated: Option<Speculated>,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open_to_run(&args.cache)?;
    let draft = args.speculation.open(&lm)?;
    let prompt_ids = args.prompt.encode(&lm.bpe, true)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let greedy = Options::default().max_new_tokens(args.max_new_tokens).ignore_eos(args.ignore_eos);
    let sampled =
        |temperature| greedy.clone().sample(true).seed(seed).top_k(args.top_k).temperature(temperature);
    for temperature in &args.temperatures {
        sampled(*temperature).check(&lm.model).map_err(|e| Failure::Usage(e.to_string()))?;
    }

    let num_beams = usize::try_from(args.num_beams).unwrap_or(usize::MAX);
    let beams = Beams { num_beams, ..Beams::default() };
    if num_beams > 1 {
        beams.check(args.max_new_tokens).map_err(|e| Failure::Usage(e.to_string()))?;
    }

    let begin = |options: Options| Generation::new(&lm.model, &prompt_ids, options);
    let mut slid = false; // whether the note about sliding was printed
    let mut runs = vec![write(&lm, "greedy".into(), &mut begin(greedy.clone())?, &mut slid)?];
    for temperature in &args.temperatures {
        let mut text = begin(sampled(*temperature))?;
        let mut run = write(&lm, format!("T {temperature}"), &mut text, &mut slid)?;
        run.temperature = Some(*temperature);
        runs.push(run);
    }
    if num_beams > 1 {
        let mut search = BeamSearch::new(&lm.model, &prompt_ids, greedy.clone(), beams)?;
        search.by_ref().try_for_each(|step| step.map(|_| ()))?;
        note_slide(search.slides(), &mut slid, "", &lm.model);
        let Hypothesis { ids, logprobs, score, finish_reason, .. } = search.into_found()?.swap_remove(0);
        let mut run = Run::new(&lm, format!("{num_beams} beams"), ids, logprobs, finish_reason)?;
        run.score = Some(score);
        runs.push(run);
    }
    let draft = args.speculation.or_lookup().draft(&lm.model, draft.as_ref())?;
    runs.push(write(
        &lm,
        "speculative".into(),
        &mut begin(greedy.clone())?.with_any_draft(draft),
        &mut slid,
    )?);
    let (greedy, others) = runs.split_at_mut(1);
    others.iter_mut().for_each(|run| run.shared = shared(&run.ids, &greedy[0].ids));

    let report = Report { prompt_ids, seed, runs };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", json(&report)?).map_err(Failure::output)?;
    } else {
        table::print(&report, &lm.bpe, &mut out).map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)
}

/// Generates a continuation to its end.
fn write(
    lm: &LanguageModel,
    name: String,
    text: &mut Generation<'_>,
    slid: &mut bool,
) -> Result<Run, Failure> {
    let (mut logprobs, mut passes) = (Vec::new(), Vec::new());
    while let Some(chosen) = text.next() {
        logprobs.push(chosen?.logprob);
        passes.extend(text.passes().map(|passes| passes.passes));
        note_slide(text.slides(), slid, "", &lm.model);
    }
    let finish_reason = text.finish_reason().unwrap_or(FinishReason::Length);
    let run = Run::new(lm, name, text.new_ids().to_vec(), logprobs, finish_reason)?;
    Ok(Run { passes, speculated: text.passes().map(Speculated::from), ..run })
}

impl Run {
    fn new(
        lm: &LanguageModel,
        name: String,
        ids: Vec<TokenId>,
        logprobs: Vec<f64>,
        finish_reason: FinishReason,
    ) -> Result<Self, Failure> {
        let known = ids.iter().copied().filter(|id| lm.bpe.token_bytes(*id).is_some());
        let sum = |sum: &mut f64, logprob: &f64| {
            *sum += logprob;
            Some(*sum)
        };
        Ok(Self {
            name,
            temperature: None,
            score: None,
            text: lm.bpe.decode_lossy(&known.collect::<Vec<_>>())?,
            finish_reason: finish_reason.name(),
            running: logprobs.iter().scan(0.0, sum).collect(),
            shared: ids.len(),
            ids,
            logprobs,
            passes: Vec::new(),
            speculated: None,
        })
    }
}

/// How many leading tokens two texts share.
fn shared(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
