//! Which tokens could come next, and how likely is each?

use crate::bpe::TokenId;
use crate::format::json::to_json;
use crate::softmax::softmax;

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: TokenId,
    /// Its probability under the whole distribution.
    pub probability: f32,
}

to_json!(Candidate { id, probability });

/// The `n` most likely tokens under these logits, the most likely first; among equals, the lowest id first. `[V]`
pub fn top(logits: &[f32], n: usize) -> Vec<Candidate> {
    let mut probabilities = logits.to_vec();
    softmax(&mut probabilities);
    let likelier = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    let mut ids: Vec<usize> = (0..logits.len()).filter(|id| !logits[*id].is_nan()).collect();
    if n < ids.len() {
        ids.select_nth_unstable_by(n, likelier);
        ids.truncate(n);
    }
    ids.sort_unstable_by(likelier);
    ids.into_iter().map(|id| Candidate { id: id as TokenId, probability: probabilities[id] }).collect()
}

/// One line such as `" time" 95.1%, " day" 1.2%`. `text` returns the text of a token.
pub fn list(candidates: &[Candidate], text: impl Fn(TokenId) -> String) -> String {
    let one = |c: &Candidate| format!("{} {}", text(c.id), percent(c.probability.into()));
    candidates.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A probability as readable text: three digits, the same on every machine.
pub fn percent(probability: f64) -> String {
    match probability * 100.0 {
        0.0 => "0%".into(),
        p if p < 0.001 => format!("{p:.1e}%"),
        p if p < 0.1 => format!("{p:.3}%"),
        p if p < 9.95 => format!("{p:.2}%"),
        p => format!("{p:.1}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        let ids = |n| top(&logits, n).iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [0u32; 0]);
        assert_eq!(ids(3), [1, 3, 4]);
        assert_eq!(ids(9), [1, 3, 4, 0, 2]);
        let sum: f32 = top(&logits, 9).iter().map(|c| c.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(top(&[f32::NAN, 1.0], 2).len(), 1);
    }

    #[test]
    fn probabilities_are_readable() {
        for (p, text) in [
            (0.0, "0%"),
            (1.0, "100.0%"),
            (0.05, "5.00%"),
            (0.123_45, "12.3%"),
            (0.000_9, "0.090%"),
            (1e-9, "1.0e-7%"),
        ] {
            assert_eq!(percent(p), text);
        }
        let candidates = [Candidate { id: 3, probability: 0.25 }, Candidate { id: 4, probability: 0.5 }];
        assert_eq!(list(&candidates, |id| format!("<{id}>")), "<3> 25.0%, <4> 50.0%");
    }
}
