//! `gpt2 generate`: a prompt in, its continuation out, as it is made.

use super::failure::Failure;
use super::text::PromptArgs;
use super::{Common, ModelArgs, remark};
use gpt2::bpe::{StreamDecoder, TokenId};
use gpt2::checkpoint::LanguageModel;
use gpt2::generate::{FinishReason, Generation, Options};
use gpt2::sampling::Sampling;
use gpt2::simd::Simd;
use rand::{TryRng, rngs::SysRng};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Stop after this many new tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// Below 1: safer; above 1: wilder
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the K most likely tokens
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Draw from the most likely tokens that reach probability P together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Always take the most likely token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    greedy: bool,
    /// Start of the random numbers; the same seed gives the same text [default: drawn at random]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Go on after the end-of-text token
    #[arg(long)]
    ignore_eos: bool,
    /// Print one JSON object in place of the text
    #[arg(long)]
    json: bool,
    /// Say on standard error how long it took, and the seed
    #[arg(long)]
    stats: bool,
}

/// A result, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    prompt_ids: &'a [TokenId],
    ids: &'a [TokenId],
    text: String,
    seed: u64,
    finish_reason: &'static str,
    logprobs: &'a [f64],
    stats: Stats,
}

#[derive(Serialize)]
struct Stats {
    load_ms: f64,
    prefill_tokens: usize,
    prefill_ms: f64,
    decode_tokens: usize,
    decode_ms: f64,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    let begin = Instant::now();
    let lm = args.model.open()?;
    let load = begin.elapsed();
    let seed = match args.seed {
        Some(seed) => seed,
        None if args.greedy => 0,
        None => SysRng
            .try_next_u64()
            .map_err(|e| Failure::Work(format!("no random seed from the system: {e}")))?,
    };
    let sampling =
        Sampling { temperature: args.temperature, top_k: Some(args.top_k), top_p: args.top_p, seed };
    sampling.check().map_err(|e| Failure::Usage(e.to_string()))?;
    let options = Options {
        max_new_tokens: args.max_new_tokens,
        sampling: (!args.greedy).then_some(sampling),
        ignore_eos: args.ignore_eos,
    };
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
    let interrupted = watch_for_interrupts()?;

    let begin = Instant::now();
    let mut first = Duration::ZERO;
    let mut generation = Generation::new(&lm.model, &prompt_ids, options)?;
    let mut output = Output::new(&lm, !args.json);
    let mut logprobs = Vec::new();
    let mut slid = false;
    while let Some(chosen) = generation.next() {
        let chosen = chosen?;
        if logprobs.is_empty() {
            first = begin.elapsed();
        }
        logprobs.push(chosen.logprob);
        if generation.slides() > 0 && !slid {
            slid = true;
            remark(format_args!(
                "note: the text is longer than the model's {} positions; the newest half is kept and read again",
                lm.model.config.n_positions
            ));
        }
        if generation.finish_reason() != Some(FinishReason::Eos) {
            output.token(chosen.id)?;
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    let all = begin.elapsed();
    let ids = generation.new_ids();
    let text = output.finish()?;
    let stats = Stats {
        load_ms: ms(load),
        prefill_tokens: prompt_ids.len(),
        prefill_ms: ms(first),
        decode_tokens: ids.len().saturating_sub(1),
        decode_ms: ms(all - first),
    };
    if args.stats {
        remark(format_args!("seed {seed}"));
        remark(format_args!("load {:.1} ms", stats.load_ms));
        let speed = |tokens: usize, ms: f64| tokens as f64 / ms.max(1e-6) * 1e3;
        let (p, d) = (&stats.prefill_tokens, &stats.decode_tokens);
        remark(format_args!(
            "prefill {p} tokens, {:.1} ms, {:.0} tokens/s",
            stats.prefill_ms,
            speed(*p, stats.prefill_ms)
        ));
        remark(format_args!(
            "decode {d} tokens, {:.1} ms, {:.0} tokens/s",
            stats.decode_ms,
            speed(*d, stats.decode_ms)
        ));
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    if args.json {
        let finish_reason = generation.finish_reason().unwrap_or(FinishReason::Length).name();
        let report =
            Report { prompt_ids: &prompt_ids, ids, text, seed, finish_reason, logprobs: &logprobs, stats };
        let line = serde_json::to_string(&report).map_err(|e| Failure::Work(e.to_string()))?;
        writeln!(io::stdout(), "{line}").map_err(Failure::output)?;
    }
    Ok(())
}

/// The text so far: streamed to standard output, or gathered.
struct Output<'a> {
    decoder: StreamDecoder<'a>,
    text: String,
    stream: bool,
}

impl<'a> Output<'a> {
    fn new(lm: &'a LanguageModel, stream: bool) -> Self {
        Self { decoder: StreamDecoder::new(&lm.bpe), text: String::new(), stream }
    }

    fn token(&mut self, id: TokenId) -> Result<(), Failure> {
        // A model may have more ids than its tokenizer (padded vocabularies): those stand for no text, as in HF.
        let part = self.decoder.push(id).unwrap_or_default();
        self.text.push_str(part);
        if self.stream { print(part) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<String, Failure> {
        let rest = self.decoder.finish();
        self.text.push_str(&rest);
        if self.stream {
            print(&rest)?;
            print("\n")?;
        }
        Ok(self.text)
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Becomes true at the first Ctrl-C, so that the token in the making is finished; the second one ends at once.
fn watch_for_interrupts() -> Result<&'static AtomicBool, Failure> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|e| Failure::Work(format!("Ctrl-C cannot be watched: {e}")))?;
    Ok(&INTERRUPTED)
}
