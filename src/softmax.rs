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
//!
//! # Example
//!
//! ```
//! use gpt2::softmax::{softmax, temperature};
//!
//! let mut p = [2.0, 1.0, 0.0]; // one more in the score: e = 2.718 times the probability
//! softmax(&mut p);
//! assert!(p.iter().zip([0.665, 0.245, 0.090]).all(|(p, expected)| (p - expected).abs() < 1e-3));
//!
//! let mut sharp = [2.0, 1.0, 0.0];
//! temperature(&mut sharp, 0.5);
//! softmax(&mut sharp);
//! assert!(sharp.iter().zip([0.867, 0.117, 0.016]).all(|(p, expected)| (p - expected).abs() < 1e-3));
//! ```

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
    math::divide(x, math::sum(x) as f32);
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
        Self { largest, log_sum: math::ln(math::sum_of_exp(x, largest)) }
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
    use proptest::prelude::*;

    /// The probabilities of a row, and how far their sum is from 1.
    fn error_of_the_sum(x: &[f32]) -> f64 {
        let mut p = x.to_vec();
        softmax(&mut p);
        (p.iter().map(|p| f64::from(*p)).sum::<f64>() - 1.0).abs()
    }

    /// What is rounded is the sum, and each quotient: by 2^-24 each.
    const LARGEST_ERROR: f64 = 1.2e-7;

    proptest! {
        #[test]
        fn probabilities_add_up_to_one(
            len in prop_oneof![1..100usize, 1..60_000usize],
            spread in prop::sample::select(vec![0.0f32, 1e-3, 0.3, 3.0, 30.0, 300.0]),
            skew in prop::sample::select(vec![1, 2, 5, 20]),
            ahead in prop_oneof![Just(0.0f32), 0.0..25.0f32], // of the first, of all others
            seed: u64,
        ) {
            let mut state = seed | 1;
            let mut number = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 24) as f32
            };
            let mut x: Vec<f32> = (0..len).map(|_| spread * number().powi(skew)).collect();
            x[0] += spread + ahead;
            let error = error_of_the_sum(&x);
            prop_assert!(error < LARGEST_ERROR, "{}", error);
        }
    }

    /// Numbers that f32 loses, one after the other, when they are added to 1.
    #[test]
    fn small_probabilities_count() {
        let mut x = vec![-17.0; 60_000]; // e^-17 is 4.1e-8, less than half of what f32 can add to 1
        x[0] = 0.0;
        assert!(error_of_the_sum(&x) < LARGEST_ERROR);
        let all = (60_000.0 - 1.0) * (-17.0f64).exp();
        assert!((log_softmax(&x, 0) + all.ln_1p()).abs() < 1e-9);
    }

    #[test]
    fn over_the_vocabulary_of_a_model() {
        let lm = crate::checkpoint::bundled();
        let ids = lm.bpe.encode("Once upon a time");
        let logits = lm.model.next_logits(&ids, &mut lm.model.new_cache(), &mut crate::trace::NoTrace); // [1, V]
        assert!(error_of_the_sum(logits.row(0)) < LARGEST_ERROR); // 1.4e-5 with sums in f32
    }

    #[test]
    fn a_masked_row_has_the_bits_of_a_short_one() {
        for len in [1, 15, 16, 17, 100] {
            let row: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin() * 5.0).collect();
            let (mut short, mut masked) = (row.clone(), [&row[..], &[f32::NEG_INFINITY; 37]].concat());
            softmax(&mut short);
            softmax(&mut masked);
            short.resize(len + 37, 0.0);
            assert_eq!(short, masked);
        }
    }

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
