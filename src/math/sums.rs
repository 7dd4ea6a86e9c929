//! Sums over a row: in f64, in one fixed order.
//!
//! ```text
//! s = [0; 16]                                                     # f64
//! for i, in order:       s[i mod 16] = s[i mod 16] + x[i]
//! for w in 8, 4, 2, 1:   for i below w:  s[i] = s[i] + s[i + w]
//! sum = s[0]
//! ```
//!
//! Sixteen sums advance together in registers. Sums in f32 would lose small numbers: the probabilities of 50,257 tokens
//! would add up to 1.00001. Sums in f64 make a softmax a tenth slower, which a forward pass does not show. Zeros at the end
//! of a row change nothing, so a masked row and a short row have the same sum.

use crate::simd::{LANES, kernel};

/// The 16 partial sums, added as a fixed tree: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
#[inline(always)]
fn tree(mut partial: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            partial[i] += partial[i + width];
        }
        width /= 2;
    }
    partial[0]
}

/// The sum of `f(x[i])` in the order of this file. For use inside a kernel.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut partial = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            partial[i] += f64::from(f(chunk[i]));
        }
    }
    for (i, x) in rest.iter().enumerate() {
        partial[i] += f64::from(f(*x));
    }
    tree(partial)
}

kernel! {
    /// The sum of a row: partial sum `i mod 16` takes element `i`, then a fixed tree.
    pub fn sum(x: &[f32]) -> f64 {
        sum_of(x, |x| x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::under_each;

    #[test]
    fn sums_keep_their_order() {
        let x: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin() * 1e3f32.powi(i % 5 - 2)).collect();
        let mut partial = [0.0f64; 16];
        for (i, x) in x.iter().enumerate() {
            partial[i % 16] += f64::from(*x);
        }
        let mut eight: Vec<f64> = (0..8).map(|i| partial[i] + partial[i + 8]).collect();
        while eight.len() > 1 {
            let half = eight.len() / 2;
            eight = (0..half).map(|i| eight[i] + eight[i + half]).collect();
        }
        under_each(|_| assert_eq!(sum(&x).to_bits(), eight[0].to_bits()));
        // other orders give other bits on these numbers, so the line above can fail
        let straight = x.iter().fold(0.0, |sum, x| sum + f64::from(*x));
        let neighbours = (0..4)
            .fold(partial, |s, _| std::array::from_fn(|i| if i < 8 { s[2 * i] + s[2 * i + 1] } else { 0.0 }));
        assert!(![straight, neighbours[0]].map(f64::to_bits).contains(&sum(&x).to_bits()));
        let padded: Vec<f32> = x.iter().copied().chain([0.0; 37]).collect();
        assert_eq!(sum(&x).to_bits(), sum(&padded).to_bits());
    }
}
