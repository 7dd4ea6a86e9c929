//! A line of a batch: a prompt and its own options.

use gpt2::bpe::{Bpe, TokenId};
use gpt2::error::{Error, Result};
use gpt2::generate::Options;
use gpt2::sampling::options::Row;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
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
        let line = line.trim_ascii_end(); // including the line break
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
            match &*key {
                "prompt" => request.prompt = map.next_value()?,
                "prompt_ids" => request.prompt_ids = map.next_value()?,
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
