//! How many tokens should a draft guess?
//!
//! ```text
//! tokens(k) = 1 + a + a^2 + .. + a^k          # a: the share of guessed tokens that turn out right
//! cost(k)   = 1 + k * (guess + row)           # in passes of the model over one token
//! k         = argmax tokens(k) / cost(k)      # 0: do not guess
//! ```
//!
//! (Leviathan et al. 2023, section 3.5.) The share `a` is estimated from the text so far; newer guesses count more.
//! Guessing must not slow down an unpredictable text, so guesses are bets paid from a purse: a guess costs its price,
//! and each token that it gets right earns one pass. A nearly empty purse allows no guess. Every token of the text adds
//! 1.5% of a pass, so that an occasional guess can find out whether the text has become predictable. If the cost
//! estimates hold, the total loss is at most 1.5% of the time plus the 1.25 passes that are in the purse at the start.
//!
//! The length depends only on the text, not on timing, so that runs are reproducible.

use crate::tensor::Dtype;

/// What one more row adds to a pass, in passes, for one-byte weights. The weights are read once for all rows, in time
/// proportional to their size, so the wider they are, the less the arithmetic of a row matters. Measured per row: 0.06
/// with f32 and 0.11 with 16-bit weights under AVX-512, about 0.09 and 0.20 under AVX2.
const ROW: f64 = 0.4;

/// What it costs a draft model to read one of many tokens, as a share of its pass over a single token.
const READ: f64 = 0.07;

/// The longest guess: a pass over more rows costs clearly more than a pass over one.
const MOST: usize = 15;

/// The initial content of the purse, in passes: enough to try even a draft as expensive as the model once.
const PURSE: f64 = 1.25;

/// What each token adds to the purse, in passes.
const REFILL: f64 = 0.015;

/// The capacity of the purse, in passes. It is small, so that guessing soon stops when a text becomes unpredictable.
const LARGEST_PURSE: f64 = 5.0;

/// How fast old guesses are forgotten: each new guessed token multiplies the weight of the older ones by this.
const MEMORY: f64 = 0.9;

/// Decides how far to guess.
#[derive(Clone, Debug)]
pub struct DraftLength {
    most: usize,
    /// What it costs to guess one token, in passes.
    guess: f64,
    /// What it costs to verify one token, in passes.
    row: f64,
    /// Weighted count of guessed tokens that were right; newer ones weigh more.
    right: f64,
    /// The same for those that were wrong.
    wrong: f64,
    /// The cost of the draft's work for the next pass, in passes.
    asked: f64,
    /// How many passes may still be lost.
    purse: f64,
}

impl DraftLength {
    /// At most `most` tokens, each of which costs `guess` passes of a model whose weights are `dtype`.
    pub fn new(most: usize, guess: f64, dtype: Dtype) -> Self {
        let row = ROW / dtype.size() as f64;
        // the prior: as if four tokens had been guessed, three of them right
        let (right, wrong) = (3.0, 1.0);
        Self { most: most.min(MOST), guess, row, right, wrong, asked: 0.0, purse: PURSE }
    }

    /// The longest guess that it ever chooses.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many tokens to guess for the next pass, which can use up to `room` of them. The draft must first read
    /// `behind` tokens.
    pub fn choose(&mut self, room: usize, behind: usize) -> usize {
        let most = self.most.min(room);
        let read = behind as f64 * self.guess * READ;
        let affordable = |k: &usize| read + self.stake(*k) <= self.purse;
        let best = self.best(most).max(1); // at least 1, to find out whether guesses have become better
        let k = (1..=best.min(most)).rev().find(affordable).unwrap_or(0);
        self.asked = if k > 0 { read + k as f64 * self.guess } else { 0.0 };
        k
    }

    /// Records a pass: `guessed` tokens were guessed, and `right` of them were right.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        let cost = self.asked + guessed as f64 * self.row;
        let brought = right as f64 + REFILL * (right + 1) as f64;
        self.purse = (self.purse + brought - cost).min(LARGEST_PURSE);
        let wrong = usize::from(right < guessed); // the tokens after a wrong one were not judged
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
mod tests;
