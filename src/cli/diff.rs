//! `gpt2 diff`: compares two traces stage by stage.

use super::failure::Failure;
use super::model::Common;
use super::report::print;
use gpt2::error::Error;
use gpt2::format::safetensors::{SafeTensors, Tensor};
use gpt2::inspect::diff::{Diff, Difference, Outcome, TOLERANCE, diff};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
The stages are compared in forward order, so the mistake is in the first stage that differs; all later ones inherit it.
A stage differs if max |a - b| exceeds the tolerance times the largest absolute value of the stage in either file.
Ids must be equal. A stage that only one file has is listed but does not affect the result.

Exit code 0: no stage differs; 1: a stage differs, or a file cannot be read; 2: bad usage.")]
pub struct Args {
    /// A trace: a safetensors file with the stage names of `gpt2 trace --list`
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another trace of the same prompt
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The largest difference allowed in a stage, as a fraction of its largest value
    #[arg(long, value_name = "X", default_value_t = TOLERANCE, value_parser = tolerance)]
    tolerance: f64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Parses a finite number that is 0 or greater.
fn tolerance(text: &str) -> Result<f64, String> {
    let x: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if x >= 0.0 && x.is_finite() { Ok(x) } else { Err("must be a finite number, at least 0".into()) }
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let [a, b] = [SafeTensors::open(&args.a)?, SafeTensors::open(&args.b)?];
    let found = diff(&a, &b, args.tolerance)
        .map_err(|problem| Error::input(format!("{}, {}: {problem}", args.a.display(), args.b.display())))?;
    print(&if args.json { format!("{}\n", report(&found)) } else { found.to_string() })?;
    if found.first().is_some() { Err(Failure::Different) } else { Ok(()) }
}

fn report(diff: &Diff) -> Value {
    let first = diff.first().map(|stage| &stage.name);
    json!({
        "tolerance": diff.tolerance, "first": first, "jump": diff.jump().map(|jump| &jump.0.name),
        "stages": diff.stages.iter().map(stage_report).collect::<Vec<_>>(),
    })
}

fn stage_report(stage: &Difference) -> Value {
    let side = |side: &Option<Tensor>| side.as_ref().map(|s| json!({"dtype": s.dtype, "shape": s.shape}));
    let mut report = json!({
        "name": stage.name, "a": side(&stage.a), "b": side(&stage.b), "beyond": stage.is_beyond(),
    });
    if let Outcome::Values(c) = &stage.outcome {
        report["values"] = json!({
            "count": c.values, "beyond": c.beyond, "largest": c.largest, "nan": c.nan, "index": c.index,
            "max_abs": finite_or_text(c.max_abs), "max_rel": finite_or_text(c.max_rel),
            "a": finite_or_text(c.a), "b": finite_or_text(c.b),
        });
    }
    report
}

/// JSON has no infinity and no NaN: they become the strings `inf`, `-inf` and `NaN`.
fn finite_or_text(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { json!(x.to_string()) }
}
