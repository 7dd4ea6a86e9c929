//! Which types of values do options have? Each is parsed from text or JSON and written as JSON.

use crate::bpe::TokenId;
use crate::names::names;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

/// text -> ids, for options whose value is tokens but is given as text.
pub type Encode<'a> = &'a dyn Fn(&str) -> Vec<TokenId>;

/// The value that a user gives for an option.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Text(&'a str),
    Json(&'a Value),
}
use Given::{Json, Text};

/// A type of option value. `None` if what is given is not a value of this type.
pub(super) trait Kind: Serialize + DeserializeOwned {
    /// A description of its values.
    const WHAT: &'static str;

    fn parse(text: &str, encode: Encode<'_>) -> Option<Self>;

    fn read(json: &Value, _: Encode<'_>) -> Option<Self> {
        serde_json::from_value(json.clone()).ok()
    }

    fn write(&self) -> Value {
        json!(self)
    }

    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        *self = match given {
            Text(text) => Self::parse(text, encode)?,
            Json(json) => Self::read(json, encode)?,
        };
        Some(())
    }
}

macro_rules! kinds {
    ($($type:ty: $what:expr, $parse:expr;)*) => {$(
        impl Kind for $type {
            const WHAT: &'static str = $what;
            fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text)
            }
        }
    )*};
}
kinds! {
    usize: "a whole number", |text| text.parse().ok();
    u64: "a whole number", |text| text.parse().ok();
    bool: "on or off", |text| ["off", "on"].iter().position(|word| *word == text).map(|place| place == 1);
    String: "text", |text| Some(text.into());
    ContextPolicy: "slide, stop or error", Self::from_name;
}

/// A number is rounded once, from its decimal digits. It is written with the fewest digits that identify it (0.8, not
/// 0.800000011920929), or as a string if JSON has no such number.
macro_rules! floats {
    ($($type:ty),*) => {$(
        impl Kind for $type {
            const WHAT: &'static str = "a number";
            fn parse(text: &str, _: Encode<'_>) -> Option<Self> {
                text.parse().ok()
            }
            fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
                Self::parse(&json.as_number()?.to_string(), encode).filter(|x| x.is_finite())
            }
            fn write(&self) -> Value {
                self.to_string().parse().unwrap_or_else(|_| json!(self.to_string()))
            }
        }
    )*};
}
floats!(f32, f64);

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
}

/// Each text adds one value; JSON replaces them all, with a list, a single value, or an object of pairs.
impl<K: Kind> Kind for Vec<K> {
    const WHAT: &'static str = K::WHAT;
    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        Some(vec![K::parse(text, encode)?])
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        match json {
            Value::Array(all) => all.iter().map(|one| K::read(one, encode)).collect(),
            Value::Object(pairs) => {
                pairs.iter().map(|(key, value)| K::read(&json!([key, value]), encode)).collect()
            }
            one => Some(vec![K::read(one, encode)?]),
        }
    }
    fn write(&self) -> Value {
        self.iter().map(K::write).collect()
    }
    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        match given {
            Text(text) => self.extend(Self::parse(text, encode)?),
            Json(json) => *self = Self::read(json, encode)?,
        }
        Some(())
    }
}

/// The tokens of a text; in JSON also their ids.
impl Kind for Vec<TokenId> {
    const WHAT: &'static str = String::WHAT;
    fn parse(text: &str, encode: Encode<'_>) -> Option<Self> {
        Some(encode(text))
    }
    fn read(json: &Value, encode: Encode<'_>) -> Option<Self> {
        json.as_str().map(encode).or_else(|| serde_json::from_value(json.clone()).ok())
    }
}

/// A token and the bias added to its score: `"5=-inf"`, in JSON also `[5, "-inf"]`.
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
}

/// The argument of a builder method: the field's value or, for an `Option`, also the value without `Some`.
pub trait Setting<T> {
    /// The value of the field.
    fn setting(self) -> T;
}

impl<T> Setting<T> for T {
    fn setting(self) -> T {
        self
    }
}

impl<T> Setting<Option<T>> for T {
    fn setting(self) -> Option<T> {
        Some(self)
    }
}

/// What happens when a text outgrows the model's positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextPolicy {
    /// The text goes on: the newest half is kept and read again from position 0.
    #[default]
    Slide,
    /// The text ends when prompt and new tokens fill all positions.
    Stop,
    /// Generation fails when one more token is needed and all positions are filled.
    Error,
}

impl Serialize for ContextPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ContextPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::custom("no context policy"))
    }
}

names!(ContextPolicy { Slide: "slide", Stop: "stop", Error: "error" });
