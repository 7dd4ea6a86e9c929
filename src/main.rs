//! The command line: flags in, text or JSON out. The library does the work.

mod cli;
#[cfg(test)]
#[path = "../tests/fuzz/targets/mod.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../tests/common/properties.rs"]
mod properties;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
