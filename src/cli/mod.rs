//! One file per command; this module parses the arguments and starts the command.

pub mod batch;
mod beams;
mod bench;
mod compare;
mod completions;
mod convert;
pub mod debug;
mod decoding;
mod diff;
mod explain;
pub mod failure;
#[cfg(unix)]
mod fault;
#[cfg(feature = "fetch")]
mod fetch;
mod generate;
mod how;
mod info;
mod interrupt;
mod kit;
mod model;
mod pass;
mod progress;
mod report;
mod score;
mod speculation;
mod stage_names;
mod text;
mod tokenize;
mod trace;
mod why;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use gpt2::simd::Simd;
use model::Common;
use std::process::ExitCode;

/// GPT-2: how a language model writes text, step by step.
#[derive(Parser)]
#[command(name = "gpt2", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Command {
    /// Write a continuation of a text
    Generate(generate::Args),
    /// Text to token ids
    Tokenize(tokenize::Args),
    /// Token ids to text
    Detokenize(tokenize::DetokenizeArgs),
    /// How likely a text is: the log-probability of each token, and the perplexity
    Score(score::Args),
    /// Greedy, sampled, beam-search and speculative continuations side by side, and where they diverge
    Compare(compare::Args),
    /// How fast a model is on this machine, beside the machine's own limits
    Bench(bench::Args),
    /// Every stage of one forward pass: in a file, as a table, or through the logit lens
    Trace(trace::Args),
    /// Two traces compared stage by stage, and the first stage where they differ
    Diff(diff::Args),
    /// How one number of a stage came about: its formula, with the operands
    How(how::Args),
    /// Why a token comes next: what each part of the model adds to its logit
    Why(why::Args),
    /// One page about a generation, to step through in a browser
    Explain(explain::Args),
    /// A folder with which a port in any language can test itself
    Kit(kit::Args),
    /// A copy of a model with eight-bit weights: a quarter of the memory, and faster
    Quantize(convert::QuantizeArgs),
    /// A copy of a model in another format or number type: safetensors, GGUF, llm.c
    Convert(convert::Args),
    /// A model from the Hugging Face hub, into the cache where --model finds it by name
    #[cfg(feature = "fetch")]
    Fetch(fetch::Args),
    /// A model's configuration, parameters, tensors and memory
    Info(info::Args),
    /// Completions of a shell: which words may follow
    Completions(completions::Args),
    /// The manual page, in roff
    Man(completions::ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Clap needs to know the color before it parses the arguments: help and usage errors use it.
    let mut arguments = std::env::args_os().take_while(|a| a != "--").filter_map(|a| a.into_string().ok());
    let mut color = None;
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--color") {
            Some("") => color = arguments.next(),
            Some(value) => color = value.strip_prefix('=').map(String::from),
            None => (),
        }
    }
    let color = color.and_then(|when| when.parse().ok()).unwrap_or(ColorChoice::Auto);
    let matches = with_negative_numbers(Cli::command()).color(color).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // if this fails, there is nowhere to report it
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Accepts a negative number as an option's value, so that the option's own check reports it.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let allow = |arg: clap::Arg| {
        let has_value = !arg.is_positional() && arg.get_action().takes_values();
        arg.allow_negative_numbers(has_value)
    };
    command.mut_args(allow).mut_subcommands(with_negative_numbers)
}

fn run(cli: Cli) -> Result<(), Failure> {
    Simd::from_environment()?;
    #[cfg(unix)]
    fault::watch();
    // Rayon's default takes any number from the environment, so it is capped.
    let threads = cli.common.threads.map_or_else(|| rayon::current_num_threads().min(1024), usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Failure::Work(format!("cannot start the threads: {e}")))?;
    let common = &cli.common;
    pool.install(|| match cli.command {
        Command::Generate(args) => generate::run(&args, common),
        Command::Tokenize(args) => tokenize::run(&args, common),
        Command::Detokenize(args) => tokenize::detokenize(&args),
        Command::Score(args) => score::run(&args, common),
        Command::Compare(args) => compare::run(&args, common),
        Command::Bench(args) => bench::run(&args, common),
        Command::Trace(args) => trace::run(&args, common),
        Command::Diff(args) => diff::run(&args, common),
        Command::How(args) => how::run(&args, common),
        Command::Why(args) => why::run(&args, common),
        Command::Explain(args) => explain::run(&args, common),
        Command::Kit(args) => kit::run(&args, common),
        Command::Quantize(args) => convert::quantize(&args, common),
        Command::Convert(args) => convert::run(&args, common),
        #[cfg(feature = "fetch")]
        Command::Fetch(args) => fetch::run(&args, common),
        Command::Info(args) => info::run(&args, common),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => completions::man(&args, Cli::command()),
    })
}
