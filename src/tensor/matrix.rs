//! Activations, and the memory that they come from.

use crate::format::LINE;
use crate::math;
use rayon::prelude::*;
use std::ops::{Add, Range};
use std::{cell::RefCell, fmt};

/// Activations: a row-major matrix of f32, one row per token position.
///
/// The memory comes from a small pool of the thread and goes back there when the matrix is dropped, so that
/// a decoding step allocates nothing after the first.
pub struct Matrix {
    rows: usize,
    cols: usize,
    /// The elements, with room before and after them.
    memory: Vec<f32>,
    /// Where the elements begin: at a cache line, so that no register is loaded from two.
    start: usize,
}

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// More buffers than a forward pass holds at once; further ones are given back to the system.
const POOLED: usize = 16;

/// Numbers that one thread adds before another one helps.
const ADDED_TOGETHER: usize = 1 << 14;

impl Matrix {
    /// All zeros. `[rows, cols]`
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let mut matrix = Self::scratch(rows, cols);
        matrix.data_mut().fill(0.0);
        matrix
    }

    /// Whatever an earlier matrix left there: for results of which every element is about to be written.
    pub(crate) fn scratch(rows: usize, cols: usize) -> Self {
        let room = rows.checked_mul(cols).and_then(|len| len.checked_add(LINE / size_of::<f32>()));
        let room = room.expect("a matrix larger than memory");
        let mut memory = POOL.with_borrow_mut(|pool| {
            // the smallest buffer that is large enough, else a new one
            let fits = |(i, b): (usize, &Vec<f32>)| (b.capacity() >= room).then_some((b.capacity(), i));
            let best = pool.iter().enumerate().filter_map(fits).min();
            best.map(|(_, i)| pool.swap_remove(i)).unwrap_or_default()
        });
        if cfg!(debug_assertions) {
            memory.clear();
        }
        memory.resize(room, f32::NAN);
        let start = memory.as_ptr().align_offset(LINE);
        Self { rows, cols, memory, start }
    }

    /// A matrix of these elements, row after row.
    ///
    /// # Panics
    /// If there are not rows * cols elements.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "[rows, cols] = [{rows}, {cols}]");
        let mut matrix = Self::scratch(rows, cols);
        matrix.data_mut().copy_from_slice(&data);
        matrix
    }

    /// A copy of one row. `[1, row.len()]`
    pub(crate) fn of_row(row: &[f32]) -> Self {
        let mut matrix = Self::scratch(1, row.len());
        matrix.data_mut().copy_from_slice(row);
        matrix
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`. `[cols]`
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.rows, "row {i} of {self:?}");
        &self.memory[self.start + i * self.cols..][..self.cols]
    }

    /// Row `i`, to write. `[cols]`
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {self:?}");
        &mut self.memory[self.start + i * self.cols..][..self.cols]
    }

    /// These rows, in this order. `[rows.len(), cols]`
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::scratch(rows.len(), self.cols);
        for (i, row) in rows.iter().enumerate() {
            selected.row_mut(i).copy_from_slice(self.row(*row));
        }
        selected
    }

    /// These columns. `[rows, columns.len()]`
    pub fn columns(&self, columns: Range<usize>) -> Self {
        let mut part = Self::scratch(self.rows, columns.len());
        for i in 0..self.rows {
            part.row_mut(i).copy_from_slice(&self.row(i)[columns.clone()]);
        }
        part
    }

    /// All elements, row after row.
    pub fn data(&self) -> &[f32] {
        &self.memory[self.start..][..self.rows * self.cols]
    }

    /// All elements, row after row, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.rows * self.cols]
    }
}

/// x + y, both `[rows, cols]`: the sum is in the memory of x.
///
/// # Panics
/// If the shapes differ.
impl Add for Matrix {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "sum of two shapes");
        let parts =
            self.data_mut().par_chunks_mut(ADDED_TOGETHER).zip(other.data().par_chunks(ADDED_TOGETHER));
        parts.for_each(|(x, y)| math::add(x, y));
        self
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix [{}, {}]", self.rows, self.cols)
    }
}

impl Clone for Matrix {
    fn clone(&self) -> Self {
        let mut copy = Self::scratch(self.rows, self.cols);
        copy.data_mut().copy_from_slice(self.data());
        copy
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // at the end of a thread its pool is gone before its last matrices
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_takes_the_place_of_its_left_side() {
        let x = Matrix::from_vec(2, 2, vec![1.0, 2.0, 3.0, 4.0]);
        let place = x.data().as_ptr();
        let sum = x + Matrix::from_vec(2, 2, vec![10.0, 20.0, 30.0, 40.0]);
        assert_eq!((sum.data(), sum.data().as_ptr()), (&[11.0, 22.0, 33.0, 44.0][..], place));
    }

    #[test]
    #[should_panic(expected = "sum of two shapes")]
    fn shapes_must_agree() {
        let _ = Matrix::zeros(2, 3) + Matrix::zeros(3, 2);
    }

    #[test]
    fn memory_is_used_again() {
        let pointer = Matrix::zeros(7, 31).data().as_ptr();
        assert_eq!(Matrix::zeros(31, 7).data().as_ptr(), pointer);
    }
}
