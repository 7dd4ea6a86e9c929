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
    /// What is asked for next.
    row: usize,
    line: usize,
    /// Lines that are left.
    left: usize,
    /// Lines to ask for with each row of `x`, and the part of one that is due; in 65536ths.
    rate: usize,
    due: usize,
}

impl Wanted {
    /// Nothing, where the copy itself asks ahead.
    pub fn nothing() -> Self {
        Self { start: std::ptr::null(), step: 0, lines: 1, row: 0, line: 0, left: 0, rate: 0, due: 0 }
    }

    /// `depth` rows of so many columns; `w` begins at the first of them, its rows have `n` numbers.
    pub fn new<B>(w: &[B], n: usize, depth: usize, columns: Range<usize>) -> Self {
        let lines = (columns.len() * size_of::<B>()).div_ceil(64);
        Self {
            start: w.as_ptr().cast(),
            step: n * size_of::<B>(),
            lines,
            left: depth * lines,
            ..Self::nothing()
        }
    }

    /// All is asked for while so many rows of `x` go by.
    pub fn while_rows_go_by(&mut self, rows: usize) {
        self.rate = (self.left << 16).div_ceil(rows.max(1));
    }

    /// `rows` more have gone by.
    #[inline(always)]
    pub fn ask<L: Lanes>(&mut self, rows: usize) {
        self.due += self.rate * rows;
        while self.due >> 16 > 0 && self.left > 0 {
            L::prefetch(self.start.wrapping_add(self.row * self.step + self.line * 64));
            self.due -= 1 << 16;
            self.left -= 1;
            self.line += 1;
            if self.line == self.lines {
                (self.row, self.line) = (self.row + 1, 0);
            }
        }
    }
}
