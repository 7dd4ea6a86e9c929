//! What commands print: streamed text, JSON reports, timings and notes.

use super::failure::Failure;
use gpt2::checkpoint::LanguageModel;
use gpt2::config::TokenId;
use gpt2::error::Result;
use gpt2::generate::{Chosen, FinishReason, Generation, Options, Passes, StopStrings, TextStream};
use gpt2::model::Gpt2;
use gpt2::trace::Trace;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Prints a remark on standard error. A failed write is ignored; `eprintln!` would panic.
pub fn remark(line: std::fmt::Arguments) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Standard output with a buffer, to be flushed at the end.
pub fn output() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Writes to standard output and flushes it.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a value as one line of JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = output();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A duration in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What all texts of a command share.
pub struct Job<'a> {
    pub lm: &'a LanguageModel,
    pub options: Options,
    /// How long the model took to load.
    pub load: Duration,
    pub json: bool,
    /// Whether to print timings.
    pub stats: bool,
}

impl<'a> Job<'a> {
    /// Decodes new tokens up to a stop string.
    pub fn stream(&self) -> Result<TextStream<'a>> {
        Ok(TextStream::new(&self.lm.bpe, StopStrings::new(&self.options.stop)?))
    }
}

/// A generated text, as `--json` prints it.
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
    /// What the model's `generation_config.json` set before the flags.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub generation_config: &'a Map<String, Value>,
    pub stats: Stats,
}

/// How long a text took, in milliseconds, and how many tokens were read and written.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Stats {
    pub load_ms: f64,
    pub prefill_tokens: usize,
    pub prefill_ms: f64,
    pub decode_tokens: usize,
    pub decode_ms: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub speculated: Option<Speculated>,
}

/// What `--stats` and `--json` say about a draft.
#[derive(Clone, Copy, Serialize)]
pub struct Speculated {
    pub drafted: usize,
    pub accepted: usize,
    pub tokens_per_pass: f64,
}

impl From<Passes> for Speculated {
    fn from(passes: Passes) -> Self {
        let Passes { drafted, accepted, .. } = passes;
        Self { drafted, accepted, tokens_per_pass: passes.tokens_per_pass() }
    }
}

impl Stats {
    /// Prints the timings on standard error.
    pub fn print(&self, seed: u64) {
        let speed = |tokens: usize, ms: f64| tokens as f64 / ms.max(1e-6) * 1e3;
        let (p, p_ms, d, d_ms) = (self.prefill_tokens, self.prefill_ms, self.decode_tokens, self.decode_ms);
        remark(format_args!("seed {seed}"));
        remark(format_args!("load {:.1} ms", self.load_ms));
        remark(format_args!("prefill {p} tokens, {p_ms:.1} ms, {:.0} tokens/s", speed(p, p_ms)));
        remark(format_args!("decode {d} tokens, {d_ms:.1} ms, {:.0} tokens/s", speed(d, d_ms)));
        if let Some(Speculated { drafted, accepted, tokens_per_pass }) = &self.speculated {
            remark(format_args!(
                "draft {drafted} tokens, {accepted} accepted, {tokens_per_pass:.2} tokens per pass"
            ));
        }
    }
}

/// A text so far: its pieces, its tokens' log-probabilities and its times.
pub struct Written {
    text: String,
    logprobs: Vec<f64>,
    begin: Instant,
    /// The time until the first token.
    first: Option<Duration>,
}

impl Written {
    /// An empty text whose clock started at `begin`.
    pub fn since(begin: Instant) -> Self {
        Self { text: String::new(), logprobs: Vec::new(), begin, first: None }
    }

    /// Notes the time of the first token.
    pub fn begins(&mut self) {
        self.first.get_or_insert_with(|| self.begin.elapsed());
    }

    /// Adds a token and returns the text that is now final.
    pub fn token<T: Trace>(&mut self, chosen: Chosen, generation: &mut Generation<'_, T>) -> String {
        self.begins();
        self.logprobs.push(chosen.logprob);
        let piece = generation.take_text();
        self.text += &piece;
        piece
    }

    /// The times so far, with these numbers of tokens.
    pub fn stats(&self, load: Duration, prefill_tokens: usize, decode_tokens: usize) -> Stats {
        let all = self.begin.elapsed();
        let first = self.first.unwrap_or(all);
        let [load_ms, prefill_ms, decode_ms] = [load, first, all - first].map(ms);
        Stats { load_ms, prefill_tokens, prefill_ms, decode_tokens, decode_ms, speculated: None }
    }

    /// The report of a finished text.
    pub fn report<'g, T: Trace>(self, generation: &'g Generation<'_, T>, job: &Job<'g>) -> Report<'g> {
        let ids = generation.new_ids().to_vec();
        let prompt_ids = &generation.ids()[..generation.ids().len() - ids.len()];
        let speculated = generation.passes().map(Speculated::from);
        let stats = self.stats(job.load, prompt_ids.len(), ids.len().saturating_sub(1));
        let stats = Stats { speculated, ..stats };
        let (seed, score, Self { text, logprobs, .. }) = (generation.options().seed, None, self);
        let finish_reason = generation.finish_reason().unwrap_or(FinishReason::Length).name();
        let generation_config = &job.lm.generation_config.options;
        Report { prompt_ids, ids, text, seed, finish_reason, logprobs, score, generation_config, stats }
    }
}

/// Notes once, on standard error, that a text has outgrown the model's positions. `which` names it among several.
pub fn note_slide(slides: usize, which: &str, model: &Gpt2, bar: &ProgressBar) {
    static NOTE: Once = Once::new();
    if slides > 0 {
        let n = model.config.n_positions;
        let note = || {
            remark(format_args!(
                "note: the text{which} is longer than the model's {n} positions; the newest half is kept and read again"
            ));
        };
        NOTE.call_once(|| bar.suspend(note));
    }
}
