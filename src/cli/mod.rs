//! One file per command; here is what they share.

mod batch;
mod beams;
mod bench;
mod compare;
mod debug;
mod decoding;
mod diff;
mod failure;
mod generate;
mod info;
mod progress;
mod quantize;
mod report;
mod score;
mod speculation;
mod text;
mod tokenize;
mod trace;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use gpt2::checkpoint::{self, LanguageModel};
use gpt2::simd::Simd;
use gpt2::tensor::Dtype;
use std::path::PathBuf;
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

#[derive(clap::Args)]
struct Common {
    /// Threads to compute with [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Colored help and tables
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Print more
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Write a continuation of a text
    Generate(generate::Args),
    /// Text to token ids
    Tokenize(tokenize::Args),
    /// Token ids to text
    Detokenize(tokenize::DetokenizeArgs),
    /// How likely a text is: the log-probability of each token, and perplexity
    Score(score::Args),
    /// Greedy, sampled, searched and speculative continuations side by side: where they part
    Compare(compare::Args),
    /// How fast a model is on this machine, beside the machine's own limits
    Bench(bench::Args),
    /// Every stage of one forward pass: to a file, as a table, or through the logit lens
    Trace(trace::Args),
    /// Two traces, stage by stage, and the first stage in which they differ
    Diff(diff::Args),
    /// A model with eight-bit weights: a quarter of the memory, and faster
    Quantize(quantize::Args),
    /// A model's configuration, parameters, tensors and memory
    Info(info::Args),
}

/// Which model.
#[derive(clap::Args)]
struct ModelArgs {
    /// A folder in Hugging Face's layout, a .safetensors file, or a name in the Hugging Face cache
    /// [default: the bundled model]
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
}

impl ModelArgs {
    fn open(&self) -> gpt2::error::Result<LanguageModel> {
        match &self.model {
            Some(model) => checkpoint::open(model),
            None => Ok(checkpoint::bundled()),
        }
    }

    fn open_to_run(&self, cache: &CacheArgs) -> gpt2::error::Result<LanguageModel> {
        let mut lm = self.open()?;
        lm.model.kv_cache_dtype = cache.kv_cache_dtype;
        Ok(lm)
    }

    fn tokenizer(&self) -> gpt2::error::Result<gpt2::bpe::Bpe> {
        match &self.model {
            Some(model) => checkpoint::open_tokenizer(model),
            None => Ok(gpt2::bpe::Bpe::gpt2()),
        }
    }
}

/// How keys and values are kept.
#[derive(clap::Args)]
struct CacheArgs {
    /// How keys and values are kept from one token to the next: f16 and bf16 take half the memory, and less time in long
    /// texts, but round them
    #[arg(long, value_name = "TYPE", default_value = "f32",
          value_parser = PossibleValuesParser::new(["f32", "f16", "bf16"]).try_map(|name| name.parse::<Dtype>()))]
    kv_cache_dtype: Dtype,
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Help and usage errors need their color before the arguments are parsed.
    let mut arguments = std::env::args_os().take_while(|a| a != "--").filter_map(|a| a.into_string().ok());
    let mut color = None;
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--color") {
            Some("") => color = arguments.next(),
            Some(value) => color = value.strip_prefix('=').map(String::from),
            None => (),
        }
    }
    let color = match color.as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    };
    let matches = with_negative_numbers(Cli::command()).color(color).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // if it fails, there is no place for a message
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Lets a negative number after an option be its value: the option then says what is wrong with it.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let allow = |arg: clap::Arg| {
        let has_value = !arg.is_positional() && arg.get_action().takes_values();
        arg.allow_negative_numbers(has_value)
    };
    command.mut_args(allow).mut_subcommands(with_negative_numbers)
}

fn run(cli: Cli) -> Result<(), Failure> {
    Simd::from_environment()?;
    // rayon's own default takes any number from the environment
    let threads = cli.common.threads.map_or_else(|| rayon::current_num_threads().min(1024), usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Failure::Work(format!("threads could not be started: {e}")))?;
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
        Command::Quantize(args) => quantize::run(&args, common),
        Command::Info(args) => info::run(&args, common),
    })
}
