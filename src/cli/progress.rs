//! The progress of long work: a bar on a terminal's standard error, gone when the work is done; elsewhere nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// A bar for `len` steps, which `what` names: `tokens`.
pub fn steps(len: usize, what: &str) -> ProgressBar {
    bar(Some(len), &format!("{{wide_bar}} {{human_pos}} of {{human_len}} {what}, {{eta}} left"))
}

/// A bar for the tokens of texts: hidden where the texts themselves appear on the screen.
pub fn tokens(len: usize, texts_are_shown: bool) -> ProgressBar {
    if texts_are_shown && io::stdout().is_terminal() { ProgressBar::hidden() } else { steps(len, "tokens") }
}

/// A count of lines, whose number is unknown: hidden where the results themselves appear on the screen.
pub fn lines() -> ProgressBar {
    if io::stdout().is_terminal() { ProgressBar::hidden() } else { bar(None, "{human_pos} lines, {elapsed}") }
}

/// A bar for `len` bytes.
pub fn bytes(len: usize) -> ProgressBar {
    bar(Some(len), "{wide_bar} {bytes} of {total_bytes}, {eta} left")
}

/// A bar for a file of `size` bytes.
#[cfg(feature = "fetch")]
pub fn file(name: &str, size: u64) -> ProgressBar {
    let bar =
        bar(Some(size as usize), "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.with_message(name.to_string())
}

/// For work that does not say how far it is.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = bar(None, &format!("{{spinner}} {what}, {{elapsed}}"));
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(Duration::from_millis(100)); // by a thread of its own
    }
    spinner
}

fn bar(len: Option<usize>, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template");
    let len = len.map(|len| len as u64);
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr()).with_style(style);
    bar.tick(); // it is there before the first step is done
    bar
}
