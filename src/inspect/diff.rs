//! Where do two implementations part?
//!
//! Two traces of the same prompt and the same weights are walked in forward order. A stage is computed from stages
//! before it; so in the *first* one that differs lies the mistake, and all that follows only inherits it.
//!
//! `largest = max(|a|, |b|)` over the stage; a stage is beyond the tolerance where `max |a - b| > tolerance * largest`
//!
//! Rounding alone gives differences of some 1e-6. Most mistakes are far larger; a small one shows as a
//! [jump](Diff::jump). What counts as equal:
//!
//! - numbers of any type are compared by value (F16, BF16, F32 and F64 are widened); ids must be equal exactly;
//! - infinity equals the same infinity, NaN in both files equals NaN; one of them alone is infinitely far away;
//! - in `attn.scores` any value of -1e4 or less is a masked one and equals -inf, for many programs mask with a large
//!   finite number;
//! - leading axes of size 1 (a batch) are ignored, and so is the leading `transformer.` of the names.
//!
//! A stage that only one file has is listed and decides nothing: a port may write what it has.

mod compare;
mod numbers;
mod table;

pub use compare::Compared;

use crate::format::safetensors::{SafeTensors, Tensor};
use crate::trace::Place;
use std::collections::BTreeMap;

/// What is usual between two implementations in f32.
pub const TOLERANCE: f64 = 1e-4;

/// A difference that is this many times those of all earlier stages does not come from rounding.
const JUMP: f64 = 10.0;

/// Two traces, compared stage by stage.
#[derive(Clone, Debug)]
pub struct Diff {
    /// In forward order, then what is no stage in the order of the names.
    pub stages: Vec<Difference>,
    /// Beyond which share of a stage's largest value it differs.
    pub tolerance: f64,
}

/// A stage of one or both traces.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The name of the stage; what is no stage has the name in its file.
    pub name: String,
    /// Which stage it is.
    pub place: Option<Place>,
    /// Number type and shape in the first file, if it is there.
    pub a: Option<Side>,
    /// The same of the second.
    pub b: Option<Side>,
    /// What came out.
    pub outcome: Outcome,
}

/// How one file holds a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// As written: `F32`, `I64`, ...
    pub dtype: String,
    /// Its dimensions as written.
    pub shape: Vec<usize>,
}

/// What comparing a stage showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Only one file has it.
    Alone,
    /// The shapes differ.
    Shapes,
    /// A number type that cannot be compared, like `BOOL`.
    Dtype(String),
    /// The values were compared.
    Values(Compared),
}

impl Difference {
    /// Whether the two traces part here.
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

    /// The stage in which the difference suddenly grows, with the largest difference before it and its own.
    ///
    /// A small mistake can stay within the tolerance where it is made and leave it only when later stages have
    /// magnified it: the two GELUs are 5e-4 apart at most, and the largest value is often above 5. It shows as a jump.
    pub fn jump(&self) -> Option<(&Difference, f64, f64)> {
        let floor = self.tolerance / 100.0; // rounding goes from nothing to something as well
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
/// A sentence that says why there is nothing to compare.
pub fn diff(a: &SafeTensors, b: &SafeTensors, tolerance: f64) -> Result<Diff, String> {
    let (a, b) = (by_place(a, "first")?, by_place(b, "second")?);
    let mut keys: Vec<&Key> = a.keys().chain(b.keys().filter(|key| !a.contains_key(key))).collect();
    keys.sort();
    let side = |t: &Tensor| Side { dtype: t.dtype.clone(), shape: t.shape.clone() };
    let stages: Vec<Difference> = (keys.into_iter())
        .map(|key| {
            let (a, b) = (a.get(key).copied(), b.get(key).copied());
            let outcome = match (a, b) {
                (Some(a), Some(b)) => compare::tensors(a, b, key.place, tolerance),
                _ => Outcome::Alone,
            };
            let name = key.place.map_or_else(|| key.name.clone(), |place| place.to_string());
            Difference { name, place: key.place, a: a.map(side), b: b.map(side), outcome }
        })
        .collect();
    if stages.iter().all(|stage| stage.outcome == Outcome::Alone) {
        return Err("the two files have no stage in common; are both traces?".into());
    }
    Ok(Diff { stages, tolerance })
}

/// What the two files share of a tensor: its place, or its name if it is no stage.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    place: Option<Place>,
    name: String,
}

impl Ord for Key {
    /// Stages in forward order, then the rest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = |key: &Self| (key.place.is_none(), key.place, key.name.clone());
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The tensors of a file under their keys.
fn by_place<'a>(file: &'a SafeTensors, which: &str) -> Result<BTreeMap<Key, &'a Tensor>, String> {
    let mut found = BTreeMap::new();
    for (name, tensor) in &file.tensors {
        let place = Place::parse(name);
        let key = Key { place, name: if place.is_some() { String::new() } else { name.clone() } };
        if found.insert(key, tensor).is_some() {
            return Err(format!("the {which} file has {name:?} twice, with and without \"transformer.\""));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
