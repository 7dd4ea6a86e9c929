//! How are vocabularies written in files? As `vocab.json` and `merges.txt`, or both in one `tokenizer.json`.
//!
//! - `vocab.json` is an object from spelling to id.
//! - `merges.txt` has two spellings a line, the first line the lowest rank. A first line `#version: 0.2` is
//!   no merge.
//! - `tokenizer.json` describes any tokenizer of HF's `tokenizers`. Only GPT-2's kind is taken; for any other
//!   the error names what is different. Its `truncation` and `padding` are settings of a caller, not part of
//!   the tokenizer; they are ignored, as `transformers` does.
//!
//! Files are not trusted: whatever they hold, the result is a vocabulary that works or an error of one line.

use std::{fmt, fs::File, io::Read, path::Path};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{
    builder::{Builder, quoted},
    vocabulary::Vocabulary,
};
use crate::error::{Error, Result};

/// A vocabulary file is at most this long; GPT-2's has 1 MB, the largest known about 30.
const MOST_BYTES: u64 = 256 << 20;

/// The texts of `vocab.json` and `merges.txt`, not yet parsed.
pub(super) struct Files<'p> {
    vocab: (&'p Path, String),
    merges: (&'p Path, String),
}

impl<'p> Files<'p> {
    /// Reads them.
    pub(super) fn read(vocab: &'p Path, merges: &'p Path) -> Result<Self> {
        Ok(Self { vocab: (vocab, read(vocab)?), merges: (merges, read(merges)?) })
    }

    /// Whether they say, to the letter, what others say.
    pub(super) fn equal(&self, vocab: &str, merges: &str) -> bool {
        self.merges.1 == merges && self.vocab.1 == vocab
    }
}

/// `vocab.json` and `merges.txt`.
pub(super) fn vocab_and_merges(files: &Files) -> Result<Vocabulary> {
    let Files { vocab: (vocab, text), merges: (merges, lines) } = files;
    let entries: Entries = parse(vocab, text)?;
    let mut builder = Builder::new(entries.iter()).map_err(|problem| Error::file(vocab, problem))?;
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        if line.is_empty() || (number == 1 && line.starts_with("#version")) {
            continue;
        }
        let (left, right) = two_tokens(line).ok_or_else(|| {
            let line = quoted(line);
            Error::file(
                merges,
                format!("line {number}: {line} is not a merge: two tokens with one space between"),
            )
        })?;
        pairs.push((number, left, right));
    }
    builder.merges("line", &pairs).map_err(|problem| Error::file(merges, problem))?;
    Ok(builder.finish())
}

/// `tokenizer.json`.
pub(super) fn tokenizer_json(path: &Path) -> Result<Vocabulary> {
    let problem = |problem| Error::file(path, problem);
    let text = read(path)?;
    let settings: Settings = parse(path, &text)?;
    settings.check().map_err(problem)?;
    let Tables { model, added_tokens } = parse(path, &text)?;
    let mut builder = Builder::new(model.vocab.iter()).map_err(problem)?;
    let mut pairs = Vec::with_capacity(model.merges.len());
    for (number, merge) in (0..).zip(&model.merges) {
        let pair = match merge {
            Value::String(both) => two_tokens(both),
            Value::Array(both) => match both.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        let (left, right) =
            pair.filter(|(left, right)| !left.is_empty() && !right.is_empty()).ok_or_else(|| {
                let merge = quoted(&merge.to_string());
                problem(format!("merge {number}: {merge} is neither \"a b\" nor [\"a\", \"b\"]"))
            })?;
        pairs.push((number, left, right));
    }
    builder.merges("merge", &pairs).map_err(problem)?;
    for token in &added_tokens {
        token
            .check()
            .and_then(|()| builder.added(&token.content, token.id, token.special))
            .map_err(problem)?;
    }
    Ok(builder.finish())
}

/// The two tokens of `a b`.
fn two_tokens(merge: &str) -> Option<(&str, &str)> {
    let (left, right) = merge.split_once(' ')?;
    (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then_some((left, right))
}

/// A whole file of text.
fn read(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut len = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    if len <= MOST_BYTES {
        // What is no plain file tells no length: read no more than allowed.
        len = file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))? as u64;
    }
    if len > MOST_BYTES {
        return Err(Error::file(path, format!("longer than {} MiB: not a vocabulary", MOST_BYTES >> 20)));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::file(path, format!("the byte at {place} is not UTF-8: fetch the file again"))
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0); // a byte-order mark, which some editors add
    }
    Ok(text)
}

/// The JSON of a file.
fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column, message) = (error.line(), error.column(), error.to_string());
        let what = message.trim_end_matches(&format!(" at line {line} column {column}"));
        let what: String = what.chars().take(120).collect(); // it may quote the file at length
        Error::file(
            path,
            format!("line {line}, column {column}: not the expected JSON: {what}: fetch the file again"),
        )
    })
}

/// `{"a": 0, "b": 1}` in the file's order, equal spellings and all: a map would hide them.
struct Entries(Vec<(String, u64)>);

impl Entries {
    fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(text, id)| (text.as_str(), *id))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token to id")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
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
    vocab: Entries,
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

impl Added {
    /// Options that would make more than the spelling matter.
    fn check(&self) -> std::result::Result<(), String> {
        let options = [("single_word", self.single_word), ("lstrip", self.lstrip), ("rstrip", self.rstrip)];
        match options.iter().find(|(_, on)| *on) {
            Some((option, _)) => {
                Err(format!("the added token {} has {option}, which is not supported", quoted(&self.content)))
            }
            None => Ok(()),
        }
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

#[derive(Deserialize)]
struct ModelSettings {
    r#type: Option<String>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

impl Settings {
    fn check(&self) -> std::result::Result<(), String> {
        let is_byte_level = |part: &Option<Value>| kind(part) == "ByteLevel";
        let option = |name, default| match &self.pre_tokenizer {
            Some(part) => part.get(name).map_or(Some(default), Value::as_bool),
            None => None,
        };
        let set = |part: &Option<String>| part.as_ref().is_some_and(|text| !text.is_empty());
        let model = &self.model;
        let model_type = model.r#type.as_deref().unwrap_or("BPE"); // old files leave it out
        let post_processor_is_harmless =
            self.post_processor.as_ref().is_none_or(adds_nothing) || is_byte_level(&self.post_processor);
        let decoder_is_harmless = self.decoder.is_none() || is_byte_level(&self.decoder);
        let conditions = [
            (model_type == "BPE", format!("model type {}", quoted(model_type))),
            (self.normalizer.is_none(), format!("normalizer {}", kind(&self.normalizer))),
            (is_byte_level(&self.pre_tokenizer), format!("pre_tokenizer {}", kind(&self.pre_tokenizer))),
            (option("add_prefix_space", true) == Some(false), "add_prefix_space".into()),
            (option("use_regex", true) == Some(true), "use_regex false".into()),
            (post_processor_is_harmless, format!("post_processor {}", kind(&self.post_processor))),
            (decoder_is_harmless, format!("decoder {}", kind(&self.decoder))),
            (model.dropout.is_none_or(|dropout| dropout == 0.0), "dropout".into()),
            (!set(&model.unk_token), "unk_token".into()),
            (!set(&model.continuing_subword_prefix), "continuing_subword_prefix".into()),
            (!set(&model.end_of_word_suffix), "end_of_word_suffix".into()),
            (!model.byte_fallback, "byte_fallback".into()),
            (!model.ignore_merges, "ignore_merges".into()),
        ];
        match conditions.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => {
                Err(format!("not GPT-2's byte-level BPE: it has {what}, which is not supported"))
            }
            None => Ok(()),
        }
    }
}

/// Whether a post-processor is a template of nothing but the text: what `transformers` 5 writes for GPT-2.
fn adds_nothing(part: &Value) -> bool {
    let only = part.pointer("/single/0/Sequence/id").and_then(Value::as_str);
    part["type"] == "TemplateProcessing" && only == Some("A") && part.pointer("/single/1").is_none()
}

/// The type of a part of the pipeline.
fn kind(part: &Option<Value>) -> String {
    let name =
        part.as_ref().map(|part| part.get("type").and_then(Value::as_str).unwrap_or("of unknown type"));
    name.map_or("null".into(), |name| name.chars().take(40).collect())
}
