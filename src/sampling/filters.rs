//! Where does the unlikely tail begin? Four more answers, and a faster top-p.
//!
//! ```text
//! min-p     p < min_p * max(p)                       # relative to the most likely token
//! typical   |-ln p - H| large, beyond a mass         # far from the expected surprise
//! epsilon   p < epsilon                              # a fixed limit
//! eta       p < min(epsilon, sqrt(epsilon) e^-H)     # a limit that is lower for flat distributions
//! ```
//!
//! `p = softmax(x)`, `H = -sum(p ln p)` in nats. Each filter drops tokens (-inf) and keeps at least the `keep` best
//! ones. The arithmetic is that of HF's classes: in f32, with running sums in f64.

use super::{above, drop_if, kth_largest, order, probabilities, with_list};
use crate::bpe::TokenId;
use crate::math::{self, exp, sum_of};
use crate::simd::kernel;
use crate::softmax::log_probabilities;
use crate::tensor::Matrix;

/// Drops the least likely tokens as long as their total probability is at most 1 - p; the `keep` most likely ones stay.
/// `[V]`, in place
///
/// [`super::top_p`] without sorting every token.
pub fn top_p(x: &mut [f32], p: f64, keep: usize) {
    let limit = (1.0 - p) as f32;
    let probabilities = probabilities(x);
    let probabilities = probabilities.row(0);
    // The tokens below (1 - p) / V together have less than 1 - p, so they are dropped without sorting.
    let crumb = limit / x.len() as f32;
    with_list(|ascending| {
        ascending.extend(above(probabilities, crumb.next_down()).map(|i| (x[i], i as TokenId)));
        let mut sum = 0.0;
        if ascending.len() < keep {
            ascending.clear();
            ascending.extend(x.iter().copied().zip(0..));
        } else {
            sum = above(probabilities, 0.0)
                .map(|i| probabilities[i])
                .filter(|p| *p < crumb)
                .map(f64::from)
                .sum();
            drop_if(x, probabilities, |_, p| p < crumb);
        }
        ascending.sort_unstable_by(|a, b| order(a.0, b.0).then(a.1.cmp(&b.1)));
        for (_, id) in ascending.iter().take(ascending.len().saturating_sub(keep)) {
            sum += f64::from(probabilities[*id as usize]);
            if sum as f32 > limit {
                break;
            }
            x[*id as usize] = f32::NEG_INFINITY;
        }
    });
}

/// Drops tokens less likely than `min_p` times the most likely one. `[V]`, in place
///
/// HF's `MinPLogitsWarper`; from Nguyen et al., "Turning Up the Heat: Min-p Sampling" (2024).
pub fn min_p(x: &mut [f32], min_p: f64, keep: usize) {
    let p = probabilities(x);
    let limit = min_p as f32 * math::max(p.row(0));
    drop_unlikely(x, p.row(0), limit, keep);
}

/// Drops tokens less likely than `epsilon`. `[V]`, in place
///
/// HF's `EpsilonLogitsWarper`; from Hewitt et al., "Truncation Sampling as Language Model Desmoothing" (2022).
pub fn epsilon(x: &mut [f32], epsilon: f64, keep: usize) {
    drop_unlikely(x, probabilities(x).row(0), epsilon as f32, keep);
}

/// Drops tokens less likely than `min(epsilon, sqrt(epsilon) * e^-H)`. `[V]`, in place
///
/// HF's `EtaLogitsWarper`; from Hewitt et al. (2022).
pub fn eta(x: &mut [f32], epsilon: f64, keep: usize) {
    let epsilon = epsilon as f32;
    let limit = epsilon.min(epsilon.sqrt() * exp(-entropy(logarithms(x).row(0))));
    drop_unlikely(x, probabilities(x).row(0), limit, keep);
}

/// Keeps the tokens whose surprise `-ln p` is nearest to its mean `H`, until their total probability reaches `mass`.
/// The token that reaches it stays, and so do all tokens at its distance. `[V]`, in place
///
/// HF's `TypicalLogitsWarper`; from Meister et al., "Locally Typical Sampling" (2022).
pub fn typical_p(x: &mut [f32], mass: f64, keep: usize) {
    let logs = logarithms(x);
    let logs = logs.row(0);
    let h = entropy(logs);
    let distance = |i: usize| (-logs[i] - h).abs();
    let p = probabilities(x);
    with_list(|nearest| {
        nearest.extend(above(x, f32::NEG_INFINITY).map(|i| (distance(i), i as TokenId)));
        nearest.sort_unstable_by(|a, b| order(a.0, b.0).then(a.1.cmp(&b.1)));
        let mut sum = 0.0;
        let crosses = nearest.iter().position(|(_, id)| {
            sum += f64::from(p.row(0)[*id as usize]);
            sum as f32 >= mass as f32
        });
        let Some(crosses) = crosses else { return };
        let limit = nearest[crosses].0;
        for (distance, id) in &nearest[keep.max(crosses + 1).min(nearest.len())..] {
            if *distance > limit {
                x[*id as usize] = f32::NEG_INFINITY;
            }
        }
    });
}

/// Drops tokens with a probability below `limit`, but none of the `keep` best.
fn drop_unlikely(x: &mut [f32], p: &[f32], limit: f32, keep: usize) {
    let best = if keep > 1 { kth_largest(x, keep) } else { math::max(x) };
    drop_if(x, p, |x, p| p < limit && x < best);
}

/// scores `[V]` -> log-probabilities `[1, V]`
fn logarithms(x: &[f32]) -> Matrix {
    let mut logs = Matrix::of_row(x);
    log_probabilities(logs.row_mut(0));
    logs
}

kernel! {
    /// log-probabilities `[V]` -> their entropy `H = -sum(p ln p)` in nats; `0 ln 0` is 0.
    fn entropy(logs: &[f32]) -> f32 {
        -sum_of(logs, |log| if log > f32::NEG_INFINITY { exp(log) * log } else { 0.0 }) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{argmax, top_k, top_p as top_p_of_all};
    use proptest::prelude::*;

    const GONE: f32 = f32::NEG_INFINITY;

    /// The tokens of a distribution that survive.
    fn kept<const N: usize>(p: [f32; N], filter: impl FnOnce(&mut [f32])) -> Vec<usize> {
        let mut x = p.map(f32::ln);
        filter(&mut x);
        (0..N).filter(|i| x[*i] > GONE).collect()
    }

    #[test]
    fn min_p_is_a_share_of_the_likeliest() {
        let p = [0.1, 0.5, 0.3, 0.06, 0.04];
        assert_eq!(kept(p, |x| min_p(x, 0.19, 1)), [0, 1, 2]);
        assert_eq!(kept(p, |x| min_p(x, 0.0, 1)), [0, 1, 2, 3, 4]);
        assert_eq!(kept(p, |x| min_p(x, 1.0, 1)), [1]);
        assert_eq!(kept(p, |x| min_p(x, 1.0, 3)), [0, 1, 2]);
        assert_eq!(kept([0.4, 0.4, 0.2], |x| min_p(x, 1.0, 1)), [0, 1]);
    }

    #[test]
    fn epsilon_is_a_fixed_limit() {
        let p = [0.1, 0.5, 0.3, 0.06, 0.04];
        assert_eq!(kept(p, |x| epsilon(x, 0.05, 1)), [0, 1, 2, 3]);
        assert_eq!(kept(p, |x| epsilon(x, 0.9, 1)), [1]);
        assert_eq!(kept(p, |x| epsilon(x, 0.9, 2)), [1, 2]);
        assert_eq!(kept(p, |x| epsilon(x, 0.9, 99)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn eta_falls_where_the_distribution_is_flat() {
        // H = ln 8: the limit is min(0.2, sqrt(0.2) / 8 = 0.056)
        assert_eq!(kept([0.125; 8], |x| eta(x, 0.2, 1)).len(), 8);
        // H = 0.39, e^-H = 0.68: the limit is min(0.2, 0.30)
        assert_eq!(kept([0.9, 0.05, 0.05], |x| eta(x, 0.2, 1)), [0]);
    }

    #[test]
    fn typical_keeps_what_is_as_surprising_as_expected() {
        // H = 1.28; surprises: 0.69, 1.39, 2.12, 2.53. Distances: 0.59, 0.10, 0.83, 1.24
        let p = [0.5, 0.25, 0.12, 0.08];
        let p = [p[0], p[1], p[2], p[3], 1.0 - p.iter().sum::<f32>()];
        assert_eq!(kept(p, |x| typical_p(x, 0.2, 1)), [1], "not the likeliest");
        assert_eq!(kept(p, |x| typical_p(x, 0.5, 1)), [0, 1], "the token that crosses stays");
        assert_eq!(kept(p, |x| typical_p(x, 0.2, 2)), [0, 1]);
        assert_eq!(kept([0.25; 4], |x| typical_p(x, 0.3, 1)), [0, 1, 2, 3], "all at one distance");
    }

    #[test]
    fn what_is_gone_stays_gone() {
        for filter in [min_p, epsilon, eta, typical_p] {
            let mut x = [1.0, GONE, 0.9, GONE, 0.8];
            filter(&mut x, 0.01, 1);
            assert_eq!((x[1], x[3]), (GONE, GONE));
            assert!(x.iter().any(|x| *x > GONE));
            let mut nothing = [GONE; 3];
            filter(&mut nothing, 0.5, 1);
            assert_eq!(nothing, [GONE; 3]);
            filter(&mut [], 0.5, 1);
        }
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        #[test]
        fn sorting_a_part_is_enough(
            x in proptest::collection::vec(-12.0f32..3.0, 1..400), p in 1e-3f64..0.9999, keep in 1usize..4,
            gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let mut x = x;
            for i in gone { let i = i.index(x.len()); x[i] = GONE; }
            let mut expected = x.clone();
            top_p_of_all(&mut expected, p, keep);
            top_p(&mut x, p, keep);
            prop_assert_eq!(x, expected);
        }

        #[test]
        fn enough_is_kept(
            x in prop::collection::vec(-30.0f32..30.0, 1..80), p in 1e-6f64..0.999, keep in 1..5usize, k in 1..90usize,
        ) {
            for filter in [min_p, epsilon, eta, typical_p] {
                let mut left = x.clone();
                top_k(&mut left, k);
                let before = left.iter().filter(|x| **x > GONE).count();
                filter(&mut left, p, keep);
                let after = left.iter().filter(|x| **x > GONE).count();
                prop_assert!(after >= keep.min(before), "{} of {}", after, before);
            }
            for filter in [min_p, epsilon, eta] {
                let mut left = x.clone();
                filter(&mut left, p, keep);
                prop_assert_eq!(argmax(&left), argmax(&x));
            }
        }

        #[test]
        fn no_scores_are_too_strange(x in prop::collection::vec(prop::num::f32::ANY, 0..40), p in 0.0f64..1.0) {
            for filter in [min_p, epsilon, eta, typical_p] {
                filter(&mut x.clone(), p, 1);
            }
        }
    }
}
