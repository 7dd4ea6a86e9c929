//! The probabilities after all steps of the choice, and the choice.

use super::stages::{Run, ids};
use super::sums::{Sum, quotient, step};
use super::{How, Step};
use crate::error::{Error, Result};
use crate::sampling::{Choice, Watch};
use crate::trace::{NoTrace, Place, Stage};

impl Run<'_, '_> {
    /// A probability, after all steps of the choice.
    pub fn probs(&self, id: usize) -> Result<(String, Sum)> {
        let logits = self.row(Stage::LmHead, self.pass.read - 1);
        let mut watch =
            Scores { id, scores: logits.to_vec(), steps: vec![step(format!("logit of {id}"), logits[id])] };
        self.pass.choose(logits, &mut NoTrace, &mut watch);
        let mut sum = quotient(&watch.scores, id, |i| format!("x[{i}]"));
        sum.steps.splice(0..0, watch.steps);
        Ok((
            format!("exp(x[{id}] - max) / sum over i of exp(x[i] - max), x: the logits after all steps"),
            sum,
        ))
    }

    /// The next id.
    pub fn next_id(&self, place: Place, index: &[usize]) -> Result<How> {
        if let Some(id) = self.pass.forced {
            return Ok(ids(place, index, id, "forced".into(), Vec::new()));
        }
        let logits = self.row(Stage::LmHead, self.pass.read - 1);
        let mut watch = Draw::default();
        let chosen = self.pass.choose(logits, &mut NoTrace, &mut watch);
        let id = chosen.ok_or_else(|| Error::input("no next token can be chosen; probs has the reason"))?;
        let (p, i) = (&watch.probabilities, id as usize);
        let (formula, steps) = match watch.uniform {
            None => (
                "the id with the largest score; of equals, the lowest".into(),
                vec![step(format!("probs[{id}]"), p[i])],
            ),
            Some(_) if self.pass.options.sampler.is_some() => {
                ("chosen by the custom sampler".into(), Vec::new())
            }
            Some(u) => {
                let sum = |p: &[f32]| p.iter().filter(|p| **p > 0.0).map(|p| f64::from(*p)).sum::<f64>();
                let whole: f64 = sum(p);
                let steps = vec![
                    step("the number drawn, u", u),
                    step("the sum of probs", whole),
                    step("u * the sum", u * whole),
                    step(format!("the sum before id {id}"), sum(&p[..i])),
                    step(format!("the sum with id {id}"), sum(&p[..=i])),
                ];
                ("the first id at which the running sum of probs exceeds u * their sum".into(), steps)
            }
        };
        Ok(ids(place, index, id, formula, steps))
    }
}

/// Watches the score of one token, and keeps all scores after the last step.
struct Scores {
    id: usize,
    scores: Vec<f32>,
    steps: Vec<Step>,
}

impl Watch for Scores {
    fn saw(&mut self, name: &str, _: &[f32], after: &[f32]) {
        self.steps.push(step(format!("after {name}"), after[self.id]));
        self.scores = after.to_vec();
    }
}

/// Keeps the choice.
#[derive(Default)]
struct Draw {
    probabilities: Vec<f32>,
    uniform: Option<f64>,
}

impl Watch for Draw {
    fn saw(&mut self, _: &str, _: &[f32], _: &[f32]) {}

    fn chose(&mut self, choice: &Choice<'_>) {
        self.probabilities = choice.probabilities.to_vec();
        self.uniform = choice.uniform;
    }
}
