//! The two kinds of numbers: activations, which a forward pass makes, and weights, which a checkpoint holds.

use crate::checkpoint::Bytes;
use crate::error::{Error, Result};
use crate::math::LANES;
use crate::simd::kernel;
use crate::simd::lanes::Lanes;
use std::cell::RefCell;

mod int8;

pub use int8::Outputs;
pub(crate) use int8::{GROUP, Int8, LINE};

/// Activations: a row-major matrix of f32, one row a token position.
///
/// The memory comes from a small pool of the thread and goes back there when the matrix is dropped, so that
/// a decoding step allocates nothing after the first.
#[derive(Debug)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// More buffers than a forward pass holds at once; further ones are given back to the system.
const POOLED: usize = 16;

impl Matrix {
    /// All zeros. `[rows, cols]`
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let mut matrix = Self::scratch(rows, cols);
        matrix.data.fill(0.0);
        matrix
    }

    /// Whatever an earlier matrix left there: for results of which every element is about to be written.
    pub(crate) fn scratch(rows: usize, cols: usize) -> Self {
        let len = rows.checked_mul(cols).expect("a matrix larger than memory");
        let mut data = POOL.with_borrow_mut(|pool| {
            // the smallest buffer that is large enough, else the last one, to be grown
            let fits = |(i, b): (usize, &Vec<f32>)| (b.capacity() >= len).then_some((b.capacity(), i));
            let best = pool.iter().enumerate().filter_map(fits).min();
            best.map(|(_, i)| pool.swap_remove(i)).unwrap_or_default()
        });
        if cfg!(debug_assertions) {
            data.clear();
        }
        data.resize(len, f32::NAN);
        Self { rows, cols, data }
    }

    /// A matrix of these elements, row after row.
    ///
    /// # Panics
    /// If there are not rows * cols elements.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "[rows, cols] = [{rows}, {cols}]");
        Self { rows, cols, data }
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
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..][..self.cols]
    }

    /// Row `i`, to write. `[cols]`
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.cols..][..self.cols]
    }

    /// These rows, in this order. `[rows.len(), cols]`
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::scratch(rows.len(), self.cols);
        for (i, row) in rows.iter().enumerate() {
            selected.row_mut(i).copy_from_slice(self.row(*row));
        }
        selected
    }

    /// All elements, row after row.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All elements, row after row, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// self += other, both `[rows, cols]`.
    pub fn add(&mut self, other: &Self) {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "sum of two shapes");
        add(&mut self.data, &other.data);
    }
}

kernel! {
    fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

impl Clone for Matrix {
    fn clone(&self) -> Self {
        let mut copy = Self::scratch(self.rows, self.cols);
        copy.data.copy_from_slice(&self.data);
        copy
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        // at the end of a thread its pool is gone before its last matrices
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(data);
            }
        });
    }
}

/// How a checkpoint or a cache stores a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision: 5 bits of exponent, 10 of mantissa.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Whole numbers from -127 to 127, and a scale for each output channel.
    I8,
}

impl Dtype {
    /// Bytes a number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }

    /// The name that `info`, `bench` and options use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "int8",
        }
    }
}

impl std::str::FromStr for Dtype {
    type Err = Error;

    /// The number type of this [`name`](Dtype::name).
    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::F32, Self::F16, Self::Bf16, Self::I8];
        all.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            Error::input(format!("{name:?} is no number type; there are {}", all.map(Self::name).join(", ")))
        })
    }
}

/// Weights: a row-major matrix where the checkpoint has it, in its own number type.
///
/// Sixteen-bit numbers are widened to f32 when they are used. That is exact, so the results have the bits
/// of an f32 checkpoint that holds the rounded values. Eight-bit numbers are multiplied as they are, with
/// activations in eight bits ([`Dtype::I8`]).
#[derive(Clone, Debug)]
pub struct Weights {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    bytes: Bytes,
    /// Where the dtype is I8, and only there.
    channels: Option<int8::Channels>,
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
    pub fn read_row(&self, i: usize, row: &mut [f32]) {
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

/// A number type of weights, or of keys and values, for kernels that are written once for all of them.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    type Bits: bytemuck::Pod + Send + Sync;
    /// The stored number as f32, exactly.
    fn widen(bits: Self::Bits) -> f32;
    /// The nearest number of this type, of two equally near ones the even; of a finite number always a finite one.
    fn round(number: f32) -> Self::Bits;
    /// Sixteen neighbours as f32, exactly.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn load<L: Lanes>(from: *const Self::Bits) -> L;
    /// Sixteen rows of sixteen, `step` apart, as f32, exactly: row `i`, lane `j` is number `i` of row `j`.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn turned<L: Lanes>(from: *const Self::Bits, step: usize) -> [L; LANES];
}

#[derive(Clone, Copy)]
pub(crate) struct F32;
#[derive(Clone, Copy)]
pub(crate) struct F16;
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Number for F32 {
    type Bits = f32;
    #[inline(always)]
    fn widen(bits: f32) -> f32 {
        bits
    }
    #[inline(always)]
    fn round(number: f32) -> f32 {
        number
    }
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(from) }
    }
    #[inline(always)]
    unsafe fn turned<L: Lanes>(from: *const f32, step: usize) -> [L; LANES] {
        // SAFETY: the caller's promise.
        unsafe { L::turned(from, step) }
    }
}

impl Number for Bf16 {
    type Bits = u16;
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
    #[inline(always)]
    fn round(number: f32) -> u16 {
        const LARGEST: f32 = f32::from_bits(0x7f7f << 16);
        if number.is_nan() {
            return 0x7fc0;
        }
        let finite = if number.is_finite() { number.clamp(-LARGEST, LARGEST) } else { number };
        let bits = finite.to_bits();
        // half of what is cut off, less a hair where the kept part is even: a carry goes where it belongs
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u16) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_bf16(from) }
    }
    #[inline(always)]
    unsafe fn turned<L: Lanes>(from: *const u16, step: usize) -> [L; LANES] {
        // SAFETY: the caller's promise.
        unsafe { L::turned_bf16(from, step) }
    }
}

impl Number for F16 {
    type Bits = u16;
    /// Exponent and mantissa move to their places in an f32; the product with 2^112 mends the exponent's
    /// bias, and makes subnormal numbers normal.
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(bits);
        let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
        let finite = (f32::from_bits(rest) * REBIAS).to_bits();
        let whole = if rest >= 0x7c00 << 13 { rest | 0x7f80_0000 } else { finite };
        f32::from_bits(sign | whole)
    }
    #[inline(always)]
    fn round(number: f32) -> u16 {
        const LARGEST: f32 = 65_504.0;
        const SMALLEST_NORMAL: f32 = 1.0 / 16_384.0;
        let (sign, size) = ((number.to_bits() >> 16 & 0x8000) as u16, number.abs());
        sign | match size {
            _ if size.is_nan() => 0x7e00,
            f32::INFINITY => 0x7c00,
            // between 0.5 and 1 neighbours of f32 are as far apart as subnormal f16: the sum is rounded as wanted
            _ if size < SMALLEST_NORMAL => ((size + 0.5).to_bits() - 0.5f32.to_bits()) as u16,
            _ => {
                let bits = size.min(LARGEST).to_bits() - ((127 - 15) << 23); // the exponent's bias
                ((bits + 0xfff + (bits >> 13 & 1)) >> 13) as u16
            }
        }
    }
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u16) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_f16(from) }
    }
    #[inline(always)]
    unsafe fn turned<L: Lanes>(from: *const u16, step: usize) -> [L; LANES] {
        // SAFETY: the caller's promise.
        unsafe { L::turned_f16(from, step) }
    }
}

kernel! {
    /// Numbers of a checkpoint to f32, exactly.
    pub(crate) fn widen<N: Number>(from: &[N::Bits], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = N::widen(*from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::under_each;

    /// The value of an f16 by its definition.
    fn f16_by_definition(bits: u16) -> f64 {
        let sign = if bits & 0x8000 != 0 { -1.0 } else { 1.0 };
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        sign * match exponent {
            0 => mantissa * 2f64.powi(-24),
            31 if mantissa == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
        }
    }

    #[test]
    fn every_f16_widens_exactly() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        under_each(|simd| {
            let mut wide = vec![0.0; all.len()];
            widen::<F16>(&all, &mut wide);
            for (bits, got) in all.iter().zip(&wide) {
                let truth = f16_by_definition(*bits);
                let same = f64::from(*got).to_bits() == truth.to_bits() || (got.is_nan() && truth.is_nan());
                assert!(same, "{simd:?}: {bits:#06x} became {got}, not {truth}");
            }
        });
    }

    /// Every number of the type comes back, and between neighbours the middle is where rounding turns.
    fn rounds_to_the_nearest<N: Number<Bits = u16>>(largest: u16) {
        for bits in 0..=largest {
            let (number, even) = (N::widen(bits), bits & 1 == 0);
            assert_eq!(N::round(number), bits);
            assert_eq!(N::round(-number), bits | 0x8000);
            let middle = ((f64::from(number) + f64::from(N::widen(bits + 1))) / 2.0) as f32; // exact: one bit more
            if bits < largest {
                assert_eq!(N::round(middle.next_down()), bits, "{number} and a little less than a half");
                assert_eq!(N::round(middle), bits + u16::from(!even), "{middle}, a tie");
                assert_eq!(N::round(middle.next_up()), bits + 1, "{number} and a little more than a half");
            }
        }
        assert_eq!((N::round(f32::MAX), N::round(f32::MIN)), (largest, largest | 0x8000));
        assert_eq!(
            (N::round(f32::INFINITY), N::widen(N::round(f32::NEG_INFINITY))),
            (largest + 1, f32::NEG_INFINITY)
        );
        assert!(
            [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)]
                .iter()
                .all(|nan| N::widen(N::round(*nan)).is_nan())
        );
    }

    #[test]
    fn every_half_is_rounded_to_the_nearest() {
        rounds_to_the_nearest::<F16>(0x7bff);
        rounds_to_the_nearest::<Bf16>(0x7f7f);
    }

    #[test]
    fn memory_is_used_again() {
        let pointer = Matrix::zeros(7, 31).data().as_ptr();
        assert_eq!(Matrix::zeros(31, 7).data().as_ptr(), pointer);
    }
}
