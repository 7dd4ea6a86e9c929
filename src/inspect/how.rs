//! How did this number come about?
//!
//! Every stage is a function of earlier stages and of the weights. [`how`] writes that function out for one number, with its
//! operands, in the order of the [arithmetic](crate::arithmetic); the result has the bits of the pass:
//!
//! ```text
//! transformer.h.0.attn.heads[2, 5] = sum over s of weights[0, 2, s] * v[s, 5]
//!     = weights[0, 2, 0] * v[0, 5]
//!     + weights[0, 2, 1] * v[1, 5]
//!     + weights[0, 2, 2] * v[2, 5]
//! ```
//!
//! ```
//! use gpt2::{generate::Options, inspect::{Pass, how}, trace::Place};
//!
//! let lm = gpt2::checkpoint::bundled();
//! let pass = Pass::of_prompt(&lm.model, &lm.bpe.encode("Once upon a"), Options::default())?;
//! let place = Place::parse("transformer.drop").unwrap();
//! let how = how(&pass, place, &[2, 5])?; // the row of " a", column 5
//! assert_eq!(how.formula, "transformer.wte[2, 5] + transformer.wpe[2, 5]");
//! let [token, position] = [0, 1].map(|i| how.terms[i].factors[0].value);
//! assert_eq!(how.number(), Some(token + position));
//! # Ok::<(), gpt2::error::Error>(())
//! ```

mod attention;
mod choice;
mod layers;
mod stages;
mod sums;

use super::code::Excerpt;
use super::json::finite_or_text;
use super::largest::largest;
use super::pass::Pass;
use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::trace::{Place, number};
use serde_json::{Value as Json, json};

/// One number of a stage, and what it was computed from.
#[derive(Clone, Debug)]
pub struct How {
    /// The stage.
    pub place: Place,
    /// The number's place in it.
    pub index: Vec<usize>,
    /// The number.
    pub value: Value,
    /// How it is computed.
    pub formula: String,
    /// What is added up, in the order of the sum: products, or for a softmax the exponentials in its denominator. Empty where
    /// nothing is multiplied or added, as for an id and for the activation functions relu and tanh.
    pub terms: Vec<Term>,
    /// Intermediate results, in the order in which they are computed.
    pub steps: Vec<Step>,
    /// The line that computes the stage.
    pub code: Excerpt,
}

/// A number of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Of most stages.
    Number(f32),
    /// Of `input_ids` and `next_id`.
    Id(TokenId),
}

/// A product.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What is multiplied.
    pub factors: Vec<Factor>,
    /// Their product, in f64.
    pub value: f64,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Where it stands: a stage or a tensor with an index.
    pub name: String,
    /// Its value.
    pub value: f32,
}

/// An intermediate result.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// How the number at `index` of a stage came about.
///
/// # Errors
/// [`Error::Input`] if the pass has no such stage, or the stage no such number.
pub fn how(pass: &Pass<'_>, place: Place, index: &[usize]) -> Result<How> {
    let config = &pass.model.config;
    let known = place.block.is_none_or(|i| i < config.n_layer) && (place.step, place.sequence) == (0, 0);
    if !known {
        return Err(Error::input(format!("this pass has no {place}")));
    }
    let shape = place.stage.shape(config, pass.read, pass.past.len() + pass.read);
    if index.len() != shape.len() || index.iter().zip(&shape).any(|(i, n)| i >= n) {
        let problem = format!("{place} is {shape:?} and has no number {index:?}; indices count from 0");
        return Err(Error::input(problem));
    }
    stages::of(pass, place, index)
}

impl How {
    /// The number, unless it is an id.
    pub fn number(&self) -> Option<f32> {
        match self.value {
            Value::Number(x) => Some(x),
            Value::Id(_) => None,
        }
    }

    /// The stage and the index: `transformer.h.2.attn.heads[5, 17]`.
    pub fn name(&self) -> String {
        at(self.place, &self.index)
    }

    /// The `n` largest terms, the largest first; the number of all others, and their sum.
    pub fn largest(&self, n: usize) -> (Vec<&Term>, usize, f64) {
        largest(&self.terms, |term| term.value, n)
    }

    /// The number, its `n` largest terms and its steps, as lines of text.
    pub fn lines(&self, n: usize) -> Vec<String> {
        let value = match self.value {
            Value::Number(x) => format!("{x:?} (bits {:08x})", x.to_bits()),
            Value::Id(id) => id.to_string(),
        };
        let mut lines = vec![format!("{} = {value}", self.name()), format!("  = {}", self.formula)];
        let (largest, count, sum) = self.largest(n);
        let product = |term: &Term| match &*term.factors {
            [] => [String::new(), String::new()],
            [one] => [number(one.value.into()), one.name.clone()],
            all => {
                let join =
                    |text: &dyn Fn(&Factor) -> String| all.iter().map(text).collect::<Vec<_>>().join(" * ");
                [
                    format!("{} = {}", join(&|f| number(f.value.into())), number(term.value)),
                    join(&|f| f.name.clone()),
                ]
            }
        };
        let products: Vec<[String; 2]> = largest.into_iter().map(product).collect();
        let width = products.iter().map(|[numbers, _]| numbers.len()).max().unwrap_or(0);
        lines.extend(products.iter().map(|[numbers, names]| format!("    {numbers:<width$}   {names}")));
        if count > 0 {
            lines.push(format!("    {:<width$}   the sum of the other {count}", number(sum)));
        }
        lines.extend(self.steps.iter().map(|Step { name, value }| format!("  {name}: {value:?}")));
        let Excerpt { file, line, .. } = self.code;
        lines.push(format!("  {file}:{line}   {}", self.code.text()));
        lines
    }

    /// The same as JSON. Numbers that are not finite are strings.
    pub fn json(&self, n: usize) -> Json {
        let factor = |f: &Factor| json!({"name": f.name, "value": finite_or_text(f.value)});
        let term = |term: &Term| {
            let factors: Json = term.factors.iter().map(factor).collect();
            json!({"factors": factors, "value": finite_or_text(term.value)})
        };
        let (largest, count, sum) = self.largest(n);
        let (value, bits) = match self.value {
            Value::Number(x) => (finite_or_text(x), json!(format!("{:08x}", x.to_bits()))),
            Value::Id(id) => (json!(id), Json::Null),
        };
        let step = |step: &Step| json!({"name": step.name, "value": finite_or_text(step.value)});
        json!({
            "stage": self.place.to_string(), "index": self.index, "value": value, "bits": bits,
            "formula": self.formula, "terms": largest.into_iter().map(term).collect::<Json>(),
            "rest": {"count": count, "sum": finite_or_text(sum)}, "steps": self.steps.iter().map(step).collect::<Json>(),
            "file": self.code.file, "line": self.code.line, "code": self.code.text(),
        })
    }
}

/// A stage or tensor with an index.
fn at(name: impl std::fmt::Display, index: &[usize]) -> String {
    format!("{name}{index:?}")
}

#[cfg(test)]
pub(super) mod tests;
