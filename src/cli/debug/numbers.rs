//! Prints numbers of a stage.

use super::super::failure::Failure;
use super::super::text::shorten;
use super::Stepper;
use super::command::Print;
use gpt2::bpe::TokenId;
use gpt2::sampling::candidates::top;
use gpt2::trace::{Recorded, Stage, number};
use std::io::Write;
use std::ops::RangeInclusive;

/// How many rows and columns are shown by default.
const ROWS: usize = 12;
const COLUMNS: usize = 8;

type Range = RangeInclusive<usize>;

impl Stepper<'_> {
    /// Prints the requested numbers of a stage.
    pub fn show_numbers(&mut self, stage: &Recorded, print: &Print) -> Result<(), Failure> {
        if stage.stage.is_ids() {
            for id in &stage.ids {
                writeln!(self.out, "  {id:>6} {}", self.text(*id))?;
            }
            return Ok(());
        }
        let in_heads = stage.shape.len() == 3;
        let (heads, rows, width) = match stage.shape[..] {
            [heads, rows, width] => (heads, rows, width),
            [rows, width] => (1, rows, width),
            _ => (1, 1, stage.values.len()),
        };
        if !in_heads && print.heads.is_some() {
            return Err(format!("{} has no heads; leave out heads", stage.name()).into());
        }
        let last = |n: usize, most: usize| n.saturating_sub(most)..=n.max(1) - 1;
        let usual = if in_heads { last(width, ROWS) } else { 0..=width.clamp(1, COLUMNS) - 1 };
        let shown_heads = within(&print.heads, heads, last(heads, heads), "head")?;
        let shown_rows = within(&print.rows, rows, last(rows, ROWS), "row")?;
        let cols = within(&print.cols, width, usual, "column")?;
        let names: Vec<String> = match self.session.read_ids() {
            ids if ids.len() == rows => ids.iter().map(|id| shorten(&self.text(*id), 13)).collect(),
            _ => vec![String::new(); rows],
        };
        write!(self.out, "{} {:?}", stage.name(), stage.shape)?;
        match print.top {
            Some(n) => writeln!(self.out, ": the {n} largest of each row")?,
            None => writeln!(self.out, ": columns {} to {}", cols.start(), cols.end())?,
        }
        if stage.stage == Stage::AttnCAttn {
            let (c, n_head) = (width / 3, self.lm.model.config.n_head);
            let (key, value, d) = (c, 2 * c, c / n_head);
            writeln!(
                self.out,
                "  query from column 0, key from {key}, value from {value}; {d} columns per head"
            )?;
        }
        for head in shown_heads {
            if in_heads {
                writeln!(self.out, "  head {head}")?;
            }
            for row in shown_rows.clone() {
                let values = &stage.values[(head * rows + row) * width..][..width];
                let tokens = matches!(stage.stage, Stage::LmHead | Stage::Probs);
                let named = |id: TokenId| if tokens { self.text(id) } else { format!("[{id}]") };
                let shown = |x: &f32| number((*x).into());
                let cells: String = match print.top {
                    None => values[cols.clone()].iter().map(|x| format!(" {:>10}", shown(x))).collect(),
                    Some(n) => (top(values, n).iter())
                        .map(|c| format!(" {} {}", named(c.id), shown(&values[c.id as usize])))
                        .collect(),
                };
                writeln!(self.out, "  {row:>4} {:<14}{cells}", names[row])?;
            }
        }
        Ok(())
    }
}

/// The requested range of `n` indices, or else the usual one.
fn within(asked: &Option<Range>, n: usize, usual: Range, what: &str) -> Result<Range, String> {
    let range = asked.clone().unwrap_or(usual);
    let (end, last) = (*range.end(), n.max(1) - 1);
    if end > last { Err(format!("there is no {what} {end}; there are {n}, 0 to {last}")) } else { Ok(range) }
}
