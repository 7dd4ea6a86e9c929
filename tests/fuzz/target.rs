//! The target that has the name of this program.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        // One thread: what a run covers is then the same each time.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    },
    |data: &[u8]| gpt2_fuzz::targets::run(env!("CARGO_BIN_NAME"), data)
);
