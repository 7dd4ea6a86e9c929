//! `gpt2 trace`: every stage of one forward pass.

mod view;

use super::decoding::ChoiceArgs;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::Common;
use super::progress;
use super::report::{output, print_json, remark};
use super::stage_names::matches;
use super::text::{RunArgs, quoted};
use glob::Pattern;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::config::Config;
use gpt2::inspect::{Lens, TraceFile, metadata, next_token_watched};
use gpt2::sampling::Explanation;
use gpt2::sampling::candidates::{Candidate, list};
use gpt2::trace::{Digest, Place, Stage};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use view::View;

/// How many candidates of each distribution are shown.
const CANDIDATES: usize = 5;

#[derive(clap::Args)]
#[command(
    after_help = "\
Without --out and --lens, the command prints one line per stage (shape, statistics, first values and a hash of the \
bits) and then how the next token was chosen. The options that choose it are those of `generate`.

Stage names (--list shows all): input_ids, transformer.wte, transformer.h.0.attn.weights, lm_head, probs, next_id, ... \
--lens adds lens.0, lens.1, ...: the logits [T, n_vocab] after each block. They are written to the file only if \
--stages selects them.",
    mut_arg("seed", |seed| seed.help("Seed of the random numbers; the same seed gives the same token [default: 0]"))
)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Write the stages to a safetensors file
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only stages whose name, or the end of it, matches: * is any text, ? any character, [0-3] one of several
    /// (repeatable)
    #[arg(long, value_name = "GLOB")]
    stages: Vec<Pattern>,
    /// Print what the model would predict after each block: the N likeliest next tokens at each position [default N: 5]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    lens: Option<usize>,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Print the name, shape and formula of every stage, and the file that computes it
    #[arg(long)]
    list: bool,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    if args.list {
        return list_stages();
    }
    let lm = args.run.open()?;
    let ids = args.run.prompt_ids(&lm)?;
    let options = args.choice.for_model(&lm, None)?.max_new_tokens(usize::MAX);
    options.check(&lm.model).map_err(usage)?;

    let names = select(args, &lm.model.config)?;
    let lens = args.lens.map(|n| Lens::new(&lm.model, n));
    let digests = (args.out.is_none() && args.lens.is_none()).then(Vec::new);
    let mut view = View { file: None, lens, digests, block: None, names };
    if let Some(path) = &args.out {
        interrupt::end_at_once()?;
        view.file = Some(TraceFile::create(path)?.only(view.names.iter().cloned()));
    }
    let mut explanation = Explanation::new(CANDIDATES);
    let spinner = progress::spinner("computing the stages");
    let next_id = next_token_watched(&lm.model, &ids, &options, &mut view, &mut explanation)?;
    spinner.finish_and_clear();
    let choice = explanation.json(|id| lm.bpe.decode_lossy(&[id]).unwrap_or_default());
    if let Some(file) = view.file.take() {
        file.finish(&metadata(&lm, &ids, &options, &[vec![choice.clone()]]))?;
    }
    if next_id.is_none() {
        remark(format_args!("note: the logits are not finite numbers; no next token could be chosen"));
    }
    if let (Some(path), true) = (&args.out, common.verbose) {
        let (name, stages) = (path.display(), view.names.len());
        remark(format_args!("{name}: {stages} stages of {} tokens", ids.len()));
    }
    if !args.json {
        return print(&lm, &ids, &view, &explanation);
    }
    let mut report = json!({ "ids": ids, "next_id": next_id, "choice": choice });
    if let Some(digests) = &view.digests {
        report["stages"] = digests.iter().map(digest_json).collect();
    }
    if let Some(lens) = &view.lens {
        let text = |id| lm.bpe.decode_lossy(&[id]).unwrap_or_default();
        let candidate =
            |c: &Candidate| json!({"id": c.id, "token": text(c.id), "probability": c.probability});
        let position = |position: &Vec<_>| position.iter().map(candidate).collect::<Value>();
        let block = |block: &Vec<_>| block.iter().map(position).collect::<Value>();
        report["lens"] = lens.blocks.iter().map(block).collect();
    }
    print_json(&report)
}

/// The names that `--stages` selects, in forward order; all stages without it. A pattern that matches no whole name is
/// compared with their ends.
fn select(args: &Args, config: &Config) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Place::all(config.n_layer).map(|place| place.to_string()).collect();
    if args.stages.is_empty() {
        return Ok(names);
    }
    if args.lens.is_some() {
        names.extend((0..config.n_layer).map(Lens::name));
    }
    let mut selected = Vec::new();
    for glob in &args.stages {
        let whole = names.iter().any(|name| glob.matches(name));
        let selects = |name: &&String| if whole { glob.matches(name) } else { matches(glob, name) };
        let before = selected.len();
        selected.extend(names.iter().filter(selects).cloned());
        if selected.len() == before {
            let none = glob.as_str();
            let problem = format!("--stages {none:?} matches no stage; --list shows their names");
            return Err(Failure::Usage(problem));
        }
    }
    names.retain(|name| selected.contains(name));
    Ok(names)
}

/// Prints the stages and the choice, and what the lens saw, as requested.
fn print(
    lm: &LanguageModel,
    ids: &[TokenId],
    view: &View<'_>,
    explanation: &Explanation,
) -> Result<(), Failure> {
    let mut out = output();
    if let Some(digests) = &view.digests {
        writeln!(out, "{}", Digest::heading())?;
        digests.iter().try_for_each(|digest| writeln!(out, "{digest}"))?;
        if view.has(Place::new(Stage::NextId, None)) {
            writeln!(out, "\nhow next_id was chosen")?;
            let lines = explanation.lines(|id| quoted(&lm.bpe, id));
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    if let Some(lens) = &view.lens {
        for (t, id) in ids.iter().enumerate() {
            writeln!(out, "position {t}, after {}", quoted(&lm.bpe, *id))?;
            for (i, block) in lens.blocks.iter().enumerate() {
                let candidates = block.get(t).map_or(&[][..], Vec::as_slice);
                writeln!(out, "  after block {i:<3} {}", list(candidates, |id| quoted(&lm.bpe, id)))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// A digest as JSON, which has no infinity and no NaN: they become null.
fn digest_json(d: &Digest) -> Value {
    json!({
        "name": d.name, "shape": d.shape, "mean": d.mean, "std": d.std, "min": d.min, "max": d.max,
        "first": d.first, "not_finite": d.not_finite, "hash": format!("{:016x}", d.hash),
    })
}

/// Prints the table of `--list`.
fn list_stages() -> Result<(), Failure> {
    let mut out = output();
    let mut line = |name: &str, shape: &str, formula: &str, file: &str| {
        writeln!(out, "{name:<33} {shape:<15} {formula:<29} {file}")
    };
    line("stage", "shape", "formula", "file")?;
    for about in Stage::ALL.map(Stage::describe) {
        line(about.name, about.shape, about.formula, about.file)?;
    }
    line("lens.{i} (with --lens)", "[T, n_vocab]", "ln_f(x) @ wte.T", "src/inspect/lens.rs")?;
    Ok(out.flush()?)
}
