//! How many tokens should be guessed?
//!
//! ```text
//! tokens(k) = 1 + a + a^2 + .. + a^k          # a: the share of guessed tokens that turn out right
//! cost(k)   = 1 + k * (guess + row)           # in passes of the model over one token
//! k         = argmax tokens(k) / cost(k)      # 0: do not guess
//! ```
//!
//! (Leviathan et al. 2023, section 3.5.) The share `a` is estimated from the text at hand; newer guesses count more.
//! A text that cannot be predicted must not become slow, so guesses are bets, paid from a purse: a guess costs its
//! price, and each token that it gets right brings one pass. A purse that is nearly empty allows no guess. Every token of
//! the text puts 1.5 % of a pass into it: an occasional guess finds out whether the text has become predictable. In all at
//! most 1.5 % of the time is lost, and the 1.25 passes that are in the purse at first, as far as the costs are as estimated.
//!
//! The length depends on the text alone, not on clocks, so that a run can be repeated.

use crate::tensor::Dtype;

/// What one more row adds to a pass, for weights of one byte: the weights are read once for all rows, in a time
/// proportional to their bytes, so the wider they are the less the arithmetic counts. Measured per row: 0.06 with f32 and
/// 0.11 with 16 bits under AVX-512, about 0.09 and 0.20 under AVX2.
const ROW: f64 = 0.4;

/// What it costs a draft model to read one token of many, as a share of its pass over one token.
const READ: f64 = 0.07;

/// More rows than this are no longer read at nearly the price of one.
const MOST: usize = 15;

/// What is in the purse at first, in passes: even a draft as expensive as the model is tried once.
const PURSE: f64 = 1.25;

/// What each token puts into it.
const REFILL: f64 = 0.015;

/// What it can hold: winnings beyond that are kept, and a text that is no longer predictable soon has no more guesses.
const LARGEST_PURSE: f64 = 5.0;

/// How fast old guesses are forgotten: the weight that is left of a guess after one more.
const MEMORY: f64 = 0.9;

/// Decides how far to guess.
#[derive(Clone, Debug)]
pub struct DraftLength {
    most: usize,
    /// What it costs to guess one token, and to verify one, in passes.
    guess: f64,
    row: f64,
    /// Guessed tokens that were right and that were wrong, the newer the weightier.
    right: f64,
    wrong: f64,
    /// What the draft was asked to do for the next pass, in passes.
    asked: f64,
    /// Passes that may be lost.
    purse: f64,
}

impl DraftLength {
    /// At most `most` tokens, each of which costs `guess` passes of a model whose weights are `dtype`.
    pub fn new(most: usize, guess: f64, dtype: Dtype) -> Self {
        let row = ROW / dtype.size() as f64;
        // as if four tokens had been guessed, three of them right
        let (right, wrong) = (3.0, 1.0);
        Self { most: most.min(MOST), guess, row, right, wrong, asked: 0.0, purse: PURSE }
    }

    /// The most that it ever chooses.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many tokens to guess for the next pass, which has use for up to `room` of them. The draft must read
    /// `behind` tokens before.
    pub fn choose(&mut self, room: usize, behind: usize) -> usize {
        let most = self.most.min(room);
        let read = behind as f64 * self.guess * READ;
        let affordable = |k: &usize| read + self.stake(*k) <= self.purse;
        let best = self.best(most).max(1); // 1: to find out whether guesses have become better
        let k = (1..=best.min(most)).rev().find(affordable).unwrap_or(0);
        self.asked = if k > 0 { read + k as f64 * self.guess } else { 0.0 };
        k
    }

    /// Takes note of a pass: so many tokens were guessed, and so many of them were right.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        let cost = self.asked + guessed as f64 * self.row;
        let brought = right as f64 + REFILL * (right + 1) as f64;
        self.purse = (self.purse + brought - cost).min(LARGEST_PURSE);
        let wrong = usize::from(right < guessed); // after a wrong one nothing is known
        let kept = MEMORY.powi((right + wrong) as i32);
        self.right = self.right * kept + right as f64;
        self.wrong = self.wrong * kept + wrong as f64;
    }

    /// What a guess of `k` tokens costs if all of them are wrong.
    fn stake(&self, k: usize) -> f64 {
        k as f64 * (self.guess + self.row)
    }

    /// The `k` that gives the most tokens for the cost.
    fn best(&self, most: usize) -> usize {
        let share = self.right / (self.right + self.wrong);
        let (mut best, mut best_speed) = (0, 1.0);
        let (mut tokens, mut all_right) = (1.0, 1.0);
        for k in 1..=most {
            all_right *= share;
            tokens += all_right;
            let speed = tokens / (1.0 + self.stake(k));
            if speed > best_speed {
                (best, best_speed) = (k, speed);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tokens and their cost in passes, where guessed token number i is right if `right(i)`.
    fn write(length: &mut DraftLength, tokens: usize, mut right: impl FnMut(usize) -> bool) -> f64 {
        let (mut written, mut cost) = (0, 0.0);
        while written < tokens {
            let k = length.choose(tokens - written - 1, 0);
            let accepted = (1..=k).take_while(|i| right(written + i)).count();
            cost += 1.0 + length.stake(k);
            length.learn(k, accepted);
            written += accepted + 1;
        }
        cost
    }

    #[test]
    fn an_expensive_draft_is_tried_at_once_and_a_more_expensive_one_later() {
        for (guess, tried) in [(1.02, 1), (2.0, 0)] {
            let mut length = DraftLength::new(9, guess, Dtype::F32);
            let chosen: usize = (0..30)
                .map(|_| {
                    let k = length.choose(9, 0);
                    length.learn(k, 0);
                    k
                })
                .sum();
            assert_eq!(chosen, tried, "a guess costs {guess}");
        }
    }

    #[test]
    fn the_better_the_guesses_the_longer() {
        let mut length = DraftLength::new(99, 0.2, Dtype::F32);
        assert!(write(&mut length, 500, |_| true) < 250.0);
        assert_eq!(length.choose(99, 0), MOST, "all were right");
        assert_eq!((length.choose(3, 0), length.choose(0, 0)), (3, 0), "no more than can be used");
        let mut length = DraftLength::new(4, 0.0, Dtype::F32);
        write(&mut length, 100, |_| true);
        assert_eq!(length.choose(99, 0), 4, "no more than is asked for");
        assert_eq!(DraftLength::new(0, 0.0, Dtype::F32).choose(99, 0), 0);
    }

    #[test]
    fn guesses_that_never_come_true_cost_little() {
        for guess in [0.0, 0.1, 0.3, 0.6, 1.01, 3.0] {
            let cost = write(&mut DraftLength::new(99, guess, Dtype::F32), 1000, |_| false);
            assert!(
                (1000.0..=1015.0 + PURSE).contains(&cost),
                "{cost} passes for 1000 tokens, a guess costs {guess}"
            );
        }
    }

    #[test]
    fn a_text_may_become_predictable() {
        let mut length = DraftLength::new(99, 0.27, Dtype::F32);
        write(&mut length, 300, |_| false);
        let cost = write(&mut length, 500, |_| true);
        assert!(cost < 260.0, "{cost} passes for 500 tokens");
        let cost = write(&mut length, 300, |_| false);
        assert!(cost < 313.0, "and unpredictable again: {cost} passes for 300 tokens");
    }

    #[test]
    fn what_a_draft_must_read_first_is_counted() {
        let mut length = DraftLength::new(9, 0.5, Dtype::F32);
        assert!(length.choose(9, 0) > 0);
        assert_eq!(length.choose(9, 100), 0, "reading 100 tokens costs more than there is to lose");
    }

    proptest! {
        /// Whatever the guesses are worth: the text costs at most 1.015 passes a token, and what is lost at first.
        #[test]
        fn the_purse_is_never_overdrawn(
            guess in 0.0..2.0f64, most in 0..40usize, right in prop::collection::vec(any::<bool>(), 1..400),
        ) {
            let tokens = right.len();
            let cost = write(&mut DraftLength::new(most, guess, Dtype::F32), tokens, |i| right[i % tokens]);
            prop_assert!(cost <= 1.015 * tokens as f64 + PURSE + 0.001, "{} passes for {} tokens", cost, tokens);
        }
    }
}
