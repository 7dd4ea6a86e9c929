//! Weights, where the checkpoint has them.

use super::int8::Channels;
use super::numbers::{Dtype, Number, widen, with_number};
use crate::format::Bytes;
use std::fmt;

/// Weights: a row-major matrix where the checkpoint has it, in its own number type.
///
/// Sixteen-bit numbers are widened to f32 when they are used. That is exact, so the results have the bits
/// of an f32 checkpoint that holds the rounded values. Eight-bit numbers are multiplied as they are, with
/// activations in eight bits ([`Dtype::I8`]).
#[derive(Clone)]
pub struct Weights {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) dtype: Dtype,
    pub(super) bytes: Bytes,
    /// Where the dtype is I8, and only there.
    pub(super) channels: Option<Channels>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights [{}, {}] {}", self.rows, self.cols, self.dtype.name())
    }
}

impl Weights {
    /// A matrix `[rows, cols]` of little-endian numbers. `bytes` are aligned for `dtype`, which is not I8: see
    /// [`int8`](Self::int8).
    ///
    /// # Panics
    /// If there are not rows * cols numbers, or they are not aligned.
    pub fn new(rows: usize, cols: usize, dtype: Dtype, bytes: Bytes) -> Self {
        assert_ne!(dtype, Dtype::I8, "eight-bit numbers need scales");
        let size = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size()));
        assert_eq!(Some(bytes.len()), size, "[rows, cols]");
        assert!(bytes.as_ptr().addr().is_multiple_of(dtype.size()), "weights are aligned");
        Self { rows, cols, dtype, bytes, channels: None }
    }

    /// An f32 matrix of these elements.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Self {
        Self::new(rows, cols, Dtype::F32, Bytes::aligned_copy(bytemuck::cast_slice(data)))
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of all numbers, as they are stored.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.scales().unwrap_or_default())
    }

    /// How the numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The numbers as they are stored, in the type of their [`dtype`](Self::dtype), which is not I8.
    pub(crate) fn numbers<N: Number>(&self) -> &[N::Bits] {
        bytemuck::cast_slice(&self.bytes)
    }

    /// Row `i`, widened to f32. `[cols]`
    ///
    /// # Panics
    /// If there is no such row, or `row` is not as long as one.
    pub fn read_row(&self, i: usize, row: &mut [f32]) {
        assert!(i < self.rows && row.len() == self.cols, "row {i}, of {} numbers, of {self:?}", row.len());
        match self.as_int8() {
            Some(w) => w.read_row(i, row),
            None => {
                with_number!(self.dtype, N => widen::<N>(&self.numbers::<N>()[i * self.cols..][..self.cols], row))
            }
        }
    }

    /// These weights in another number type, each number the nearest one; `dtype` is not I8. If they are already, a copy that
    /// shares their bytes.
    pub fn rounded(&self, dtype: Dtype) -> Self {
        if self.dtype == dtype {
            return self.clone();
        }
        let bytes = with_number!(dtype, N => {
            let numbers: Vec<_> = self.to_f32().into_iter().map(N::round).collect();
            Bytes::aligned_copy(bytemuck::cast_slice(&numbers))
        });
        Self::new(self.rows, self.cols, dtype, bytes)
    }

    /// All numbers, widened to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.rows * self.cols];
        for i in 0..self.rows {
            self.read_row(i, &mut all[i * self.cols..][..self.cols]);
        }
        all
    }
}
