//! `gpt2 quantize`: writes a copy of a model with eight-bit weights.

use super::failure::Failure;
use super::interrupt;
use super::model::{Common, ModelArgs};
use super::progress;
use super::report::{print, print_json, remark};
use gpt2::checkpoint::{folder_of, save};
use gpt2::error::Error;
use gpt2::tensor::Dtype;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
The matrices become int8, with one scale per output channel. Position embeddings, layer norms and biases do not change.
A folder also gets the configuration and the tokenizer. A single file contains its configuration; its tokenizer is the
one in its folder, or else GPT-2's own. --model accepts both.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where to write: a file if the name ends in .safetensors, otherwise a folder
    #[arg(long, short, value_name = "PATH")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open()?;
    let from = args.model.model.as_ref().map(folder_of).transpose()?;
    if lm.model.wte.dtype() == Dtype::I8 {
        return Err(Failure::Work(format!("{} already has eight-bit weights", lm.name)));
    }
    let is_file = args.out.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
    let file = if is_file { args.out.clone() } else { args.out.join("model.safetensors") };
    if is_file {
        refuse_the_model_itself(args, from.as_deref(), &file)?;
    } else {
        std::fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
        if std::fs::read_dir(&args.out).map_err(Error::io(&args.out))?.next().is_some() {
            return Err(Error::file(&args.out, "is a folder with files in it; give a new one").into());
        }
        save::companions(&lm, from.as_deref(), &args.out)?;
    }
    let rounding = progress::steps(lm.model.parameters(), "weights");
    let model = lm.model.quantize_with(|weights| rounding.inc(weights as u64));
    rounding.finish_and_clear();
    interrupt::end_at_once()?;
    let save = save::Save::begin(&model, &lm.name, &file)?;
    let writing = progress::bytes(save.bytes());
    save.finish_with(|bytes| writing.inc(bytes as u64))?;
    writing.finish_and_clear();

    let tokenizer = ["vocab.json", "tokenizer.json"];
    let has_one = |folder: &Path| tokenizer.iter().any(|name| folder.join(name).exists());
    if is_file && from.is_some_and(|from| has_one(&from)) && !file.parent().is_some_and(has_one) {
        remark(format_args!(
            "note: the file has no tokenizer; without one in its folder, GPT-2's own is used"
        ));
    }
    let [before, after] = [&lm.model, &model].map(|model| model.weight_bytes());
    let (place, name) = (args.out.display(), &lm.name);
    if args.json {
        return print_json(&json!({
            "model": name, "out": place.to_string(), "dtype": Dtype::I8.name(), "weight_bytes": after,
            "weight_bytes_before": before,
        }));
    }
    let [before, after] = [before, after].map(|bytes| bytes as f64 / 1e6);
    print(&format!("{place}: {name} in int8, {after:.1} MB of weights instead of {before:.1}\n"))
}

/// Refuses an output that would overwrite the model.
fn refuse_the_model_itself(args: &Args, from: Option<&Path>, file: &Path) -> Result<(), Failure> {
    let (Some(model), Some(from)) = (&args.model.model, from) else { return Ok(()) };
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if [model.clone(), from.join("model.safetensors")].iter().any(|source| same(source, file)) {
        return Err(Error::file(file, "is the model itself; choose another path").into());
    }
    Ok(())
}
