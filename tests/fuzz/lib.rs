//! The command line and the targets, compiled for the fuzzer.

#[allow(dead_code)] // the targets use a part
#[path = "../../src/cli/mod.rs"]
mod cli;
pub mod targets;
