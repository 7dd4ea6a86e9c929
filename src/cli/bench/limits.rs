//! The machine's peak speed, measured again right before each measurement that is compared with it.

use gpt2::format::Bytes;
use gpt2::matmul::limits::{fma_gflops, int8_gops, read_gb_per_s};
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;
use serde::Serialize;

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
    memory: Bytes,
    int8: bool,
    read: Vec<f64>,
    fma: Vec<f64>,
    int8_gops: Vec<f64>,
}

impl Meter {
    pub fn new(model: &Gpt2) -> Self {
        // The limit of decoding is how fast this many bytes can be read: what fits a cache reads faster.
        let bytes = model.weight_bytes().clamp(8 << 20, 1 << 30);
        let memory = Bytes::aligned_copy(&vec![1u8; bytes]); // as weights are kept
        let int8 = model.wte.dtype() == Dtype::I8;
        Self { memory, int8, read: Vec::new(), fma: Vec::new(), int8_gops: Vec::new() }
    }

    /// Measures the memory bandwidth, in GB/s.
    pub fn bandwidth(&mut self) -> f64 {
        self.read.push(read_gb_per_s(&self.memory));
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

/// Repeats a measurement and returns the median time in seconds, and the median of the limits. A machine's speed
/// drifts, so the limit is measured again before each run.
pub fn measure(
    repeat: usize,
    mut limit: impl FnMut() -> f64,
    mut seconds: impl FnMut() -> f64,
) -> (f64, f64) {
    seconds(); // the first run pays for allocating memory
    let (limits, all) = (0..repeat).map(|_| (limit(), seconds())).unzip();
    (median(all), median(limits))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
