//! The machine's peak speed, measured again right before each measurement that is compared with it.

use gpt2::format::Bytes;
use gpt2::model::Gpt2;
use gpt2::simd::{Simd, kernel};
use gpt2::tensor::Dtype;
use rayon::prelude::*;
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// Medians of the measured limits.
#[derive(Serialize)]
pub struct Limits {
    pub read_gb_per_s: f64,
    pub fma_gflops: f64,
    /// Operations on eight-bit integers, in 1e9 per second; only for int8 weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8_gops: Option<f64>,
}

/// Measures the machine's limits and keeps the measurements.
pub struct Meter {
    memory: Memory,
    int8: bool,
    read: Vec<f64>,
    fma: Vec<f64>,
    int8_gops: Vec<f64>,
}

impl Meter {
    pub fn new(model: &Gpt2) -> Self {
        // Decoding is limited by how fast this many bytes can be read.
        let memory = Memory::new(model.weight_bytes().clamp(8 << 20, 1 << 30));
        let int8 = model.wte.dtype() == Dtype::I8;
        Self { memory, int8, read: Vec::new(), fma: Vec::new(), int8_gops: Vec::new() }
    }

    /// Measures the memory bandwidth, in GB/s.
    pub fn bandwidth(&mut self) -> f64 {
        self.read.push(self.memory.read_gb_per_s());
        self.read[self.read.len() - 1]
    }

    /// Measures the peak of prefill's matrix products, in GFLOP/s, or in GOP/s for int8 weights.
    pub fn peak(&mut self) -> f64 {
        let (all, now) =
            if self.int8 { (&mut self.int8_gops, int8_gops()) } else { (&mut self.fma, fma_gflops()) };
        all.push(now);
        now
    }

    /// Medians of all measurements, at least five of each limit.
    pub fn limits(mut self) -> Limits {
        (0..5).for_each(|_| {
            self.bandwidth();
            self.fma.push(fma_gflops());
            if self.int8 {
                self.int8_gops.push(int8_gops());
            }
        });
        Limits {
            read_gb_per_s: median(self.read),
            fma_gflops: median(self.fma),
            int8_gops: self.int8.then(|| median(self.int8_gops)),
        }
    }
}

/// A repeated measurement: the median time in seconds, and the median of the limits measured right before each run.
pub struct Measured {
    pub seconds: f64,
    pub limit: f64,
}

/// Repeats a measurement. A machine's speed drifts, so the limit is measured again before each run.
pub fn measure(repeat: usize, mut limit: impl FnMut() -> f64, mut seconds: impl FnMut() -> f64) -> Measured {
    seconds(); // the first run pays for allocating memory
    let (limits, all) = (0..repeat).map(|_| (limit(), seconds())).unzip();
    Measured { seconds: median(all), limit: median(limits) }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Memory of a model's size to read: a smaller block could fit in a cache and read faster.
struct Memory(Bytes);

impl Memory {
    fn new(bytes: usize) -> Self {
        Self(Bytes::aligned_copy(&vec![1u8; bytes])) // aligned as weights are
    }

    /// Reads all of it once, with all threads, and returns the speed in GB/s.
    fn read_gb_per_s(&self) -> f64 {
        let piece = self.0.len().div_ceil(rayon::current_num_threads()).next_multiple_of(8);
        let once = || self.0.par_chunks(piece).map(sum).reduce(|| 0, u64::wrapping_add);
        self.0.len() as f64 / 1e9 / timed(&once)
    }
}

/// The speed of f32 fused multiply-adds in registers, with all threads, in GFLOP/s.
fn fma_gflops() -> f64 {
    const ROUNDS: usize = 4_000_000;
    let threads = rayon::current_num_threads();
    // Enough independent sums to hide the latency, few enough to stay in registers.
    let (sums, chain): (usize, fn(usize, f32, f32) -> f32) = match Simd::current() {
        Simd::Avx512 => (192, chain::<192>),
        Simd::Avx2 => (96, chain::<96>),
        _ => (48, chain::<48>),
    };
    // `broadcast` runs once on every thread; a parallel loop could run twice on one.
    let once = || rayon::broadcast(|_| chain(ROUNDS, black_box(0.999), black_box(0.001)));
    (2 * sums * ROUNDS * threads) as f64 / 1e9 / timed(&once)
}

/// The speed of eight-bit multiply-adds from the L1 cache, with all threads, in 1e9 operations per second.
fn int8_gops() -> f64 {
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
