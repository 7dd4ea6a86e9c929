//! What the machine can do at best, measured on the spot.

use gpt2::simd::{Simd, kernel};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Reads `bytes` of memory with all threads: GB/s, the best of some tries.
pub fn read_gb_per_s(bytes: usize) -> f64 {
    let memory = vec![1u64; bytes / 8];
    let piece = memory.len().div_ceil(rayon::current_num_threads());
    let once = || memory.par_chunks(piece).map(sum).reduce(|| 0, u64::wrapping_add);
    best((0..9).map(|_| timed(&once)), bytes as f64 / 1e9)
}

/// Fused multiply-adds of f32 in registers with all threads: GFLOP/s, the best of some tries.
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
    best((0..5).map(|_| timed(&once)), (2 * sums * ROUNDS * threads) as f64 / 1e9)
}

fn timed<R>(work: &impl Fn() -> R) -> f64 {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed().as_secs_f64()
}

fn best(seconds: impl Iterator<Item = f64>, amount: f64) -> f64 {
    amount / seconds.fold(f64::INFINITY, f64::min)
}

kernel! {
    fn sum(numbers: &[u64]) -> u64 {
        numbers.iter().fold(0, |sum, x| sum.wrapping_add(*x))
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
