//! What a batch did in all.

use super::super::failure::Failure;
use super::super::report::{Stats, json, ms, remark};
use super::Bad;
use gpt2::error::Error;
use gpt2::generate::batch::Turn;
use std::time::Duration;

#[derive(Default)]
pub struct Sums {
    pub lines: u64,
    failed: u64,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    /// A turn's time is shared out between the tokens that it read: those of prompts, and the newest of each text.
    prompts: Duration,
    newest: Duration,
}

impl Sums {
    /// One turn more.
    pub fn add(&mut self, turn: Turn, time: Duration) {
        let all = turn.prompt_tokens + turn.newest_tokens;
        let prompts = time.mul_f64(turn.prompt_tokens as f64 / all.max(1) as f64);
        self.prompts += prompts;
        self.newest += time - prompts;
    }

    /// The result of a bad line, which is also told on standard error.
    pub fn bad(&mut self, line: u64, error: &Error) -> Result<String, Failure> {
        self.failed += 1;
        remark(format_args!("line {line}: {error}"));
        json(&Bad { line, error: error.to_string() })
    }

    /// On standard error.
    pub fn print(&self, seed: u64, load: Duration) {
        let (lines, tokens) = (self.lines, self.new_tokens);
        Stats {
            load_ms: ms(load),
            prefill_tokens: self.prompt_tokens,
            prefill_ms: ms(self.prompts),
            decode_tokens: tokens,
            decode_ms: ms(self.newest),
            speculated: None,
        }
        .print(seed);
        let time = ms(self.prompts + self.newest);
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
                "{failed} of {lines} lines failed; what is wrong stands in place of their results"
            ))),
        }
    }
}
