//! `gpt2 kit`: a folder with which a port in any language can test itself.

mod contents;
mod texts;

use super::failure::Failure;
use super::interrupt;
use super::model::Common;
use super::progress;
use super::report::print;
use contents::{continuations, generation, lines, pass, readme, scores, small};
use gpt2::ARITHMETIC;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::{GenerationConfig, LanguageModel, bundled, save};
use gpt2::error::Error;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use texts::{PASSES, SMALLEST, TEXTS};

#[derive(clap::Args)]
#[command(after_help = "\
The kit holds the bundled model, texts with their ids, every stage of a few passes and of a generation with a cache, greedy and \
drawn continuations with each number drawn, and scores. Its README says what to compare, in which order and how closely.")]
pub struct Args {
    /// Where to write: a new folder
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
}

/// The version of the kit: it changes with any number in it.
const VERSION: &str = "1";

/// The folder that is written.
struct Kit<'a> {
    out: &'a Path,
    /// The names of its files.
    files: Vec<String>,
}

impl Kit<'_> {
    /// Writes a file.
    fn add(&mut self, name: &str, content: &str) -> Result<(), Error> {
        let path = self.path(name);
        fs::write(&path, content).map_err(Error::io(path))
    }

    /// The path of a file that is written elsewhere.
    fn path(&mut self, name: &str) -> PathBuf {
        self.files.push(name.to_string());
        self.out.join(name)
    }

    /// The hash of each file, as `sha256sum` prints it.
    fn sums(&mut self) -> Result<String, Error> {
        self.files.sort();
        let sum = |file: &String| {
            let path = self.out.join(file);
            let bytes = fs::read(&path).map_err(Error::io(path))?;
            Ok(format!("{}  {file}\n", sha256(&bytes)))
        };
        self.files.iter().map(sum).collect()
    }
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    interrupt::end_at_once()?;
    let out = &args.out;
    fs::create_dir_all(out.join("passes")).map_err(Error::io(out))?;
    let others = fs::read_dir(out).map_err(Error::io(out))?.count();
    if others > 1 {
        return Err(Error::file(out, "is a folder with files in it; give a new one").into());
    }
    let spinner = progress::spinner("writing the kit");
    let lm = bundled();
    let mut kit = Kit { out, files: Vec::new() };
    model(&lm, &mut kit)?;
    let tokens = TEXTS.map(|text| json!({"text": text, "ids": lm.bpe.encode(text)}));
    kit.add("tokens.json", &lines(tokens))?;
    let mut prompts: Vec<(&str, Option<&str>, Vec<TokenId>)> =
        PASSES.map(|(name, text)| (name, Some(text), lm.bpe.encode(text))).into();
    prompts.push(("ids", None, vec![50_256, 0, 50_255, 198, 50_256]));
    let passes = prompts.iter().map(|(name, text, ids)| json!({"name": name, "text": text, "ids": ids}));
    kit.add("passes.json", &lines(passes))?;
    for (name, _, ids) in &prompts {
        pass(&lm, ids, &kit.path(&format!("passes/{name}.safetensors")))?;
    }
    kit.add(&format!("passes/{SMALLEST}.json"), &small(&lm, &prompts[0].2)?)?;
    kit.add("continuations.json", &continuations(&lm)?)?;
    kit.add("scores.json", &scores(&lm)?)?;
    kit.add("README.md", &readme(VERSION))?;
    generation(&lm, &kit.path("generation.safetensors"))?;
    let about = json!({
        "kit": VERSION, "arithmetic": ARITHMETIC, "model": lm.name, "version": env!("CARGO_PKG_VERSION"),
    });
    kit.add("kit.json", &format!("{about}\n"))?;
    let sums = kit.sums()?;
    kit.add("SHA256SUMS", &sums)?; // last: with it, the kit is whole
    spinner.finish_and_clear();
    let (files, hash) = (kit.files.len(), sha256(sums.as_bytes()));
    print(&format!("{}: kit {VERSION}, {files} files, {hash}\n", out.display()))
}

/// Writes the model's folder.
fn model(lm: &LanguageModel, kit: &mut Kit<'_>) -> Result<(), Error> {
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    kit.files.extend(names.map(|name| format!("model/{name}")));
    let folder = kit.out.join("model");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    save::companions(lm, None, &folder)?;
    let file = folder.join("model.safetensors");
    save::Save::begin(&lm.model, &lm.name, &GenerationConfig::default(), &file)?.finish()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
