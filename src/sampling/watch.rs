//! What does each step do to the scores?
//!
//! Each step is a function of one row of scores. A [`Watch`] sees the row before and after each step. With [`NoWatch`],
//! no row is copied.

use super::{argmax, probabilities};
use crate::bpe::TokenId;
use crate::format::json::to_json;

/// Observes the steps.
pub trait Watch {
    /// Whether it observes anything. If not, no rows are copied.
    fn looks(&self) -> bool {
        true
    }

    /// Called after each step, with the scores `[V]` before and after it.
    fn saw(&mut self, step: &str, before: &[f32], after: &[f32]);

    /// Called once a token has been chosen, after the last step.
    fn chose(&mut self, _: &Choice<'_>) {}
}

/// How a token was chosen after all steps.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The model's scores. `[V]`
    pub logits: &'a [f32],
    /// The distribution after all steps. `[V]`
    pub probabilities: &'a [f32],
    /// The number drawn from [0, 1); `None` in greedy decoding.
    pub uniform: Option<f64>,
    /// The token; `None` if no token can be chosen.
    pub id: Option<TokenId>,
}

/// Observes nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {
    fn looks(&self) -> bool {
        false
    }
    fn saw(&mut self, _: &str, _: &[f32], _: &[f32]) {}
}

/// Applies one step and shows it to `watch`.
pub(super) fn watched(step: &str, x: &mut [f32], watch: &mut dyn Watch, change: impl FnOnce(&mut [f32])) {
    if !watch.looks() {
        return change(x);
    }
    let before = x.to_vec();
    change(x);
    watch.saw(step, &before, x);
}

/// The effect of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The step's name: that of its option or custom processor.
    pub step: String,
    /// How many tokens it removed.
    pub removed: usize,
    /// The total probability of these tokens before the step.
    pub removed_mass: f64,
    /// How many tokens are left.
    pub left: usize,
    /// The most likely token after it.
    pub likeliest: TokenId,
}

to_json!(Effect { step, removed, removed_mass, left, likeliest });

impl Effect {
    /// The effect of `step`, from the scores `[V]` before and after it.
    pub fn of(step: &str, before: &[f32], after: &[f32]) -> Self {
        let mass = probabilities(before);
        let alive = |x: &f32| *x > f32::NEG_INFINITY;
        let removed = || (0..before.len()).filter(|i| alive(&before[*i]) && !alive(&after[*i]));
        Self {
            step: step.into(),
            removed: removed().count(),
            removed_mass: removed().map(|i| f64::from(mass.row(0)[i])).fold(0.0, |sum, p| sum + p),
            left: after.iter().filter(|x| alive(x)).count(),
            likeliest: argmax(after),
        }
    }
}

/// Records the effect of each step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(pub Vec<Effect>);

impl Watch for Effects {
    fn saw(&mut self, step: &str, before: &[f32], after: &[f32]) {
        self.0.push(Effect::of(step, before, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_counted_in_tokens_and_mass() {
        let before = [0.5f32, 0.25, 0.25, 0.0].map(f32::ln);
        let mut after = before;
        after[0] = f32::NEG_INFINITY;
        let effect = Effect::of("top-k", &before, &after);
        assert_eq!((effect.removed, effect.left, effect.likeliest), (1, 2, 1));
        assert!((effect.removed_mass - 0.5).abs() < 1e-6);
    }
}
