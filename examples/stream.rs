//! Prints a text while it is being written, up to a stop string: `cargo run --release --example stream`.
//!
//! The pieces are whole characters, also where a token ends in the middle of one.

use gpt2::generate::Options;
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled();
    let options = Options::sampled(3).temperature(0.7).top_p(0.95).stop(vec!["\n\n".into()]);
    let mut out = std::io::stdout();
    for piece in lm.generate("The king said, ", options)? {
        write!(out, "{}", piece?)?;
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}
