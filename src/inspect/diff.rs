//! Where do two implementations diverge?
//!
//! Two traces of the same prompt and the same weights are compared in forward order. Each stage is computed from
//! earlier stages, so the mistake is in the *first* stage that differs; all later stages only inherit it.
//!
//! `largest = max(|a|, |b|)` over the stage; a stage is beyond the tolerance if `max |a - b| > tolerance * largest`
//!
//! Rounding alone gives differences of about 1e-6. Most mistakes are far larger; a small one shows as a
//! [jump](Diff::jump). The rules of the comparison:
//!
//! - Numbers of any type are compared by value (F16, BF16, F32 and F64 are widened). Ids must be exactly equal.
//! - Equal infinities are equal, and so are two NaNs. Any other pair with infinity or NaN differs infinitely.
//! - In `attn.scores`, any value of -1e4 or less counts as masked and equals -inf, because many programs mask with a
//!   large finite number.
//! - Leading axes of size 1 (a batch) are ignored, and so is the leading `transformer.` of a name.
//!
//! A stage that only one file has is listed but does not affect the result: a port may write only some stages.

pub(super) mod compare;
pub(super) mod numbers;
mod table;

pub use compare::Compared;

use crate::format::safetensors::{SafeTensors, Tensor};
use crate::trace::Place;
use std::collections::{BTreeMap, BTreeSet};

/// The default tolerance, which suits two implementations in f32.
pub const TOLERANCE: f64 = 1e-4;

/// A difference this many times larger than in all earlier stages does not come from rounding.
const JUMP: f64 = 10.0;

/// Two traces, compared stage by stage.
#[derive(Clone, Debug)]
pub struct Diff {
    /// Stages in forward order, then other tensors in the order of their names.
    pub stages: Vec<Difference>,
    /// The largest difference allowed, as a fraction of a stage's largest absolute value.
    pub tolerance: f64,
}

/// A stage of one or both traces.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The name of the stage; for other tensors, the name in the file.
    pub name: String,
    /// Which stage it is; `None` for other tensors.
    pub place: Option<Place>,
    /// The stage in the first file, if it has it.
    pub a: Option<Tensor>,
    /// The same for the second file.
    pub b: Option<Tensor>,
    /// The result of the comparison.
    pub outcome: Outcome,
}

/// The result of comparing a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Only one file has it.
    Alone,
    /// The shapes differ.
    Shapes,
    /// One file has a number type that cannot be compared, such as `BOOL`.
    Dtype(String),
    /// The values were compared.
    Values(Compared),
}

impl Difference {
    /// Whether the two traces differ here by more than the tolerance.
    pub fn is_beyond(&self) -> bool {
        match &self.outcome {
            Outcome::Alone => false,
            Outcome::Shapes | Outcome::Dtype(_) => true,
            Outcome::Values(compared) => compared.beyond > 0,
        }
    }
}

impl Diff {
    /// The first stage beyond the tolerance.
    pub fn first(&self) -> Option<&Difference> {
        self.stages.iter().find(|stage| stage.is_beyond())
    }

    /// The stage where the difference suddenly grows, with the largest difference before it and its own. Both are
    /// relative to the stage's largest absolute value.
    ///
    /// A small mistake can stay within the tolerance in its own stage and exceed it only after later stages have
    /// magnified it: the two GELUs differ by at most 5e-4, and the largest value is often above 5. Such a mistake shows
    /// as a jump.
    pub fn jump(&self) -> Option<(&Difference, f64, f64)> {
        let floor = self.tolerance / 100.0; // from exact equality, rounding is a jump too
        let mut before = floor;
        for stage in self.stages.iter().filter(|stage| stage.place.is_some() && floor > 0.0) {
            let own = match &stage.outcome {
                Outcome::Values(compared) => compared.max_rel,
                Outcome::Alone => continue,
                Outcome::Shapes | Outcome::Dtype(_) => return None,
            };
            if own >= JUMP * before {
                return Some((stage, before, own));
            }
            before = before.max(own);
        }
        None
    }
}

/// Compares two traces.
///
/// # Errors
/// A message that says why the files cannot be compared.
pub fn diff(a: &SafeTensors, b: &SafeTensors, tolerance: f64) -> Result<Diff, String> {
    let (a, b) = (by_key(a, "first")?, by_key(b, "second")?);
    let keys: BTreeSet<&Key> = a.keys().chain(b.keys()).collect();
    let stage = |key| {
        let (place, name) = match key {
            &Key::Stage(place) => (Some(place), place.to_string()),
            Key::Other(name) => (None, name.clone()),
        };
        let (a, b) = (a.get(key).copied(), b.get(key).copied());
        let outcome = match (a, b) {
            (Some(a), Some(b)) => compare::tensors(a, b, place, tolerance),
            _ => Outcome::Alone,
        };
        Difference { name, place, a: a.cloned(), b: b.cloned(), outcome }
    };
    let stages: Vec<Difference> = keys.into_iter().map(stage).collect();
    if stages.iter().all(|stage| stage.outcome == Outcome::Alone) {
        return Err(nothing_in_common(&stages));
    }
    Ok(Diff { stages, tolerance })
}

/// Names of both files, and how to make them equal.
fn nothing_in_common(stages: &[Difference]) -> String {
    let (first, second): (Vec<_>, Vec<_>) = stages.iter().partition(|stage| stage.a.is_some());
    let names = |of: &[&Difference]| match of {
        [] => "nothing".to_string(),
        [one] => format!("{:?}", one.name),
        [one, two, ..] => format!("{:?}, {:?} and so on", one.name, two.name),
    };
    // what the first of these names begins with, if the rest of it is one of the others
    let extra = |long: &[&Difference], short: &[&Difference]| {
        let short: BTreeSet<&str> = short.iter().map(|stage| &*stage.name).collect();
        let ends = |name: &str, at: usize| short.contains(&name[at + 1..]).then(|| name[..=at].to_string());
        long.iter().find_map(|stage| stage.name.match_indices('.').find_map(|(at, _)| ends(&stage.name, at)))
    };
    let advice = if let Some(extra) = extra(&second, &first) {
        format!("remove {extra:?} from the beginning of the second file's names")
    } else if let Some(extra) = extra(&first, &second) {
        format!("remove {extra:?} from the beginning of the first file's names")
    } else {
        "rename both to the names of gpt2 trace --list".into()
    };
    let (first, second) = (names(&first), names(&second));
    format!("no stage in common: the first file has {first}, the second {second}; {advice}")
}

/// What identifies a tensor in both files. Stages come first, in forward order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Stage(Place),
    Other(String),
}

/// The tensors of a file under their keys.
fn by_key<'a>(file: &'a SafeTensors, which: &str) -> Result<BTreeMap<Key, &'a Tensor>, String> {
    let mut found = BTreeMap::new();
    for (name, tensor) in &file.tensors {
        let key = Place::parse(name).map_or_else(|| Key::Other(name.clone()), Key::Stage);
        if found.insert(key, tensor).is_some() {
            return Err(format!("the {which} file has {name:?} twice, with and without \"transformer.\""));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
