//! Numbers of 16 bits: what do they stand for, and which one is nearest?
//!
//! ```text
//! f32     1 sign   8 exponent   23 mantissa
//! bf16    1 sign   8 exponent    7 mantissa         # the upper half of an f32
//! f16     1 sign   5 exponent   10 mantissa         # finer, and at most 65,504
//! ```
//!
//! Widening to f32 is exact. Rounding takes the nearest number, and of two equally near ones the even one. Finite
//! values stay finite.

/// The f32 that a bf16 stands for.
#[inline(always)]
pub(crate) fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16.
#[inline(always)]
pub(crate) fn round_bf16(number: f32) -> u16 {
    const LARGEST: f32 = f32::from_bits(0x7f7f << 16);
    if number.is_nan() {
        return 0x7fc0;
    }
    let finite = if number.is_finite() { number.clamp(-LARGEST, LARGEST) } else { number };
    let bits = finite.to_bits();
    // Half of the part that is cut off, minus 1 where the kept part is even. A carry increments the kept part.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The f32 that an f16 stands for.
///
/// Exponent and mantissa move to their places in an f32. The product with 2^112 corrects the exponent's bias, and makes
/// subnormal numbers normal.
#[inline(always)]
pub(crate) fn widen_f16(bits: u16) -> f32 {
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    let finite = (f32::from_bits(rest) * REBIAS).to_bits();
    let whole = if rest >= 0x7c00 << 13 { rest | 0x7f80_0000 } else { finite };
    f32::from_bits(sign | whole)
}

/// The nearest f16.
#[inline(always)]
pub(crate) fn round_f16(number: f32) -> u16 {
    const LARGEST: f32 = 65_504.0;
    const SMALLEST_NORMAL: f32 = 1.0 / 16_384.0;
    let (sign, size) = ((number.to_bits() >> 16 & 0x8000) as u16, number.abs());
    sign | match size {
        _ if size.is_nan() => 0x7e00,
        f32::INFINITY => 0x7c00,
        // between 0.5 and 1, neighbouring f32 are as far apart as subnormal f16, so the sum rounds to a multiple of
        // that
        _ if size < SMALLEST_NORMAL => ((size + 0.5).to_bits() - 0.5f32.to_bits()) as u16,
        _ => {
            let bits = size.min(LARGEST).to_bits() - ((127 - 15) << 23); // the exponent's bias
            ((bits + 0xfff + (bits >> 13 & 1)) >> 13) as u16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of the type comes back, and between neighbours the middle is where rounding turns.
    fn rounds_to_the_nearest(widen: fn(u16) -> f32, round: fn(f32) -> u16, largest: u16) {
        for bits in 0..=largest {
            let (number, even) = (widen(bits), bits & 1 == 0);
            assert_eq!(round(number), bits);
            assert_eq!(round(-number), bits | 0x8000);
            let middle = ((f64::from(number) + f64::from(widen(bits + 1))) / 2.0) as f32; // exact: one bit more
            if bits < largest {
                assert_eq!(round(middle.next_down()), bits, "{number} and a little less than a half");
                assert_eq!(round(middle), bits + u16::from(!even), "{middle}, a tie");
                assert_eq!(round(middle.next_up()), bits + 1, "{number} and a little more than a half");
            }
        }
        assert_eq!((round(f32::MAX), round(f32::MIN)), (largest, largest | 0x8000));
        assert_eq!((round(f32::INFINITY), widen(round(f32::NEG_INFINITY))), (largest + 1, f32::NEG_INFINITY));
        assert!(
            [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)].iter().all(|nan| widen(round(*nan)).is_nan())
        );
    }

    #[test]
    fn every_half_is_rounded_to_the_nearest() {
        rounds_to_the_nearest(widen_f16, round_f16, 0x7bff);
        rounds_to_the_nearest(widen_bf16, round_bf16, 0x7f7f);
    }
}
