//! One output, many threads: each writes its own part.

use std::{marker::PhantomData, ops::Range};

/// A slice of f32 whose parts are written by several threads at once.
///
/// Safe Rust lets threads share out contiguous pieces. Columns of a row-major matrix are not contiguous: a kernel hands
/// them out here, and only here.
pub(crate) struct Disjoint<'a> {
    pointer: *mut f32,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads reach the elements only through `slice`, whose callers promise disjoint parts.
unsafe impl Sync for Disjoint<'_> {}
// SAFETY: as above; f32 may move between threads.
unsafe impl Send for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(data: &'a mut [f32]) -> Self {
        Self { pointer: data.as_mut_ptr(), len: data.len(), owner: PhantomData }
    }

    /// The elements of `range`, to write.
    ///
    /// # Safety
    /// As long as the result lives, no other thread may hold a part that overlaps `range`.
    #[allow(clippy::mut_from_ref)] // that is the purpose; see above
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part inside the slice");
        // SAFETY: inside the slice by the assertion, and held by no other thread by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }

    /// A pointer to element `start`. Elements up to `end` follow it.
    #[inline]
    pub fn pointer(&self, start: usize, end: usize) -> *mut f32 {
        assert!(start <= end && end <= self.len, "a part inside the slice");
        // SAFETY: inside the slice by the assertion.
        unsafe { self.pointer.add(start) }
    }
}
