//! `gpt2 how`: how one number of a stage came about.

use super::failure::Failure;
use super::model::Common;
use super::pass::PassArgs;
use super::report::{output, print_json};
use super::stage_names::{indexed, only};
use glob::Pattern;
use gpt2::inspect::how;
use gpt2::trace::Place;
use std::io::Write;

#[derive(clap::Args)]
#[command(after_help = "\
The result has the bits of `gpt2 trace`. The terms are the products that are summed, the largest first; for a softmax, the \
exponentials in its denominator. The lines after them are intermediate results, in the order in which they are computed.

Examples: gpt2 how 'h.2.attn.heads[5, 17]' \"Once upon a time in a\", gpt2 how 'lm_head[2, 640]' \"Once upon a\"

The options that choose the next token are those of `generate`; they matter for probs and next_id.")]
pub struct Args {
    /// A stage and an index, or the end of a stage's name: transformer.h.2.attn.heads[5,17], h.0.ln_1[0,3]
    #[arg(value_name = "STAGE[I,J]")]
    number: String,
    #[command(flatten)]
    pass: PassArgs,
    /// How many terms to show
    #[arg(long, value_name = "N", default_value_t = 8)]
    terms: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let (name, index) = indexed(&args.number).map_err(Failure::Usage)?;
    let name = name.ok_or_else(|| Failure::Usage(format!("{:?} names no stage", args.number)))?;
    let glob = Pattern::new(&name).map_err(|e| Failure::Usage(format!("{name:?} is no stage: {e}")))?;
    let lm = args.pass.run.open()?;
    let place = only(Place::all(lm.model.config.n_layer), &glob, None).map_err(Failure::Usage)?;
    let none = || Failure::Usage(format!("no stage is called {name:?}; gpt2 trace --list shows their names"));
    let (place, pass) = (place.ok_or_else(none)?, args.pass.pass(&lm, None)?);
    let how = how(&pass, place, &index)?;
    if args.json {
        return print_json(&how.json(args.terms));
    }
    let mut out = output();
    how.lines(args.terms).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(out.flush()?)
}
