//! A line of a batch: a prompt and its own options.

use gpt2::bpe::{Bpe, TokenId};
use gpt2::error::{Error, Result};
use gpt2::generate::Options;
use gpt2::sampling::options::Row;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// A parsed line. Option keys are the flags' names with `_` for `-`. Options that the line omits keep their values from
/// the command line; null switches an option off.
#[derive(Debug, Default)]
pub struct Request {
    prompt: Option<String>,
    prompt_ids: Option<Vec<TokenId>>,
    options: Vec<(&'static Row, Value)>,
}

impl Request {
    /// Parses a line: a JSON string, which is the prompt, or a JSON object.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let line = &without_lone_surrogates(line.trim_ascii_end()); // without the line break
        let request = match line.trim_ascii_start().first() {
            Some(b'"') => serde_json::from_slice(line).map(|prompt| Self { prompt, ..Self::default() }),
            Some(b'{') => serde_json::from_slice(line),
            _ => {
                return Err(Error::input(
                    r#"not a prompt: a line must be a JSON string, "...", or an object, {"prompt": "..."}"#,
                ));
            }
        };
        request.map_err(|error| {
            let (text, column) = (error.to_string(), error.column());
            let place = format!(" at line {} column {column}", error.line());
            Error::input(format!("at byte {column}: {}", text.strip_suffix(&place).unwrap_or(&text)))
        })
    }

    /// Whether the prompt is a text.
    pub fn is_text(&self) -> bool {
        self.prompt.is_some()
    }

    /// The ids of the prompt.
    pub fn prompt_ids(&self, bpe: &Bpe, allow_special: bool) -> Result<Vec<TokenId>> {
        match (&self.prompt, &self.prompt_ids) {
            (Some(prompt), None) if allow_special => Ok(bpe.encode_with_special(prompt)),
            (Some(prompt), None) => Ok(bpe.encode(prompt)),
            (None, Some(ids)) => Ok(ids.clone()),
            (Some(_), Some(_)) => Err(Error::input("prompt and prompt_ids: give only one of them")),
            (None, None) => {
                Err(Error::input("no prompt; give prompt (a text) or prompt_ids (a list of ids)"))
            }
        }
    }

    /// The line's own options, completed by those of the command line.
    pub fn options(&self, common: &Options, bpe: &Bpe) -> Result<Options> {
        let mut options = common.clone();
        for (row, value) in &self.options {
            row.read(&mut options, value, &|text| bpe.encode(text))?;
        }
        let unused = |(row, value): &&(&Row, Value)| row.only_when_drawn() && !value.is_null();
        match self.options.iter().find(unused).filter(|_| !options.sample) {
            Some((row, _)) => Err(Error::input(format!(
                "{} is for sampling, but the line is greedy; leave it out, or set \"greedy\": false",
                row.key()
            ))),
            None => Ok(options),
        }
    }
}

/// Replaces each `\uD800` to `\uDFFF` that is not part of a pair by `\uFFFD`. JavaScript writes such halves where it cuts
/// a text between them; they stand for no character. Other bytes stay in their places.
fn without_lone_surrogates(line: &[u8]) -> Cow<'_, [u8]> {
    let escape = |at: usize| match line.get(at..at + 6)? {
        [b'\\', b'u', hex @ ..] => u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok(),
        _ => None,
    };
    let (mut fixed, mut at) = (Cow::Borrowed(line), 0);
    while let Some(next) = line[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        match (escape(at), escape(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                fixed.to_mut()[at..at + 6].copy_from_slice(b"\\uFFFD");
                at += 6;
            }
            (Some(_), _) => at += 6,
            (None, _) => at = line.len().min(at + 2),
        }
    }
    fixed
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Request, A::Error> {
        let (mut request, mut keys) = (Request::default(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("duplicate field `{key}`")));
            }
            let of_key = |problem: A::Error| A::Error::custom(format!("{key}: {problem}"));
            match &*key {
                "prompt" => request.prompt = map.next_value().map_err(of_key)?,
                "prompt_ids" => request.prompt_ids = map.next_value().map_err(of_key)?,
                _ => match Options::table().iter().find(|row| row.key() == key) {
                    Some(row) => request.options.push((row, map.next_value()?)),
                    None => {
                        return Err(A::Error::custom(format!(
                            "unknown field `{key}`; the keys are prompt, prompt_ids and the flags' names with _ for -"
                        )));
                    }
                },
            }
            keys.push(key);
        }
        Ok(request)
    }
}
