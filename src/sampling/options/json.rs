//! How do options look in traces and results?

use super::{Options, Scope, TABLE};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// As an object with greedy, temperature, top-k, top-p and seed, and every other option that is not at its default.
/// Options that affect only draws are null in greedy decoding. Numbers that JSON lacks, such as -inf, are strings.
impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let usual = Self::default();
        let mut object = serializer.serialize_map(None)?;
        for row in TABLE {
            let value = if self.sample || row.scope != Scope::Draw { row.write(self) } else { Value::Null };
            let always = ["greedy", "temperature", "top-k", "top-p", "seed"].contains(&row.name);
            if always || !value.is_null() && value != row.write(&usual) {
                object.serialize_entry(&row.key(), &value)?;
            }
        }
        if self.sample && self.stream != 0 {
            object.serialize_entry("stream", &self.stream)?;
        }
        for (key, own) in
            [("processors", format!("{:?}", self.processors)), ("sampler", format!("{:?}", self.sampler))]
        {
            if !["[]", "None"].contains(&&*own) {
                object.serialize_entry(key, &own)?;
            }
        }
        object.end()
    }
}
