//! Why was this token chosen and no other?
//!
//! ```text
//! the model says     " time" 62.0%, " day" 11.3%, ...
//! temperature        removes none, 50257 left: " time" 78.4%, " day" 9.3%, ...
//! top-k              removes 50217 (1.10%), 40 left: " time" 79.3%, ...
//! the number drawn   0.8123 lies in [0.8031, 0.8967) of " day": rank 2 of 40, 9.4% (the model's own: rank 2, 11.3%)
//! ```
//!
//! The probabilities of all tokens lie side by side, in order of id, on the line from 0 to 1. The number drawn falls on
//! the stretch of one token, and that token comes next. Each step that changes the length or position of a stretch
//! contributes to the choice; an [`Explanation`] records the effect of each step.

use super::candidates::{Candidate, list, percent, top};
use super::watch::{Choice, Effect, Watch};
use super::{above, probabilities};
use crate::bpe::TokenId;
use crate::format::json::to_json;
use serde_json::{Value, json};

/// A [`Watch`] that records how one token was chosen. It keeps `n` candidates of each distribution, not whole rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    n: usize,
    /// The most likely tokens under the model's own distribution.
    pub model: Vec<Candidate>,
    /// What each step did, in order.
    pub steps: Vec<Taken>,
    /// How the token was chosen; `None` if no token could be chosen.
    pub chosen: Option<Draw>,
}

/// A step and its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// What it did.
    pub effect: Effect,
    /// The most likely tokens after it.
    pub after: Vec<Candidate>,
}

/// The chosen token among all those that could have been chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// Its id.
    pub id: TokenId,
    /// The number drawn from [0, 1); `None` in greedy decoding.
    pub uniform: Option<f64>,
    /// Its stretch of the line from 0 to 1: a number from `stretch[0]` to below `stretch[1]` selects this token.
    pub stretch: [f64; 2],
    /// Its probability after all steps.
    pub probability: f32,
    /// Its rank after all steps: 1 is the most likely token. Among equals, the lowest id comes first.
    pub rank: usize,
    /// How many tokens could have been chosen.
    pub candidates: usize,
    /// Its probability under the model's own distribution.
    pub model_probability: f32,
    /// Its rank under the model's own distribution.
    pub model_rank: usize,
    /// The most likely other tokens after all steps.
    pub alternatives: Vec<Candidate>,
}

to_json!(Taken {
    step: effect.step,
    removed: effect.removed,
    removed_mass: effect.removed_mass,
    left: effect.left,
    likeliest: effect.likeliest,
    after,
});
to_json!(Draw {
    id,
    uniform,
    stretch,
    probability,
    rank,
    candidates,
    model_probability,
    model_rank,
    alternatives,
});

impl Explanation {
    /// An empty explanation that will keep `n` candidates of each distribution.
    pub fn new(n: usize) -> Self {
        Self { n, ..Self::default() }
    }

    /// The explanation as lines of text. `text` returns the text of a token.
    pub fn lines(&self, text: impl Fn(TokenId) -> String) -> Vec<String> {
        let line = |name: &str, rest: String| format!("{name:<18} {rest}").trim_end().to_string();
        let mut lines = vec![line("the model says", list(&self.model, &text))];
        for Taken { effect, after } in &self.steps {
            let removed = match effect.removed {
                0 => "removes none".into(),
                n => format!("removes {n} ({})", percent(effect.removed_mass)),
            };
            let name = &effect.step;
            lines.push(line(name, format!("{removed}, {} left: {}", effect.left, list(after, &text))));
        }
        let Some(chosen) = &self.chosen else {
            lines.push(line("next_id", "none: no token is left, or the scores are not finite".into()));
            return lines;
        };
        let Draw { rank, candidates, model_rank, .. } = chosen;
        let [p, model] = [chosen.probability, chosen.model_probability].map(|p| percent(p.into()));
        let place = format!("rank {rank} of {candidates}, {p} (the model's own: rank {model_rank}, {model})");
        let (name, [from, to]) = (text(chosen.id), chosen.stretch);
        lines.push(match chosen.uniform {
            Some(u) => {
                line("the number drawn", format!("{u:.6} lies in [{from:.6}, {to:.6}) of {name}: {place}"))
            }
            None => line("the likeliest", format!("{name}: {place}")),
        });
        if !chosen.alternatives.is_empty() {
            lines.push(line("instead of", list(&chosen.alternatives, &text)));
        }
        lines
    }

    /// The explanation as JSON. `text` returns the text of a token.
    pub fn json(&self, text: impl Fn(TokenId) -> String) -> Value {
        let named = |c: &Candidate| json!({"id": c.id, "token": text(c.id), "probability": c.probability});
        let list = |candidates: &[Candidate]| candidates.iter().map(named).collect::<Value>();
        let mut steps = json!(self.steps);
        for (i, taken) in self.steps.iter().enumerate() {
            steps[i]["after"] = list(&taken.after);
        }
        let mut chosen = json!(self.chosen);
        if let Some(found) = &self.chosen {
            chosen["token"] = text(found.id).into();
            chosen["alternatives"] = list(&found.alternatives);
        }
        json!({ "model": list(&self.model), "steps": steps, "chosen": chosen })
    }
}

impl Watch for Explanation {
    fn saw(&mut self, step: &str, before: &[f32], after: &[f32]) {
        let effect = Effect::of(step, before, after);
        self.steps.push(Taken { effect, after: possible(top(after, self.n)) });
    }

    fn chose(&mut self, choice: &Choice<'_>) {
        self.model = possible(top(choice.logits, self.n));
        let model = probabilities(choice.logits);
        self.chosen = choice.id.map(|id| Draw::new(id, choice, model.row(0), self.n));
    }
}

/// The candidates with a probability above 0.
fn possible(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.retain(|c| c.probability > 0.0);
    candidates
}

impl Draw {
    /// Describes the choice of `id`; `model` is the model's own distribution `[V]`.
    fn new(id: TokenId, choice: &Choice<'_>, model: &[f32], n: usize) -> Self {
        let (all, i) = (choice.probabilities, id as usize);
        let sum = |part: &[f32]| above(part, 0.0).fold(0.0, |sum, id| sum + f64::from(part[id]));
        let (whole, before) = (sum(all).max(f64::MIN_POSITIVE), sum(&all[..i]));
        let others = above(all, 0.0).filter(|other| *other != i);
        let candidate = |id| Candidate { id: id as TokenId, probability: all[id] };
        let mut alternatives: Vec<Candidate> = others.map(candidate).collect();
        alternatives.sort_by(|a, b| b.probability.total_cmp(&a.probability)); // stable: the lowest id first
        alternatives.truncate(n);
        Self {
            id,
            uniform: choice.uniform,
            stretch: [before / whole, (before + f64::from(all[i])) / whole],
            probability: all[i],
            rank: rank(all, i),
            candidates: above(all, 0.0).count(),
            model_probability: model[i],
            model_rank: rank(model, i),
            alternatives,
        }
    }
}

/// The rank of element `i`, from 1: larger elements come before it, and equal ones with a lower index.
fn rank(x: &[f32], i: usize) -> usize {
    1 + x.iter().enumerate().filter(|(j, y)| **y > x[i] || (**y == x[i] && *j < i)).count()
}

#[cfg(test)]
mod tests;
