//! Which continuations of the beams are candidates?
//!
//! ```text
//! S = beam's score + log_softmax(logits), processed           # [K, V]
//! candidates = the m largest of S                             # deterministic
//! candidates = m draws from softmax(S) without replacement    # beam sampling
//! ```
//!
//! m is K times one more than the number of end tokens, and at least 2K. So even if every end token is among the most
//! likely continuations of every beam, K candidates continue.

use crate::bpe::TokenId;
use crate::sampling::{Uniform, above, draw, kth_largest, order};
use crate::softmax::softmax;

/// One beam's continuation by one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scored {
    /// Which beam of its group it continues.
    pub beam: usize,
    pub id: TokenId,
    /// The beam's score plus the token's.
    pub score: f32,
}

/// S of one beam `[V]`, without the tokens that cannot become candidates.
pub(super) type Row = Vec<(TokenId, f32)>;

/// The `m` largest elements of a row, the largest first; on a tie, the lowest id first. `[V]`
pub(super) fn largest(x: &[f32], m: usize) -> Row {
    let floor = kth_largest(x, m).max(f32::MIN); // banned tokens, at -inf, are not candidates
    let mut row: Row = above(x, floor.next_down()).map(|id| (id as TokenId, x[id])).collect();
    row.sort_by(|a, b| order(b.1, a.1)); // stable
    row.truncate(m);
    row
}

/// All tokens of a row that can be drawn, in order of id. `[V]`
pub(super) fn alive(x: &[f32]) -> Row {
    above(x, f32::NEG_INFINITY).map(|id| (id as TokenId, x[id])).collect()
}

/// The `m` best continuations of all rows; on a tie, the first beam first, then the lowest id. Rows as from
/// [`largest`].
pub(super) fn best(rows: &[Row], m: usize) -> Vec<Scored> {
    let mut all = continuations(rows);
    all.sort_by(|a, b| order(b.score, a.score)); // stable
    all.truncate(m);
    all
}

/// `m` draws without replacement from the softmax over all rows, in the order in which they are drawn. Each draw uses
/// one uniform number and the rule of [`draw`], in order of beam, then of id. Rows as from [`alive`].
///
/// There are fewer than `m` if fewer continuations have a probability above 0.
pub(super) fn drawn(rows: &[Row], m: usize, uniform: &mut Uniform) -> Vec<Scored> {
    let all = continuations(rows);
    let mut weights: Vec<f32> = all.iter().map(|c| c.score).collect();
    softmax(&mut weights);
    let mut next = || {
        let place = draw(&weights, uniform.draw())? as usize;
        weights[place] = 0.0;
        Some(all[place])
    };
    (0..m).map_while(|_| next()).collect()
}

fn continuations(rows: &[Row]) -> Vec<Scored> {
    let rows = rows.iter().enumerate();
    rows.flat_map(|(beam, row)| row.iter().map(move |&(id, score)| Scored { beam, id, score })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GONE: f32 = f32::NEG_INFINITY;

    #[test]
    fn ties_go_to_the_first_beam_and_the_lowest_id() {
        let rows = [vec![1.0, 3.0, 3.0, GONE], vec![3.0, GONE, 2.0, 5.0]].map(|x| largest(&x, 3));
        assert_eq!(rows, [vec![(1, 3.0), (2, 3.0), (0, 1.0)], vec![(3, 5.0), (0, 3.0), (2, 2.0)]]);
        let best: Vec<_> = best(&rows, 4).iter().map(|c| (c.beam, c.id)).collect();
        assert_eq!(best, [(1, 3), (0, 1), (0, 2), (1, 0)]);
        assert_eq!(largest(&[f32::NAN, GONE, f32::MIN, 0.0], 9), [(3, 0.0), (2, f32::MIN)]);
        assert_eq!(largest(&[0.0, -0.0, 0.0], 2), [(0, 0.0), (1, -0.0)]);
        assert_eq!(largest(&[GONE; 3], 2), []);
        assert_eq!(largest(&[], 2), []);
    }

    #[test]
    fn nothing_is_drawn_twice() {
        let rows = [vec![(0, 0.0), (7, -1.0)], vec![], vec![(2, -300.0), (3, 0.5)]];
        let mut drawn = drawn(&rows, 9, &mut Uniform::new(1));
        drawn.sort_by_key(|c| (c.beam, c.id));
        let places: Vec<_> = drawn.iter().map(|c| (c.beam, c.id)).collect();
        assert_eq!(places, [(0, 0), (0, 7), (2, 3)], "and nothing of probability 0");
    }

    #[test]
    fn draws_follow_the_softmax() {
        // p = 1/2, 1/3, 1/6; the probability that (a, b) are drawn first is p[a] * p[b] / (1 - p[a])
        let rows = [vec![(0, 0.5f32.ln()), (1, (1.0f32 / 3.0).ln())], vec![(0, (1.0f32 / 6.0).ln())]];
        let (mut uniform, mut counts, runs) = (Uniform::new(3), [[0.0; 3]; 3], 60_000);
        for _ in 0..runs {
            let two: Vec<usize> =
                drawn(&rows, 2, &mut uniform).iter().map(|c| c.beam * 2 + c.id as usize).collect();
            counts[two[0]][two[1]] += 1.0;
        }
        let p: [f64; 3] = [1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0];
        let mut chi_squared = 0.0;
        for (a, b) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let expected = f64::from(runs) * p[a] * p[b] / (1.0 - p[a]);
            chi_squared += (counts[a][b] - expected).powi(2) / expected;
        }
        assert!(chi_squared < 20.5, "{chi_squared}"); // 5 degrees of freedom, p = 0.001
    }

    proptest! {
        #![proptest_config(crate::properties::config())]
        /// Selecting row by row gives the same as sorting everything, with many ties and bans.
        #[test]
        fn the_best_are_the_best_of_all(
            scores in prop::collection::vec(prop::collection::vec((0..12i8).prop_map(|x| if x == 0 { GONE } else { f32::from(x) }), 150), 1..5),
            m in 1..40usize,
        ) {
            let mut all: Vec<Scored> = Vec::new();
            for (beam, row) in scores.iter().enumerate() {
                all.extend((0..).zip(row).map(|(id, score)| Scored { beam, id, score: *score }));
            }
            all.retain(|c| c.score > GONE);
            all.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.beam, a.id).cmp(&(b.beam, b.id))));
            all.truncate(m);
            let rows: Vec<Row> = scores.iter().map(|row| largest(row, m)).collect();
            prop_assert_eq!(best(&rows, m), all);
        }
    }
}
