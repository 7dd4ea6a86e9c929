//! A snapshot of every stage of your own model. The bits are the same on every machine, so a hash of each stage can be kept.
//!
//! After an intended change of the model: `cargo insta review`, or `INSTA_UPDATE=always cargo test`.

use gpt2::generate::Options;
use gpt2::inspect::next_token;
use gpt2::trace::{Recorder, render};

#[test]
fn every_stage() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled(); // your own: gpt2::checkpoint::open("path/to/folder")?
    let mut recorder = Recorder::new();
    next_token(&lm.model, &lm.bpe.encode("Once upon a"), &Options::default(), &mut recorder)?;
    insta::assert_snapshot!(render(&recorder.stages));
    Ok(())
}
