//! How do scores become probabilities?
//!
//! `p[i] = e^(x[i] / tau) / sum over j of e^(x[j] / tau)`
//!
//! ```text
//! x = x / tau
//! e = exp(x - max(x))        # the same result, and no overflow
//! p = e / sum(e)
//! ```
//!
//! The scores that a model computes are called *logits*: up to one constant, they are the logarithms of the
//! probabilities. The temperature tau sharpens (below 1) or flattens (above 1) the distribution. A score of -inf has
//! probability 0: this is how attention masks later positions and how filters remove tokens.
//! Next: [`sampling`](crate::sampling).

use crate::math;

/// x `[n]` -> probabilities `[n]`, in place.
///
/// If every score is -inf, every probability is 0.
pub fn softmax(x: &mut [f32]) {
    let largest = math::max(x);
    if largest == f32::NEG_INFINITY {
        return x.fill(0.0);
    }
    math::exp_minus(x, largest);
    math::divide(x, math::sum(x));
}

/// x `[n]` -> x / temperature `[n]`, in place.
pub fn temperature(x: &mut [f32], temperature: f32) {
    let largest = math::max(x);
    if !(largest / temperature).is_finite() && largest.is_finite() {
        math::shift(x, largest); // the same probabilities, and no overflow
    }
    math::divide(x, temperature);
}

/// The log-probability of element `i` of x `[n]`, in f64: `x[i] - max - ln(sum of e^(x - max))`.
pub fn log_softmax(x: &[f32], i: usize) -> f64 {
    LogSum::of(x).log_softmax(x[i])
}

/// x `[n]` -> log-probabilities `[n]`, in place, in f32: `x - max - ln(sum of e^(x - max))`.
pub fn log_probabilities(x: &mut [f32]) {
    LogSum::of(x).log_probabilities(x);
}

/// What all log-probabilities of a row have in common.
#[derive(Clone, Copy, Debug)]
pub struct LogSum {
    largest: f32,
    /// ln(sum of e^(x - max))
    log_sum: f64,
}

impl LogSum {
    /// Of the scores x `[n]`.
    pub fn of(x: &[f32]) -> Self {
        let largest = math::max(x);
        Self { largest, log_sum: math::ln(f64::from(math::sum_of_exp(x, largest))) }
    }

    /// The log-probability of an element of the row, in f64.
    pub fn log_softmax(&self, x: f32) -> f64 {
        f64::from(x) - f64::from(self.largest) - self.log_sum
    }

    /// The row x `[n]` -> its log-probabilities `[n]`, in place, in f32.
    pub fn log_probabilities(&self, x: &mut [f32]) {
        if self.largest == f32::NEG_INFINITY {
            return;
        }
        let log_sum = self.log_sum as f32;
        for x in x {
            *x = *x - self.largest - log_sum; // in this order: `largest` may be so large that it swallows `log_sum`
        }
    }

    /// Whether the scores are those of a distribution: none is NaN or infinity, and not all are -inf.
    pub fn is_sound(&self) -> bool {
        self.largest.is_finite() && self.log_sum.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_to_one_and_keeps_order() {
        let mut x = [1.0, 3.0, 2.0, f32::NEG_INFINITY];
        softmax(&mut x);
        let e = std::f64::consts::E;
        let sum = 1.0 + e * e + e;
        for (got, truth) in x.iter().zip([1.0 / sum, e * e / sum, e / sum, 0.0]) {
            assert!((f64::from(*got) - truth).abs() < 1e-7, "{got} {truth}");
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let mut x = [1e30, 1e30, -1e30];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn nothing_left() {
        let mut x = [f32::NEG_INFINITY; 3];
        softmax(&mut x);
        assert_eq!(x, [0.0; 3]);
    }

    #[test]
    fn logarithms_agree() {
        let x = [0.3, -2.0, 5.0, 1.0];
        let mut p = x;
        softmax(&mut p);
        for i in 0..4 {
            assert!((log_softmax(&x, i) - f64::from(p[i]).ln()).abs() < 1e-6);
        }
        let mut logs = x;
        log_probabilities(&mut logs);
        for i in 0..4 {
            assert!((f64::from(logs[i]) - log_softmax(&x, i)).abs() < 1e-6);
        }
        let mut nothing = [f32::NEG_INFINITY; 2];
        log_probabilities(&mut nothing);
        assert_eq!(nothing, [f32::NEG_INFINITY; 2]);
    }
}
