//! What does it cost that every stage can be looked at?
//!
//! `cargo bench --bench trace`
//!
//! A token is decoded by the bundled model after 32 others: a tap for each stage in a few milliseconds, so that their
//! share is large.
//! Each line is another trace in the same forward pass:
//!
//! - `NoTrace`: its empty functions are inlined, nothing is left of a tap;
//! - `called`: functions that do as little, but are really called. A tap cannot cost more than this one does;
//! - `Recorder`: every stage is copied.
//!
//! If `called` and `NoTrace` cannot be told apart, looking at nothing costs nothing.

use gpt2::trace::{NoTrace, Recorder, Stage, Trace};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2000;

/// Counts taps, by real calls.
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
            let kind = (turn + round) % 3; // what one leaves in the caches, each finds as often
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
    println!("a token after {}, {taps} taps, {ROUNDS} rounds: median, and the middle half", prompt.len());
    for (name, times) in ["NoTrace", "called", "Recorder"].into_iter().zip(&mut times) {
        times.sort_unstable();
        let [a, b, c] = [1, 2, 3].map(|i| micros(times[times.len() * i / 4]));
        println!("{name:<10} {b:8.1} us  ({a:.1} to {c:.1})");
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
