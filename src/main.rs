//! The command line: flags in, text or JSON out. What it does is the library's work.

mod cli;
#[cfg(test)]
#[path = "../tests/common/properties.rs"]
mod properties;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
