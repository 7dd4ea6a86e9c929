//! Weights that are copied next: asked for, some lines with each few rows, so that they come from memory while sums are
//! computed.

use crate::simd::lanes::Lanes;
use std::ops::Range;

/// Some columns of some rows of a matrix, and how much of them is asked for.
pub struct Wanted {
    start: *const u8,
    /// Bytes from row to row, and cache lines of each.
    step: usize,
    lines: usize,
    /// Lines in all, and how many were asked for.
    all: usize,
    asked: usize,
    /// Rows of `x` that go by in the meantime, and how many have.
    rows: usize,
    gone: usize,
}

impl Wanted {
    /// Nothing, where the copy itself asks ahead.
    pub fn nothing() -> Self {
        Self { start: std::ptr::null(), step: 0, lines: 1, all: 0, asked: 0, rows: 1, gone: 0 }
    }

    /// `depth` rows of so many columns; `w` begins at the first of them, its rows have `n` numbers.
    pub fn new<B>(w: &[B], n: usize, depth: usize, columns: Range<usize>) -> Self {
        let lines = (columns.len() * size_of::<B>()).div_ceil(64);
        Self {
            start: w.as_ptr().cast(),
            step: n * size_of::<B>(),
            lines,
            all: depth * lines,
            ..Self::nothing()
        }
    }

    /// All is asked for while so many rows of `x` go by.
    pub fn while_rows_go_by(&mut self, rows: usize) {
        self.rows = rows.max(1);
    }

    /// `rows` more have gone by.
    #[inline(always)]
    pub fn ask<L: Lanes>(&mut self, rows: usize) {
        self.gone += rows;
        let due = (self.all * self.gone / self.rows).min(self.all);
        while self.asked < due {
            let (row, line) = (self.asked / self.lines, self.asked % self.lines);
            L::prefetch(self.start.wrapping_add(row * self.step + line * 64));
            self.asked += 1;
        }
    }
}
