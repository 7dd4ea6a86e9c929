//! How do threads share attention?
//!
//! ```text
//! for each sequence of the batch:
//!     for each head:                                  # columns h*D .. (h+1)*D of the result
//!         for each group of up to 8 new positions:
//!             work(part)
//! ```
//!
//! Each part is computed alone: it reads the cache and writes its own rectangle of the result. The positions of a group
//! share each key and value that is read ([`heads`]). One thread takes neighbouring parts: it reads a head's keys again
//! while they are still near, and a sequence's cache from one end to the other.

use crate::kv_cache::{LayerCache, Sequence};
use crate::matmul::{Disjoint, heads};
use crate::tensor::{Head, Matrix, PAGE};
use rayon::prelude::*;
use std::ops::Range;

/// The values that `work` mixes for each part. qkv `[T, 3C] -> [T, C]`, heads side by side
///
/// # Panics
/// If the rows of `qkv` are not the new positions of the cache's sequences, or the heads do not divide C.
pub fn each_head(qkv: &Matrix, cache: &LayerCache, n_head: usize, work: impl Fn(Part<'_>) + Sync) -> Matrix {
    let (sequences, layer) = (cache.sequences(), cache.layer());
    let (step, c, d) = (qkv.cols(), qkv.cols() / 3, qkv.cols() / 3 / n_head);
    let t: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
    assert_eq!((qkv.rows(), step), (t, 3 * n_head * d), "qkv [T, 3C], C = H * D");
    assert!(cache.fits(n_head, c), "the heads of the cache"); // else parts would overlap
    let parts: usize = sequences.iter().map(|sequence| n_head * groups_of(sequence)).sum();
    let mut mixed = Matrix::scratch(t, c);
    let out = Disjoint::new(mixed.data_mut());
    (0..parts).into_par_iter().for_each(|i| {
        let (h, row, first, Sequence { ids, cache }) = part(sequences, n_head, i);
        let rows = row..row + (ids.len() - first).min(heads::ROWS);
        let queries = &qkv.data()[row * step + h * d..];
        let (head, past) = (cache.head(layer, h), cache.len() + first);
        work(Part { h, rows, past, queries, step, head, out: &out });
    });
    mixed // [T, C]
}

/// The number of groups of a sequence.
fn groups_of(sequence: &Sequence<'_>) -> usize {
    sequence.ids.len().div_ceil(heads::ROWS)
}

/// The head of part `i`, its first row, which of its sequence's new positions this is, and the sequence.
fn part<'a, 'b>(
    sequences: &'a [Sequence<'b>],
    n_head: usize,
    mut i: usize,
) -> (usize, usize, usize, &'a Sequence<'b>) {
    let mut row = 0;
    for sequence in sequences {
        let groups = groups_of(sequence);
        if i < n_head * groups {
            let first = i % groups * heads::ROWS;
            return (i / groups, row + first, first, sequence);
        }
        i -= n_head * groups;
        row += sequence.ids.len();
    }
    unreachable!("a part of the batch")
}

/// One head, and r new positions of one sequence.
pub struct Part<'a> {
    pub h: usize,
    /// Its rows of `qkv`.
    pub rows: Range<usize>,
    /// Positions of the sequence before these.
    past: usize,
    /// `[r, D]`, a row each `step` numbers
    queries: &'a [f32],
    step: usize,
    /// The keys and values of all positions up to the last of these.
    head: Head<'a>,
    /// The whole result. `[T, C]`
    out: &'a Disjoint<'a>,
}

impl Part<'_> {
    /// How many positions row `r` sees: itself, and all before it.
    pub fn visible_to(&self, r: usize) -> usize {
        self.past + r + 1
    }

    /// S, for this part: what its last row sees.
    fn positions(&self) -> usize {
        self.visible_to(self.rows.len() - 1)
    }

    /// scale * q · kᵀ: `[r, S]`. What comes after S, up to a whole page, means nothing.
    pub fn scores(&self, scale: f32) -> Matrix {
        let s = self.positions();
        let mut scores = Matrix::scratch(self.rows.len(), s.next_multiple_of(PAGE));
        heads::scores(self.queries, self.step, self.head, scale, s, &mut scores);
        scores
    }

    /// Applies `f` to the positions that each row sees; all later ones become 0. scores `[r, S]`, in place
    pub fn visible(&self, scores: &mut Matrix, f: impl Fn(&mut [f32])) {
        for r in 0..scores.rows() {
            let (seen, later) = scores.row_mut(r).split_at_mut(self.visible_to(r));
            f(seen);
            later.fill(0.0);
        }
    }

    /// weights · v: `[r, S] -> [r, D]`, written where the part belongs.
    pub fn mix(self, weights: &Matrix) {
        let (d, c) = (self.head.d, self.step / 3);
        let place = |row: usize| {
            let first = row * c + self.h * d;
            // SAFETY: no other part has this row and these columns, as its head is of this size; this one is used up.
            unsafe { self.out.slice(first..first + d) }
        };
        heads::mix(weights, self.head, self.positions(), self.rows.clone().map(place));
    }
}
