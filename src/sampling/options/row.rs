//! One option: its name, its values and its effect.

use super::kinds::Given;
use super::{Encode, Options};
use crate::error::{Error, Result};
use crate::sampling::{History, Watch};
use serde_json::Value;

/// A row of [`Options::table`].
#[derive(Debug)]
pub struct Row {
    /// Its name as a flag, in the stepper and in traces: `top-k`.
    pub name: &'static str,
    /// The placeholder for its value in help texts; empty for a switch.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What it affects.
    pub scope: Scope,
    pub(super) what: &'static str,
    pub(super) range: Range,
    pub(super) off: Option<fn(&mut Options)>,
    pub(super) set: fn(&mut Options, Given<'_>, Encode<'_>) -> Option<()>,
    pub(super) write: fn(&Options) -> Value,
    pub(in crate::sampling) apply: Option<Apply>,
}

/// Changes scores `[V]` if the option is on. Arguments: options, scores, history, how many tokens to keep, and the
/// watch that sees the change.
type Apply = fn(&Options, &mut [f32], &History<'_>, usize, &mut dyn Watch);

/// What an option affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each choice of a token, greedy or drawn.
    Choice,
    /// Only tokens that are drawn.
    Draw,
    /// The text as a whole.
    Text,
}

/// The numbers that an option accepts, and their description in messages.
#[derive(Debug)]
pub(super) struct Range {
    pub within: fn(f64) -> bool,
    pub says: &'static str,
}

pub(super) const ANY: Range = Range { within: |_| true, says: "" };
pub(super) const FROM_0: Range = Range { within: |x| x >= 0.0, says: "from 0" };
pub(super) const SEEDS: Range = Range { within: |_| true, says: "from 0 to 2^64 - 1" };
pub(super) const FINITE: Range = Range { within: f64::is_finite, says: "finite" };
pub(super) const ABOVE_0: Range = Range { within: |x| x > 0.0 && x.is_finite(), says: "above 0 and finite" };
pub(super) const HEAT: Range =
    Range { within: ABOVE_0.within, says: "above 0 and finite; for the likeliest token use greedy" };
pub(super) const ABOVE_0_TO_1: Range =
    Range { within: |x| x > 0.0 && x <= 1.0, says: "above 0 and at most 1" };
pub(super) const FROM_0_TO_1: Range = Range { within: |x| (0.0..=1.0).contains(&x), says: "from 0 to 1" };
pub(super) const BELOW_1: Range = Range { within: |x| (0.0..1.0).contains(&x), says: "from 0 to below 1" };

/// By name, which is unique in the table.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Row {
    /// Its key in JSON: `top_k`.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// A description of the values it accepts.
    pub fn values(&self) -> String {
        [self.what, self.range.says].join(", ").trim_end_matches(", ").into()
    }

    /// A description of its default on the command line; `None` if it is off by default.
    pub fn default(&self) -> Option<String> {
        match self.write(&Options::sampled(0)) {
            _ if self.name == "seed" => Some("drawn at random".into()),
            Value::Number(number) => Some(number.to_string()),
            Value::String(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it changes only the scores for a draw, so that greedy decoding ignores it.
    pub fn only_when_drawn(&self) -> bool {
        self.scope == Scope::Draw && self.apply.is_some()
    }

    /// Sets it to the value given as text; adds the value if the option repeats. `encode`: text -> ids.
    ///
    /// # Errors
    /// [`Error::Option`] that describes the accepted values.
    pub fn parse(&self, options: &mut Options, text: &str, encode: Encode<'_>) -> Result<()> {
        let problem = || Error::Option(format!("{} must be {}", self.name, self.values()));
        (self.set)(options, Given::Text(text), encode).ok_or_else(problem)
    }

    /// Sets it to a JSON value; null switches it off, if it can be off.
    ///
    /// # Errors
    /// [`Error::Input`] that names the key.
    pub fn read(&self, options: &mut Options, json: &Value, encode: Encode<'_>) -> Result<()> {
        if json.is_null() {
            self.switch_off(options);
            return Ok(());
        }
        let problem = || {
            let (key, values) = (self.key(), self.values());
            Error::input(format!("{key} {json}: wrong type or out of range; expected {values}"))
        };
        (self.set)(options, Given::Json(json), encode).ok_or_else(problem)
    }

    /// Whether it can be given more than once.
    pub fn repeats(&self) -> bool {
        self.write(&Options::default()).is_array()
    }

    /// Switches it off. Returns `false` if it cannot be off.
    pub fn switch_off(&self, options: &mut Options) -> bool {
        self.off.map(|off| off(options)).is_some()
    }

    /// Its value as JSON; null if it has none.
    pub fn write(&self, options: &Options) -> Value {
        (self.write)(options)
    }
}
