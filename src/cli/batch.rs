//! `gpt2 generate --batch FILE.jsonl`: one prompt per input line, one result per output line, in the same order.
//!
//! Lines are read on demand. A few texts are generated together; whenever one ends, the next line takes its place. So
//! memory use does not depend on the length of the file, and a program at the other end of a pipe may wait for one
//! result before it writes the next line.

mod lines;
mod request;
mod results;

use super::failure::Failure;
use super::report::{Report, Written, json, note_slide};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::error::{Error, Result};
use gpt2::generate::{Batch, Chosen, Generation, Options, StopStrings, TextStream};
use lines::{Line, Lines, Next};
use request::Request;
use results::Results;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most bytes of results that wait for an earlier line. Beyond it, no new line is read until that line is done.
const HELD: usize = 64 << 20;

/// The settings that all lines share.
pub struct Job<'a> {
    pub lm: &'a LanguageModel,
    pub options: Options,
    pub allow_special: bool,
    /// The most texts that are generated together.
    pub size: usize,
    pub load: Duration,
}

/// The text of one line while it is generated.
struct Running<'a> {
    line: u64,
    /// Its index among the results.
    place: usize,
    prompt_ids: Vec<TokenId>,
    seed: u64,
    generation: Generation<'a>,
    written: Written,
    error: Option<Error>,
}

/// The result of a line that succeeded.
#[derive(Serialize)]
struct Good<'a> {
    line: u64,
    #[serde(flatten)]
    report: Report<'a>,
}

impl Job<'_> {
    /// Processes the file, or standard input if `path` is `-`.
    pub fn run(
        &self,
        path: &Path,
        stats: bool,
        interrupted: &AtomicBool,
    ) -> std::result::Result<(), Failure> {
        let mut lines = Lines::open(path)?;
        let mut batch = Batch::new(&self.lm.model);
        let (mut results, mut end, mut slid) = (Results::default(), None, false);
        while !interrupted.load(Ordering::Relaxed) {
            while end.is_none() && batch.len() < self.size && results.bytes < HELD {
                match if batch.is_empty() { lines.wait(interrupted) } else { lines.now() } {
                    Next::Line(line) => {
                        let place = results.expect();
                        match self.begin(&line, place) {
                            Ok(running) => batch.push(running),
                            Err(error) => results.bad(place, line.number, &error)?,
                        }
                        results.print(false)?;
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
            results.turn(turn, begin.elapsed());
            for mut running in batch.take_finished() {
                let which = format!(" of line {}", running.line);
                note_slide(running.generation.slides(), &mut slid, &which, &self.lm.model);
                let (place, prompt, new) =
                    (running.place, running.prompt_ids.len(), running.written.logprobs.len());
                match running.error.take() {
                    None => results.good(place, running.result(self.load)?, prompt, new),
                    Some(error) => results.bad(place, running.line, &error)?,
                }
            }
            results.print(false)?;
        }
        results.print(true)?; // after Ctrl-C, finished results may still be waiting for earlier ones
        if stats {
            results.print_sums(self.options.seed, self.load);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        end.unwrap_or(Ok(()))?;
        results.verdict()
    }

    /// Sets up a line's text, before its first token.
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
            generation: Generation::new(&lm.model, &prompt_ids, options)?
                .with_text(TextStream::new(&lm.bpe, stop)),
            prompt_ids,
            written: Written::since(begin),
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
    /// Takes in the next token, or the error that ends the text.
    fn token(&mut self, chosen: Result<Chosen>) {
        match chosen {
            Ok(chosen) => drop(self.written.token(chosen, &mut self.generation)),
            Err(error) => self.error = Some(error),
        }
    }

    /// The finished text as a line of JSON.
    fn result(self, load: Duration) -> std::result::Result<String, Failure> {
        let report = self.written.report(&self.generation, &self.prompt_ids, self.seed, load);
        json(&Good { line: self.line, report })
    }
}
