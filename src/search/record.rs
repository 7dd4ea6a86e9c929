//! A record of what one step of a search did.

use crate::bpe::TokenId;
use crate::names::names;

/// One step of a search, which adds one token to every beam.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchStep {
    /// The number of the step, counted from 1; its hypotheses have as many new tokens.
    pub number: usize,
    /// The rounds of the groups that are still searching, in order.
    pub rounds: Vec<Round>,
}

/// One group's part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Which group, counted from 0.
    pub group: usize,
    /// The candidates: the best first or, when sampling, in the order of the draws.
    pub candidates: Vec<Continuation>,
    /// The best score that a running beam may still reach, estimated as [`EarlyStopping`](super::EarlyStopping)
    /// describes; `None` if no beam is running.
    pub best_possible: Option<f32>,
    /// The lowest score among the finished hypotheses; `None` while there are fewer than K.
    pub worst_finished: Option<f32>,
    /// Why the group stops searching after this step, if it does.
    pub closed: Option<Closed>,
}

/// A continuation of a beam by one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continuation {
    /// Which beam of the previous step it continues, counted from 0. In the first step the prompt is the only beam.
    pub beam: usize,
    /// The token.
    pub id: TokenId,
    /// The sum of the processed log-probabilities so far.
    pub score: f32,
    /// The token's log-probability under the model's own distribution.
    pub logprob: f64,
    /// What becomes of the continuation.
    pub fate: Fate,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It becomes this beam of the next step, counted from 0.
    Kept(usize),
    /// It ends here and is among the K best so far, with this final score.
    Finished(f32),
    /// Its score is too low: other candidates continue, or it ended but K others are better or rank higher.
    Pruned,
}

/// Why a group stops searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// K hypotheses are finished, and `early_stopping` is `true`.
    Enough,
    /// K hypotheses are finished, and no running one is expected to beat the worst of them.
    NoHope,
    /// No beam is left running: every candidate has ended, usually at the length limit.
    NoneRuns,
}

names!(Closed { Enough: "enough", NoHope: "no-hope", NoneRuns: "none-runs" });
