//! The stated errors, and the same bits everywhere.

use super::*;
use crate::simd::kernel;
use crate::simd::tests::under_each;

kernel! {
    fn map_exp(x: &mut [f32]) { for x in x { *x = exp(*x); } }
}
kernel! {
    fn map_tanh(x: &mut [f32]) { for x in x { *x = tanh(*x); } }
}
kernel! {
    fn map_erf(x: &mut [f32]) { for x in x { *x = erf(*x); } }
}

/// The distance between `got` and the true value, in units of the last place of the true value.
fn ulps(got: f32, truth: f64) -> f64 {
    let nearest = truth as f32;
    if got == nearest || (got.is_infinite() && nearest.is_infinite()) {
        return 0.0;
    }
    let bits = nearest.abs().to_bits().max(f32::MIN_POSITIVE.to_bits());
    let unit = f64::from(f32::from_bits(bits)) - f64::from(f32::from_bits(bits - 1));
    (f64::from(got) - truth).abs() / unit.max(f64::from(f32::from_bits(1)))
}

/// The largest error over every `step`-th f32 of both signs up to `limit`.
fn worst(map: fn(&mut [f32]), truth: fn(f64) -> f64, limit: f32, step: u32) -> f64 {
    let mut worst = 0.0f64;
    for sign in [1.0, -1.0] {
        let inputs: Vec<f32> =
            (0..=limit.to_bits()).step_by(step as usize).map(|b| sign * f32::from_bits(b)).collect();
        let mut got = inputs.clone();
        map(&mut got);
        worst = inputs.iter().zip(&got).fold(worst, |w, (x, y)| w.max(ulps(*y, truth(f64::from(*x)))));
    }
    worst
}

fn erf_f64(x: f64) -> f64 {
    // 2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!: no cancellation
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() && n < 300.0 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    if x.abs() > 6.0 { x.signum() } else { sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt() }
}

#[test]
fn errors_are_as_stated() {
    // a prime step visits every exponent with differing mantissas
    let exp = worst(map_exp, f64::exp, 110.0, 97);
    let tanh = worst(map_tanh, f64::tanh, 30.0, 97);
    let erf = worst(map_erf, erf_f64, 10.0, 997);
    println!("ulps: exp {exp}, tanh {tanh}, erf {erf}");
    assert!(exp <= 1.0 && tanh <= 2.0 && erf <= 2.0, "ulps: exp {exp}, tanh {tanh}, erf {erf}");
}

#[test]
fn the_logarithm_is_as_stated() {
    // pairs of numbers whose logarithms are known better than f64 can say: ln(x) = -ln(1 / x), ln(x^2) = 2 ln(x)
    let mut worst = 0.0f64;
    for i in 1..200_000u32 {
        let x =
            f64::from(i).mul_add(1e-3 + f64::from(i % 7) * 1e-9, 1e-9) * [1.0, 1e-30, 1e25][i as usize % 3];
        let truth = x.ln(); // within one unit itself
        let unit = f64::from_bits(truth.abs().to_bits() + 1) - truth.abs();
        worst = worst.max((ln(x) - truth).abs() / unit);
    }
    assert!(worst <= 1.0, "{worst} units");
    assert_eq!((ln(1.0), ln(2.0), ln(0.5)), (0.0, std::f64::consts::LN_2, -std::f64::consts::LN_2));
    assert_eq!(ln(std::f64::consts::E), 1.0);
}

#[test]
fn ends_of_the_range() {
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(exp(0.0), 1.0);
    assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY)), (1.0, -1.0));
    assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
}

#[test]
fn the_same_bits_under_every_instruction_set() {
    let inputs: Vec<f32> =
        (0..0x8000_0000u32).step_by(99_991).map(f32::from_bits).flat_map(|x| [x, -x]).collect();
    for map in [map_exp as fn(&mut [f32]), map_tanh, map_erf] {
        let mut seen: Option<Vec<u32>> = None;
        under_each(|simd| {
            let mut got = inputs.clone();
            map(&mut got);
            // which NaN comes out of a NaN is left open
            let bits: Vec<u32> =
                got.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect();
            assert_eq!(seen.get_or_insert_with(|| bits.clone()), &bits, "{simd:?}");
        });
    }
}
