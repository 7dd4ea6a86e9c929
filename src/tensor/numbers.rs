//! How are numbers stored? In 32 bits, as they are computed with, or in 16 or 8 bits, which represent fewer numbers.
//!
//! Widening to f32 is exact. Rounding takes the nearest number, of two equally near ones the even.

use crate::error::{Error, Result};
use crate::names::names;
use crate::simd::lanes::Lanes;
use crate::simd::{LANES, kernel, round_bf16, round_f16, widen_bf16, widen_f16};
use std::convert::identity;

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
    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }
}

names!(Dtype { F32: "f32", F16: "f16", Bf16: "bf16", I8: "int8" });

impl std::str::FromStr for Dtype {
    type Err = Error;

    /// The number type of this [`name`](Dtype::name).
    fn from_str(name: &str) -> Result<Self> {
        Self::from_name(name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::input(format!("{name:?} is no number type; there are {names}"))
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
    /// Sixteen as f32, exactly.
    fn load<L: Lanes>(from: &[Self::Bits; LANES]) -> L;
    /// Sixteen rows of sixteen as f32, exactly, turned: row `i`, lane `j` is number `i` of row `j`.
    fn turned<L: Lanes>(rows: [&[Self::Bits; LANES]; LANES]) -> [L; LANES];
}

/// A number type: its bits, how one of them is widened and rounded, and how [`Lanes`] read sixteen.
macro_rules! number {
    ($number:ident: $bits:ty, $widen:expr, $round:expr, $load:ident, $turned:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $number;

        impl Number for $number {
            type Bits = $bits;
            #[inline(always)]
            fn widen(bits: $bits) -> f32 {
                $widen(bits)
            }
            #[inline(always)]
            fn round(number: f32) -> $bits {
                $round(number)
            }
            #[inline(always)]
            fn load<L: Lanes>(from: &[$bits; LANES]) -> L {
                L::$load(from)
            }
            #[inline(always)]
            fn turned<L: Lanes>(rows: [&[$bits; LANES]; LANES]) -> [L; LANES] {
                L::$turned(rows)
            }
        }
    };
}
number!(F32: f32, identity, identity, load, turned);
number!(F16: u16, widen_f16, round_f16, load_f16, turned_f16);
number!(Bf16: u16, widen_bf16, round_bf16, load_bf16, turned_bf16);

/// `$work`, where `$N` is the [`Number`] that a [`Dtype`] stands for. Eight-bit numbers are none: they need their scales.
macro_rules! with_number {
    ($dtype:expr, $N:ident => $work:expr) => {{
        use $crate::tensor::{Bf16, Dtype, F16, F32};
        match $dtype {
            Dtype::F32 => {
                type $N = F32;
                $work
            }
            Dtype::F16 => {
                type $N = F16;
                $work
            }
            Dtype::Bf16 => {
                type $N = Bf16;
                $work
            }
            Dtype::I8 => unreachable!("eight-bit numbers are read with their scales"),
        }
    }};
}
pub(crate) use with_number;

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
