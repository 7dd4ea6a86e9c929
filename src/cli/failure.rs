//! How an unsuccessful command ends: its message and exit code.

use gpt2::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command stopped.
pub enum Failure {
    /// The work failed: exit code 1.
    Work(String),
    /// Bad usage that Clap does not detect: exit code 2.
    Usage(String),
    /// Standard output cannot be written: exit code 1, or 0 if its reader has closed the pipe.
    Output(io::Error),
    /// Nothing failed, but the traces that were compared differ: exit code 1, without a message.
    Different,
    /// Ctrl-C: exit code 130.
    Interrupted,
}

/// Reports an option that the library refuses as bad usage.
pub fn usage(error: Error) -> Failure {
    Failure::Usage(error.to_string())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Work(message)
    }
}

/// An error without a name of a file comes from standard output: all others are an [`Error::Io`] first.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Prints the message and returns the exit code.
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::Work(message) => (1, message),
            Self::Usage(message) => (2, message),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Output(error) => (1, format!("standard output: {error}")),
            Self::Different => return ExitCode::from(1),
            Self::Interrupted => return ExitCode::from(130),
        };
        let _ = io::stderr().write_all(format!("error: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}
