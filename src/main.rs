//! The command line: flags in, text or JSON out. The library does the work.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
