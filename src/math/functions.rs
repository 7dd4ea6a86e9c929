//! The functions that a processor lacks: exp, tanh, erf and ln.
//!
//! The `exp` of the C library differs from system to system in its last bits. These are written once, with every rounding
//! spelled out (`mul_add` rounds once, `a * b + c` twice), so the result is the same everywhere. Those in f32 have no
//! branches, so a loop over them becomes vector code.
//!
//! The largest errors are those of the tests: against f64, over every 97th f32 (exp, tanh) or every 997th (erf).

/// `if c { a } else { b }` that compiles to a select.
#[inline(always)]
pub(super) fn pick(c: bool, a: f32, b: f32) -> f32 {
    if c { a } else { b }
}

/// `x` limited to `low..=high`; NaN stays NaN.
#[inline(always)]
fn limit(x: f32, low: f32, high: f32) -> f32 {
    let x = pick(x < low, low, x);
    pick(x > high, high, x)
}

/// `x = n ln 2 + r` with a whole `n` and `|r| <= ln 2 / 2`; gives n and `p = e^r - 1`.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    /// 1.5 * 2^23: adding it leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has trailing zeros, so that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let (high, low) = (n.mul_add(-LN_2_HIGH, x), n * LN_2_LOW); // high is exact
    let r = high - low;
    // Taylor's series of e^r - 1; the first term left out is below 6e-9
    let p = (1.0f32 / 5040.0).mul_add(r, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = (p * r).mul_add(r, -low) + high; // r itself was rounded: add its parts, the small one first
    ((shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32), p)
}

/// 2^n for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e^x, within 1 unit in the last place. Overflows to infinity, underflows through the subnormals to 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (n, p) = reduce(limit(x, -104.0, 89.0));
    // 2^n in two factors, since n goes from -150 to 128
    let half = n >> 1;
    (p + 1.0) * power_of_two(half) * power_of_two(n - half)
}

/// tanh x = 1 - 2 / (e^2x + 1), within 2 units in the last place.
///
/// Below 0.56, where that would cancel, a polynomial in `x^2`, fitted by least squares at Chebyshev points.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let near = (0.0024976127f32).mul_add(s, -0.008506525);
    let near = near.mul_add(s, 0.021813745);
    let near = near.mul_add(s, -0.053964254);
    let near = near.mul_add(s, 0.13333322);
    let near = near.mul_add(s, -0.33333334);
    let near = (near * s).mul_add(t, t);
    let far = 1.0 - 2.0 / (exp(2.0 * t) + 1.0);
    pick(t < 0.56, near, far).copysign(x)
}

/// erf x = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x, within 2 units in the last place.
///
/// Two polynomials, fitted by least squares at Chebyshev points: `erf(x) / x` in `x^2` up to 1,
/// `-ln(1 - erf x)` in `x` above.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let near = 7.882_497_4e-5f32.mul_add(s, -8.018_855e-4);
    let near = near.mul_add(s, 5.189_312e-3);
    let near = near.mul_add(s, -2.685_432_9e-2);
    let near = near.mul_add(s, 0.112_835_97);
    let near = near.mul_add(s, -0.376_126_26);
    let near = near.mul_add(s, 0.128_379_17);
    let near = near.mul_add(x, x);

    let t4 = limit(t, 0.0, 4.0); // from 3.92 on the result rounds to 1
    let far = (-1.614_061_6e-6f32).mul_add(t4, 4.559_062_3e-5);
    let far = far.mul_add(t4, -5.927_695_3e-4);
    let far = far.mul_add(t4, 4.740_222_4e-3);
    let far = far.mul_add(t4, -2.636_471_8e-2);
    let far = far.mul_add(t4, 0.109_978_24);
    let far = far.mul_add(t4, 0.631_937_1);
    let far = far.mul_add(t4, 1.130_166_6);
    let far = far.mul_add(t4, -3.032_13e-4);
    let far = (1.0 - exp(-far)).copysign(x);
    pick(t < 1.0, near, far)
}

/// The natural logarithm of a positive normal number, in f64, within 1 unit in the last place.
///
/// `x = 2^k (1 + f)` with `1 + f` from 0.71 to 1.41. With `s = f / (2 + f)`, `ln(1 + f) = 2 atanh(s) = 2 s + s R`, where
/// `R = 2/3 s^2 + 2/5 s^4 + ...`. Since `2 s = f - s f`, the large part `f` need not be rounded.
pub fn ln(x: f64) -> f64 {
    /// ln 2 in two parts; the first has trailing zeros, so that k times it is exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if !(x.is_normal() && x > 0.0) {
        return x.ln(); // -inf, infinity or NaN; subnormals do not occur
    }
    let exponent = (x.to_bits() >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(x.to_bits() & !(0x7ff << 52) | 1023 << 52); // 1 to 2
    let (k, m) = if mantissa > std::f64::consts::SQRT_2 {
        ((exponent + 1) as f64, mantissa * 0.5)
    } else {
        (exponent as f64, mantissa)
    };
    let f = m - 1.0;
    let s = f / (2.0 + f);
    // the first term left out is below 2e-17 of the result
    let z = s * s;
    let r = (3..=21).rev().step_by(2).fold(0.0, |r, n| (r + 2.0 / f64::from(n)) * z);
    let half = 0.5 * f * f;
    k * LN_2_HIGH - (half - s.mul_add(half + r, k * LN_2_LOW) - f)
}

#[cfg(test)]
mod tests;
