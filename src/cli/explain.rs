//! `gpt2 explain`: one page about a generation.

mod pack;
mod record;

use super::decoding::ChoiceArgs;
use super::failure::{Failure, usage};
use super::interrupt;
use super::model::{Common, at_least_1};
use super::report::remark;
use super::text::RunArgs;
use gpt2::page::{about, golden};
use pack::Parts;
use record::Recorded;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
The page is one file without any network: it opens from disk and can be mailed. It replays the generation: every step, forward and \
back, with the numbers of every stage, the attention of every head, what each part adds to the chosen token, and the draw, whose \
options can be changed. A model that is too large for 12 MB keeps fewer stages, and the page says which.

With --live, the bundled model and the program itself are in the page: one can write other texts, force a token, switch heads off, \
or drop the folder of another model onto it. Its numbers have the bits of this program.")]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Where to write the page
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Put the bundled model and the program into the page
    #[arg(long, conflicts_with_all = ["model", "num_beams", "kv_cache_dtype"])]
    live: bool,
    /// Write N tokens
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_1())]
    max_new_tokens: usize,
    /// Show a beam search with B beams beside the text, over the first 10 tokens
    #[arg(long, value_name = "B", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=16))]
    num_beams: u8,
    #[command(flatten)]
    choice: ChoiceArgs,
}

pub fn run(args: &Args, common: &Common) -> Result<(), Failure> {
    interrupt::end_at_once()?;
    let lm = args.run.open()?;
    let prompt = args.run.prompt_ids(&lm)?;
    let options = args.choice.for_model(&lm, None)?.max_new_tokens(args.max_new_tokens);
    options.check(&lm.model).map_err(usage)?;
    let words = args.run.words(&prompt).chain(args.choice.words());
    let arguments = words.map(|word| shell(&word)).collect::<Vec<_>>().join(" ");
    let live = if args.live { " --live" } else { "" };
    let mut page = json!({
        "live": args.live, "name": lm.name, "arguments": arguments,
        "command": format!("gpt2 explain {arguments} --max-new-tokens {}{live}", args.max_new_tokens),
        "options": options, "prompt_ids": prompt, "prompt": lm.bpe.decode_lossy(&prompt)?, "prompt_len": prompt.len(),
        "left_out": [],
    });
    page["options"]["max_new_tokens"] = args.max_new_tokens.into();
    let parts = if args.live {
        page["golden"] = golden(&lm)?.into();
        Parts {
            json: json!({"page": page}),
            numbers: Vec::new(),
            text: lm.bpe.decode_lossy(&prompt)?,
            model: true,
        }
    } else {
        let recorded = Recorded::of(&lm, &prompt, options, usize::from(args.num_beams))?;
        page["about"] = about(&lm);
        recorded.parts(page)
    };
    let bytes = parts.write(&args.out)?;
    if common.verbose {
        remark(format_args!("{}: {:.1} MB", args.out.display(), bytes as f64 / 1e6));
    }
    Ok(())
}

/// A word as a shell reads it back.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
