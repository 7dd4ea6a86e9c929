//! A vocabulary in the one file of HF's `tokenizers`, `tokenizer.json`.
//!
//! It describes any tokenizer. Only GPT-2's kind is taken; for any other the error names what is different. `truncation`
//! and `padding` are settings of a caller, not part of the tokenizer; they are ignored, as `transformers` does.

use super::builder::{Builder, quoted};
use super::files::{parse, read, two_tokens};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::format::Pairs;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The vocabulary of a `tokenizer.json`.
pub fn tokenizer_json(path: &Path) -> Result<Vocabulary> {
    let text = read(path)?;
    // in two passes: the tables of another kind of tokenizer have other types
    parse::<Settings>(path, &text)?.check().map_err(Error::in_file(path))?;
    let tables: Tables = parse(path, &text)?;
    tables.vocabulary().map_err(Error::in_file(path))
}

/// The tables of a `tokenizer.json`.
#[derive(Deserialize)]
struct Tables {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Pairs<u64>,
    merges: Vec<Value>,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

impl Tables {
    fn vocabulary(&self) -> Result<Vocabulary, String> {
        let mut builder = Builder::new(&self.model.vocab.0)?;
        let pairs = (0..).zip(&self.model.merges).map(|(number, merge)| {
            let problem = || {
                let merge = quoted(&merge.to_string());
                format!("merge {number}: {merge} is neither \"a b\" nor [\"a\", \"b\"]")
            };
            two(merge).map(|pair| (number, pair)).ok_or_else(problem)
        });
        builder.merges("merge", pairs)?;
        for Added { id, content, special, single_word, lstrip, rstrip } in &self.added_tokens {
            // options that make more than the spelling matter
            let options = [("single_word", single_word), ("lstrip", lstrip), ("rstrip", rstrip)];
            if let Some((option, _)) = options.iter().find(|(_, on)| **on) {
                let name = quoted(content);
                return Err(format!("the added token {name} has {option}, which is not supported"));
            }
            builder.added(content, *id, *special)?;
        }
        Ok(builder.finish())
    }
}

/// The two tokens of `"a b"`, as merges were written before 2024, or of `["a", "b"]`.
fn two(merge: &Value) -> Option<[&str; 2]> {
    match merge {
        Value::Array(both) => {
            let [left, right] = both.as_slice() else { return None };
            Some([left.as_str()?, right.as_str()?]).filter(|both| !both.contains(&""))
        }
        both => two_tokens(both.as_str()?),
    }
}

/// Everything else in a `tokenizer.json`, which must say: GPT-2.
#[derive(Deserialize)]
struct Settings {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: ModelSettings,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ModelSettings {
    r#type: Option<String>,
    dropout: Value,
    unk_token: Value,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    byte_fallback: Value,
    ignore_merges: Value,
}

impl Settings {
    fn check(&self) -> Result<(), String> {
        let Self { normalizer, pre_tokenizer, post_processor, decoder, model } = self;
        let model_type = model.r#type.as_deref().unwrap_or("BPE"); // old files leave it out
        let is_byte_level = |part: &Option<Value>| kind(part) == "ByteLevel";
        let splits = |option| pre_tokenizer.as_ref().and_then(|part| part.get(option)?.as_bool());
        let harmless = is_byte_level(post_processor) || post_processor.as_ref().is_none_or(adds_nothing);
        let conditions = [
            (model_type == "BPE", format!("model type {}", quoted(model_type))),
            (normalizer.is_none(), format!("normalizer {}", kind(normalizer))),
            (is_byte_level(pre_tokenizer), format!("pre_tokenizer {}", kind(pre_tokenizer))),
            (splits("add_prefix_space") == Some(false), "add_prefix_space".into()),
            (splits("use_regex").unwrap_or(true), "use_regex false".into()),
            (harmless, format!("post_processor {}", kind(post_processor))),
            (decoder.is_none() || is_byte_level(decoder), format!("decoder {}", kind(decoder))),
            (is_off(&model.dropout), "dropout".into()),
            (is_off(&model.unk_token), "unk_token".into()),
            (is_off(&model.continuing_subword_prefix), "continuing_subword_prefix".into()),
            (is_off(&model.end_of_word_suffix), "end_of_word_suffix".into()),
            (is_off(&model.byte_fallback), "byte_fallback".into()),
            (is_off(&model.ignore_merges), "ignore_merges".into()),
        ];
        let Some((_, what)) = conditions.into_iter().find(|(holds, _)| !holds) else { return Ok(()) };
        Err(format!("not GPT-2's byte-level BPE: it has {what}, which is not supported"))
    }
}

fn is_off(setting: &Value) -> bool {
    setting.is_null() || *setting == false || *setting == "" || setting.as_f64() == Some(0.0)
}

/// Whether a post-processor is a template of nothing but the text: what `transformers` 5 writes for GPT-2.
fn adds_nothing(part: &Value) -> bool {
    let only = &part["single"][0]["Sequence"]["id"];
    part["type"] == "TemplateProcessing" && *only == "A" && part["single"][1].is_null()
}

/// The type of a part of the pipeline.
fn kind(part: &Option<Value>) -> String {
    let kind = |part: &Value| part["type"].as_str().unwrap_or("of unknown type").chars().take(40).collect();
    part.as_ref().map_or("null".into(), kind)
}
