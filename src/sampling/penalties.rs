//! How is a token made more or less likely without a ban?
//!
//! ```text
//! logit bias     x[id] += bias
//! repetition     x[id] = x[id] * r if x[id] < 0 else x[id] / r      # once for each distinct id so far
//! presence       x[id] -= presence                                  # for each distinct id so far
//! frequency      x[id] -= frequency * (how often id occurs so far)
//! ```
//!
//! "So far" covers the prompt and the new tokens.

use super::with_list;
use crate::bpe::TokenId;

/// Adds a bias to the scores of individual tokens. `[V]`, in place
///
/// HF's `SequenceBiasLogitsProcessor` for sequences of one token, OpenAI's `logit_bias`.
pub fn logit_bias(x: &mut [f32], biases: &[(TokenId, f32)]) {
    for (id, bias) in biases {
        if let Some(x) = x.get_mut(*id as usize) {
            *x += bias;
        }
    }
}

/// Divides the scores of tokens that already occur by `r`, or multiplies negative scores by it: both make the tokens
/// less likely if `r` is above 1. `[V]`, ids `[S]`, in place
///
/// HF's `RepetitionPenaltyLogitsProcessor`; from Keskar et al., "CTRL" (2019). A token that occurs twice is penalised
/// only once, because every new score is computed from the old one.
pub fn repetition(x: &mut [f32], ids: &[TokenId], r: f32) {
    let penalised = |x: f32| if x < 0.0 { x * r } else { x / r };
    with_list(|scores| {
        scores.extend(ids.iter().filter_map(|id| Some((penalised(*x.get(*id as usize)?), *id))));
        for (score, id) in scores {
            x[*id as usize] = *score;
        }
    });
}

/// Subtracts `presence` from the score of every token that already occurs, and `frequency` once per occurrence.
/// `[V]`, ids `[S]`, in place
///
/// The rule of llama.cpp and of OpenAI's API: `x - count * frequency - [count > 0] * presence`.
pub fn presence_and_frequency(x: &mut [f32], ids: &[TokenId], presence: f32, frequency: f32) {
    with_list(|sorted| {
        sorted.extend(ids.iter().map(|id| (0.0, *id)));
        sorted.sort_unstable_by_key(|(_, id)| *id);
        for same in sorted.chunk_by(|a, b| a.1 == b.1) {
            if let Some(x) = x.get_mut(same[0].1 as usize) {
                *x = *x - same.len() as f32 * frequency - presence;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: f32 = f32::NEG_INFINITY;

    #[test]
    fn a_bias_is_added() {
        let mut x = [1.0, 2.0, 3.0];
        logit_bias(&mut x, &[(0, -0.5), (2, GONE), (0, 2.0), (99, 1.0)]);
        assert_eq!(x, [2.5, 2.0, GONE]);
    }

    #[test]
    fn repetition_counts_a_token_once() {
        let mut x = [4.0, -4.0, 4.0, 0.0, GONE];
        repetition(&mut x, &[0, 1, 0, 1, 1, 3, 4, 99], 2.0);
        assert_eq!(x, [2.0, -8.0, 4.0, 0.0, GONE]);
        repetition(&mut x, &[0, 1], 0.5); // below 1 it is a reward; here it undoes the penalty
        assert_eq!(x, [4.0, -4.0, 4.0, 0.0, GONE]);
    }

    #[test]
    fn frequency_counts_every_time_and_presence_once() {
        let mut x = [1.0, 1.0, 1.0, GONE];
        presence_and_frequency(&mut x, &[2, 0, 2, 2, 3, 99], 0.5, 0.25);
        assert_eq!(x, [0.25, 1.0, -0.25, GONE]);
        presence_and_frequency(&mut x, &[0], -0.5, -0.25);
        assert_eq!(x, [1.0, 1.0, -0.25, GONE]);
    }
}
