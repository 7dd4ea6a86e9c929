//! Which token comes next?
//!
//! `next = draw(softmax(top_p(top_k(logits / tau))))`, or, greedily, `argmax(logits)`
//!
//! ```text
//! x = logits / tau                                        # the temperature
//! x[x < the k-th largest of x] = -inf                     # top-k
//! x[the least likely, together at most 1 - p] = -inf      # top-p
//! p = softmax(x)
//! u = uniform in [0, 1)
//! next = the first id at which the running sum of p exceeds u
//! ```
//!
//! The model gives a distribution. The token drawn from it becomes part of the text and conditions everything after it.
//! Thousands of unlikely tokens are likely together, and a long text almost certainly draws one of them (notebooks 6 and
//! 7 measure it). So this tail is cut before the draw. The rules are those of HF `transformers` (`TopKLogitsWarper`, `TopPLogitsWarper`); top-p is
//! from Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019). Next: [`generate`](crate::generate).
//!
//! # Example
//!
//! The probabilities lie side by side on the line from 0 to 1, in the order of the ids; the token is the one whose part
//! contains `u`:
//!
//! ```
//! use gpt2::sampling::{draw, sample};
//!
//! assert_eq!(draw(&[0.5, 0.3, 0.2], 0.61), Some(1)); // 0.5 <= 0.61 < 0.8
//! // top-k 2 removes the last token; the others become 0.62 and 0.38
//! let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
//! assert_eq!(sample(&mut scores.clone(), 1.0, 2, 1.0, 0.61), Some(0));
//! ```
//!
//! # More
//!
//! On a first reading you can stop here. These modules hold the other processors, all off by default, and their tools:
//!
//! | module | what |
//! |---|---|
//! | [`options`] | all options in one table; its order is the order of the steps |
//! | [`choice`] | the enabled steps, then the draw; custom processors and samplers |
//! | [`penalties`] | logit bias; repetition, presence and frequency penalties |
//! | [`bans`] | no repeated n-gram, bad words, minimum length |
//! | [`filters`] | further ways to cut the tail: min-p, typical-p, epsilon, eta; and top-p without sorting everything |
//! | [`watch`] | what each step did |
//! | [`explain`] | why this token: the steps, the number drawn, the alternatives |

pub mod bans;
pub mod candidates;
pub mod choice;
pub mod explain;
pub mod filters;
pub mod options;
pub mod penalties;
mod row;
mod uniform;
pub mod watch;

pub use candidates::Candidate;
pub use choice::{History, Processor, Sampler};
pub use explain::Explanation;
pub use options::{ContextPolicy, Options};
pub use uniform::Uniform;
pub use watch::{Choice, Effect, Effects, NoWatch, Watch};

use crate::bpe::TokenId;
use crate::math;
use crate::softmax::{softmax, temperature};
pub(crate) use options::in_range;
pub(crate) use row::{above, drop_if, kth_largest, order, probabilities, with_list};

/// scores `[V]` -> the next id, with temperature `tau`, top-k and top-p; `u` is a uniform number from \[0, 1). In place
///
/// `None` if no token has a probability above 0. [`Options::choose`] is the version with all options.
pub fn sample(x: &mut [f32], tau: f32, k: usize, p: f64, u: f64) -> Option<TokenId> {
    temperature(x, tau);
    top_k(x, k);
    top_p(x, p, 1);
    softmax(x);
    draw(x, u)
}

/// The id with the highest score; on a tie, the lowest such id. `[V]` -> id
pub fn argmax(x: &[f32]) -> TokenId {
    let largest = math::max(x);
    x.iter().position(|x| *x == largest).unwrap_or(0) as TokenId
}

/// Drops the scores below the `k`-th largest; ties with it survive. `[V]`, in place
pub fn top_k(x: &mut [f32], k: usize) {
    let threshold = kth_largest(x, k);
    for x in x {
        *x = if *x < threshold { f32::NEG_INFINITY } else { *x };
    }
}

/// Drops the least likely tokens as long as their total probability is at most 1 - p; the `keep` most likely ones stay.
/// `[V]`, in place
///
/// Sort everything, sum, cut. Among equal scores the lowest id is dropped first (HF's sort leaves that open).
/// [`filters::top_p`] does the same without sorting every token.
pub fn top_p(x: &mut [f32], p: f64, keep: usize) {
    let probabilities = probabilities(x); // [1, V]
    let mut ascending: Vec<usize> = (0..x.len()).collect();
    ascending.sort_by(|a, b| order(x[*a], x[*b])); // stable
    let mut sum = 0.0;
    for id in &ascending[..x.len().saturating_sub(keep)] {
        sum += f64::from(probabilities.row(0)[*id]);
        if sum as f32 > (1.0 - p) as f32 {
            break;
        }
        x[*id] = f32::NEG_INFINITY;
    }
}

/// The first id at which the running sum of the probabilities exceeds `u` times their total. `[V]` -> id
///
/// `None` if no probability is above 0.
pub fn draw(probabilities: &[f32], u: f64) -> Option<TokenId> {
    let whole: f64 = above(probabilities, 0.0).map(|id| f64::from(probabilities[id])).sum();
    let mut sum = 0.0;
    let mut last = None;
    for id in above(probabilities, 0.0) {
        sum += f64::from(probabilities[id]);
        last = Some(id as TokenId);
        if sum > u * whole {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests;
