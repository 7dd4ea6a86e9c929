//! What can this machine do at best? Three loops that do nothing else, on all threads.
//!
//! | function | is the limit of |
//! |---|---|
//! | [`read_gb_per_s`] | products with few rows: each weight is read once |
//! | [`fma_gflops`] | products with many rows, weights of 32 or 16 bits |
//! | [`int8_gops`] | products with many rows, weights of 8 bits |
//!
//! Each call measures anew: a machine has faster and slower minutes, so a limit is measured right before what is
//! compared with it.

use super::int8;
use crate::simd::{Simd, kernel};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Reads all bytes once: billions of bytes per second. Bytes that fit in a cache are read faster.
pub fn read_gb_per_s(bytes: &[u8]) -> f64 {
    let piece = bytes.len().div_ceil(rayon::current_num_threads()).next_multiple_of(8).max(8);
    let seconds = timed(|| bytes.par_chunks(piece).map(sum).reduce(|| 0, u64::wrapping_add));
    bytes.len() as f64 / 1e9 / seconds
}

/// Fused multiply-adds of f32 in registers: billions of operations per second. A multiply-add counts as two.
pub fn fma_gflops() -> f64 {
    const ROUNDS: usize = 4_000_000;
    // Enough sums to hide the latency, few enough to stay in registers.
    let (sums, chain): (usize, fn(usize, f32, f32) -> f32) = match Simd::current() {
        Simd::Avx512 => (192, chain::<192>),
        Simd::Avx2 => (96, chain::<96>),
        _ => (48, chain::<48>),
    };
    // `broadcast`: on every thread, where a parallel loop might run twice on one
    let seconds = timed(|| rayon::broadcast(|_| chain(ROUNDS, black_box(0.999), black_box(0.001))));
    (2 * sums * ROUNDS * rayon::current_num_threads()) as f64 / 1e9 / seconds
}

/// Multiply-adds of eight-bit integers in the L1 cache: billions of operations per second. A multiply-add counts as
/// two.
pub fn int8_gops() -> f64 {
    const ROUNDS: usize = 20_000;
    let mut operations = 0;
    let seconds = timed(|| operations = rayon::broadcast(|_| int8::busy(ROUNDS)).iter().sum());
    operations as f64 / 1e9 / seconds
}

fn timed<R>(work: impl FnOnce() -> R) -> f64 {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed().as_secs_f64()
}

kernel! {
    fn sum(bytes: &[u8]) -> u64 {
        let (numbers, _) = bytes.as_chunks::<8>();
        numbers.iter().fold(0, |sum, x| sum.wrapping_add(u64::from_ne_bytes(*x)))
    }
}

kernel! {
    fn chain[const N: usize](rounds: usize, a: f32, b: f32) -> f32 {
        let mut sums = [0.0f32; N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(a, b);
            }
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        let bytes: Vec<u8> = (0..8 * 1001).map(|i| u8::from(i % 8 == 0)).collect();
        assert_eq!(sum(&bytes), 1001 * u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]));
        assert!(read_gb_per_s(&bytes) > 0.0);
    }
}
