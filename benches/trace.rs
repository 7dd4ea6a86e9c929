//! What does it cost that every stage can be traced?
//!
//! `cargo bench --bench trace`
//!
//! The bundled model decodes one token after 32 others. A pass takes only a few milliseconds, so the taps are a large
//! share of it. Each line shows the same forward pass with another trace:
//!
//! - `NoTrace`: its empty functions are inlined, so nothing remains of a tap;
//! - `called`: the functions do as little but are really called, an upper bound on the cost of an unused tap;
//! - `Recorder`: every stage is copied.
//!
//! If `called` and `NoTrace` take the same time, unused taps cost nothing.

use gpt2::trace::{NoTrace, Recorder, Stage, Trace};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2000;

/// Counts taps through calls that are not inlined.
struct Called(usize);

impl Trace for Called {
    #[inline(never)]
    fn wants(&self, stage: Stage) -> bool {
        black_box(stage) == Stage::NextId
    }
    #[inline(never)]
    fn enter_block(&mut self, i: Option<usize>) {
        black_box(i);
    }
    #[inline(never)]
    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        black_box((stage, shape, values));
        self.0 += 1;
    }
    #[inline(never)]
    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        black_box((stage, ids));
        self.0 += 1;
    }
}

fn main() {
    let lm = gpt2::checkpoint::bundled();
    let prompt: Vec<u32> = (100..132).collect();
    let mut cache = lm.model.new_cache();
    lm.model.forward(&prompt, &mut cache, &mut NoTrace);
    let mut times = [const { Vec::new() }; 3];
    let mut taps = 0;
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let kind = (turn + round) % 3; // rotate, so that the state of the CPU caches favours none
            cache.truncate(prompt.len());
            let begin = Instant::now();
            match kind {
                0 => drop(black_box(lm.model.next_logits(&[7], &mut cache, &mut NoTrace))),
                1 => {
                    let mut called = Called(0);
                    drop(black_box(lm.model.next_logits(&[7], &mut cache, &mut called)));
                    taps = called.0;
                }
                _ => drop(black_box(lm.model.next_logits(&[7], &mut cache, &mut Recorder::new()))),
            }
            times[kind].push(begin.elapsed());
        }
    }
    println!("one token after {}, {taps} taps, {ROUNDS} rounds: median (interquartile range)", prompt.len());
    for (name, times) in ["NoTrace", "called", "Recorder"].into_iter().zip(&mut times) {
        times.sort_unstable();
        let [a, b, c] = [1, 2, 3].map(|i| micros(times[times.len() * i / 4]));
        println!("{name:<10} {b:8.1} us  ({a:.1} to {c:.1})");
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
