//! In which order are the scores changed, and what does each change do?
//!
//! [`Step::ORDER`] is the order. Every step is a function of one row of scores; [`watched`] shows a [`Watch`] the
//! row before and after. With [`NoWatch`] that compiles to the step alone.

use crate::bpe::TokenId;
use crate::sampling::probabilities;
use serde::{Serialize, Serializer};

/// One change of the scores on their way from the model to the draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the modules say what each does
pub enum Step {
    LogitBias,
    RepetitionPenalty,
    PresenceAndFrequency,
    NoRepeatNgram,
    BadWords,
    MinNewTokens,
    Temperature,
    TopK,
    TopP,
    MinP,
    TypicalP,
    Epsilon,
    Eta,
}

impl Step {
    /// All steps, first to last, as in HF's `generate`. Those before temperature are for every way of decoding, the
    /// others for sampling only. After the last come softmax and the draw.
    pub const ORDER: [Self; 13] = [
        Self::LogitBias,
        Self::RepetitionPenalty,
        Self::PresenceAndFrequency,
        Self::NoRepeatNgram,
        Self::BadWords,
        Self::MinNewTokens,
        Self::Temperature,
        Self::TopK,
        Self::TopP,
        Self::MinP,
        Self::TypicalP,
        Self::Epsilon,
        Self::Eta,
    ];

    /// The option that asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogitBias => "logit-bias",
            Self::RepetitionPenalty => "repetition-penalty",
            Self::PresenceAndFrequency => "presence-penalty, frequency-penalty",
            Self::NoRepeatNgram => "no-repeat-ngram-size",
            Self::BadWords => "bad-words",
            Self::MinNewTokens => "min-new-tokens",
            Self::Temperature => "temperature",
            Self::TopK => "top-k",
            Self::TopP => "top-p",
            Self::MinP => "min-p",
            Self::TypicalP => "typical-p",
            Self::Epsilon => "epsilon-cutoff",
            Self::Eta => "eta-cutoff",
        }
    }
}

/// As its name.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Somebody who looks at what the steps do.
pub trait Watch {
    /// Whether anybody does. Rows are not copied otherwise.
    fn looks(&self) -> bool {
        true
    }

    /// `step` was taken: scores `[V]` before and after.
    fn saw(&mut self, step: Step, before: &[f32], after: &[f32]);

    /// After the last step a token was chosen.
    fn chose(&mut self, _: &Choice<'_>) {}
}

/// How a token was chosen once all steps were taken.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// What the model said. `[V]`
    pub logits: &'a [f32],
    /// The distribution after all steps. `[V]`
    pub probabilities: &'a [f32],
    /// The number drawn from [0, 1); `None` where the likeliest token is taken.
    pub uniform: Option<f64>,
    /// The token; `None` if there is none to choose.
    pub id: Option<TokenId>,
}

/// Looks at nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {
    #[inline(always)]
    fn looks(&self) -> bool {
        false
    }
    #[inline(always)]
    fn saw(&mut self, _: Step, _: &[f32], _: &[f32]) {}
}

/// Takes one step and shows it.
#[inline]
pub fn watched(
    step: Step,
    x: &mut [f32],
    watch: &mut (impl Watch + ?Sized),
    change: impl FnOnce(&mut [f32]),
) {
    if !watch.looks() {
        return change(x);
    }
    let before = x.to_vec();
    change(x);
    watch.saw(step, &before, x);
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// Which one.
    pub step: Step,
    /// How many tokens it removed.
    pub removed: usize,
    /// The probability that those had before it.
    pub removed_mass: f64,
    /// How many tokens are left.
    pub left: usize,
    /// The likeliest token after it.
    pub likeliest: TokenId,
}

impl Effect {
    /// Of `step`, from the scores before and after it.
    pub fn of(step: Step, before: &[f32], after: &[f32]) -> Self {
        let mass = probabilities(before);
        let alive = |x: &f32| *x > f32::NEG_INFINITY;
        let removed = || (0..before.len()).filter(|i| alive(&before[*i]) && !alive(&after[*i]));
        Self {
            step,
            removed: removed().count(),
            removed_mass: removed().map(|i| f64::from(mass.row(0)[i])).fold(0.0, |sum, p| sum + p),
            left: after.iter().filter(|x| alive(x)).count(),
            likeliest: crate::sampling::argmax(after),
        }
    }
}

/// Keeps the effect of each step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(pub Vec<Effect>);

impl Watch for Effects {
    fn saw(&mut self, step: Step, before: &[f32], after: &[f32]) {
        self.0.push(Effect::of(step, before, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{History, Processors, Sampling};

    /// Every option on, and not so strong that nothing is left.
    fn everything() -> (Processors, Sampling) {
        let processors = Processors {
            logit_bias: vec![(1, 0.5)],
            repetition_penalty: 1.3,
            presence_penalty: 0.2,
            frequency_penalty: 0.1,
            no_repeat_ngram_size: 2,
            bad_words: vec![vec![5]],
            min_new_tokens: 9,
        };
        let sampling = Sampling {
            temperature: 0.9,
            top_k: Some(12),
            top_p: Some(0.9),
            min_p: Some(0.02),
            typical_p: Some(0.9),
            epsilon_cutoff: Some(0.01),
            eta_cutoff: Some(0.02),
            ..Sampling::plain(0)
        };
        (processors, sampling)
    }

    #[test]
    fn the_steps_are_taken_in_their_order() {
        let (processors, sampling) = everything();
        let logits: Vec<f32> = (0..20).map(|i| (i as f32 * 1.7).sin() * 3.0).collect();
        let history = History { ids: &[3, 4, 3], prompt_len: 1, eos: &[0] };
        let (mut x, mut effects) = (logits.clone(), Effects::default());
        processors.apply(&history, &mut x, &mut effects);
        sampling.warp(&mut x, 1, &mut effects);
        assert_eq!(effects.0.iter().map(|e| e.step).collect::<Vec<_>>(), Step::ORDER);
        for pair in effects.0.windows(2) {
            assert_eq!(pair[1].left, pair[0].left - pair[1].removed, "{:?}", pair[1]);
        }
        let mut unwatched = logits;
        processors.apply(&history, &mut unwatched, &mut NoWatch);
        sampling.warp(&mut unwatched, 1, &mut NoWatch);
        assert_eq!(x, unwatched, "being watched changes nothing");
    }

    #[test]
    fn options_that_are_off_take_no_step() {
        let (mut x, mut effects) = ([0.0, 1.0], Effects::default());
        let history = History { ids: &[1, 1], prompt_len: 1, eos: &[0] };
        Processors::default().apply(&history, &mut x, &mut effects);
        assert_eq!(effects.0, []);
        Sampling::plain(0).warp(&mut x, 1, &mut effects);
        assert_eq!(effects.0.len(), 1, "temperature always");
        assert_eq!(x, [0.0, 1.0]);
    }

    #[test]
    fn an_effect_is_counted_in_tokens_and_mass() {
        let before = [0.5f32, 0.25, 0.25, 0.0].map(f32::ln);
        let mut after = before;
        after[0] = f32::NEG_INFINITY;
        let effect = Effect::of(Step::TopK, &before, &after);
        assert_eq!((effect.removed, effect.left, effect.likeliest), (1, 2, 1));
        assert!((effect.removed_mass - 0.5).abs() < 1e-6);
    }
}
