//! `gpt2 why`: what each part of the model adds to a token's logit.

use super::failure::Failure;
use super::model::Common;
use super::pass::{PassArgs, token};
use super::progress;
use super::report::{output, print_json};
use super::text::quoted;
use gpt2::bpe::{Bpe, TokenId};
use gpt2::inspect::{Pass, how, why, why::Why};
use gpt2::trace::{Place, Stage, number};
use std::io::Write;

#[derive(clap::Args)]
#[command(after_help = "\
The residual stream is a sum of what the embeddings, heads and MLPs add. Read through the last layer norm, at its actual scale, \
so is the logit: the column `adds` has each part's share, and the shares add up to the logit, up to rounding. This counts what a \
part writes itself. The column `without` has the logit when zeros replace the part's output at every position, with all that later \
parts make of it.

The token is the likeliest next one. With a flag that draws, such as --seed, it is the one that `generate` would draw.")]
pub struct Args {
    #[command(flatten)]
    pass: PassArgs,
    /// Another token: its id or its text
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Explain the difference from this token's logit: its id or its text
    #[arg(long, value_name = "TOKEN")]
    against: Option<String>,
    /// How many parts to show, those that add most
    #[arg(long, value_name = "N", default_value_t = 12)]
    parts: usize,
    /// Print JSON, with all parts in forward order
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.pass.run.open()?;
    let pass = args.pass.pass(&lm, if args.pass.draws() { None } else { Some(false) })?;
    let id = |flag: &str, word: &str| token(&lm.bpe, word, flag).map_err(Failure::Work);
    let chosen = match &args.token {
        Some(word) => id("--token", word)?,
        None => next(&pass)?,
    };
    let against = args.against.as_ref().map(|word| id("--against", word)).transpose()?;
    let mut why = why(&pass, chosen, against)?;
    let bar = progress::steps(why.parts.len(), "parts");
    why.switch_off(&pass, || bar.inc(1));
    bar.finish_and_clear();
    if args.json {
        return print_json(&why.json(&lm.bpe));
    }
    let mut out = output();
    lines(&why, &lm.bpe, args.parts).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(out.flush()?)
}

/// The token that comes next.
fn next(pass: &Pass<'_>) -> Result<TokenId, Failure> {
    match how(pass, Place::new(Stage::NextId, None), &[0])?.value {
        how::Value::Id(id) => Ok(id),
        how::Value::Number(_) => Err(Failure::Work("next_id is not an id".into())),
    }
}

/// The explanation as lines of text.
pub fn lines(why: &Why, bpe: &Bpe, n: usize) -> Vec<String> {
    const WIDTH: f64 = 24.0;
    let Why { position, token, logit, against, sum, rounding, .. } = why;
    let what = match against {
        None => format!("the logit of {}", quoted(bpe, *token)),
        Some(other) => format!("the logit of {} less that of {}", quoted(bpe, *token), quoted(bpe, *other)),
    };
    let mut lines = vec![format!("{what} after position {position} is {logit:.4}")];
    let (largest, count, rest) = why.largest(n);
    let most = largest.first().map_or(0.0, |part| part.value.abs()).max(f64::MIN_POSITIVE);
    lines.push(format!("  {:<30} {:>9}  {:>9}", "part", "adds", "without"));
    for part in &largest {
        let (adds, without) = (number(part.value), part.without.map(number).unwrap_or_default());
        let length = (part.value.abs() / most * WIDTH).round() as usize;
        let bar = if part.value < 0.0 { "-" } else { "+" }.repeat(length);
        lines.push(format!("  {:<30} {adds:>9}  {without:>9}  {bar}", part.name).trim_end().into());
    }
    if count > 0 {
        lines.push(format!("  {:<30} {:>9}", format!("the other {count}"), number(rest)));
    }
    lines.push(format!("  {:<30} {:>9}", "sum", number(*sum)));
    lines.push(format!("  {:<30} {:>9}", "rounding", number(*rounding)));
    lines
}
