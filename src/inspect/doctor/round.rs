//! Rounding to numbers of fewer bits.

use crate::simd::{round_bf16, round_f16, widen_bf16, widen_f16};

/// Numbers of fewer bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    F16,
    Bf16,
    /// NVIDIA's: the exponent of an f32, the mantissa of an f16.
    Tf32,
}

impl Round {
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::Tf32];

    /// The nearest number of this type.
    pub fn apply(self) -> fn(f32) -> f32 {
        match self {
            Self::F16 => |x| widen_f16(round_f16(x)),
            Self::Bf16 => |x| widen_bf16(round_bf16(x)),
            Self::Tf32 => |x| match x.to_bits() {
                _ if x.is_nan() => x,
                bits => f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff),
            },
        }
    }

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Tf32 => "TF32",
        }
    }

    /// The largest error of rounding, as a fraction of a number.
    pub fn unit(self) -> f64 {
        match self {
            Self::F16 | Self::Tf32 => 2f64.powi(-11),
            Self::Bf16 => 2f64.powi(-8),
        }
    }
}
