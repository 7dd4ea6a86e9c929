//! The command line: flags in, text or JSON out. What it does is the library's work.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
