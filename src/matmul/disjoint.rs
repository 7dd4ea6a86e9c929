//! One output, many threads: each writes its own part.

use super::pieces;
use crate::tensor::Matrix;
use rayon::prelude::*;
use std::{array::from_fn, marker::PhantomData, ops::Range};

/// A slice of f32 whose parts are written by several threads at once.
///
/// Safe Rust lets threads share out contiguous pieces. Columns of a row-major matrix are not contiguous: a kernel hands
/// them out here, and only here.
pub(crate) struct Disjoint<'a> {
    pointer: *mut f32,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads reach the elements only through `slice`, whose callers promise disjoint parts, and `Columns`.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(data: &'a mut [f32]) -> Self {
        Self { pointer: data.as_mut_ptr(), len: data.len(), owner: PhantomData }
    }

    /// The elements of `range`, to write.
    ///
    /// # Safety
    /// As long as the result lives, nobody else may hold a part that overlaps `range`.
    #[allow(clippy::mut_from_ref)] // that is the purpose; see above
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part inside the slice");
        // SAFETY: inside the slice by the assertion, and held by nobody else by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }
}

/// Some columns of a row-major matrix, to write. Nobody else has them as long as this lives.
pub(crate) struct Columns<'a> {
    all: &'a Disjoint<'a>,
    rows: usize,
    /// Numbers in a row of the matrix.
    width: usize,
    range: Range<usize>,
}

impl Columns<'_> {
    /// Shares out the first `count` columns of `y`, one piece per thread. Each is a multiple of `unit`, except the last.
    pub fn share(y: &mut Matrix, count: usize, unit: usize, work: impl Fn(Columns<'_>) + Sync) {
        let (rows, width) = (y.rows(), y.cols());
        assert!(count <= width, "columns of the matrix");
        let all = Disjoint::new(y.data_mut());
        pieces(count, unit).for_each(|range| work(Columns { all: &all, rows, width, range }));
    }

    /// Which columns these are.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// `R` rows from row `first` on, of some of these columns.
    #[inline(always)]
    pub fn rows<const R: usize>(&mut self, first: usize, columns: Range<usize>) -> [&mut [f32]; R] {
        assert!(self.range.start <= columns.start && columns.end <= self.range.end, "these columns");
        assert!(first <= self.rows && R <= self.rows - first, "rows of the matrix");
        from_fn(|r| {
            let start = (first + r) * self.width;
            // SAFETY: each row once, and `share` handed out these columns once; the result borrows them.
            unsafe { self.all.slice(start + columns.start..start + columns.end) }
        })
    }

    /// The address of the first of some of these columns, in the first row. The rows follow it, `width` apart.
    pub fn start(&mut self, columns: Range<usize>) -> *mut f32 {
        self.rows::<1>(0, columns.clone());
        self.all.pointer.wrapping_add(columns.start)
    }
}
