//! `gpt2 diff`: compares two traces stage by stage.

use super::failure::Failure;
use super::model::{AccessArgs, Common};
use super::progress;
use super::report::{print, print_json};
use gpt2::error::Error;
use gpt2::format::safetensors::{SafeTensors, Tensor};
use gpt2::format::{Bytes, llmc_state};
use gpt2::inspect::diff::{Diff, Difference, Outcome, TOLERANCE, diff};
use gpt2::inspect::doctor::{Finding, Verdict, examine};
use gpt2::inspect::finite_or_text;
use gpt2::trace::number;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
The stages are compared in forward order, so the mistake is in the first stage that differs; all later ones inherit it.
A stage differs if max |a - b| exceeds the tolerance times the largest absolute value of the stage in either file.
Ids must be equal. A stage that only one file has is listed but does not affect the result.

With --model, which A is a trace of, each stage of B is computed again from B's own values of the stages before it. `own` is its
difference from that: it shows a mistake even where an earlier one has changed everything. `inherited` is what comes from the
input. For a wrong stage, known mistakes are tried, and one that gives B's numbers is named.

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
    /// Find the wrong stages of B and name their mistakes, with the model that both run: a folder, a file, or a name
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
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
    if let Some(model) = &args.model {
        return with_model(args, model);
    }
    let [a, b] = [SafeTensors::open(&args.a)?, SafeTensors::open(&args.b)?];
    let found = diff(&a, &b, args.tolerance)
        .map_err(|problem| Error::input(format!("{}, {}: {problem}", args.a.display(), args.b.display())))?;
    print(&if args.json { format!("{}\n", report(&found)) } else { found.to_string() })?;
    if found.first().is_some() { Err(Failure::Different) } else { Ok(()) }
}

/// Examines the second trace with the model of both.
fn with_model(args: &Args, model: &Path) -> Result<(), Failure> {
    let lm = args.access.open(model)?;
    let open = |path: &Path| match llmc_state::trace(&Bytes::map(path)?, lm.model.config.vocab_size) {
        Some(state) => state.map_err(|problem| Error::file(path, problem)),
        None => SafeTensors::open(path),
    };
    let (a, b) = (&open(&args.a)?, &open(&args.b)?);
    let of = |path: &Path| {
        let path = path.display().to_string();
        move |error: Error| Error::input(format!("{path}: {error}"))
    };
    let spinner = progress::spinner("examining the stages");
    let wrong = |findings: &[Finding]| findings.iter().find(|f| f.verdict == Verdict::Wrong).map(|f| f.place);
    if let Some(place) = wrong(&examine(&lm.model, a, None, args.tolerance).map_err(of(&args.a))?) {
        let problem = format!("not a trace of {}: {place} is not what the model gives", model.display());
        return Err(Error::file(&args.a, problem).into());
    }
    let findings = examine(&lm.model, b, Some(a), args.tolerance).map_err(of(&args.b))?;
    spinner.finish_and_clear();
    if args.json {
        print_json(&json!({"stages": findings.iter().map(finding_report).collect::<Value>()}))?;
    } else {
        print(&findings_table(&findings))?;
    }
    let fine = findings.iter().all(|f| matches!(f.verdict, Verdict::Right | Verdict::Missing));
    if fine { Ok(()) } else { Err(Failure::Different) }
}

fn finding_report(finding: &Finding) -> Value {
    let Finding { place, own, inherited, verdict, mistake } = finding;
    json!({
        "stage": place.to_string(), "own": own.map(finite_or_text), "inherited": inherited.map(finite_or_text),
        "verdict": verdict.name(), "mistake": mistake,
    })
}

/// A line for each stage, and the conclusion.
fn findings_table(findings: &[Finding]) -> String {
    let mut text = format!("{:<31} {:>10} {:>10}  verdict\n", "stage", "own", "inherited");
    let short = |x: &Option<f64>| match x {
        Some(0.0) => "equal".into(),
        Some(x) => number(*x),
        None => String::new(),
    };
    for Finding { place, own, inherited, verdict, .. } in findings {
        let mark = if *verdict == Verdict::Wrong { "WRONG" } else { verdict.name() };
        text += &format!("{place:<31} {:>10} {:>10}  {mark}\n", short(own), short(inherited));
    }
    text += "\n";
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    for Finding { place, mistake, .. } in findings.iter().filter(|f| f.verdict == Verdict::Wrong) {
        let about = place.stage.describe();
        text += &format!("{place} = {}, computed by {}, is wrong\n", about.formula, about.file);
        text += &match mistake {
            Some(mistake) => format!("  {mistake}\n"),
            None => "  no known mistake gives these numbers\n".to_string(),
        };
    }
    let [right, wrong, inherited, missing] = Verdict::ALL.map(count);
    match (wrong, inherited) {
        (0, 0) => text += "no stage is wrong\n",
        (0, _) => text += "no stage is wrong by itself; the differences add up\n",
        _ => (),
    }
    text + &format!("{right} right, {wrong} wrong, {inherited} inherited, {missing} missing\n")
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
