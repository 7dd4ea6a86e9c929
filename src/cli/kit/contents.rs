//! What the files of the kit say.

use super::texts::SMALLEST;
use gpt2::bpe::TokenId;
use gpt2::checkpoint::LanguageModel;
use gpt2::error::Error;
use gpt2::generate::{Generation, Options};
use gpt2::inspect::{Choices, TraceFile, metadata, next_token};
use gpt2::sampling::Explanation;
use gpt2::score::{Windows, mean_nll, score};
use gpt2::trace::{Recorder, Stage};
use serde_json::{Value, json};
use std::path::Path;

/// A JSON array, one entry per line.
pub fn lines(entries: impl IntoIterator<Item = Value>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|entry| entry.to_string()).collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}

/// Writes every stage of a pass.
pub fn pass(lm: &LanguageModel, ids: &[TokenId], path: &Path) -> Result<(), Error> {
    let mut file = TraceFile::create(path)?;
    next_token(&lm.model, ids, &Options::default(), &mut file)?;
    file.finish(&metadata(lm, ids, &Options::default(), &[]))
}

/// Every stage of a pass as JSON.
pub fn small(lm: &LanguageModel, ids: &[TokenId]) -> Result<String, Error> {
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
pub fn continuations(lm: &LanguageModel) -> Result<String, Error> {
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

/// The log-probabilities of two texts.
pub fn scores(lm: &LanguageModel) -> Result<String, Error> {
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

/// Writes every stage of every step of a greedy text, with a cache.
pub fn generation(lm: &LanguageModel, path: &Path) -> Result<(), Error> {
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

/// What to compare, in which order and how closely.
pub fn readme(version: &str) -> String {
    let row = |stage: Stage| {
        let about = stage.describe();
        format!("| `{}` | `{}` | `{}` |\n", about.name, about.shape, about.formula)
    };
    include_str!("README.md")
        .replace("{version}", version)
        .replace("{smallest}", SMALLEST)
        .replace("{stages}", &Stage::ALL.map(row).concat())
}
