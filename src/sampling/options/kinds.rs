//! What kinds of values do options have? Each is made of a text or of JSON, becomes JSON, and can be checked.

use super::ContextPolicy;
use super::row::{Row, in_range};
use crate::bpe::TokenId;
use crate::error::{Error, Result};
use serde_json::{Value, json};

/// text -> ids, for options that are about tokens and given as text.
pub type Encode<'a> = &'a dyn Fn(&str) -> Vec<TokenId>;

/// A type of values.
pub(super) trait Kind: Sized {
    /// What they are, in words.
    const WHAT: &'static str;
    /// Whether a flag that is given several times has all of its values.
    const REPEATS: bool = false;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self>;

    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        json.as_str().and_then(|text| Self::parse(text, encode)).ok_or_else(expected::<Self>)
    }

    fn write(&self) -> Value;

    /// Whether it is in the range of its row, and knows no ids from `vocab_size` on.
    fn check(&self, _: &Row, _vocab_size: usize) -> Result<()> {
        Ok(())
    }

    /// Takes the value of one more flag.
    fn add(&mut self, text: &str, encode: Encode<'_>) -> Option<()> {
        *self = Self::parse(text, encode)?;
        Some(())
    }
}

fn expected<K: Kind>() -> String {
    format!("expected {}", K::WHAT)
}

macro_rules! number {
    ($type:ty, $what:literal, $from_json:ident) => {
        impl Kind for $type {
            const WHAT: &'static str = $what;
            fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
                text.parse().ok()
            }
            fn read(json: &Value, _: Encode<'_>) -> std::result::Result<Self, String> {
                json.$from_json()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| format!("expected {}, {}", stringify!($type), $what))
            }
            fn write(&self) -> Value {
                json!(self)
            }
            fn check(&self, row: &Row, _: usize) -> Result<()> {
                in_range(row.name, Some(*self as f64), row.range.within, row.range.says)
            }
        }
    };
}
number!(usize, "a whole number", as_u64);
number!(u64, "a whole number", as_u64);
number!(f64, "a number", as_f64);

impl Kind for f32 {
    const WHAT: &'static str = f64::WHAT;

    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        text.parse().ok()
    }

    /// The digits as in the file, rounded once.
    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        let number = json.as_number().and_then(|number| Self::parse(&number.to_string(), encode));
        match number.ok_or_else(expected::<Self>)? {
            x if x.is_finite() => Ok(x),
            _ => Err("number out of range".into()),
        }
    }

    /// The digits that name it: 0.8, not 0.800000011920929.
    fn write(&self) -> Value {
        serde_json::from_str(&self.to_string()).unwrap_or_else(|_| json!(self.to_string()))
    }

    fn check(&self, row: &Row, _: usize) -> Result<()> {
        in_range(row.name, self.to_string().parse().ok(), row.range.within, row.range.says)
    }
}

impl<K: Kind> Kind for Option<K> {
    const WHAT: &'static str = K::WHAT;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        if text == "off" { Some(None) } else { K::parse(text, encode).map(Some) }
    }

    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        K::read(json, encode).map(Some)
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, K::write)
    }

    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        self.as_ref().map_or(Ok(()), |value| value.check(row, vocab_size))
    }
}

impl Kind for bool {
    const WHAT: &'static str = "on or off";

    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        ["off", "on"].iter().position(|word| *word == text).map(|place| place == 1)
    }

    fn read(json: &Value, _: Encode<'_>) -> std::result::Result<Self, String> {
        json.as_bool().ok_or_else(|| "expected true or false".into())
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

/// Each flag adds one; JSON has a list of them, or one.
impl<K: Kind> Kind for Vec<K> {
    const WHAT: &'static str = K::WHAT;
    const REPEATS: bool = true;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        K::parse(text, encode).map(|one| vec![one])
    }

    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        let all = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
        all.iter().map(|one| K::read(one, encode)).collect()
    }

    fn write(&self) -> Value {
        self.iter().map(K::write).collect()
    }

    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        self.iter().try_for_each(|one| one.check(row, vocab_size))
    }

    fn add(&mut self, text: &str, encode: Encode<'_>) -> Option<()> {
        self.push(K::parse(text, encode)?);
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
        not_empty(self.is_empty(), row, "is found everywhere; give at least one character")
    }
}

/// The tokens of a text.
impl Kind for Vec<TokenId> {
    const WHAT: &'static str = String::WHAT;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        Some(encode(text))
    }

    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        let text = json.as_str().map(encode);
        text.or_else(|| serde_json::from_value(json.clone()).ok()).ok_or_else(expected::<Self>)
    }

    fn write(&self) -> Value {
        json!(self)
    }

    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        not_empty(self.is_empty(), row, "cannot be avoided; give at least one token")?;
        self.iter().try_for_each(|id| known(*id, row, vocab_size))
    }
}

/// A token and what is added to its score.
impl Kind for (TokenId, f32) {
    const WHAT: &'static str = "ID=VALUE, for example 50256=-5";

    fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
        let (id, bias) = text.split_once('=')?;
        Some((id.trim().parse().ok()?, bias.trim().parse().ok()?))
    }

    /// `"5=-inf"` or `[5, "-inf"]`.
    fn read(json: &Value, encode: Encode<'_>) -> std::result::Result<Self, String> {
        let pair = |pair: &Value| {
            let text = |part: &Value| part.as_str().map_or_else(|| part.to_string(), String::from);
            Some(format!("{}={}", text(pair.get(0)?), text(pair.get(1)?)))
        };
        let text = json.as_str().map(String::from).or_else(|| pair(json));
        text.and_then(|text| Self::parse(&text, encode)).ok_or_else(expected::<Self>)
    }

    fn write(&self) -> Value {
        json!([self.0, self.1.write()])
    }

    fn check(&self, row: &Row, vocab_size: usize) -> Result<()> {
        let &(id, bias) = self;
        known(id, row, vocab_size)?;
        let within = |bias| bias < f64::INFINITY; // -inf bans; NaN is no number
        in_range(&format!("{} of id {id}:", row.name), Some(bias.into()), within, "a number or -inf")
    }
}

fn not_empty(empty: bool, row: &Row, problem: &str) -> Result<()> {
    if empty { Err(Error::option(format!("{}: an empty text {problem}", row.name))) } else { Ok(()) }
}

fn known(id: TokenId, row: &Row, vocab_size: usize) -> Result<()> {
    match (id as usize) < vocab_size {
        true => Ok(()),
        false => Err(Error::option(format!(
            "{}: token id {id} is not below the model's vocab_size {vocab_size}",
            row.name
        ))),
    }
}
