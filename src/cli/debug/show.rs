//! What the stepper prints.

use super::super::text::{quoted, shorten};
use super::{Stepper, heat};
use gpt2::bpe::TokenId;
use gpt2::inspect::code;
use gpt2::sampling::candidates::{list, percent};
use gpt2::softmax::log_softmax;
use gpt2::trace::{Place, Stage, number};
use serde_json::json;
use std::io::{self, Write};

impl Stepper<'_> {
    /// A token's text in quotes.
    pub fn text(&self, id: TokenId) -> String {
        quoted(&self.lm.bpe, id)
    }

    /// Prints the opening lines of the session.
    pub fn show_welcome(&mut self) -> io::Result<()> {
        writeln!(self.out, "{}; options {}", self.lm.name, json!(self.session.settings().options))?;
        writeln!(self.out, "one command per line; help lists them")
    }

    /// Prints the current stage.
    pub fn show_stage(&mut self) -> io::Result<()> {
        let (digest, place) = (self.session.digest().clone(), self.session.place());
        if place.stage == Stage::InputIds {
            self.show_step()?;
        }
        let about = place.stage.describe();
        writeln!(self.out, "{} {:?} = {}   ({})", digest.name, digest.shape, about.formula, about.file)?;
        writeln!(self.out, "  code {}", code(place.stage).text())?;
        let first: Vec<String> = digest.first.iter().map(|x| number(*x)).collect();
        let [mean, std, min, max] = [digest.mean, digest.std, digest.min, digest.max].map(number);
        write!(self.out, "  mean {mean}  std {std}  min {min}  max {max}  first {}", first.join(" "))?;
        if digest.not_finite > 0 {
            write!(self.out, "  ({} not finite)", digest.not_finite)?;
        }
        writeln!(self.out)?;
        // `probs` shows the steps from the logits to the distribution, `next_id` the draw.
        let lines = self.session.explanation().lines(|id| self.text(id));
        let steps = 1 + self.session.explanation().steps.len();
        match place.stage {
            Stage::Probs => self.show_lines(&lines[..steps])?,
            Stage::NextId => self.show_lines(&lines[steps..])?,
            _ => (),
        }
        if let (Stage::NextId, Some(id)) = (place.stage, self.session.settings().forced) {
            writeln!(self.out, "  but {} is forced", self.text(id))?;
        }
        if let (Stage::Probs, Err(error)) = (place.stage, self.session.result()) {
            writeln!(self.out, "  the text cannot go on: {error}")?;
        }
        Ok(())
    }

    /// Prints the function that computes a stage.
    pub fn show_code(&mut self, stage: Stage) -> io::Result<()> {
        let code = code(stage);
        writeln!(self.out, "{}", code.file)?;
        code.lines().zip(code.function[0]..).try_for_each(|(text, number)| {
            let mark = if number == code.line { '>' } else { ' ' };
            writeln!(self.out, "{}", format!("{mark}{number:>4} {text}").trim_end())
        })
    }

    /// Prints indented lines.
    pub fn show_lines(&mut self, lines: &[String]) -> io::Result<()> {
        lines.iter().try_for_each(|line| writeln!(self.out, "  {line}"))
    }

    /// Prints the heading of a step.
    fn show_step(&mut self) -> io::Result<()> {
        let (session, read) = (&self.session, self.session.read_ids());
        let text = format!("{:?}", self.lm.bpe.decode_lossy(read).unwrap_or_default());
        let (step, seen) = (session.step_number(), session.seen_ids().len());
        let (first, last) = (seen - read.len(), seen - 1);
        write!(self.out, "== step {step} reads {} ", shorten(&text, 60))?;
        match read.len() {
            1 => write!(self.out, "(position {last})")?,
            n => write!(self.out, "({n} tokens, positions {first} to {last})")?,
        }
        if session.slides() > 0 && first == 0 {
            write!(self.out, ": the newest half of a text longer than the model's positions")?;
        }
        for (i, edit) in session.settings().edits.iter().enumerate() {
            write!(self.out, "{} {edit}", if i == 0 { " without" } else { "," })?;
        }
        writeln!(self.out)
    }

    /// Prints a chosen token that was passed without stopping.
    pub fn show_token(&mut self) -> io::Result<()> {
        let session = &self.session;
        let (Ok(id), Some(chosen)) = (session.result(), &session.explanation().chosen) else { return Ok(()) };
        write!(self.out, "step {} => {} (id {id})", session.step_number(), quoted(&self.lm.bpe, id))?;
        if session.settings().forced.is_some() {
            return writeln!(self.out, ", forced");
        }
        let p = percent(chosen.probability.into());
        writeln!(self.out, ", {p}, rank {} of {}", chosen.rank, chosen.candidates)
    }

    /// Prints the end of the text.
    pub fn show_end(&mut self) -> io::Result<()> {
        let reason = self.session.finish_reason().map_or("error", |reason| reason.name());
        writeln!(self.out, "== the end ({reason}): {} new tokens", self.session.new_ids().len())?;
        writeln!(self.out, "{}", self.session.text())
    }

    /// Prints the names of this step's stages.
    pub fn show_stages(&mut self) -> io::Result<()> {
        let here = self.session.place();
        self.session.places().try_for_each(|place| {
            let mark = if place == here { "> " } else { "  " };
            writeln!(self.out, "{mark}{place}")
        })
    }

    /// Prints the options and edits in force.
    pub fn show_settings(&mut self) -> io::Result<()> {
        let settings = self.session.settings();
        writeln!(self.out, "  options {}", json!(settings.options))?;
        for edit in &settings.edits {
            writeln!(self.out, "  without {edit}")?;
        }
        if let Some(id) = settings.forced {
            writeln!(self.out, "  {} is forced", self.text(id))?;
        }
        Ok(())
    }

    /// Prints how likely the model thinks a forced token is, and the token that `force` may have been meant for.
    pub fn show_forced(&mut self, id: TokenId) -> io::Result<()> {
        let Some(logits) = self.session.values(Place::new(Stage::LmHead, None)) else { return Ok(()) };
        let last = logits.values.rchunks(logits.shape[1]).next().unwrap_or_default(); // [V]
        let p = percent(log_softmax(last, id as usize).exp());
        writeln!(self.out, "  the model gives it {p}")?;
        let bytes = self.lm.bpe.token_bytes(id).unwrap_or_default();
        if bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && let [spaced] = self.lm.bpe.encode([b" ", bytes].concat())[..]
            && (spaced as usize) < last.len()
        {
            let p = percent(log_softmax(last, spaced as usize).exp());
            writeln!(self.out, "  {}, with its space, is another token: {p}", self.text(spaced))?;
        }
        Ok(())
    }

    /// Prints the logit lens: one line per block.
    pub fn show_lens(&mut self, n: usize) -> io::Result<()> {
        for (i, block) in self.session.lens(n).iter().enumerate() {
            writeln!(self.out, "  after block {i:<3} {}", list(block, |id| self.text(id)))?;
        }
        Ok(())
    }

    /// Prints the heat map of one head.
    pub fn show_attention(&mut self, block: usize, head: usize) -> io::Result<()> {
        let Some(weights) = self.session.values(Place::new(Stage::AttnWeights, Some(block))) else {
            return Ok(());
        };
        let (rows, keys) = (weights.shape[1], weights.shape[2]);
        let names: Vec<String> = self.session.seen_ids().iter().map(|id| self.text(*id)).collect();
        writeln!(
            self.out,
            "block {block}, head {head}: queries down, keys across; {}",
            heat::legend(self.color)
        )?;
        let weights = &weights.values[head * rows * keys..][..rows * keys];
        let width = self.width.saturating_sub(2); // the indentation
        self.show_lines(&heat::lines(weights, keys, &names, self.color, width))
    }
}
