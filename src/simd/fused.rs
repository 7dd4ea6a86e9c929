//! A fused multiply-add on a machine that has no instruction for it: WebAssembly.
//!
//! ```text
//! p = a * b               # in f64: exact, 24 + 24 bits fit in 53
//! s = p + c               # in f64: rounded once
//! s = odd(p, c, s)        # only if s may lie halfway between two f32
//! f32(s)
//! ```
//!
//! Rounding twice is wrong where the first rounding ends halfway between two f32: the second one no longer knows on which
//! side the exact sum lies. *Rounding to odd* keeps that: of the two f64 around an inexact sum it takes the one whose last
//! bit is 1, which never lies halfway. Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
//! algorithms using rounding to odd" (2008).
//!
//! The lanes of WebAssembly compute the same, several at a time (`lanes/simd128.rs`).

/// The bits of an f64 below these are 0 halfway between two f32, and in every f32, subnormal or not.
pub(super) const HALFWAY: u32 = 28;

/// a * b + c, rounded once.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let s = p + c;
    if s.to_bits() << (u64::BITS - HALFWAY) != 0 { s as f32 } else { odd(p, c, s) as f32 }
}

/// p + c rounded to odd, where `s` is the nearest f64. Infinities and NaN stay.
fn odd(p: f64, c: f64, s: f64) -> f64 {
    let rest = s - p;
    let error = (p - (s - rest)) + (c - rest); // exact: p + c = s + error (Knuth)
    let side = s * error; // its sign tells on which side of s the exact sum lies; it cannot underflow
    match side {
        _ if side > 0.0 => f64::from_bits(s.to_bits() | 1), // farther from 0
        _ if side < 0.0 => f64::from_bits((s.to_bits() - 1) | 1),
        _ => s, // exact, or not finite
    }
}

/// What the compiler calls for [`f32::mul_add`] on WebAssembly. The standard library has one as well, which this replaces.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn fmaf(a: f32, b: f32, c: f32) -> f32 {
    fma(a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any bits; and numbers whose sums and products meet: few bits, near exponents, ends of the range.
    fn number() -> impl Strategy<Value = f32> {
        let near = (any::<bool>(), prop_oneof![0..255u32, 120..135u32], any::<u32>(), 0..24u32);
        let near = near.prop_map(|(sign, exponent, mantissa, kept)| {
            let mantissa = mantissa & 0x7f_ffff & !(0x7f_ffff >> kept);
            f32::from_bits(u32::from(sign) << 31 | exponent << 23 | mantissa)
        });
        let ends = prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
            f32::EPSILON,
        ]);
        prop_oneof![any::<u32>().prop_map(f32::from_bits), near, ends]
    }

    fn check(a: f32, b: f32, c: f32) -> Result<(), TestCaseError> {
        let (got, truth) = (fma(a, b, c), a.mul_add(b, c));
        let same = got.to_bits() == truth.to_bits() || got.is_nan() && truth.is_nan();
        prop_assert!(same, "{a:e} * {b:e} + {c:e} = {truth:e}, not {got:e}");
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200_000))]

        #[test]
        fn rounds_once(a in number(), b in number(), c in number()) {
            check(a, b, c)?;
        }

        /// `c` near the product, so that few bits are left, or near half a unit of it.
        #[test]
        fn rounds_once_near_cancellation(a in number(), b in number(), steps in -3..4i32, shift in 0..30i32) {
            let c = f32::from_bits((a * b).to_bits().wrapping_add_signed(steps));
            for c in [c, -c, c * 2f32.powi(-shift), c * 2f32.powi(shift), -c * 2f32.powi(shift)] {
                check(a, b, c)?;
            }
        }

        /// A product just beside half a unit in the last place of `c`: (1 + t) * (1 - t) is less than 1 by t^2.
        #[test]
        fn rounds_once_beside_the_middle(c in number(), steps in prop_oneof![1..2000u32, 0..1u32 << 23], signs: [bool; 2]) {
            let unit = (c.abs().to_bits() >> 23).max(1) as i32 - 127 - 23; // its exponent
            let (half, other) = (unit.min(103) / 2, unit.min(103) - 1 - unit.min(103) / 2);
            let t = steps as f32 * f32::EPSILON;
            let [sign, of_c] = signs.map(|minus| if minus { -1.0 } else { 1.0 });
            check((1.0 + t) * sign * 2f32.powi(half), (1.0 - t) * 2f32.powi(other), c * of_c)?;
        }
    }

    #[test]
    fn a_few_by_hand() {
        // 2^-127 + 2^-149 + 2^-150 - 2^-196: below the middle of two subnormals, by less than f64 shows
        let (a, b) = ((1.0 + f32::EPSILON) * 2f32.powi(-75), (1.0 - f32::EPSILON) * 2f32.powi(-75));
        let c = f32::from_bits(1 << 22 | 1);
        assert_eq!((fma(a, b, c), fma(a, -b, -c)), (c, -c));
        assert_eq!((f64::from(a) * f64::from(b) + f64::from(c)) as f32, c.next_up(), "rounded twice");
        assert_eq!(fma(1.0, 1.0, -1.0).to_bits(), 0);
        assert_eq!(fma(-0.0, 1.0, -0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(fma(f32::MAX, 2.0, -f32::MAX), f32::MAX);
        assert_eq!(fma(f32::MAX, 1.0, f32::MAX), f32::INFINITY);
    }
}
