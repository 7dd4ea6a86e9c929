//! Weights, where the checkpoint has them.

use super::int8::{Channels, Int8};
use super::numbers::{Bf16, Dtype, F16, F32, widen};
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
        assert_eq!(
            Some(bytes.len()),
            rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size())),
            "[rows, cols]"
        );
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

    /// The numbers as they are stored.
    pub(crate) fn numbers(&self) -> Numbers<'_> {
        match (self.dtype, &self.channels) {
            (Dtype::F32, _) => Numbers::F32(bytemuck::cast_slice(&self.bytes)),
            (Dtype::F16, _) => Numbers::F16(bytemuck::cast_slice(&self.bytes)),
            (Dtype::Bf16, _) => Numbers::Bf16(bytemuck::cast_slice(&self.bytes)),
            (Dtype::I8, channels) => {
                Numbers::I8(self.as_int8(channels.as_ref().expect("set with the dtype")))
            }
        }
    }

    /// Row `i`, widened to f32. `[cols]`
    ///
    /// # Panics
    /// If there is no such row, or `row` is not as long as one.
    pub fn read_row(&self, i: usize, row: &mut [f32]) {
        assert!(i < self.rows && row.len() == self.cols, "row {i}, of {} numbers, of {self:?}", row.len());
        if let Some(channels) = &self.channels {
            return self.read_int8_row(channels, i, row);
        }
        let part = i * self.cols..(i + 1) * self.cols;
        match self.numbers() {
            Numbers::I8(_) => unreachable!("eight-bit numbers have channels"),
            Numbers::F32(w) => widen::<F32>(&w[part], row),
            Numbers::F16(w) => widen::<F16>(&w[part], row),
            Numbers::Bf16(w) => widen::<Bf16>(&w[part], row),
        }
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

/// Weights as they lie in memory, a variant for each [`Dtype`].
#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
    Bf16(&'a [u16]),
    I8(Int8<'a>),
}
