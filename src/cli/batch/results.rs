//! The results of the lines, printed in the order of the lines, and the totals.

use super::super::failure::Failure;
use super::super::report::{Report, Stats, ms, print, remark};
use gpt2::error::Error;
use gpt2::generate::batch::Turn;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// The results that are not printed yet, and the totals of the batch.
#[derive(Default)]
pub struct Results {
    /// The results of the lines, by number, from the first that is not printed; `None` until a result is ready.
    waiting: BTreeMap<u64, Option<String>>,
    /// Bytes of the results in `waiting`.
    pub bytes: usize,
    lines: usize,
    failed: usize,
    /// A turn's time is divided in proportion to the tokens of each kind that it read.
    sums: Stats,
}

/// The result of a line that succeeded.
#[derive(Serialize)]
struct Good<'a> {
    line: u64,
    #[serde(flatten)]
    report: Report<'a>,
}

/// The result of a line that failed.
#[derive(Serialize)]
struct Bad {
    line: u64,
    error: String,
}

impl Results {
    /// Reserves the place of a line's result.
    pub fn expect(&mut self, line: u64) {
        self.lines += 1;
        self.waiting.insert(line, None);
    }

    /// Stores the result of a line that succeeded, and counts its tokens.
    pub fn good(&mut self, line: u64, report: Report<'_>) -> Result<(), Failure> {
        self.sums.prefill_tokens += report.prompt_ids.len();
        self.sums.decode_tokens += report.ids.len();
        self.put(line, &Good { line, report })
    }

    /// Stores the error of a line that failed, and reports it on standard error.
    pub fn bad(&mut self, line: u64, error: &Error) -> Result<(), Failure> {
        self.failed += 1;
        remark(format_args!("line {line}: {error}"));
        self.put(line, &Bad { line, error: error.to_string() })
    }

    fn put(&mut self, line: u64, result: &impl Serialize) -> Result<(), Failure> {
        let result = serde_json::to_string(result).map_err(io::Error::from)?;
        self.bytes += result.len();
        self.waiting.insert(line, Some(result));
        Ok(())
    }

    /// Prints the results up to the first that is not ready; with `all`, every result that is ready.
    pub fn print(&mut self, all: bool) -> Result<(), Failure> {
        while let Some(first) = self.waiting.first_entry().filter(|first| all || first.get().is_some()) {
            if let Some(result) = first.remove() {
                self.bytes -= result.len();
                print(&format!("{result}\n"))?;
            }
        }
        Ok(())
    }

    /// Adds the time of one turn.
    pub fn turn(&mut self, turn: Turn, time: Duration) {
        let all = turn.prompt_tokens + turn.newest_tokens;
        let prompts = ms(time) * turn.prompt_tokens as f64 / all.max(1) as f64;
        self.sums.prefill_ms += prompts;
        self.sums.decode_ms += ms(time) - prompts;
    }

    /// Prints the totals on standard error.
    pub fn print_sums(&self, seed: u64, load: Duration) {
        Stats { load_ms: ms(load), ..self.sums }.print(seed);
        let (lines, tokens) = (self.lines, self.sums.decode_tokens);
        let time = self.sums.prefill_ms + self.sums.decode_ms;
        let speed = tokens as f64 / time.max(1e-6) * 1e3;
        remark(format_args!(
            "{lines} lines, {tokens} new tokens, {time:.1} ms, {speed:.0} new tokens/s in all"
        ));
    }

    /// An error if a line failed.
    pub fn verdict(&self) -> Result<(), Failure> {
        match (self.failed, self.lines) {
            (0, _) => Ok(()),
            (failed, lines) => Err(Failure::Work(format!(
                "{failed} of {lines} lines failed; their errors are printed in place of their results"
            ))),
        }
    }
}
