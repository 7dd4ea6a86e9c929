//! `gpt2 generate --batch FILE.jsonl`: a prompt a line in, a result a line out, in order.
//!
//! Lines are read as they are needed, a few texts are in the making together, and whenever one ends the next line
//! joins. So the memory does not depend on the length of the file, and a program at the other end of a pipe may wait
//! for one result before it writes the next line.

mod lines;
mod order;
mod request;
mod sums;

use super::failure::Failure;
use super::generate::{Report, Stats, ms};
use super::remark;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::error::{Error, Result};
use gpt2::generate::{Batch, Chosen, FinishReason, Generation, Options, StopStrings, TextStream};
use lines::{Line, Lines, Next};
use order::InOrder;
use request::Request;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sums::Sums;

/// Results that wait for an earlier line may take so many bytes; then no new line is read until that one is done.
const HELD: usize = 64 << 20;

/// What is the same for all lines.
pub struct Job<'a> {
    pub lm: &'a LanguageModel,
    pub options: Options,
    pub allow_special: bool,
    /// Texts that are written together, at most.
    pub size: usize,
    pub load: Duration,
}

/// A line's text in the making.
struct Running<'a> {
    line: u64,
    /// Its place among the results.
    place: usize,
    prompt_ids: Vec<TokenId>,
    seed: u64,
    generation: Generation<'a>,
    stream: TextStream<'a>,
    text: String,
    logprobs: Vec<f64>,
    begin: Instant,
    /// Until the first token.
    first: Duration,
    error: Option<Error>,
}

/// The result of a good line.
#[derive(Serialize)]
struct Good<'a> {
    line: u64,
    #[serde(flatten)]
    report: Report<'a>,
}

/// The result of a bad one.
#[derive(Serialize)]
struct Bad {
    line: u64,
    error: String,
}

impl Job<'_> {
    /// Works through the file, or standard input where it is `-`.
    pub fn run(
        &self,
        path: &Path,
        stats: bool,
        interrupted: &AtomicBool,
    ) -> std::result::Result<(), Failure> {
        let mut lines = Lines::open(path)?;
        let mut batch = Batch::new(&self.lm.model);
        let (mut results, mut sums) = (InOrder::default(), Sums::default());
        let (mut end, mut slid) = (None, false);
        while !interrupted.load(Ordering::Relaxed) {
            while end.is_none() && batch.len() < self.size && results.bytes() < HELD {
                match if batch.is_empty() { lines.wait(interrupted) } else { lines.now() } {
                    Next::Line(line) => {
                        let place = results.expect();
                        sums.lines += 1;
                        match self.begin(&line, place) {
                            Ok(running) => batch.push(running),
                            Err(error) => results.put(place, sums.bad(line.number, &error)?),
                        }
                        results.print()?;
                    }
                    Next::NotYet => break,
                    Next::End(result) => end = Some(result),
                }
            }
            if batch.is_empty() && end.is_some() {
                break;
            }
            let begin = Instant::now();
            let turn = batch.step(Running::token);
            sums.add(turn, begin.elapsed());
            for mut running in batch.take_finished() {
                if running.generation.slides() > 0 && !slid {
                    slid = true;
                    remark(format_args!(
                        "note: the text of line {} is longer than the model's {} positions; the newest half is kept and read again",
                        running.line, self.lm.model.config.n_positions
                    ));
                }
                sums.prompt_tokens += running.prompt_ids.len();
                sums.new_tokens += running.logprobs.len();
                let result = match running.error.take() {
                    None => json(&running.report(self.load))?,
                    Some(error) => sums.bad(running.line, &error)?,
                };
                results.put(running.place, result);
            }
            results.print()?;
        }
        results.print_all()?; // after Ctrl-C some may be finished whose turn it was not
        if stats {
            sums.print(self.options.seed, self.load);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        end.unwrap_or(Ok(()))?;
        sums.verdict()
    }

    /// A line's text, before its first token.
    fn begin(&self, line: &Line, place: usize) -> Result<Running<'_>> {
        let (lm, begin) = (self.lm, Instant::now());
        let bytes = line.text.as_ref().map_err(|problem| Error::input(problem.clone()))?;
        let request = Request::parse(bytes)?;
        let prompt_ids = request.prompt_ids(&lm.bpe, self.allow_special)?;
        let options = request.options(&self.options, &lm.bpe)?;
        options.check(&lm.model)?;
        let (seed, stop) = (options.seed, StopStrings::new(&options.stop)?);
        Ok(Running {
            line: line.number,
            place,
            seed,
            generation: Generation::new(&lm.model, &prompt_ids, options)?,
            prompt_ids,
            stream: TextStream::new(&lm.bpe, stop),
            text: String::new(),
            logprobs: Vec::new(),
            begin,
            first: Duration::ZERO,
            error: None,
        })
    }
}

impl<'a> AsMut<Generation<'a>> for Running<'a> {
    fn as_mut(&mut self) -> &mut Generation<'a> {
        &mut self.generation
    }
}

impl Running<'_> {
    /// One token more, or the end.
    fn token(&mut self, chosen: Result<Chosen>) {
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return self.error = Some(error),
        };
        if self.logprobs.is_empty() {
            self.first = self.begin.elapsed();
        }
        self.logprobs.push(chosen.logprob);
        if self.generation.finish_reason() != Some(FinishReason::Eos) {
            self.text.push_str(&self.stream.push(chosen.id));
        }
        if self.stream.stopped() {
            self.generation.finish(FinishReason::Stop);
        }
    }

    /// The finished text.
    fn report(&mut self, load: Duration) -> Good<'_> {
        let all = self.begin.elapsed();
        self.text.push_str(&self.stream.finish());
        let first = if self.logprobs.is_empty() { all } else { self.first };
        let report = Report {
            prompt_ids: &self.prompt_ids,
            ids: self.generation.new_ids().to_vec(),
            text: std::mem::take(&mut self.text),
            seed: self.seed,
            finish_reason: self.generation.finish_reason().unwrap_or(FinishReason::Length).name(),
            logprobs: std::mem::take(&mut self.logprobs),
            score: None,
            stats: Stats {
                load_ms: ms(load),
                prefill_tokens: self.prompt_ids.len(),
                prefill_ms: ms(first),
                decode_tokens: self.generation.new_ids().len().saturating_sub(1),
                decode_ms: ms(all - first),
                speculated: None,
            },
        };
        Good { line: self.line, report }
    }
}

/// One line.
fn json(result: &impl Serialize) -> std::result::Result<String, Failure> {
    serde_json::to_string(result).map_err(|e| Failure::Work(e.to_string()))
}
