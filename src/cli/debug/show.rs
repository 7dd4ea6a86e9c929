//! What the stepper prints.

use super::super::text::quoted;
use super::command::Print;
use super::heat::{self, shorten};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::inspect::debugger::Session;
use gpt2::sampling::Explanation;
use gpt2::sampling::candidates::{list, percent, top};
use gpt2::trace::{Place, Recorded, Stage, number};
use serde_json::json;
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// How many rows and columns `print` shows by default.
const ROWS: usize = 12;
const COLUMNS: usize = 8;

/// Prints what the stepper shows.
pub struct Show<'a, W> {
    pub out: W,
    pub lm: &'a LanguageModel,
    pub color: bool,
    /// Width of the terminal in columns.
    pub width: usize,
}

impl<W: Write> Show<'_, W> {
    fn text(&self, id: TokenId) -> String {
        quoted(&self.lm.bpe, id)
    }

    /// Prints the opening lines of the session.
    pub fn welcome(&mut self, session: &Session<'_>) -> io::Result<()> {
        writeln!(self.out, "{}; options {}", self.lm.name, json!(session.settings().options))?;
        writeln!(self.out, "one command per line; help lists them")
    }

    /// Prints the current stage.
    pub fn stage(&mut self, session: &Session<'_>) -> io::Result<()> {
        let (digest, place) = (session.digest(), session.place());
        if place.stage == Stage::InputIds {
            self.step(session)?;
        }
        let about = place.stage.describe();
        writeln!(self.out, "{} {:?} = {}   ({})", digest.name, digest.shape, about.formula, about.file)?;
        let first: Vec<String> = digest.first.iter().map(|x| number(*x)).collect();
        let [mean, std, min, max] = [digest.mean, digest.std, digest.min, digest.max].map(number);
        write!(self.out, "  mean {mean}  std {std}  min {min}  max {max}  first {}", first.join(" "))?;
        if digest.not_finite > 0 {
            write!(self.out, "  ({} not finite)", digest.not_finite)?;
        }
        writeln!(self.out)?;
        // `probs` shows the steps from the logits to the distribution, `next_id` the draw.
        let lines = session.explanation().lines(|id| self.text(id));
        let steps = 1 + session.explanation().steps.len();
        match place.stage {
            Stage::Probs => self.indented(&lines[..steps])?,
            Stage::NextId => self.indented(&lines[steps..])?,
            _ => (),
        }
        if let (Stage::NextId, Some(id)) = (place.stage, session.settings().forced) {
            writeln!(self.out, "  but {} is forced", self.text(id))?;
        }
        if let (Stage::Probs, Err(error)) = (place.stage, session.result()) {
            writeln!(self.out, "  the text cannot go on: {error}")?;
        }
        Ok(())
    }

    fn indented(&mut self, lines: &[String]) -> io::Result<()> {
        lines.iter().try_for_each(|line| writeln!(self.out, "  {line}"))
    }

    /// Prints the heading of a step.
    fn step(&mut self, session: &Session<'_>) -> io::Result<()> {
        let (read, seen) = (session.read_ids(), session.seen_ids().len());
        let text = self.lm.bpe.decode_lossy(read).unwrap_or_default();
        let (first, last) = (seen - read.len(), seen - 1);
        write!(self.out, "== step {} reads {} ", session.turn_number(), shorten(&format!("{text:?}"), 60))?;
        match read.len() {
            1 => write!(self.out, "(position {last})")?,
            n => write!(self.out, "({n} tokens, positions {first} to {last})")?,
        }
        if session.slides() > 0 && first == 0 {
            write!(self.out, ": the newest half of a text longer than the model's positions")?;
        }
        if !session.settings().edits.is_empty() {
            let edits: Vec<String> = session.settings().edits.iter().map(ToString::to_string).collect();
            write!(self.out, " without {}", edits.join(", "))?;
        }
        writeln!(self.out)
    }

    /// Prints a chosen token that was passed without stopping.
    pub fn token(&mut self, session: &Session<'_>) -> io::Result<()> {
        let (Ok(id), Some(chosen)) = (session.result(), &session.explanation().chosen) else { return Ok(()) };
        let name = self.text(id);
        write!(self.out, "step {} => {name} (id {id})", session.turn_number())?;
        if session.settings().forced.is_some() {
            return writeln!(self.out, ", forced");
        }
        let p = percent(chosen.probability.into());
        writeln!(self.out, ", {p}, rank {} of {}", chosen.rank, chosen.candidates)
    }

    /// Prints the end of the text.
    pub fn end(&mut self, session: &Session<'_>) -> io::Result<()> {
        let reason = session.finish_reason().map_or("error", |reason| reason.name());
        writeln!(self.out, "== the end ({reason}): {} new tokens", session.new_ids().len())?;
        writeln!(self.out, "{}", session.text())
    }

    /// Prints the names of this step's stages.
    pub fn stages(&mut self, session: &Session<'_>) -> io::Result<()> {
        let here = session.place();
        session.places().try_for_each(|place| {
            let mark = if place == here { "> " } else { "  " };
            writeln!(self.out, "{mark}{place}")
        })
    }

    /// Prints how the token is chosen.
    pub fn choice(&mut self, explanation: &Explanation) -> io::Result<()> {
        let lines = explanation.lines(|id| self.text(id));
        self.indented(&lines)
    }

    /// Prints the options and edits in force.
    pub fn settings(&mut self, session: &Session<'_>) -> io::Result<()> {
        let settings = session.settings();
        writeln!(self.out, "  options {}", json!(settings.options))?;
        for edit in &settings.edits {
            writeln!(self.out, "  without {edit}")?;
        }
        if let Some(id) = settings.forced {
            writeln!(self.out, "  {} is forced", self.text(id))?;
        }
        Ok(())
    }

    /// Prints the logit lens: one line per block.
    pub fn lens(&mut self, session: &mut Session<'_>, n: usize) -> io::Result<()> {
        for (i, block) in session.lens(n).iter().enumerate() {
            writeln!(self.out, "  after block {i:<3} {}", list(block, |id| self.text(id)))?;
        }
        Ok(())
    }

    /// Prints the heat map of one head.
    pub fn attention(&mut self, session: &mut Session<'_>, block: usize, head: usize) -> io::Result<()> {
        let Some(weights) = session.values(Place::new(Stage::AttnWeights, Some(block))) else {
            return Ok(());
        };
        let (rows, keys) = (weights.shape[1], weights.shape[2]);
        let names: Vec<String> = session.seen_ids().iter().map(|id| self.text(*id)).collect();
        writeln!(self.out, "block {block}, head {head}: queries down, keys across")?;
        let weights = &weights.values[head * rows * keys..][..rows * keys];
        let width = self.width.saturating_sub(2); // the indentation
        self.indented(&heat::lines(weights, keys, &names, self.color, width))
    }

    /// Prints where each head attends: mean weights over the queries of this step.
    pub fn heads(&mut self, session: &mut Session<'_>) -> io::Result<()> {
        let config = &self.lm.model.config;
        writeln!(
            self.out,
            "  {:<8}{:>8}{:>14}{:>10}{:>10}",
            "block", "head", "first token", "previous", "itself"
        )?;
        let mut most: Option<(f64, usize, usize)> = None;
        for block in 0..config.n_layer {
            let Some(weights) = session.values(Place::new(Stage::AttnWeights, Some(block))) else {
                return Ok(());
            };
            let (rows, keys) = (weights.shape[1], weights.shape[2]);
            let past = keys - rows;
            for (head, weights) in weights.values.chunks(rows * keys).enumerate() {
                // The first position is left out: it can see only itself.
                let queries = (0..rows).filter(|row| past + row > 0);
                let count = queries.clone().count().max(1) as f64;
                let mean = |key: &dyn Fn(usize) -> usize| {
                    let sum = queries.clone().map(|row| f64::from(weights[row * keys + key(past + row)]));
                    sum.sum::<f64>() / count
                };
                let (first, before, itself) = (mean(&|_| 0), mean(&|p| p - 1), mean(&|p| p));
                let [first, before_it, itself] = [first, before, itself].map(percent);
                writeln!(self.out, "  {block:<8}{head:>8}{first:>14}{before_it:>10}{itself:>10}")?;
                if most.is_none_or(|most| before > most.0) {
                    most = Some((before, block, head));
                }
            }
        }
        let Some((share, block, head)) = most else { return Ok(()) };
        writeln!(self.out, "  most on the previous token: block {block}, head {head}, {}", percent(share))
    }

    /// Prints numbers of a stage. The outer error says what the command got wrong.
    pub fn print(
        &mut self,
        session: &Session<'_>,
        stage: &Recorded,
        print: &Print,
    ) -> Result<io::Result<()>, String> {
        if stage.stage.is_ids() {
            return Ok(stage
                .ids
                .iter()
                .try_for_each(|id| writeln!(self.out, "  {id:>6} {}", self.text(*id))));
        }
        let width = stage.shape[stage.shape.len() - 1];
        let in_heads = stage.shape.len() == 3;
        let rows = if in_heads { stage.shape[1] } else { stage.values.len() / width };
        let heads = if in_heads { stage.shape[0] } else { 1 };
        if !in_heads && print.heads.is_some() {
            return Err(format!("{} has no heads; leave out heads", stage.name()));
        }
        let heads = within(print.heads.as_ref(), heads, usize::MAX, false, "head")?;
        let shown_rows = within(print.rows.as_ref(), rows, ROWS, true, "row")?;
        let most = if in_heads { ROWS } else { COLUMNS };
        let cols = within(print.cols.as_ref(), width, most, in_heads, "column")?;
        let names: Vec<String> = match rows == session.read_ids().len() {
            true => session.read_ids().iter().map(|id| shorten(&self.text(*id), 13)).collect(),
            false => vec![String::new(); rows],
        };
        let tokens = matches!(stage.stage, Stage::LmHead | Stage::Probs);
        let all = || -> io::Result<()> {
            write!(self.out, "{} {:?}", stage.name(), stage.shape)?;
            match print.top {
                Some(n) => writeln!(self.out, ": the {n} largest of each row")?,
                None => writeln!(self.out, ": columns {} to {}", cols.start(), cols.end())?,
            }
            for head in heads {
                if in_heads {
                    writeln!(self.out, "  head {head}")?;
                }
                for row in shown_rows.clone() {
                    let values = &stage.values[(head * rows + row) * width..][..width];
                    write!(self.out, "  {row:>4} {:<14}", names[row])?;
                    for i in print.top.map_or_else(|| cols.clone().collect(), |n| largest(values, n)) {
                        match print.top {
                            None => write!(self.out, " {:>10}", number(values[i].into()))?,
                            Some(_) if tokens => {
                                write!(
                                    self.out,
                                    " {} {}",
                                    self.text(i as TokenId),
                                    number(values[i].into())
                                )?;
                            }
                            Some(_) => write!(self.out, " [{i}] {}", number(values[i].into()))?,
                        }
                    }
                    writeln!(self.out)?;
                }
            }
            Ok(())
        };
        Ok(all())
    }
}

/// The indices of the `n` largest values, the largest first.
fn largest(values: &[f32], n: usize) -> Vec<usize> {
    top(values, n).iter().map(|c| c.id as usize).collect()
}

/// The requested range of `n` indices, or by default the first (or last) `most` of them.
fn within(
    asked: Option<&RangeInclusive<usize>>,
    n: usize,
    most: usize,
    last: bool,
    what: &str,
) -> Result<RangeInclusive<usize>, String> {
    match asked {
        Some(range) if *range.end() < n => Ok(range.clone()),
        Some(range) => {
            Err(format!("there is no {what} {}; there are {n}, 0 to {}", range.end(), n.max(1) - 1))
        }
        None if last => Ok(n.saturating_sub(most)..=n.max(1) - 1),
        None => Ok(0..=n.min(most).max(1) - 1),
    }
}
