//! What kinds of values do options have? Each is made of a text or of JSON, becomes JSON, and can be checked.

use super::ContextPolicy;
use super::row::{Row, in_range};
use crate::bpe::TokenId;
use crate::error::{Error, Result};
use serde_json::{Value, json};

/// text -> ids, for options that are about tokens and given as text.
pub type Encode<'a> = &'a dyn Fn(&str) -> Vec<TokenId>;

/// What a user gives for an option.
pub(super) enum Given<'a> {
    Text(&'a str),
    Json(&'a Value),
}

/// A type of values.
pub(super) trait Kind: Sized {
    /// What they are, in words.
    const WHAT: &'static str;
    /// Whether a flag that is given several times has all of its values.
    const REPEATS: bool = false;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self>;

    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        Self::parse(json.as_str()?, encode)
    }

    fn write(&self) -> Value;

    /// Whether it is in the range of its row, and names no id from `vocab_size` on.
    fn check(&self, _: &Row, _vocab_size: usize) -> Result<()> {
        Ok(())
    }

    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        *self = match given {
            Given::Text(text) => Self::parse(text, encode)?,
            Given::Json(json) => Self::read(json, encode)?,
        };
        Some(())
    }
}

/// A number is rounded once: from its digits in a file as from those of a flag. It is written with the digits that name
/// it (0.8, not 0.800000011920929), as a text where JSON has no such number.
macro_rules! numbers {
    ($($type:ty: $what:literal),*) => {$(
        impl Kind for $type {
            const WHAT: &'static str = $what;
            fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
                text.parse().ok()
            }
            fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
                Self::parse(&json.as_number()?.to_string(), encode).filter(|x| x.write().is_number())
            }
            fn write(&self) -> Value {
                self.to_string().parse().unwrap_or_else(|_| json!(self.to_string()))
            }
            fn check(&self, row: &Row, _: usize) -> Result<()> {
                in_range(row.name, self.to_string().parse().ok(), row.range.within, row.range.says)
            }
        }
    )*};
}
numbers!(usize: "a whole number", u64: "u64, a whole number", f32: "a number", f64: "a number");

impl<K: Kind> Kind for Option<K> {
    const WHAT: &'static str = K::WHAT;
    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        if text == "off" { Some(None) } else { K::parse(text, encode).map(Some) }
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        K::read(json, encode).map(Some)
    }
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, K::write)
    }
    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        self.iter().try_for_each(|value| value.check(row, vocab_size))
    }
}

impl Kind for bool {
    const WHAT: &'static str = "on or off";
    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        ["off", "on"].iter().position(|word| *word == text).map(|place| place == 1)
    }
    fn read(json: &Value, _: Encode<'_>) -> Option<Self> {
        json.as_bool()
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

impl Kind for ContextPolicy {
    const WHAT: &'static str = "slide, stop or error";
    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        Self::from_name(text)
    }
    fn write(&self) -> Value {
        json!(self.name())
    }
}

/// Each flag adds one; JSON has a list of all, or one.
impl<K: Kind> Kind for Vec<K> {
    const WHAT: &'static str = K::WHAT;
    const REPEATS: bool = true;
    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        Some(vec![K::parse(text, encode)?])
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        let all = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
        all.iter().map(|one| K::read(one, encode)).collect()
    }
    fn write(&self) -> Value {
        self.iter().map(K::write).collect()
    }
    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        self.iter().try_for_each(|one| one.check(row, vocab_size))
    }
    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        match given {
            Given::Text(text) => self.push(K::parse(text, encode)?),
            Given::Json(json) => *self = Self::read(json, encode)?,
        }
        Some(())
    }
}

impl Kind for String {
    const WHAT: &'static str = "a text";
    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        Some(text.into())
    }
    fn write(&self) -> Value {
        json!(self)
    }
    fn check(&self, row: &Row, _: usize) -> Result<()> {
        let problem = "an empty text is found everywhere; give at least one character";
        if self.is_empty() { Err(Error::option(format!("{}: {problem}", row.name))) } else { Ok(()) }
    }
}

/// The tokens of a text.
impl Kind for Vec<TokenId> {
    const WHAT: &'static str = String::WHAT;
    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        Some(encode(text))
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        json.as_str().map(encode).or_else(|| serde_json::from_value(json.clone()).ok())
    }
    fn write(&self) -> Value {
        json!(self)
    }
    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        let problem = "an empty text cannot be avoided; give at least one token";
        if self.is_empty() {
            Err(Error::option(format!("{}: {problem}", row.name)))
        } else {
            known(self, row, vocab_size)
        }
    }
}

/// A token, and what is added to its score: `"5=-inf"` or `[5, "-inf"]`.
impl Kind for (TokenId, f32) {
    const WHAT: &'static str = "ID=VALUE, for example 50256=-5";
    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        let (id, bias) = text.split_once('=')?;
        Some((id.trim().parse().ok()?, bias.trim().parse().ok()?))
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        let text = |part: &Value| part.as_str().map_or_else(|| part.to_string(), String::from);
        let parts = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
        Self::parse(&parts.iter().map(text).collect::<Vec<_>>().join("="), encode)
    }
    fn write(&self) -> Value {
        json!([self.0, self.1.write()])
    }
    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        let &(id, bias) = self;
        known(&[id], row, vocab_size)?;
        let within = |bias| bias < f64::INFINITY; // -inf bans; NaN is no number
        in_range(&format!("{} of id {id}:", row.name), Some(bias.into()), within, "a number or -inf")
    }
}

fn known(ids: &[TokenId], row: &Row, vocab_size: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => Err(Error::option(format!(
            "{}: token id {id} is not below the model's vocab_size {vocab_size}",
            row.name
        ))),
    }
}
