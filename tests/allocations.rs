//! Decoding allocates nothing for a token: an allocator that counts, on all threads.

use gpt2::bpe::TokenId;
use gpt2::checkpoint;
use gpt2::generate::{Batch, Generation, Options};
use gpt2::sampling::Sampling;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system allocator's; only a number is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of the system allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The count is the whole program's: one measurement at a time.
static MEASURING: Mutex<()> = Mutex::new(());

#[test]
fn probe() {
    let lm = checkpoint::bundled();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            for sampling in [None, Some(Sampling::with_seed(1)), Some(Sampling { top_p: Some(0.9), min_p: Some(0.01), typical_p: Some(0.9), epsilon_cutoff: Some(1e-4), eta_cutoff: Some(1e-4), ..Sampling::with_seed(1) })] {
                let options = Options { max_new_tokens: 200, ignore_eos: true, sampling, ..Options::default() };
                let mut generation = Generation::new(&lm.model, &[7454], options).expect("options");
                let mut counts = Vec::with_capacity(1000);
                for _ in 0..200 {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    generation.next().unwrap().unwrap();
                    counts.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
                }
                println!("{threads}: {counts:?}");
            }
        });
    }
}
