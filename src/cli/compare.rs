//! `gpt2 compare`: several continuations of one prompt side by side. Where do they diverge, and what does that cost?

mod table;

use super::decoding::random_seed;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::{Common, at_least_1};
use super::progress;
use super::report::{Speculated, note_slide, print_json};
use super::speculation::SpeculationArgs;
use super::text::RunArgs;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{FinishReason, Generation, Options, StopStrings, TextStream};
use gpt2::search::{BeamSearch, Beams, Hypothesis};
use indicatif::ProgressBar;
use serde::Serialize;
use std::iter::zip;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Stop each continuation after this many tokens
    #[arg(long, value_name = "N", default_value_t = 24)]
    max_new_tokens: usize,
    /// Sample one continuation at each of these temperatures
    #[arg(long, value_name = "T,T,...", value_delimiter = ',', default_value = "0.5,1,1.5")]
    temperatures: Vec<f32>,
    /// Sample from the K most likely tokens
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Search with B beams; 1 skips the beam search
    #[arg(long, value_name = "B", default_value_t = 4, value_parser = at_least_1())]
    num_beams: usize,
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
#[derive(Default, Serialize)]
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
    let lm = args.run.open()?;
    let draft = args.speculation.open(&lm, args.run.access())?;
    let prompt_ids = args.run.prompt_ids(&lm)?;
    let seed = args.seed.map_or_else(random_seed, Ok)?;
    let greedy = lm.generation_config.over(Options::default(), &lm.bpe)?.sample(false);
    let greedy = greedy.max_new_tokens(args.max_new_tokens).ignore_eos(args.ignore_eos);
    let sampled =
        |temperature| greedy.clone().sample(true).seed(seed).top_k(args.top_k).temperature(temperature);
    for temperature in &args.temperatures {
        sampled(*temperature).check(&lm.model).map_err(usage)?;
    }
    let beams = Beams { num_beams: args.num_beams, ..Beams::default() };
    if args.num_beams > 1 {
        beams.check(args.max_new_tokens).map_err(usage)?;
    }

    interrupt::watch()?;
    let texts = 2 + args.temperatures.len() + usize::from(args.num_beams > 1);
    let bar = progress::steps(texts.saturating_mul(args.max_new_tokens), "tokens");
    let begin = |options: Options| Generation::new(&lm.model, &prompt_ids, options);
    let mut runs = vec![write(&lm, "greedy".into(), begin(greedy.clone())?, &bar)?];
    for temperature in &args.temperatures {
        let run = write(&lm, format!("T {temperature}"), begin(sampled(*temperature))?, &bar)?;
        runs.push(run.map(|run| Run { temperature: Some(*temperature), ..run }));
    }
    if args.num_beams > 1 {
        let mut search = BeamSearch::new(&lm.model, &prompt_ids, greedy.clone(), beams)?;
        while !interrupt::requested()
            && let Some(step) = search.next()
        {
            step?;
            bar.inc(1);
        }
        note_slide(search.slides(), "", &lm.model, &bar);
        if !interrupt::requested() {
            let Hypothesis { ids, logprobs, score, finish_reason, .. } = search.into_found()?.swap_remove(0);
            let run = Run::new(&lm, format!("{} beams", args.num_beams), ids, logprobs, finish_reason);
            runs.push(Some(Run { score: Some(score), ..run }));
        }
    }
    let draft = args.speculation.or_lookup().draft(&lm.model, draft.as_ref())?;
    runs.push(write(&lm, "speculative".into(), begin(greedy.clone())?.with_any_draft(draft), &bar)?);
    bar.finish_and_clear();
    let mut runs: Vec<Run> = runs.into_iter().flatten().collect(); // after Ctrl-C, those that are whole
    if runs.is_empty() {
        return Err(Failure::Interrupted);
    }
    let (greedy, others) = runs.split_at_mut(1);
    for run in others {
        run.shared = zip(&run.ids, &greedy[0].ids).take_while(|(own, greedy)| own == greedy).count();
    }

    let report = Report { prompt_ids, seed, runs };
    if args.json {
        print_json(&report)?
    } else {
        table::print(&report, &lm.bpe)?
    }
    interrupt::check()
}

/// Generates a continuation to its end. After Ctrl-C there is none.
fn write(
    lm: &LanguageModel,
    name: String,
    mut text: Generation<'_>,
    bar: &ProgressBar,
) -> Result<Option<Run>, Failure> {
    let (mut logprobs, mut passes) = (Vec::new(), Vec::new());
    loop {
        if interrupt::requested() {
            return Ok(None);
        }
        let Some(chosen) = text.next() else { break };
        logprobs.push(chosen?.logprob);
        passes.extend(text.passes().map(|passes| passes.passes));
        note_slide(text.slides(), "", &lm.model, bar);
        bar.inc(1);
    }
    let finish_reason = text.finish_reason().unwrap_or(FinishReason::Length);
    let run = Run::new(lm, name, text.new_ids().to_vec(), logprobs, finish_reason);
    Ok(Some(Run { passes, speculated: text.passes().map(Speculated::from), ..run }))
}

impl Run {
    fn new(
        lm: &LanguageModel,
        name: String,
        ids: Vec<TokenId>,
        logprobs: Vec<f64>,
        finish_reason: FinishReason,
    ) -> Self {
        let sum = |sum: &mut f64, logprob: &f64| {
            *sum += logprob;
            Some(*sum)
        };
        Self {
            name,
            text: TextStream::new(&lm.bpe, StopStrings::default()).decode(&ids),
            finish_reason: finish_reason.name(),
            running: logprobs.iter().scan(0.0, sum).collect(),
            shared: ids.len(),
            ids,
            logprobs,
            ..Self::default()
        }
    }
}
