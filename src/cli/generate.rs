//! `gpt2 generate`: a prompt in, its continuation out, as it is made.

use super::batch::Job;
use super::beams::{BeamArgs, Search};
use super::decoding::DecodingArgs;
use super::failure::Failure;
use super::speculation::{Speculated, SpeculationArgs, Text, Watched};
use super::text::PromptArgs;
use super::{CacheArgs, Common, ModelArgs, debug, remark};
use gpt2::bpe::{Bpe, TokenId};
use gpt2::checkpoint::LanguageModel;
use gpt2::format::safetensors::remove_unfinished;
use gpt2::generate::{FinishReason, Generation, Options, StopStrings, TextStream};
use gpt2::inspect::{Choices, StepsFile};
use gpt2::model::Gpt2;
use gpt2::simd::Simd;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
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

/// A result, as `--json` prints it.
#[derive(Serialize)]
pub struct Report<'a> {
    pub prompt_ids: &'a [TokenId],
    pub ids: Vec<TokenId>,
    pub text: String,
    pub seed: u64,
    pub finish_reason: &'static str,
    pub logprobs: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    pub stats: Stats,
}

#[derive(Clone, Copy, Serialize)]
pub struct Stats {
    pub load_ms: f64,
    pub prefill_tokens: usize,
    pub prefill_ms: f64,
    pub decode_tokens: usize,
    pub decode_ms: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub speculated: Option<Speculated>,
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
    let prompt = Generation::new(&lm.model, &prompt_ids, options.clone())?;
    let mut prompt = args.speculation.text(prompt, &lm.model, draft.as_ref())?;
    if count > 1 && args.trace.is_none() {
        prompt.prefill();
    }
    let mut slid = false;
    let mut traced = args.trace.as_deref().map(Traced::create).transpose()?;
    for n in 0..count {
        if !args.json && count > 1 {
            print(&format!("=== {} of {count} ===\n", n + 1))?;
        }
        let output = Output::new(&lm.bpe, stop.clone(), !args.json);
        let mut run = Run { lm: &lm, begin, slid: &mut slid, interrupted };
        let written = match traced.take() {
            None => run.write(&mut *prompt.fork(n), output)?,
            Some(so_far) => {
                let (written, so_far) = run.write_traced(so_far, &prompt_ids, &options, output)?;
                traced = Some(so_far);
                written
            }
        };
        let stats = Stats {
            load_ms: ms(load),
            prefill_tokens: prompt_ids.len(),
            prefill_ms: ms(written.first),
            decode_tokens: written.ids.len().saturating_sub(1),
            decode_ms: ms(written.all - written.first),
            speculated: written.speculated,
        };
        if args.stats {
            stats.print(seed);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        if args.json {
            let Written { ids, text, finish_reason, logprobs, .. } = written;
            let finish_reason = finish_reason.name();
            let prompt_ids = &prompt_ids;
            Report { prompt_ids, ids, text, seed, finish_reason, logprobs, score: None, stats }.print()?;
        }
        begin = Instant::now();
    }
    match traced {
        None => Ok(()),
        Some(Traced { file, choices }) => {
            Ok(file.finish(&lm, &prompt_ids, &options, &options.stop, &choices)?)
        }
    }
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

/// An option that the library refuses.
pub fn usage(error: gpt2::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// One continuation.
struct Written {
    ids: Vec<TokenId>,
    text: String,
    finish_reason: FinishReason,
    logprobs: Vec<f64>,
    /// Until the first token, and until the last.
    first: Duration,
    all: Duration,
    speculated: Option<Speculated>,
}

/// The writing of one continuation.
struct Run<'a> {
    lm: &'a LanguageModel,
    begin: Instant,
    /// Whether it was said that the text slides.
    slid: &'a mut bool,
    interrupted: &'a AtomicBool,
}

impl Run<'_> {
    /// Writes to the end, or until Ctrl-C.
    fn write<T: Text + ?Sized>(&mut self, text: &mut T, mut output: Output<'_>) -> Result<Written, Failure> {
        let (mut logprobs, mut first) = (Vec::new(), Duration::ZERO);
        while let Some(chosen) = text.next() {
            let chosen = chosen?;
            if logprobs.is_empty() {
                first = self.begin.elapsed();
            }
            logprobs.push(chosen.logprob);
            note_slide(text.slides(), self.slid, &self.lm.model);
            if text.finish_reason() != Some(FinishReason::Eos) {
                output.token(chosen.id)?;
            }
            if output.text.stopped() {
                text.finish(FinishReason::Stop);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        let all = self.begin.elapsed();
        let finish_reason = text.finish_reason().unwrap_or(FinishReason::Length);
        let speculated = text.passes().map(Speculated::from);
        let whole = output.finish()?;
        Ok(Written {
            ids: text.new_ids().to_vec(),
            text: whole,
            finish_reason,
            logprobs,
            first,
            all,
            speculated,
        })
    }

    /// The same, with every stage in the trace file.
    fn write_traced(
        &mut self,
        Traced { mut file, mut choices }: Traced,
        prompt: &[TokenId],
        options: &Options,
        output: Output<'_>,
    ) -> Result<(Written, Traced), Failure> {
        let n = choices.len();
        let options = options.clone().stream(n as u64); // as Generation::fork has it
        file.begin(n);
        let generation = Generation::with_trace(&self.lm.model, prompt, options, file)?;
        let (mut generation, mut watch) = (generation.whole(), Choices::new(&self.lm.bpe));
        let written = self.write(&mut Watched(&mut generation, &mut watch), output)?;
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted); // and the file is gone
        }
        choices.push(watch.all);
        Ok((written, Traced { file: generation.trace, choices }))
    }
}

/// A trace file in the making: it is there when the last text is whole.
struct Traced {
    file: StepsFile,
    /// For each text so far, how each of its tokens was chosen.
    choices: Vec<Vec<Value>>,
}

impl Traced {
    fn create(path: &Path) -> gpt2::error::Result<Self> {
        Ok(Self { file: StepsFile::create(path)?, choices: Vec::new() })
    }
}

/// Says once that the text has outgrown the model's positions.
pub fn note_slide(slides: usize, said: &mut bool, model: &Gpt2) {
    if slides > 0 && !*said {
        *said = true;
        remark(format_args!(
            "note: the text is longer than the model's {} positions; the newest half is kept and read again",
            model.config.n_positions
        ));
    }
}

impl Report<'_> {
    /// As one line of JSON.
    pub fn print(&self) -> Result<(), Failure> {
        let line = serde_json::to_string(self).map_err(|e| Failure::Work(e.to_string()))?;
        print(&format!("{line}\n"))
    }
}

impl Stats {
    /// On standard error.
    pub fn print(&self, seed: u64) {
        let speed = |tokens: usize, ms: f64| tokens as f64 / ms.max(1e-6) * 1e3;
        let (p, p_ms, d, d_ms) = (self.prefill_tokens, self.prefill_ms, self.decode_tokens, self.decode_ms);
        remark(format_args!("seed {seed}"));
        remark(format_args!("load {:.1} ms", self.load_ms));
        remark(format_args!("prefill {p} tokens, {p_ms:.1} ms, {:.0} tokens/s", speed(p, p_ms)));
        remark(format_args!("decode {d} tokens, {d_ms:.1} ms, {:.0} tokens/s", speed(d, d_ms)));
        if let Some(Speculated { drafted, accepted, tokens_per_pass }) = &self.speculated {
            remark(format_args!(
                "draft {drafted} tokens, {accepted} accepted, {tokens_per_pass:.2} tokens a pass"
            ));
        }
    }
}

/// The text so far: streamed to standard output, or gathered.
pub struct Output<'a> {
    text: TextStream<'a>,
    so_far: String,
    stream: bool,
}

impl<'a> Output<'a> {
    pub fn new(bpe: &'a Bpe, stop: StopStrings, stream: bool) -> Self {
        Self { text: TextStream::new(bpe, stop), so_far: String::new(), stream }
    }

    pub fn token(&mut self, id: TokenId) -> Result<(), Failure> {
        let part = self.text.push(id);
        self.so_far.push_str(&part);
        if self.stream && !part.is_empty() { print(&part) } else { Ok(()) }
    }

    pub fn finish(mut self) -> Result<String, Failure> {
        let rest = self.text.finish();
        self.so_far.push_str(&rest);
        if self.stream {
            print(&rest)?;
            print("\n")?;
        }
        Ok(self.so_far)
    }
}

pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
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
