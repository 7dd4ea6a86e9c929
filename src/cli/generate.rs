//! `gpt2 generate`: a prompt in, its continuation out, as it is made.

use super::batch::Job;
use super::beams::{BeamArgs, Search};
use super::decoding::DecodingArgs;
use super::failure::{Failure, usage};
use super::report::{Written, note_slide, print, remark};
use super::speculation::SpeculationArgs;
use super::text::PromptArgs;
use super::{CacheArgs, Common, ModelArgs, debug};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::format::safetensors::remove_unfinished;
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
    /// Continue many prompts, a line each: a JSON text or an object like {"prompt": "Once", "seed": 1}, whose keys
    /// are names of flags; a JSON object a line comes out, in order. - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "file", "ids", "num_beams", "draft"])]
    batch: Option<PathBuf>,
    /// Write up to N of the batch's texts together [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_size: Option<u16>,
    /// Print one JSON object in place of each text
    #[arg(long)]
    json: bool,
    /// Say on standard error how long it took, and the seed
    #[arg(long)]
    stats: bool,
    /// Write every stage of every step into a safetensors file, and how each token was chosen into its metadata; of
    /// several texts the second has sequence.1. before its names, and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "num_beams", "draft"])]
    trace: Option<PathBuf>,
    /// Step through the stages; commands come from standard input, a line each, and help lists them
    #[arg(long, conflicts_with_all = ["json", "stats", "trace", "batch", "num_beams", "draft"])]
    debug: bool,
    #[command(flatten)]
    beams: BeamArgs, // last, for its heading is above all that follows
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
            "--num-return-sequences {count} with --greedy would be {count} times the same text; leave out one of them"
        )));
    }
    if let Some(path) = &args.batch {
        if count > 1 {
            return Err(Failure::Usage(format!(
                "--num-return-sequences {count} with --batch: give the prompt on {count} lines, each with a seed of its own"
            )));
        }
        let (size, allow_special) = (args.batch_size.unwrap_or(8).into(), args.prompt.allow_special());
        let job = Job { lm: &lm, options, allow_special, size, load };
        return job.run(path, args.stats, watch_for_interrupts()?);
    }
    if args.batch_size.is_some() {
        return Err(Failure::Usage("--batch-size is for --batch, which is not given".into()));
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
    let interrupted = watch_for_interrupts()?;
    if beams {
        let (json, stats) = (args.json, args.stats);
        let search =
            Search { lm: &lm, prompt_ids: &prompt_ids, options, seed, stop: &stop, json, stats, load };
        return args.beams.run(search, count, interrupted);
    }

    let mut begin = Instant::now(); // the first sequence's time has the prompt's in it
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
                let options = options.clone().stream(n); // as `fork` has it
                file.begin(choices.len());
                let generation = Generation::with_trace(&lm.model, &prompt_ids, options, file)?;
                let mut generation = generation.with_text(stream.clone()).whole();
                let mut watch = Choices::new(&lm.bpe);
                run.write(&mut generation, &mut watch, begin)?; // interrupted, the file is gone
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

/// `--debug` follows one text; commands and prompt cannot both come from standard input.
fn check_debugged(args: &Args) -> Result<(), Failure> {
    let count = args.num_return_sequences;
    if args.debug && count > 1 {
        return Err(Failure::Usage(format!(
            "--debug follows one text and --num-return-sequences asks for {count}; leave out one of them"
        )));
    }
    if args.debug && !args.prompt.is_given() {
        return Err(Failure::Usage(
            "with --debug standard input has the commands; give the prompt as an argument, with --file or --ids"
                .into(),
        ));
    }
    Ok(())
}

/// The writing of continuations.
struct Run<'a> {
    lm: &'a LanguageModel,
    load: Duration,
    seed: u64,
    args: &'a Args,
    prompt_ids: &'a [TokenId],
    /// Whether it was said that the text slides.
    slid: bool,
    interrupted: &'a AtomicBool,
}

impl Run<'_> {
    /// Writes one continuation to its end, or until Ctrl-C, and reports it.
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
            note_slide(generation.slides(), &mut self.slid, &self.lm.model);
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

/// A trace file in the making: it is there when the last text is whole.
struct Traced {
    file: TraceFile,
    /// For each text so far, how each of its tokens was chosen.
    choices: Vec<Vec<Value>>,
}

impl Traced {
    fn create(path: &Path) -> gpt2::error::Result<Self> {
        Ok(Self { file: TraceFile::create(path)?, choices: Vec::new() })
    }
}

/// Becomes true at the first Ctrl-C, so that the token in the making is finished; the second one ends at once.
fn watch_for_interrupts() -> Result<&'static AtomicBool, Failure> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            remove_unfinished();
            std::process::exit(130);
        }
    })
    .map_err(|e| Failure::Work(format!("Ctrl-C cannot be watched: {e}")))?;
    Ok(&INTERRUPTED)
}
