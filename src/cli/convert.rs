//! `gpt2 convert` and `gpt2 quantize`: a copy of a model in another format or number type.

use super::failure::Failure;
use super::interrupt;
use super::model::{Common, ModelArgs};
use super::progress;
use super::report::{print, print_json, remark};
use gpt2::checkpoint::{LanguageModel, companions_of, gguf, has_tokenizer, llmc, save};
use gpt2::error::Error;
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
The matrices become int8, with one scale per output channel. Position embeddings, layer norms and biases do not change.
A folder also gets the configuration and the tokenizer. A single file contains its configuration and the defaults of
generation_config.json; its tokenizer is the one in its folder, or else GPT-2's own. --model accepts both.")]
pub struct QuantizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Where to write: a file if the name ends in .safetensors, otherwise a folder
    #[arg(long, short, value_name = "PATH")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "\
safetensors: a file if the name ends in .safetensors, otherwise a folder with the configuration and the tokenizer.
gguf: one file with its tokenizer, for llama.cpp. llmc: one file without a tokenizer, for llm.c.
Layer norms and biases stay f32 (bf16 in llmc files of bf16). --model accepts all of them.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where to write
    #[arg(long, short, value_name = "PATH")]
    out: PathBuf,
    /// The format [default: gguf if the name ends in .gguf, llmc if it ends in .bin, else safetensors]
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// The number type of the matrices: f32, f16, bf16, or q8_0 in a gguf file [default: the model's own]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Type>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Safetensors,
    Llmc,
    Gguf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

pub fn quantize(args: &QuantizeArgs, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open()?;
    if lm.model.wte.dtype() == Dtype::I8 {
        return Err(Failure::Work(format!("{} already has eight-bit weights", lm.name)));
    }
    let round = |weights: &dyn Fn(usize)| lm.model.quantize_with(weights);
    let written = safetensors(&lm, &args.model, &args.out, round)?;
    report(&lm, &args.out, "int8", written, args.json)
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let lm = args.model.open()?;
    let ends = |end: &str| args.out.extension().is_some_and(|own| own.eq_ignore_ascii_case(end));
    let format = args.to.unwrap_or(match () {
        () if ends("gguf") => Format::Gguf,
        () if ends("bin") => Format::Llmc,
        () => Format::Safetensors,
    });
    let own = Some(lm.model.wte.dtype()).filter(|own| *own != Dtype::I8).unwrap_or(Dtype::F32);
    let (storage, name) = match args.dtype {
        None => (gguf::Storage::Plain(own), own.name()),
        Some(Type::F32) => (gguf::Storage::Plain(Dtype::F32), "f32"),
        Some(Type::F16) => (gguf::Storage::Plain(Dtype::F16), "f16"),
        Some(Type::Bf16) => (gguf::Storage::Plain(Dtype::Bf16), "bf16"),
        Some(Type::Q8_0) => (gguf::Storage::Q8_0, "q8_0"),
    };
    let written = match (format, storage) {
        (Format::Safetensors, gguf::Storage::Plain(dtype)) => {
            let round = |weights: &dyn Fn(usize)| {
                lm.model.map_tensors(|spec, tensor| {
                    let tensor = if spec.role.is_matrix() { tensor.rounded(dtype) } else { tensor };
                    weights(spec.len());
                    tensor
                })
            };
            safetensors(&lm, &args.model, &args.out, round)?
        }
        (Format::Gguf, _) => one_file(&lm, args, |weights| {
            gguf::write((&lm.model, &lm.bpe, &lm.name), &args.out, storage, weights)
        })?,
        (Format::Llmc, gguf::Storage::Plain(dtype)) => {
            one_file(&lm, args, |weights| llmc::write(&lm.model, &args.out, dtype, weights))?
        }
        (_, gguf::Storage::Q8_0) => {
            return Err(Failure::Usage("q8_0 is a type of gguf files: add --to gguf".into()));
        }
    };
    report(&lm, &args.out, name, written, args.json)
}

/// Writes one file, with a progress bar.
fn one_file(
    lm: &LanguageModel,
    args: &Args,
    write: impl FnOnce(&dyn Fn(usize)) -> gpt2::error::Result<()>,
) -> Result<Written, Failure> {
    refuse_the_model_itself(&args.model, &args.out)?;
    interrupt::end_at_once()?;
    let bar = progress::steps(lm.model.parameters(), "weights");
    write(&|weights| bar.inc(weights as u64))?;
    bar.finish_and_clear();
    Ok(Written::File(std::fs::metadata(&args.out).map_err(Error::io(&args.out))?.len()))
}

/// Writes the model that `round` makes, to a file or a folder.
fn safetensors(
    lm: &LanguageModel,
    source: &ModelArgs,
    out: &Path,
    round: impl FnOnce(&dyn Fn(usize)) -> Gpt2,
) -> Result<Written, Failure> {
    let from = source.model.as_ref().map(companions_of).transpose()?.flatten();
    let is_file = out.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
    let file = if is_file { out.to_path_buf() } else { out.join("model.safetensors") };
    if is_file {
        refuse_the_model_itself(source, &file)?;
    } else {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        if std::fs::read_dir(out).map_err(Error::io(out))?.next().is_some() {
            return Err(Error::file(out, "is a folder with files in it; give a new one").into());
        }
        save::companions(lm, from.as_deref(), out)?;
    }
    let rounding = progress::steps(lm.model.parameters(), "weights");
    let model = round(&|weights| rounding.inc(weights as u64));
    rounding.finish_and_clear();
    interrupt::end_at_once()?;
    let save = save::Save::begin(&model, &lm.name, &lm.generation_config, &file)?;
    let writing = progress::bytes(save.bytes());
    save.finish_with(|bytes| writing.inc(bytes as u64))?;
    writing.finish_and_clear();

    let had_one = source.model.is_some() && from.is_none_or(|from| has_tokenizer(&from));
    if is_file && had_one && !file.parent().is_some_and(has_tokenizer) {
        remark(format_args!(
            "note: the file has no tokenizer; without one in its folder, GPT-2's own is used"
        ));
    }
    Ok(Written::Weights(model.weight_bytes()))
}

/// What was written.
enum Written {
    /// Weights of so many bytes, in a file or a folder.
    Weights(usize),
    /// A file of so many bytes, with all that it holds.
    File(u64),
}

fn report(lm: &LanguageModel, out: &Path, dtype: &str, written: Written, json: bool) -> Result<(), Failure> {
    let (place, name, before) = (out.display(), &lm.name, lm.model.weight_bytes());
    let (mut report, size) = match written {
        Written::Weights(after) => (
            json!({"weight_bytes": after, "weight_bytes_before": before}),
            format!("{:.1} MB of weights instead of {:.1}", after as f64 / 1e6, before as f64 / 1e6),
        ),
        Written::File(bytes) => (json!({"file_bytes": bytes}), format!("{:.1} MB", bytes as f64 / 1e6)),
    };
    if json {
        report["model"] = json!(name);
        report["out"] = json!(place.to_string());
        report["dtype"] = json!(dtype);
        return print_json(&report);
    }
    print(&format!("{place}: {name} in {dtype}, {size}\n"))
}

/// Refuses an output that would overwrite the model.
fn refuse_the_model_itself(source: &ModelArgs, file: &Path) -> Result<(), Failure> {
    let Some(model) = &source.model else { return Ok(()) };
    let weights = companions_of(model)?.map(|folder| folder.join("model.safetensors"));
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if [Some(model.clone()), weights].iter().flatten().any(|source| same(source, file)) {
        return Err(Error::file(file, "is the model itself; choose another path").into());
    }
    Ok(())
}
