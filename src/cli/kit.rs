//! `gpt2 kit`: a folder with which a port in any language can test itself.

use super::failure::Failure;
use super::interrupt;
use super::model::Common;
use super::report::print;
use gpt2::ARITHMETIC;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::{GenerationConfig, LanguageModel, bundled, save};
use gpt2::error::Error;
use gpt2::generate::{Generation, Options};
use gpt2::inspect::{Choices, TraceFile, metadata, next_token};
use gpt2::sampling::Explanation;
use gpt2::score::{Windows, mean_nll, score};
use gpt2::trace::{Recorder, Stage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

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

/// The pass that is JSON as well.
const SMALLEST: &str = "two-tokens";

/// The passes: name, text.
const PASSES: [(&str, &str); 4] = [
    (SMALLEST, "Once upon"),
    ("sentence", "The king said, \"Come with me, and I will give you a horse.\""),
    ("unicode", "naïve 犬 🐕 — ½"),
    ("repeats", " the the the the dog dog"),
];

/// Texts whose tokens are easy to get wrong.
const TEXTS: [&str; 24] = [
    "",
    " ",
    "  ",
    "Once upon a time",
    " Once upon a time ",
    "dog dog  dog   dog",
    "I'm, you're, he'd, they'll, we've, it's; I'M, YOU'RE",
    "'s 't 're 've 'm 'll 'd",
    "don’t",
    "1234567890 12 3.14159 1,000,000",
    "²³¼½ ١٢٣ Ⅷ",
    "line\nline\r\nline\n\n\nline\n",
    "\t\ttabs\t and \u{a0}no-break\u{2003}spaces \u{3000}",
    "naïve café Ångström",
    "e\u{301} and é",
    "犬が走る。猫は寝る。",
    "Привет, мир! Γειά σου",
    "🐕🐈 👩‍👩‍👧‍👦 🇩🇪",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "https://example.org/a?b=c&d=%20#e",
    "<|endoftext|> is plain text here",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u{0}\u{1}\u{7f}\u{85}\u{feff}\u{fffd}",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism",
];

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    interrupt::end_at_once()?;
    let out = &args.out;
    fs::create_dir_all(out.join("passes")).map_err(Error::io(out))?;
    let others = fs::read_dir(out).map_err(Error::io(out))?.count();
    if others > 1 {
        return Err(Error::file(out, "is a folder with files in it; give a new one").into());
    }
    let lm = bundled();
    let mut files = model(&lm, out)?;
    let mut add = |name: &str, content: &str| {
        files.push(name.to_string());
        fs::write(out.join(name), content).map_err(Error::io(out.join(name)))
    };
    add("tokens.json", &lines(TEXTS.map(|text| json!({"text": text, "ids": lm.bpe.encode(text)}))))?;
    let mut prompts: Vec<(&str, Option<&str>, Vec<TokenId>)> =
        PASSES.map(|(name, text)| (name, Some(text), lm.bpe.encode(text))).into();
    prompts.push(("ids", None, vec![50_256, 0, 50_255, 198, 50_256]));
    add(
        "passes.json",
        &lines(prompts.iter().map(|(name, text, ids)| json!({"name": name, "text": text, "ids": ids}))),
    )?;
    for (name, _, ids) in &prompts {
        let path = format!("passes/{name}.safetensors");
        let mut file = TraceFile::create(&out.join(&path))?;
        next_token(&lm.model, ids, &Options::default(), &mut file)?;
        file.finish(&metadata(&lm, ids, &Options::default(), &[]))?;
        files.push(path);
    }
    let mut add = |name: String, content: String| {
        fs::write(out.join(&name), content).map_err(Error::io(out.join(&name)))?;
        files.push(name);
        Ok::<_, Error>(())
    };
    add(format!("passes/{SMALLEST}.json"), small(&lm, &prompts[0].2)?)?;
    add("continuations.json".into(), continuations(&lm)?)?;
    add("scores.json".into(), scores(&lm)?)?;
    add("README.md".into(), readme())?;
    generation(&lm, &out.join("generation.safetensors"))?;
    files.push("generation.safetensors".into());
    let about = json!({
        "kit": VERSION, "arithmetic": ARITHMETIC, "model": lm.name, "version": env!("CARGO_PKG_VERSION"),
    });
    fs::write(out.join("kit.json"), format!("{about}\n")).map_err(Error::io(out))?;
    files.push("kit.json".into());
    files.sort();
    let mut sums = String::new();
    for file in &files {
        let bytes = fs::read(out.join(file)).map_err(Error::io(out.join(file)))?;
        sums += &format!("{}  {file}\n", sha256(&bytes));
    }
    fs::write(out.join("SHA256SUMS"), &sums).map_err(Error::io(out))?; // last: with it, the kit is whole
    print(&format!(
        "{}: kit {VERSION}, {} files, {}\n",
        out.display(),
        files.len() + 1,
        sha256(sums.as_bytes())
    ))
}

/// Writes the model's folder. Returns the names of its files.
fn model(lm: &LanguageModel, out: &Path) -> Result<Vec<String>, Failure> {
    let folder = out.join("model");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    save::companions(lm, None, &folder)?;
    let file = folder.join("model.safetensors");
    save::Save::begin(&lm.model, &lm.name, &GenerationConfig::default(), &file)?.finish()?;
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    Ok(names.map(|name| format!("model/{name}")).into())
}

/// A JSON array, one entry per line.
fn lines(entries: impl IntoIterator<Item = Value>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|entry| entry.to_string()).collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}

/// Every stage of a pass as JSON.
fn small(lm: &LanguageModel, ids: &[TokenId]) -> Result<String, Error> {
    let mut recorder = Recorder::new();
    next_token(&lm.model, ids, &Options::default(), &mut recorder)?;
    let stage = |stage: &gpt2::trace::Recorded| {
        let values = if stage.stage.is_ids() { json!(stage.ids) } else { json!(stage.values) }; // -inf is null
        format!("{}: {}", json!(stage.name()), json!({"shape": stage.shape, "values": values}))
    };
    let stages: Vec<String> = recorder.stages.iter().map(stage).collect();
    Ok(format!("{{\n{}\n}}\n", stages.join(",\n")))
}

/// Greedy and drawn texts.
fn continuations(lm: &LanguageModel) -> Result<String, Error> {
    let mut all = Vec::new();
    for (prompt, options) in [
        ("Once upon a time", Options::default()),
        ("The king said", Options::default()),
        ("Once upon a time", Options::sampled(1)),
        ("The king said", Options::plain(2)),
        ("In the forest", Options::sampled(3).temperature(1.3).top_k(0).top_p(0.9)),
    ] {
        let ids = lm.bpe.encode(prompt);
        let options = options.max_new_tokens(24).ignore_eos(true);
        let mut text = Generation::new(&lm.model, &ids, options.clone())?;
        let mut tokens = Vec::new();
        loop {
            let mut explanation = Explanation::new(0);
            let Some(chosen) = text.next_watched(&mut explanation) else { break };
            let (chosen, draw) = (chosen?, explanation.chosen);
            let mut token = json!({"id": chosen.id, "logprob": chosen.logprob});
            if let Some(draw) = draw.filter(|draw| draw.uniform.is_some()) {
                token["uniform"] = json!(draw.uniform);
                token["stretch"] = json!(draw.stretch);
            }
            tokens.push(token);
        }
        let text = lm.bpe.decode_lossy(text.new_ids())?;
        let (sample, top_p) = (options.sample, options.top_p);
        let settings = json!({"sample": sample, "temperature": options.temperature, "top_k": options.top_k, "top_p": top_p});
        all.push(
            json!({"prompt": prompt, "prompt_ids": ids, "options": settings, "text": text, "tokens": tokens}),
        );
    }
    Ok(lines(all))
}

fn scores(lm: &LanguageModel) -> Result<String, Error> {
    let texts = [
        "There was once a little girl who lived with her mother.",
        "The sun is cold, and 犬 barks at 1,000 cats.",
    ];
    let score = |text: &str| {
        let ids = lm.bpe.encode(text);
        let logprobs = score(&lm.model, &ids, Windows::of(&lm.model), |_| ())?;
        let nll = mean_nll(&logprobs).unwrap_or(f64::NAN);
        Ok(json!({"text": text, "ids": ids, "logprobs": logprobs, "nll": nll, "perplexity": nll.exp()}))
    };
    Ok(lines(texts.into_iter().map(score).collect::<Result<Vec<_>, Error>>()?))
}

/// Every stage of every step of a greedy text, with a cache.
fn generation(lm: &LanguageModel, path: &Path) -> Result<(), Error> {
    let ids = lm.bpe.encode("Once upon a");
    let options = Options::default().max_new_tokens(5).ignore_eos(true);
    let mut file = TraceFile::create(path)?;
    let mut choices = Choices::new(&lm.bpe);
    let mut text = Generation::with_trace(&lm.model, &ids, options.clone(), &mut file)?.whole();
    while let Some(chosen) = text.next_watched(&mut choices) {
        chosen?;
    }
    drop(text);
    file.finish(&metadata(lm, &ids, &options, &[]))
}

fn readme() -> String {
    let row = |stage: Stage| {
        let about = stage.describe();
        format!("| `{}` | `{}` | `{}` |\n", about.name, about.shape, about.formula)
    };
    include_str!("kit/README.md")
        .replace("{version}", VERSION)
        .replace("{smallest}", SMALLEST)
        .replace("{stages}", &Stage::ALL.map(row).concat())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
