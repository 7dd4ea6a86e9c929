//! Panels that are multiplied with next: copied, some rows with each few rows of `x`, so that they come from memory while
//! sums are computed.

use crate::simd::LANES;
use std::ops::Range;

/// What is copied of the next step's panels while rows go by.
pub struct Coming {
    /// Rows of the panels that are not copied yet.
    left: Range<usize>,
    /// Rows of the panels for each row of `x`, and those that are due; in 65536ths.
    rate: usize,
    due: usize,
}

/// Rows of the panels that are copied together: those of a tile that is turned.
const TOGETHER: usize = LANES;

impl Coming {
    /// All of these are copied while so many `rows` go by.
    pub fn new(left: Range<usize>, rows: usize) -> Self {
        Self { rate: (left.len() << 16).div_ceil(rows.max(1)), due: 0, left }
    }

    /// What to copy when `count` more rows have gone by.
    pub fn due(&mut self, count: usize) -> Option<Range<usize>> {
        self.due += self.rate * count;
        let rows = (self.due >> 16).min(self.left.len()) / TOGETHER * TOGETHER;
        self.due -= rows << 16;
        (rows > 0).then(|| self.take(rows))
    }

    /// What is left.
    pub fn rest(&mut self) -> Range<usize> {
        self.take(self.left.len())
    }

    fn take(&mut self, rows: usize) -> Range<usize> {
        let start = self.left.start;
        self.left.start += rows;
        start..self.left.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_comes_once_and_in_order() {
        for (k, rows, count) in
            [(256..512, 88, 6), (0..256, 3, 1), (768..773, 40, 6), (0..0, 7, 6), (512..768, 5000, 4)]
        {
            let mut coming = Coming::new(k.clone(), rows);
            let mut next = k.start;
            for _ in 0..rows / count {
                if let Some(part) = coming.due(count) {
                    assert!(part.start == next && part.len().is_multiple_of(TOGETHER), "{part:?} of {k:?}");
                    next = part.end;
                }
            }
            let rest = coming.rest();
            assert_eq!((rest.start, rest.end), (next, k.end));
            assert!(
                rest.len() < 2 * TOGETHER + k.len() * count / rows,
                "{rest:?} of {k:?}: spread over all rows"
            );
        }
    }
}
