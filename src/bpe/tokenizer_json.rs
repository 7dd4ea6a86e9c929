//! A vocabulary in the one file of HF's `tokenizers`, `tokenizer.json`.
//!
//! It describes any tokenizer. Only GPT-2's kind is taken; for any other the error names what is different. `truncation`
//! and `padding` are settings of a caller, not part of the tokenizer; they are ignored, as `transformers` does.

use super::added::AddedToken;
use super::builder::{Builder, quoted};
use super::files::{parse, two_tokens};
use super::pieces::Frame;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::format::{Pairs, json::from_json};
use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;
use std::path::Path;

/// A `tokenizer.json` that was read and checked.
pub struct TokenizerJson {
    tables: Tables,
    /// What it puts around a text.
    pub frame: Frame,
    /// A token for what has none, which is then not left out.
    unknown: Option<String>,
}

/// The tables of a `tokenizer.json`.
struct Tables {
    model: Model,
    added_tokens: Vec<Added>,
}

struct Model {
    vocab: Pairs<u64>,
    merges: Vec<Value>,
}

from_json!(Tables { "model" model, "added_tokens" added_tokens or Vec::new() });
from_json!(Model { "vocab" vocab, "merges" merges });

/// An added token, and the id that the file gives it.
pub struct Added {
    pub id: u64,
    pub token: AddedToken,
}

impl<'de> Deserialize<'de> for Added {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let id = value["id"].as_u64().ok_or_else(|| de::Error::custom("an added token without an id"))?;
        Ok(Self { id, token: AddedToken::deserialize(value).map_err(de::Error::custom)? })
    }
}

impl TokenizerJson {
    /// Reads the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        // in two passes: the tables of another kind of tokenizer have other types
        let settings: Settings = parse(path, text)?;
        settings.check().map_err(Error::in_file(path))?;
        let frame = settings.frame().map_err(Error::in_file(path))?;
        let unknown = settings.model.unk_token.as_str().map(String::from);
        Ok(Self { tables: parse(path, text)?, frame, unknown })
    }

    /// The added tokens, in the order of the file.
    pub fn added(&self) -> &[Added] {
        &self.tables.added_tokens
    }

    /// The tokens and the merges, without the added tokens. `ignore_unknown`: as if the file named no unknown token.
    pub fn builder(&self, ignore_unknown: bool) -> Result<Builder<'_>, String> {
        let mut builder = Builder::new(&self.tables.model.vocab.0)?;
        if let Some(unknown) = self.unknown.as_ref().filter(|_| !ignore_unknown && !builder.has_all_bytes()) {
            let unknown = quoted(unknown);
            return Err(format!("bytes without a token become unk_token {unknown}, which is not supported"));
        }
        let pairs = (0..).zip(&self.tables.model.merges).map(|(number, merge)| {
            let problem = || {
                let merge = quoted(&merge.to_string());
                format!("merge {number}: {merge} is neither \"a b\" nor [\"a\", \"b\"]")
            };
            two(merge).map(|pair| (number, pair)).ok_or_else(problem)
        });
        builder.merges("merge", pairs)?;
        Ok(builder)
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
struct Settings {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: ModelSettings,
}

struct ModelSettings {
    kind: Option<String>,
    dropout: Value,
    unk_token: Value,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    byte_fallback: Value,
    ignore_merges: Value,
}

from_json!(Settings {
    "normalizer" normalizer or None,
    "pre_tokenizer" pre_tokenizer or None,
    "post_processor" post_processor or None,
    "decoder" decoder or None,
    "model" model,
});
from_json!(ModelSettings {
    "type" kind or None,
    "dropout" dropout or Value::Null,
    "unk_token" unk_token or Value::Null,
    "continuing_subword_prefix" continuing_subword_prefix or Value::Null,
    "end_of_word_suffix" end_of_word_suffix or Value::Null,
    "byte_fallback" byte_fallback or Value::Null,
    "ignore_merges" ignore_merges or Value::Null,
});

impl Settings {
    fn check(&self) -> Result<(), String> {
        let Self { normalizer, pre_tokenizer, decoder, model, .. } = self;
        let model_type = model.kind.as_deref().unwrap_or("BPE"); // old files leave it out
        let is_byte_level = |part| matches!(parts(part)[..], [part] if part["type"] == "ByteLevel");
        let splits = |option: &str| parts(pre_tokenizer).first().and_then(|part| part[option].as_bool());
        let conditions = [
            (model_type == "BPE", format!("model type {}", quoted(model_type))),
            (parts(normalizer).is_empty(), format!("normalizer {}", kind(normalizer))),
            (is_byte_level(pre_tokenizer), format!("pre_tokenizer {}", kind(pre_tokenizer))),
            (splits("add_prefix_space").is_some(), "no add_prefix_space".into()),
            (splits("use_regex").unwrap_or(true), "use_regex false".into()),
            (decoder.is_none() || is_byte_level(decoder), format!("decoder {}", kind(decoder))),
            (is_off(&model.dropout), "dropout".into()),
            (is_off(&model.unk_token) || model.unk_token.is_string(), "unk_token".into()),
            (is_off(&model.continuing_subword_prefix), "continuing_subword_prefix".into()),
            (is_off(&model.end_of_word_suffix), "end_of_word_suffix".into()),
            (is_off(&model.byte_fallback), "byte_fallback".into()),
            (is_off(&model.ignore_merges), "ignore_merges".into()),
        ];
        let Some((_, what)) = conditions.into_iter().find(|(holds, _)| !holds) else { return Ok(()) };
        Err(format!("not GPT-2's byte-level BPE: it has {what}, which is not supported"))
    }

    /// What the pre-tokenizer and the post-processors put around a text.
    fn frame(&self) -> Result<Frame, String> {
        let prefix_space = parts(&self.pre_tokenizer).iter().any(|part| part["add_prefix_space"] == true);
        let mut frame = Frame { prefix_space, ..Frame::default() };
        for part in parts(&self.post_processor) {
            match part["type"].as_str() {
                Some("ByteLevel") => (), // it changes places, not ids
                Some("TemplateProcessing") => template(part, &mut frame).ok_or(
                    "post_processor TemplateProcessing is not tokens around one text, which is not supported",
                )?,
                _ => return Err(format!("post_processor {} is not supported", kind(&self.post_processor))),
            }
        }
        Ok(frame)
    }
}

/// Puts the tokens of a template around those that are there: `single` is a list of special tokens and one sequence.
fn template(part: &Value, frame: &mut Frame) -> Option<()> {
    let special = |id: &Value| Vec::<TokenId>::deserialize(&part["special_tokens"][id.as_str()?]["ids"]).ok();
    let (mut before, mut after, mut texts) = (Vec::new(), Vec::new(), 0);
    for item in part["single"].as_array()? {
        match (&item["Sequence"]["id"], &item["SpecialToken"]["id"]) {
            (Value::String(id), Value::Null) if id == "A" => texts += 1,
            (Value::Null, id) => if texts == 0 { &mut before } else { &mut after }.extend(special(id)?),
            _ => return None,
        }
    }
    frame.before.splice(0..0, before);
    frame.after.extend(after);
    (texts == 1).then_some(())
}

fn is_off(setting: &Value) -> bool {
    setting.is_null() || *setting == false || *setting == "" || setting.as_f64() == Some(0.0)
}

/// The parts of a step of the pipeline: those of a `Sequence`, else the one that is there.
fn parts(step: &Option<Value>) -> Vec<&Value> {
    let Some(step) = step else { return Vec::new() };
    let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
    let list = lists.iter().find_map(|key| step[key].as_array()).filter(|_| step["type"] == "Sequence");
    list.map_or(vec![step], |list| list.iter().collect())
}

/// The type of a step of the pipeline.
fn kind(step: &Option<Value>) -> String {
    let kind = |step: &Value| step["type"].as_str().unwrap_or("of unknown type").chars().take(40).collect();
    step.as_ref().map_or("null".into(), kind)
}
