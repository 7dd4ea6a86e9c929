//! Numbers as JSON.

use serde_json::{Value, json};

/// A number as JSON. JSON has no infinity and no NaN: they become the strings `inf`, `-inf` and `NaN`.
pub fn finite_or_text(x: impl Into<f64>) -> Value {
    let x = x.into();
    if x.is_finite() { json!(x) } else { json!(x.to_string()) }
}
