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
mod tests;
