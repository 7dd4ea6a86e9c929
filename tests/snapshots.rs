//! One line per stage of a forward pass, kept in `tests/snapshots/`, so a review shows any stage whose bits change.
//!
//! The hashes are the same on every machine. After an intended change of arithmetic (note it in the changelog):
//! `INSTA_UPDATE=always cargo test --test snapshots`

mod common;

use common::{fixture, gpt2};
use gpt2::generate::Options;
use gpt2::inspect::next_token;
use gpt2::simd::Simd;
use gpt2::trace::{Recorder, render};

/// The stages of a fixture, as `gpt2 trace` prints them.
fn stages_of_a_fixture() -> String {
    let lm = gpt2::checkpoint::open(fixture("base")).expect("a fixture");
    let mut recorder = Recorder::new();
    next_token(&lm.model, &[3, 1, 4, 1, 5], &Options::default(), &mut recorder).expect("a token");
    render(&recorder.stages)
}

#[test]
fn a_fixture() {
    insta::assert_snapshot!("base", stages_of_a_fixture());
}

/// The stages of the bundled model, as `gpt2 trace` prints them.
fn stages_of_the_bundled_model() -> String {
    let lm = gpt2::checkpoint::bundled();
    let mut recorder = Recorder::new();
    next_token(&lm.model, &lm.bpe.encode("Once upon a time"), &Options::default(), &mut recorder)
        .expect("a token");
    render(&recorder.stages)
}

#[test]
fn the_bundled_model() {
    insta::assert_snapshot!("bundled", stages_of_the_bundled_model());
}

/// Every instruction set and any number of threads give the same text.
#[test]
fn the_same_everywhere() {
    let base = fixture("base").display().to_string();
    let models = [
        (vec!["--ids", "3,1,4,1,5", "--model", &base], stages_of_a_fixture()),
        (vec!["Once upon a time"], stages_of_the_bundled_model()),
    ];
    for (arguments, expected) in models {
        for simd in Simd::available() {
            for threads in ["1", "2", "3", "7"] {
                let mut command = gpt2();
                command.env("GPT2_SIMD", simd.name()).args(["trace", "--greedy", "--threads", threads]);
                let output = command.args(&arguments).assert().success();
                let text = String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8");
                let stages = text.split_once("\nhow next_id was chosen").expect("an explanation").0;
                assert_eq!(stages, expected, "{arguments:?}, {} with {threads} threads", simd.name());
            }
        }
    }
}
