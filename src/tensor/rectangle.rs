//! How do threads write one matrix together, when each owns some of its rows and columns?
//!
//! A slice can be cut only between rows. A rectangle can be cut between columns as well, and its halves, like those of a
//! slice, share no element.

use super::Matrix;
use std::marker::PhantomData;

/// Some rows and columns of a matrix, to write.
pub(crate) struct Rectangle<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    /// From one row to the next.
    step: usize,
    matrix: PhantomData<&'a mut Matrix>,
}

// SAFETY: as `&mut [f32]`. A rectangle is the only way to its elements as long as it lives.
unsafe impl Send for Rectangle<'_> {}

impl<'a> Rectangle<'a> {
    /// All of the matrix.
    pub fn of(matrix: &'a mut Matrix) -> Self {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        Self { start: matrix.data_mut().as_mut_ptr(), rows, cols, step: cols, matrix: PhantomData }
    }

    /// The first `at` rows, and the others.
    pub fn cut_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "row {at} of {}", self.rows);
        let start = self.start.wrapping_add(at * self.step);
        (Self { rows: at, ..self }, Self { rows: self.rows - at, start, ..self })
    }

    /// The first `at` columns, and the others.
    pub fn cut_cols(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "column {at} of {}", self.cols);
        let start = self.start.wrapping_add(at);
        (Self { cols: at, ..self }, Self { cols: self.cols - at, start, ..self })
    }

    /// Row after row, `[cols]` each.
    pub fn into_rows(self) -> impl Iterator<Item = &'a mut [f32]> {
        (0..self.rows).map(move |r| {
            // SAFETY: `cols` elements of the matrix, which is borrowed for 'a. No other rectangle has them, for each came
            // from a cut; and each row is given out once.
            unsafe { std::slice::from_raw_parts_mut(self.start.wrapping_add(r * self.step), self.cols) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_belongs_to_one_rectangle() {
        let mut matrix = Matrix::zeros(5, 7);
        let (top, bottom) = Rectangle::of(&mut matrix).cut_rows(2);
        let ((a, b), (c, d)) = (top.cut_cols(3), bottom.cut_cols(7));
        assert_eq!([&a, &b, &c, &d].map(|part| (part.rows, part.cols)), [(2, 3), (2, 4), (3, 7), (3, 0)]);
        std::thread::scope(|threads| {
            for (part, number) in [a, b, c, d].into_iter().zip([1.0, 10.0, 100.0, 1000.0]) {
                threads.spawn(move || {
                    part.into_rows().for_each(|row| row.iter_mut().for_each(|x| *x += number));
                });
            }
        });
        let top = [1.0, 1.0, 1.0, 10.0, 10.0, 10.0, 10.0];
        assert_eq!(matrix.data(), [top, top, [100.0; 7], [100.0; 7], [100.0; 7]].concat());
    }

    #[test]
    #[should_panic(expected = "column 8 of 7")]
    fn a_cut_is_inside() {
        Rectangle::of(&mut Matrix::zeros(5, 7)).cut_cols(8);
    }
}
