//! `gpt2 generate --batch FILE.jsonl`: one prompt per input line, one result per output line, in the same order.
//!
//! Lines are read on demand. A few texts are generated together; whenever one ends, the next line takes its place. So
//! memory use does not depend on the length of the file, and a program at the other end of a pipe may wait for one
//! result before it writes the next line.

mod lines;
pub mod request;
mod results;

use super::failure::Failure;
use super::interrupt;
use super::progress;
use super::report::{Job, Written, note_slide};
use super::text::RunArgs;
use gpt2::error::{Error, Result};
use gpt2::generate::{Batch, Chosen, Generation};
use lines::Line;
use request::Request;
use results::Results;
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// The most bytes of results that wait for an earlier line. Beyond it, no new line is read until that line is done.
const HELD: usize = 64 << 20;

/// The text of one line while it is generated.
struct Running<'a> {
    line: u64,
    generation: Generation<'a>,
    written: Written,
    error: Option<Error>,
}

/// Processes the file, or standard input if `path` is `-`, with at most `size` texts at a time. A line's own options
/// go before those of the job.
pub fn run(job: &Job<'_>, path: &Path, size: usize, args: &RunArgs) -> std::result::Result<(), Failure> {
    let lines = lines::open(path)?;
    let mut batch = Batch::new(&job.lm.model);
    let (mut results, mut end) = (Results::default(), None);
    let bar = progress::lines();
    while !interrupt::requested() {
        while end.is_none() && batch.len() < size && results.bytes < HELD && !interrupt::requested() {
            let patience = if batch.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
            match lines.recv_timeout(patience) {
                Ok(Ok(line)) => {
                    let number = line.number;
                    results.expect(number);
                    match begin(job, line, args) {
                        Ok(running) => batch.push(running),
                        Err(error) => bar.suspend(|| results.bad(number, &error))?,
                    }
                    results.print(false)?;
                }
                Ok(Err(error)) => end = Some(Err(error)),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => end = Some(Ok(())),
            }
        }
        if batch.is_empty() {
            if end.is_some() { break } else { continue }
        }
        let begin = Instant::now();
        let turn = batch.step(Running::token);
        results.turn(turn, begin.elapsed());
        for Running { line, generation, written, error } in batch.take_finished() {
            bar.inc(1);
            note_slide(generation.slides(), &format!(" of line {line}"), &job.lm.model, &bar);
            match error {
                None => results.good(line, written.report(&generation, job))?,
                Some(error) => bar.suspend(|| results.bad(line, &error))?,
            }
        }
        results.print(false)?;
    }
    bar.finish_and_clear();
    results.print(true)?; // after Ctrl-C, finished results may still be waiting for earlier ones
    if job.stats {
        results.print_sums(job.options.seed, job.load);
    }
    interrupt::check()?;
    end.unwrap_or(Ok(()))?;
    results.verdict()
}

/// Sets up a line's text, before its first token.
fn begin<'a>(job: &Job<'a>, line: Line, args: &RunArgs) -> Result<Running<'a>> {
    static NOTE: Once = Once::new();
    let (lm, begin) = (job.lm, Instant::now());
    let request = Request::parse(&line.text?)?;
    if request.is_text() {
        NOTE.call_once(|| args.note_tokenizer());
    }
    let prompt_ids = lm.prompt(request.prompt_ids(&lm.bpe, args.prompt.allow_special())?);
    let options = request.options(&job.options, &lm.bpe)?;
    options.check(&lm.model)?;
    let (generation, written) = (lm.generation(&prompt_ids, options)?, Written::since(begin));
    Ok(Running { line: line.number, generation, written, error: None })
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
}
