//! `gpt2 generate`: reads a prompt and streams its continuation.

use super::batch::Job;
use super::beams::{BeamArgs, Search};
use super::debug;
use super::decoding::DecodingArgs;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::{CacheArgs, Common, ModelArgs};
use super::report::{Written, note_slide, print, remark};
use super::speculation::SpeculationArgs;
use super::text::PromptArgs;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{Generation, StopStrings, TextStream};
use gpt2::inspect::{Choices, TraceFile, metadata};
use gpt2::sampling::{NoWatch, Watch};
use gpt2::simd::Simd;
use gpt2::trace::Trace;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Write N continuations, each with its own stream of the seed's random numbers; with beams, the N best
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    num_return_sequences: u64,
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
    let lm = args.model.open_to_run(&args.cache)?;
    let draft = args.speculation.open(&lm)?;
    let load = begin.elapsed();
    let beams = args.beams.are_wanted()?;
    let options = match beams {
        true => args.beams.options(&args.decoding, &lm.bpe)?,
        false => args.decoding.options(&lm.bpe, !args.decoding.has("greedy"))?,
    };
    options.check(&lm.model).map_err(usage)?;
    let (seed, stop) = (options.seed, StopStrings::new(&options.stop).map_err(usage)?);
    let count = args.num_return_sequences;
    if args.decoding.has("greedy") && count > 1 && !beams {
        return Err(Failure::Usage(format!(
            "--num-return-sequences {count} with --greedy would write the same text {count} times; leave out one of them"
        )));
    }
    if let Some(path) = &args.batch {
        if count > 1 {
            return Err(Failure::Usage(format!(
                "--num-return-sequences {count} with --batch: repeat the prompt on {count} lines instead, each with its own seed"
            )));
        }
        let (size, allow_special) = (args.batch_size.unwrap_or(8).into(), args.prompt.allow_special());
        let job = Job { lm: &lm, options, allow_special, size, load };
        return job.run(path, args.stats, interrupt::watch()?);
    }
    if args.batch_size.is_some() {
        return Err(Failure::Usage("--batch-size needs --batch".into()));
    }
    check_debugged(args)?;
    let prompt_ids = args.prompt.encode(&lm.bpe, true)?;
    if common.verbose {
        remark(format_args!(
            "model {}, {} parameters, {} threads, {}, seed {seed}, {} prompt tokens",
            lm.name,
            lm.model.parameters(),
            rayon::current_num_threads(),
            Simd::current().name(),
            prompt_ids.len()
        ));
    }
    if args.debug {
        return debug::run(&lm, &prompt_ids, options, stop, common.color);
    }
    let interrupted = interrupt::watch()?;
    if beams {
        let (json, stats) = (args.json, args.stats);
        let search =
            Search { lm: &lm, prompt_ids: &prompt_ids, options, seed, stop: &stop, json, stats, load };
        return args.beams.run(search, count, interrupted);
    }

    let mut begin = Instant::now(); // the first sequence's time includes the prompt's
    let stream = TextStream::new(&lm.bpe, stop);
    let mut prompt = Generation::new(&lm.model, &prompt_ids, options.clone())?
        .with_text(stream.clone())
        .with_any_draft(args.speculation.draft(&lm.model, draft.as_ref())?)
        .with_rejection(args.speculation.draft_rejection);
    if count > 1 && args.trace.is_none() {
        prompt.prefill();
    }
    let mut traced = args.trace.as_deref().map(Traced::create).transpose()?;
    let mut run = Run { lm: &lm, load, seed, args, prompt_ids: &prompt_ids, slid: false, interrupted };
    for n in 0..count {
        if !args.json && count > 1 {
            print(&format!("=== {} of {count} ===\n", n + 1))?;
        }
        traced = match traced {
            None => {
                run.write(&mut prompt.fork(n), &mut NoWatch, begin)?;
                None
            }
            Some(Traced { mut file, mut choices }) => {
                let options = options.clone().stream(n); // as `fork` does
                file.begin(choices.len());
                let generation = Generation::with_trace(&lm.model, &prompt_ids, options, file)?;
                let mut generation = generation.with_text(stream.clone()).whole();
                let mut watch = Choices::new(&lm.bpe);
                run.write(&mut generation, &mut watch, begin)?; // an interrupt ends here, and the file is removed
                choices.push(watch.all);
                Some(Traced { file: generation.trace, choices })
            }
        };
        begin = Instant::now();
    }
    if let Some(Traced { file, choices }) = traced {
        file.finish(&metadata(&lm, &prompt_ids, &options, &choices))?;
    }
    Ok(())
}

/// Checks `--debug`: it follows one text, and commands and prompt cannot both come from standard input.
fn check_debugged(args: &Args) -> Result<(), Failure> {
    let count = args.num_return_sequences;
    if args.debug && count > 1 {
        return Err(Failure::Usage(format!(
            "--debug follows one text, but --num-return-sequences is {count}; leave out one of them"
        )));
    }
    if args.debug && !args.prompt.is_given() {
        return Err(Failure::Usage(
            "with --debug, standard input carries the commands; give the prompt as an argument, with --file or --ids"
                .into(),
        ));
    }
    Ok(())
}

/// What the continuations share.
struct Run<'a> {
    lm: &'a LanguageModel,
    load: Duration,
    seed: u64,
    args: &'a Args,
    prompt_ids: &'a [TokenId],
    /// Whether the note that the text slides was printed.
    slid: bool,
    interrupted: &'a AtomicBool,
}

impl Run<'_> {
    /// Generates one continuation to its end, or until Ctrl-C, and prints it.
    fn write<T: Trace>(
        &mut self,
        generation: &mut Generation<'_, T>,
        watch: &mut impl Watch,
        begin: Instant,
    ) -> Result<(), Failure> {
        let mut written = Written::since(begin);
        while let Some(chosen) = generation.next_watched(watch) {
            let piece = written.token(chosen?, generation);
            if !self.args.json && !piece.is_empty() {
                print(&piece)?;
            }
            note_slide(generation.slides(), &mut self.slid, "", &self.lm.model);
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        let report = written.report(generation, self.prompt_ids, self.seed, self.load);
        if !self.args.json {
            print("\n")?;
        }
        if self.args.stats {
            report.stats.print(self.seed);
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        if self.args.json { report.print() } else { Ok(()) }
    }
}

/// An unfinished trace file: it gets its name when the last text is complete.
struct Traced {
    file: TraceFile,
    /// How each token was chosen, for each text so far.
    choices: Vec<Vec<Value>>,
}

impl Traced {
    fn create(path: &Path) -> gpt2::error::Result<Self> {
        Ok(Self { file: TraceFile::create(path)?, choices: Vec::new() })
    }
}
