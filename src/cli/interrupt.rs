//! Ctrl-C: a text is finished after its token, and no half file stays.

use super::failure::Failure;
use gpt2::format::safetensors::remove_unfinished;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

/// Becomes true at the first Ctrl-C, so that the current token is finished; the second one ends at once.
pub fn watch() -> Result<&'static AtomicBool, Failure> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            end();
        }
    })?;
    Ok(&INTERRUPTED)
}

/// Ends at the first Ctrl-C.
pub fn end_at_once() -> Result<(), Failure> {
    set_handler(|| end())
}

fn end() -> ! {
    remove_unfinished();
    exit(130);
}

fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(handler).map_err(|e| Failure::Work(format!("Ctrl-C cannot be watched: {e}")))
}
