//! The comparison as a table, and the verdict in a few lines.

use super::{Compared, Diff, Difference, Outcome};
use crate::format::safetensors::Tensor;
use crate::trace::number;
use std::fmt;

/// A line of the table.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |side: &Option<Tensor>| side.as_ref().map(|s| format!("{:?}", s.shape));
        let (a, b) = (shape(&self.a).unwrap_or_default(), shape(&self.b).unwrap_or_default());
        write!(f, "{:<31} ", self.name.escape_debug().to_string())?;
        match &self.outcome {
            Outcome::Alone if self.b.is_none() => write!(f, "{a:<16} only in A"),
            Outcome::Alone => write!(f, "{b:<16} only in B"),
            Outcome::Shapes => write!(f, "{a:<16} BEYOND: shape {b} in B"),
            Outcome::Dtype(dtype) => write!(f, "{a:<16} BEYOND: {dtype} cannot be compared"),
            Outcome::Values(c) => {
                let rel = if c.max_abs == 0.0 { "equal".into() } else { number(c.max_rel) };
                write!(f, "{a:<16} {:>10} {rel:>10}", number(c.max_abs))?;
                if c.max_abs > 0.0 {
                    let at = format!("{:?}", c.index);
                    write!(f, "  {at:<16} {:>10} {:>10}", number(c.a), number(c.b))?;
                }
                if let (Some(a), Some(b)) = (&self.a, &self.b)
                    && a.dtype != b.dtype
                {
                    write!(f, "  {} and {}", a.dtype, b.dtype)?;
                }
                if c.nan != [0, 0] {
                    write!(f, "  NaN: {} and {}", c.nan[0], c.nan[1])?;
                }
                if c.beyond > 0 { write!(f, "  BEYOND") } else { Ok(()) }
            }
        }
    }
}

impl Diff {
    /// The heading above the lines of the table.
    pub fn heading() -> String {
        format!(
            "{:<31} {:<16} {:>10} {:>10}  {:<16} {:>10} {:>10}",
            "stage", "shape", "max abs", "max rel", "at", "A", "B"
        )
    }

    /// The verdict, in a few lines.
    pub fn verdict(&self) -> String {
        let mut text = match self.first() {
            None => self.agreement(),
            Some(first) => self.departure(first),
        };
        let named = |stage: &Difference| self.first().is_some_and(|first| first.name == stage.name);
        if let Some((stage, before, own)) = self.jump().filter(|jump| !named(jump.0)) {
            let ([before, own], stage) = ([before, own].map(number), known(stage));
            text +=
                &format!("  but the difference jumps from {before} to {own} in {stage}: look there first\n");
        }
        text += &self.lacks("B", "A", |stage| stage.b.is_none());
        text + &self.lacks("A", "B", |stage| stage.a.is_none())
    }

    /// The stages that one file lacks, in one line; a stage of all blocks is listed once.
    fn lacks(&self, which: &str, other: &str, lacks: impl Fn(&Difference) -> bool) -> String {
        const MOST: usize = 8;
        let kind = |stage: &Difference| match stage.place {
            None => name(stage),
            Some(place) => {
                let sequence = if place.sequence > 0 { "sequence.{n}." } else { "" };
                let step = if place.step > 0 { "step.{n}." } else { "" };
                format!("{sequence}{step}{}", place.stage.describe().name)
            }
        };
        let missing: Vec<String> = self.stages.iter().filter(|stage| lacks(stage)).map(kind).collect();
        let mut names: Vec<&str> = Vec::new();
        for name in &missing {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
        let more = names.len().saturating_sub(MOST);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let list = names[..names.len() - more].join(", ");
        match missing.len() {
            0 => String::new(),
            1 => format!("{which} lacks {list}, which {other} has\n"),
            n => format!("{which} lacks {n} stages that {other} has: {list}{rest}\n"),
        }
    }

    fn agreement(&self) -> String {
        let compared = |stage: &Difference| match &stage.outcome {
            Outcome::Values(compared) => Some((compared.max_rel, name(stage))),
            _ => None,
        };
        let all: Vec<(f64, String)> = self.stages.iter().filter_map(compared).collect();
        let largest = match all.iter().max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((rel, stage)) if *rel > 0.0 => {
                format!("the largest difference, {}, is in {stage}", number(*rel))
            }
            _ => "all values are equal".into(),
        };
        let stages = if all.len() == 1 { "stage" } else { "stages" };
        format!("{} {stages} compared, none beyond {:e}: {largest}\n", all.len(), self.tolerance)
    }

    fn departure(&self, first: &Difference) -> String {
        let mut text = format!("the first stage beyond {:e} is {}\n", self.tolerance, known(first));
        if let Outcome::Values(Compared { values, beyond, index, a, b, .. }) = &first.outcome {
            text += &format!(
                "  {beyond} of {values} values are beyond it; the largest difference is at {index:?}: {a} and {b}\n"
            );
        }
        text + &self.unseen_before(first)
    }

    /// The stages between the last one that agrees and `first`. Only one file has them; the mistake may be in one.
    fn unseen_before(&self, first: &Difference) -> String {
        let before = self.stages.split(|stage| stage.name == first.name).next().unwrap_or_default();
        let agrees = before.iter().rposition(|stage| stage.outcome != Outcome::Alone);
        let unseen = &before[agrees.map_or(0, |i| i + 1)..];
        let which = |stage: &Difference| if stage.b.is_none() { "B" } else { "A" };
        match unseen {
            [] => String::new(),
            [one] => format!("  {} lacks {}\n", which(one), known(one)),
            [one, .., last] => {
                let after = agrees.map(|i| format!(" after {}, which agrees,", name(&before[i])));
                let (after, n, which) = (after.unwrap_or_default(), unseen.len(), which(last));
                let (from, to) = (name(one), name(last));
                format!("  or in one of the {n} stages{after} that {which} lacks: {from} to {to}\n")
            }
        }
    }
}

fn name(stage: &Difference) -> String {
    stage.name.escape_debug().to_string()
}

/// A stage's name with its formula and file, if it is a known stage.
fn known(stage: &Difference) -> String {
    let name = name(stage);
    match stage.place.map(|place| place.stage.describe()) {
        Some(about) => format!("{name} = {}, computed by {}", about.formula, about.file),
        None => name,
    }
}

/// The whole table and the verdict.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::heading())?;
        self.stages.iter().try_for_each(|stage| writeln!(f, "{stage}"))?;
        write!(f, "\n{}", self.verdict())
    }
}
