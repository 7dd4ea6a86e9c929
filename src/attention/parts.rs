//! How do threads share attention?
//!
//! ```text
//! for each head:                                  # columns h*D .. (h+1)*D of the result
//!     for each sequence of the batch:
//!         for each group of up to 8 new positions:
//!             work(part)
//! ```
//!
//! Each part is computed alone: it reads the cache and writes its own rectangle of the result. The positions of a group
//! share each key and value that is read ([`heads`]). One thread takes neighbouring parts, so it reads a head's keys again
//! while they are still near.

use crate::kv_cache::{KvCache, LayerCache, Sequence};
use crate::matmul::heads;
use crate::tensor::{Head, Matrix, PAGE, Rectangle};
use rayon::prelude::*;
use std::ops::Range;

/// The values that `work` mixes for each part. qkv `[T, 3C] -> [T, C]`, heads side by side
///
/// # Panics
/// If the rows of `qkv` are not the new positions of the cache's sequences, or the heads do not divide C.
pub(super) fn each_head(
    qkv: &Matrix,
    cache: &LayerCache,
    n_head: usize,
    work: impl Fn(Part<'_>) + Sync,
) -> Matrix {
    let c = qkv.cols() / 3;
    let batch = Batch { qkv, sequences: cache.sequences(), layer: cache.layer(), d: c / n_head };
    let t: usize = batch.sequences.iter().map(|sequence| sequence.ids.len()).sum();
    assert_eq!((qkv.rows(), qkv.cols()), (t, 3 * n_head * batch.d), "qkv [T, 3C], C = H * D");
    let mut mixed = Matrix::scratch(qkv.rows(), c);
    let place = Rectangle::of(&mut mixed);
    let all = Share { batch: &batch, heads: 0..n_head, groups: 0..batch.groups(), place };
    if t > 0 {
        rayon::iter::split(all, Share::halve).for_each(|share| share.each(&work));
    }
    mixed // [T, C]
}

/// What all parts read.
struct Batch<'a> {
    qkv: &'a Matrix,
    sequences: &'a [Sequence<'a>],
    layer: usize,
    /// D
    d: usize,
}

/// Some new positions of one sequence.
struct Group<'a> {
    cache: &'a KvCache,
    /// Its first row of `qkv`.
    row: usize,
    rows: usize,
    /// Positions of the sequence before this row.
    past: usize,
}

impl Batch<'_> {
    /// The number of groups.
    fn groups(&self) -> usize {
        self.sequences.iter().map(|s| s.ids.len().div_ceil(heads::ROWS)).sum()
    }

    fn group(&self, mut i: usize) -> Group<'_> {
        let mut row = 0;
        for Sequence { ids, cache } in self.sequences {
            let first = i * heads::ROWS;
            if first < ids.len() {
                let rows = (ids.len() - first).min(heads::ROWS);
                return Group { cache, row: row + first, rows, past: cache.len() + first };
            }
            i -= ids.len().div_ceil(heads::ROWS);
            row += ids.len();
        }
        unreachable!("a group of the batch")
    }
}

/// Neighbouring parts, for one thread.
struct Share<'a> {
    batch: &'a Batch<'a>,
    heads: Range<usize>,
    groups: Range<usize>,
    /// Their rows and columns of the result.
    place: Rectangle<'a>,
}

impl<'a> Share<'a> {
    /// Two shares, if this one has more than one part.
    fn halve(self) -> (Self, Option<Self>) {
        let Self { batch, heads, groups, place } = self;
        let share = |heads, groups, place| Self { batch, heads, groups, place };
        if heads.len() > 1 {
            let middle = heads.start + heads.len() / 2;
            let (left, right) = place.cut_cols((middle - heads.start) * batch.d);
            (share(heads.start..middle, groups.clone(), left), Some(share(middle..heads.end, groups, right)))
        } else if groups.len() > 1 {
            let middle = groups.start + groups.len() / 2;
            let (upper, lower) = place.cut_rows(batch.group(middle).row - batch.group(groups.start).row);
            (share(heads.clone(), groups.start..middle, upper), Some(share(heads, middle..groups.end, lower)))
        } else {
            (share(heads, groups, place), None)
        }
    }

    /// Does `work` on one part after the other.
    fn each(self, work: &impl Fn(Part<'_>)) {
        match self.halve() {
            (some, Some(others)) => {
                some.each(work);
                others.each(work);
            }
            (Self { batch, heads, groups, place }, None) => {
                let (h, group) = (heads.start, batch.group(groups.start));
                let queries = &batch.qkv.data()[group.row * batch.qkv.cols() + h * batch.d..];
                let head = group.cache.head(batch.layer, h);
                work(Part { h, group, queries, step: batch.qkv.cols(), head, place });
            }
        }
    }
}

/// One head, and r new positions of one sequence.
pub(super) struct Part<'a> {
    pub(super) h: usize,
    group: Group<'a>,
    /// `[r, D]`, a row each `step` numbers
    queries: &'a [f32],
    step: usize,
    /// The keys and values of all positions up to the last of these.
    head: Head<'a>,
    /// `[r, D]`
    place: Rectangle<'a>,
}

impl Part<'_> {
    /// The part's rows of `qkv`.
    pub(super) fn rows(&self) -> Range<usize> {
        self.group.row..self.group.row + self.group.rows
    }

    /// How many positions row `r` sees: itself, and all before it.
    pub(super) fn visible_to(&self, r: usize) -> usize {
        self.group.past + r + 1
    }

    /// S, for this part: what its last row sees.
    fn positions(&self) -> usize {
        self.visible_to(self.group.rows - 1)
    }

    /// scale * q · kᵀ: `[r, S]`. What comes after S, up to a whole page, means nothing.
    pub(super) fn scores(&self, scale: f32) -> Matrix {
        let s = self.positions();
        let mut scores = Matrix::scratch(self.group.rows, s.next_multiple_of(PAGE));
        heads::scores(self.queries, self.step, self.head, scale, s, &mut scores);
        scores
    }

    /// Applies `f` to the positions that each row sees; all later ones become 0. scores `[r, S]`, in place
    pub(super) fn visible(&self, scores: &mut Matrix, f: impl Fn(&mut [f32])) {
        for r in 0..scores.rows() {
            let (seen, later) = scores.row_mut(r).split_at_mut(self.visible_to(r));
            f(seen);
            later.fill(0.0);
        }
    }

    /// weights · v: `[r, S] -> [r, D]`, written where the part belongs.
    pub(super) fn mix(self, weights: &Matrix) {
        heads::mix(weights, self.head, self.positions(), self.place.into_rows());
    }
}
