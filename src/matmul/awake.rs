//! Threads that stay awake for the length of a forward pass.
//!
//! A pass is a chain of parallel loops, five per block for one new token: four products with weights, and attention.
//! Between two of them, a thread that finds nothing to do falls asleep, and is slow to wake. So the other threads spin
//! until the pass is over, and take what work there is:
//!
//! ```text
//! this thread:  pass(); over = true
//! the others:   until over:  do a piece of work, if there is one
//! ```
//!
//! A thread that finds no work for a while gives up: the pass is doing something else, or waits for a reader.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than the pauses between two loops.
const PATIENCE: Duration = Duration::from_micros(300);

thread_local! {
    /// Whether this thread is in a pass, or spins for one. Then it must not begin to spin: two passes whose threads
    /// spin for each other would wait for each other.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `pass` and returns its result. Meanwhile the other threads of the pool stay awake. Nothing is allocated.
pub fn awake<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    let threads = rayon::current_num_threads();
    if threads == 1 || TAKEN.get() {
        return pass();
    }
    let over = AtomicBool::new(false);
    let (mut pass, mut result) = (Some(pass), None);
    beside_spinning(threads - 1, &over, &mut || {
        TAKEN.set(true);
        let _end = AtEnd(|| {
            over.store(true, Ordering::Relaxed);
            TAKEN.set(false);
        });
        result = pass.take().map(|pass| pass());
    });
    result.expect("the pass ran")
}

/// Runs `pass` while this number of others spin: on this thread, or on one of the pool if this one is outside.
fn beside_spinning(others: usize, over: &AtomicBool, pass: &mut (dyn FnMut() + Send)) {
    match others {
        0 => pass(),
        _ => drop(rayon::join(|| beside_spinning(others - 1, over, pass), || spin(over))),
    }
}

fn spin(over: &AtomicBool) {
    if TAKEN.get() {
        return;
    }
    TAKEN.set(true);
    let _end = AtEnd(|| TAKEN.set(false));
    let mut idle_since = None;
    while !over.load(Ordering::Relaxed) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            idle_since = None;
        } else if idle_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return;
        }
        std::thread::yield_now(); // where there are more threads than cores
    }
}

/// Does something when it is dropped, even by a panic.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn sum_in_parallel(n: usize) -> usize {
        (0..n).into_par_iter().with_max_len(8).sum()
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
    }

    #[test]
    fn passes_within_and_beside_each_other_end() {
        for threads in [1, 2, 3, 8] {
            pool(threads).install(|| {
                let sums: Vec<usize> = (0..200usize)
                    .into_par_iter()
                    .map(|i| awake(|| sum_in_parallel(i) + awake(|| sum_in_parallel(64))))
                    .collect();
                for (i, sum) in (0..200usize).zip(sums) {
                    assert_eq!(sum, i * i.saturating_sub(1) / 2 + 2016);
                }
            });
        }
    }

    #[test]
    fn from_a_thread_outside_the_pool() {
        assert_eq!(awake(|| sum_in_parallel(100)), 4950);
    }

    #[test]
    fn a_panic_passes_through() {
        pool(3).install(|| {
            let result = catch_unwind(AssertUnwindSafe(|| awake(|| -> usize { panic!("planted") })));
            assert!(result.is_err() && !TAKEN.get());
            assert_eq!(awake(|| sum_in_parallel(100)), 4950);
        });
    }

    #[test]
    fn patience_ends() {
        pool(2).install(|| spin(&AtomicBool::new(false)));
    }
}
