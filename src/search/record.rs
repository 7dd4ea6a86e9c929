//! What one step of a search did, for somebody who looks.

use crate::bpe::TokenId;

/// One more token for every beam.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchStep {
    /// Counted from 1: how long the new hypotheses are.
    pub number: usize,
    /// Of each group that is still searching, in order.
    pub rounds: Vec<Round>,
}

/// One group's part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Which group, counted from 0.
    pub group: usize,
    /// The continuations that came into question: the best first, or, when sampling, in the order of the draws.
    pub candidates: Vec<Continuation>,
    /// The score that the best beam may still reach, as [`EarlyStopping`](super::EarlyStopping) estimates it; `None` if
    /// no beam goes on.
    pub best_possible: Option<f32>,
    /// The lowest score among the finished hypotheses, once there are K.
    pub worst_finished: Option<f32>,
    /// Why the group stops searching here, if it does.
    pub closed: Option<Closed>,
}

/// A continuation of a beam by one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continuation {
    /// Which beam of the step before it continues, counted from 0; in the first step there is one, the prompt.
    pub beam: usize,
    /// The token.
    pub id: TokenId,
    /// The sum of the processed log-probabilities so far.
    pub score: f32,
    /// The logarithm of the token's probability under the model's own distribution.
    pub logprob: f64,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It is the next step's beam of this number, counted from 0.
    Kept(usize),
    /// It ends here and is among the K best so far, with this final score.
    Finished(f32),
    /// Too low: others go on, or it ended and K others are better or were ranked higher.
    Pruned,
}

/// Why a group stops searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// K hypotheses are finished, and `early_stopping` is `true`.
    Enough,
    /// K hypotheses are finished, and no running one is expected to become better than the worst of them.
    NoHope,
    /// Every candidate has ended, most often by its length.
    NoneRuns,
}

impl Closed {
    /// As in the tree.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enough => "enough",
            Self::NoHope => "no-hope",
            Self::NoneRuns => "none-runs",
        }
    }
}
