//! Which types of values do options have? Each is parsed from text or JSON and written as JSON.

use super::ContextPolicy;
use crate::bpe::TokenId;
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

impl<'a> Given<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Text(text) => Some(text),
            Json(json) => json.as_str(),
        }
    }
}

/// A type of option value.
pub(super) trait Kind: Sized {
    /// A description of its values.
    const WHAT: &'static str;

    /// `None` if `given` is not a value of this type.
    fn make(given: Given<'_>, encode: Encode<'_>) -> Option<Self>;

    fn write(&self) -> Value;

    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        *self = Self::make(given, encode)?;
        Some(())
    }
}

/// A number is rounded once, from its decimal digits. It is written with the fewest digits that identify it (0.8, not
/// 0.800000011920929), or as a string if JSON has no such number.
macro_rules! numbers {
    ($($type:ty: $what:literal),*) => {$(
        impl Kind for $type {
            const WHAT: &'static str = $what;
            fn make(given: Given<'_>, _: Encode<'_>) -> Option<Self> {
                match given {
                    Text(text) => text.parse().ok(),
                    Json(json) => {
                        json.as_number()?.to_string().parse().ok().filter(|x: &Self| x.write().is_number())
                    }
                }
            }
            fn write(&self) -> Value {
                self.to_string().parse().unwrap_or_else(|_| json!(self.to_string()))
            }
        }
    )*};
}
numbers!(usize: "a whole number", u64: "a whole number", f32: "a number", f64: "a number");

impl<K: Kind> Kind for Option<K> {
    const WHAT: &'static str = K::WHAT;
    fn make(given: Given<'_>, encode: Encode<'_>) -> Option<Self> {
        if let Text("off") = given { Some(None) } else { K::make(given, encode).map(Some) }
    }
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, K::write)
    }
}

impl Kind for bool {
    const WHAT: &'static str = "on or off";
    fn make(given: Given<'_>, _: Encode<'_>) -> Option<Self> {
        match given {
            Text("on") => Some(true),
            Text("off") => Some(false),
            Text(_) => None,
            Json(json) => json.as_bool(),
        }
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

impl Kind for ContextPolicy {
    const WHAT: &'static str = "slide, stop or error";
    fn make(given: Given<'_>, _: Encode<'_>) -> Option<Self> {
        Self::from_name(given.text()?)
    }
    fn write(&self) -> Value {
        json!(self.name())
    }
}

impl Kind for String {
    const WHAT: &'static str = "text";
    fn make(given: Given<'_>, _: Encode<'_>) -> Option<Self> {
        given.text().map(Self::from)
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

/// The tokens of a text.
impl Kind for Vec<TokenId> {
    const WHAT: &'static str = String::WHAT;
    fn make(given: Given<'_>, encode: Encode<'_>) -> Option<Self> {
        match given {
            Json(ids @ Value::Array(_)) => serde_json::from_value(ids.clone()).ok(),
            given => given.text().map(encode),
        }
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

/// A token and the bias added to its score: `"5=-inf"`, in JSON also `[5, "-inf"]`.
impl Kind for (TokenId, f32) {
    const WHAT: &'static str = "ID=VALUE, for example 50256=-5";
    fn make(given: Given<'_>, _: Encode<'_>) -> Option<Self> {
        let part = |json: &Value| json.as_str().map_or_else(|| json.to_string(), String::from);
        let (id, bias) = match given {
            Json(Value::Array(pair)) => {
                let [id, bias] = &pair[..] else { return None };
                (part(id), part(bias))
            }
            given => {
                given.text()?.split_once('=').map(|(id, bias)| (id.trim().into(), bias.trim().into()))?
            }
        };
        Some((id.parse().ok()?, bias.parse().ok()?))
    }
    fn write(&self) -> Value {
        json!([self.0, self.1.write()])
    }
}

/// Each text adds one value; JSON replaces them all, with a list or a single value.
impl<K: Kind> Kind for Vec<K> {
    const WHAT: &'static str = K::WHAT;
    fn make(given: Given<'_>, encode: Encode<'_>) -> Option<Self> {
        match given {
            Json(Value::Array(all)) => all.iter().map(|one| K::make(Json(one), encode)).collect(),
            given => Some(vec![K::make(given, encode)?]),
        }
    }
    fn write(&self) -> Value {
        self.iter().map(K::write).collect()
    }
    fn set(&mut self, given: Given<'_>, encode: Encode<'_>) -> Option<()> {
        let made = Self::make(given, encode)?;
        if let Json(_) = given {
            self.clear();
        }
        self.extend(made);
        Some(())
    }
}
