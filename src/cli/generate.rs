//! `gpt2 generate`: reads a prompt and streams its continuation.

use super::batch;
use super::beams::BeamArgs;
use super::debug;
use super::decoding::DecodingArgs;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::{Common, at_least_1};
use super::progress;
use super::report::{Job, Written, note_slide, print, print_json, remark};
use super::speculation::SpeculationArgs;
use super::text::RunArgs;
use gpt2::generate::Generation;
use gpt2::inspect::{Choices, TraceFile, metadata};
use gpt2::sampling::{NoWatch, Watch};
use gpt2::simd::Simd;
use gpt2::trace::Trace;
use indicatif::ProgressBar;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Write N continuations, each with its own stream of the seed's random numbers; with beams, the N best
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_1())]
    num_return_sequences: usize,
    /// Continue many prompts, one per line: a JSON string, or an object like {"prompt": "Once", "seed": 1} whose keys
    /// are flag names. Prints one JSON object per line, in the same order. - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "file", "ids", "num_beams", "draft"])]
    batch: Option<PathBuf>,
    /// Generate up to N texts of the batch together [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_size: Option<u16>,
    /// Print one JSON object instead of each text
    #[arg(long)]
    json: bool,
    /// Print timings and the seed on standard error
    #[arg(long)]
    stats: bool,
    /// Write every stage of every step to a safetensors file; its metadata says how each token was chosen. With several
    /// texts, the names of the second begin with sequence.1., and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "num_beams", "draft"])]
    trace: Option<PathBuf>,
    /// Step through the stages. Commands come from standard input, one per line; help lists them
    #[arg(long, conflicts_with_all = ["json", "stats", "trace", "batch", "num_beams", "draft"])]
    debug: bool,
    #[command(flatten)]
    beams: BeamArgs, // last, because its heading covers every option after it
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    let begin = Instant::now();
    let lm = args.run.open()?;
    let draft = args.speculation.open(&lm, args.run.access())?;
    let (load, json, stats) = (begin.elapsed(), args.json, args.stats);
    let beams = args.beams.are_wanted()?;
    let options = match beams {
        true => args.beams.options(&args.decoding, &lm)?,
        false => args.decoding.options(&lm, (args.num_return_sequences > 1).then_some(true))?,
    };
    options.check(&lm.model).map_err(usage)?;
    check(args, beams)?;
    if stats && !lm.generation_config.options.is_empty() {
        remark(format_args!("generation_config.json {}", Value::from(lm.generation_config.options.clone())));
    }
    let job = Job { lm: &lm, options, load, json, stats };
    if let Some(path) = &args.batch {
        interrupt::watch()?;
        let size = args.batch_size.unwrap_or(8).into();
        return batch::run(&job, path, size, &args.run);
    }
    let prompt_ids = args.run.prompt_ids(&lm)?;
    let Job { options, .. } = &job;
    if common.verbose {
        let (model, parameters, threads) = (&lm.name, lm.model.parameters(), rayon::current_num_threads());
        let (simd, seed, tokens) = (Simd::current().name(), options.seed, prompt_ids.len());
        remark(format_args!(
            "model {model}, {parameters} parameters, {threads} threads, {simd}, seed {seed}, {tokens} prompt tokens"
        ));
    }
    if args.debug {
        return debug::run(&lm, &prompt_ids, options, common.color);
    }
    interrupt::watch()?;
    let count = args.num_return_sequences;
    if beams {
        return args.beams.run(&job, &prompt_ids, count);
    }

    let mut begin = Instant::now(); // the first sequence's time includes the prompt's
    let mut prompt = Generation::new(&lm.model, &prompt_ids, options.clone())?
        .with_text(job.stream()?)
        .with_any_draft(args.speculation.draft(&lm.model, draft.as_ref())?)
        .with_rejection(args.speculation.draft_rejection);
    if count > 1 && args.trace.is_none() {
        prompt.prefill();
    }
    // If the command fails or is interrupted, the trace file is removed: only `finish` gives it its name.
    let mut file = args.trace.as_deref().map(TraceFile::create).transpose()?;
    let mut choices = Vec::new();
    let most = prompt.options().max_new_tokens;
    let bar = progress::tokens(count.saturating_mul(most), !json);
    for n in 0..count {
        bar.set_position((n * most) as u64); // a text may have ended early
        if !json && count > 1 {
            print(&format!("=== {} of {count} ===\n", n + 1))?;
        }
        match &mut file {
            None => write(&job, prompt.fork(n as u64), &mut NoWatch, begin, &bar)?,
            Some(file) => {
                file.begin(n);
                let options = options.clone().stream(n as u64); // as `fork` does
                let traced = Generation::with_trace(&lm.model, &prompt_ids, options, file)?;
                let mut watch = Choices::new(&lm.bpe);
                write(&job, traced.with_text(job.stream()?).whole(), &mut watch, begin, &bar)?;
                choices.push(watch.all);
            }
        }
        begin = Instant::now();
    }
    if let Some(file) = file {
        file.finish(&metadata(&lm, &prompt_ids, options, &choices))?;
    }
    Ok(())
}

/// Refuses flags that do not go together.
fn check(args: &Args, beams: bool) -> Result<(), Failure> {
    let n = args.num_return_sequences;
    let refusals = [
        (
            n > 1 && args.decoding.has("greedy") && !beams,
            format!("--num-return-sequences {n} with --greedy would write the same text {n} times; leave out one of them"),
        ),
        (
            n > 1 && args.batch.is_some(),
            format!("--num-return-sequences {n} with --batch: repeat the prompt on {n} lines instead, each with its own seed"),
        ),
        (args.batch_size.is_some() && args.batch.is_none(), "--batch-size needs --batch".into()),
        (
            n > 1 && args.debug,
            format!("--debug follows one text, but --num-return-sequences is {n}; leave out one of them"),
        ),
        (
            args.debug && !args.run.prompt.is_given(),
            "with --debug, standard input carries the commands; give the prompt as an argument, with --file or --ids"
                .into(),
        ),
    ];
    match refusals.into_iter().find(|(refused, _)| *refused) {
        Some((_, message)) => Err(Failure::Usage(message)),
        None => Ok(()),
    }
}

/// Generates one text to its end, or until Ctrl-C, and prints it.
fn write<T: Trace>(
    job: &Job<'_>,
    mut generation: Generation<'_, T>,
    watch: &mut dyn Watch,
    begin: Instant,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut written = Written::since(begin);
    while let Some(chosen) = generation.next_watched(watch) {
        let piece = written.token(chosen?, &mut generation);
        if !job.json && !piece.is_empty() {
            print(&piece)?;
        }
        note_slide(generation.slides(), "", &job.lm.model, bar);
        bar.inc(1);
        if interrupt::requested() {
            break;
        }
    }
    let report = written.report(&generation, job);
    if !job.json {
        print("\n")?;
    }
    if job.stats {
        bar.suspend(|| report.stats.print(report.seed));
    }
    interrupt::check()?;
    if job.json { bar.suspend(|| print_json(&report)) } else { Ok(()) }
}
