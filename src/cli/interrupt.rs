//! Ctrl-C: a text ends after the current token, and no unfinished file remains.

use super::failure::Failure;
use gpt2::format::safetensors::remove_unfinished;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C only makes [`came`] true, so that the current token is finished. The second ends the
/// program.
pub fn watch() -> Result<(), Failure> {
    set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            end();
        }
    })
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Ends the command if Ctrl-C was pressed.
pub fn check() -> Result<(), Failure> {
    if requested() { Err(Failure::Interrupted) } else { Ok(()) }
}

/// Ends the program at the first Ctrl-C.
pub fn end_at_once() -> Result<(), Failure> {
    set_handler(|| end())
}

fn end() -> ! {
    remove_unfinished();
    exit(130);
}

fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(handler).map_err(|e| Failure::Work(format!("cannot handle Ctrl-C: {e}")))
}
