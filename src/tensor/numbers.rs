//! How are numbers stored? In 32 bits, as they are computed with, or in 16 or 8 bits, which represent fewer numbers.
//!
//! Widening to f32 is exact. Rounding takes the nearest number, of two equally near ones the even.

use crate::error::{Error, Result};
use crate::simd::lanes::Lanes;
use crate::simd::{LANES, kernel, round_bf16, round_f16, widen_bf16, widen_f16};

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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::I8];

    /// Bytes per number.
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
        Self::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            Error::input(format!(
                "{name:?} is no number type; there are {}",
                Self::ALL.map(Self::name).join(", ")
            ))
        })
    }
}

/// A number type of weights, or of keys and values, for kernels that are written once for all of them.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    type Bits: bytemuck::Pod + Send + Sync;
    /// The stored number as f32, exactly.
    fn widen(bits: Self::Bits) -> f32;
    /// The nearest number of this type, of two equally near ones the even; of a finite number always a finite one.
    fn round(number: f32) -> Self::Bits;
    /// The numbers themselves, if they are f32.
    fn as_f32(_bits: &[Self::Bits]) -> Option<&[f32]> {
        None
    }
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
    fn as_f32(bits: &[f32]) -> Option<&[f32]> {
        Some(bits)
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
        widen_bf16(bits)
    }
    #[inline(always)]
    fn round(number: f32) -> u16 {
        round_bf16(number)
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
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        widen_f16(bits)
    }
    #[inline(always)]
    fn round(number: f32) -> u16 {
        round_f16(number)
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
}
