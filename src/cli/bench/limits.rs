//! What the machine can do at best, measured on the spot: each time anew, beside what is compared with it.

use gpt2::checkpoint::Bytes;
use gpt2::simd::{Simd, kernel};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Memory to read, of a model's size: what fits a cache reads faster.
pub struct Memory(Bytes);

impl Memory {
    pub fn new(bytes: usize) -> Self {
        Self(Bytes::aligned_copy(&vec![1u8; bytes])) // as weights are kept
    }

    /// Reads all of it with all threads, once: GB/s.
    pub fn read_gb_per_s(&self) -> f64 {
        let piece = self.0.len().div_ceil(rayon::current_num_threads()).next_multiple_of(8);
        let once = || self.0.par_chunks(piece).map(sum).reduce(|| 0, u64::wrapping_add);
        self.0.len() as f64 / 1e9 / timed(&once)
    }
}

/// Fused multiply-adds of f32 in registers with all threads: GFLOP/s.
pub fn fma_gflops() -> f64 {
    const ROUNDS: usize = 4_000_000;
    let threads = rayon::current_num_threads();
    // Enough sums to hide the latency, few enough to stay in registers.
    let (sums, chain): (usize, fn(usize, f32, f32) -> f32) = match Simd::current() {
        Simd::Avx512 => (192, chain::<192>),
        Simd::Avx2 => (96, chain::<96>),
        _ => (48, chain::<48>),
    };
    // `broadcast`: on every thread, where a parallel loop might run twice on one
    let once = || rayon::broadcast(|_| chain(ROUNDS, black_box(0.999), black_box(0.001)));
    (2 * sums * ROUNDS * threads) as f64 / 1e9 / timed(&once)
}

/// Products of eight-bit numbers in the L1 cache with all threads: billions of operations a second.
pub fn int8_gops() -> f64 {
    const ROUNDS: usize = 20_000;
    let begin = Instant::now();
    let operations: usize = rayon::broadcast(|_| gpt2::matmul::int8_peak(ROUNDS)).iter().sum();
    operations as f64 / 1e9 / begin.elapsed().as_secs_f64()
}

fn timed<R>(work: &impl Fn() -> R) -> f64 {
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
