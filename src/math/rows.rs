//! Loops over a row: its largest element, and one operation on each.

use super::functions::{exp, pick};
use super::sums::sum_of;
use crate::simd::{LANES, kernel};

kernel! {
    /// The largest element; -inf for an empty row. NaN counts as small.
    pub fn max(x: &[f32]) -> f32 {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                largest[i] = pick(chunk[i] > largest[i], chunk[i], largest[i]);
            }
        }
        rest.iter().chain(&largest.clone()).fold(f32::NEG_INFINITY, |m, x| pick(*x > m, *x, m))
    }
}

kernel! {
    /// x -> e^(x - shift), in place
    pub(crate) fn exp_minus(x: &mut [f32], shift: f32) {
        for x in x {
            *x = exp(*x - shift);
        }
    }
}

kernel! {
    /// The sum of e^(x - shift).
    pub(crate) fn sum_of_exp(x: &[f32], shift: f32) -> f64 {
        sum_of(x, |x| exp(x - shift))
    }
}

kernel! {
    /// x -> x + y, in place
    pub(crate) fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

kernel! {
    /// x -> x - by, in place
    pub(crate) fn shift(x: &mut [f32], by: f32) {
        for x in x {
            *x -= by;
        }
    }
}

kernel! {
    /// x -> x / by, in place
    pub(crate) fn divide(x: &mut [f32], by: f32) {
        for x in x {
            *x /= by;
        }
    }
}
