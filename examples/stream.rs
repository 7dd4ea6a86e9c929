//! Prints a text while it is generated, up to a stop string: `cargo run --release --example stream`.
//!
//! The pieces are whole characters, even if a token ends in the middle of a character.

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
