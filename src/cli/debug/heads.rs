//! Where each head attends, in one table.

use super::Stepper;
use gpt2::sampling::candidates::percent;
use gpt2::trace::{Place, Stage};
use std::io::{self, Write};

impl Stepper<'_> {
    /// Prints where each head attends: mean weights over the queries of this step.
    pub fn show_heads(&mut self) -> io::Result<()> {
        let (seen, read) = (self.session.seen_ids().len(), self.session.read_ids().len());
        if seen == 1 {
            return writeln!(self.out, "  only position 0 was read, and it sees only itself");
        }
        let [head, first, before, itself] = ["head", "first token", "previous", "itself"];
        writeln!(self.out, "  {:<8}{head:>8}{first:>14}{before:>10}{itself:>10}", "block")?;
        let mut most: Option<(f64, usize, usize)> = None;
        for block in 0..self.lm.model.config.n_layer {
            let Some(weights) = self.session.values(Place::new(Stage::AttnWeights, Some(block))) else {
                return Ok(());
            };
            let (rows, keys) = (weights.shape[1], weights.shape[2]);
            let past = keys - rows;
            let queries = usize::from(past == 0)..rows; // the first position can see only itself
            for (head, weights) in weights.values.chunks(rows * keys).enumerate() {
                let mean = |key: fn(usize) -> usize| {
                    let weight = |row| f64::from(weights[row * keys + key(past + row)]);
                    queries.clone().map(weight).sum::<f64>() / queries.len().max(1) as f64
                };
                let shares @ [_, before, _] =
                    [mean(|_| 0), mean(|position| position - 1), mean(|position| position)];
                let [first, previous, itself] = shares.map(percent);
                writeln!(self.out, "  {block:<8}{head:>8}{first:>14}{previous:>10}{itself:>10}")?;
                if most.is_none_or(|most| before > most.0) {
                    most = Some((before, block, head));
                }
            }
        }
        if read == seen {
            writeln!(
                self.out,
                "  means over the queries of this step, without position 0, which sees only itself"
            )?;
        }
        if seen - read < 2 {
            writeln!(
                self.out,
                "  for position 1 the first token is the previous one too: it counts in both columns"
            )?;
        }
        let Some((share, block, head)) = most else { return Ok(()) };
        writeln!(self.out, "  most on the previous token: block {block}, head {head}, {}", percent(share))
    }
}
