//! Which finished texts are the best, and can a running hypothesis still beat them?
//!
//! ```text
//! score = (sum of the log-probabilities) / (number of new tokens) ^ length penalty
//! ```
//!
//! Each additional token makes the sum smaller, so sums alone would favour short texts; divided by the length (penalty
//! 1), they are mean log-probabilities. The end-of-text token counts as a token; the prompt does not count.

use super::options::{Beams, EarlyStopping};
use crate::bpe::TokenId;
use crate::generate::FinishReason;

/// A text found by the search.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The new tokens, including the end token.
    pub ids: Vec<TokenId>,
    /// The log-probability of each token under the model's own distribution, as in [`Chosen`](crate::generate::Chosen).
    pub logprobs: Vec<f64>,
    /// The score by which hypotheses are ranked: the sum of the processed log-probabilities, divided by
    /// `length ^ length_penalty`.
    pub score: f32,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Which group of beams found it, counted from 0.
    pub group: usize,
    /// The rank of its last token among the candidates of that step, counted from 0.
    pub rank: usize,
}

/// The best finished hypotheses of a group: at most K, the best first.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub best: Vec<Hypothesis>,
    room: usize,
}

impl Finished {
    /// An empty list for at most `room` hypotheses.
    pub fn new(room: usize) -> Self {
        Self { best: Vec::new(), room }
    }

    /// Whether the list has its largest size.
    pub fn is_full(&self) -> bool {
        self.best.len() >= self.room
    }

    /// The lowest score in a full list, which a new hypothesis must beat; `None` if the list is not full.
    pub fn worst(&self) -> Option<f32> {
        self.best.last().map(|h| h.score).filter(|_| self.is_full())
    }

    /// Whether a hypothesis with this score would stay in the list.
    pub fn admits(&self, score: f32) -> bool {
        self.worst().is_none_or(|worst| score > worst)
    }

    /// Adds a hypothesis; on a tie, the earlier one ranks higher. If the list is too long, the worst is removed.
    pub fn insert(&mut self, hypothesis: Hypothesis) {
        let place = self.best.partition_point(|h| h.score >= hypothesis.score);
        self.best.insert(place, hypothesis);
        self.best.truncate(self.room);
    }
}

/// An estimate of the best score that the best running hypothesis can still reach; `sum` is its sum after `length` new
/// tokens.
///
/// With [`EarlyStopping::Never`] and a length penalty above 0, this is the score at the full length `longest` if all
/// further tokens had probability 1. Otherwise it is the current score, although that may rise if the length penalty is
/// above 0. HF's `_check_early_stop_heuristic`.
pub(super) fn best_possible(beams: &Beams, sum: f32, length: usize, longest: usize) -> f32 {
    let grows = beams.early_stopping == EarlyStopping::Never && beams.length_penalty > 0.0;
    sum / beams.divisor(if grows { longest } else { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(score: f32, rank: usize) -> Hypothesis {
        let (ids, logprobs, finish_reason) = (vec![], vec![], FinishReason::Eos);
        Hypothesis { ids, logprobs, score, finish_reason, group: 0, rank }
    }

    #[test]
    fn the_best_stay_and_the_earlier_ones_win_ties() {
        let mut finished = Finished::new(3);
        assert!(finished.worst().is_none() && finished.admits(f32::MIN));
        for (rank, score) in [-2.0, -1.0, -2.0].into_iter().enumerate() {
            finished.insert(of(score, rank));
        }
        assert_eq!((finished.is_full(), finished.worst()), (true, Some(-2.0)));
        assert!(!finished.admits(-2.0) && finished.admits(-1.5));
        finished.insert(of(-1.0, 3));
        let kept: Vec<(f32, usize)> = finished.best.iter().map(|h| (h.score, h.rank)).collect();
        assert_eq!(kept, [(-1.0, 1), (-1.0, 3), (-2.0, 0)]);
    }

    #[test]
    fn hope_depends_on_the_length_that_counts() {
        let with = |early_stopping, length_penalty| {
            let beams = Beams { early_stopping, length_penalty, ..Beams::default() };
            best_possible(&beams, -8.0, 4, 16)
        };
        assert_eq!(with(EarlyStopping::False, 1.0), -2.0);
        assert_eq!(with(EarlyStopping::True, 0.5), -4.0);
        assert_eq!(with(EarlyStopping::Never, 1.0), -0.5);
        assert_eq!(with(EarlyStopping::Never, 0.0), -8.0);
        assert_eq!(with(EarlyStopping::Never, -1.0), -32.0);
    }
}
