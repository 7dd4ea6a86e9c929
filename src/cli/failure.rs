//! How an unsuccessful command ends: its message and exit code.

use std::io;
use std::process::ExitCode;

/// Why a command stopped.
pub enum Failure {
    /// The work failed: exit code 1.
    Work(String),
    /// Bad usage that Clap does not detect: exit code 2.
    Usage(String),
    /// Nothing failed, but the traces that were compared differ: exit code 1, without a message.
    Different,
    /// Ctrl-C: exit code 130.
    Interrupted,
    /// The reader of the output has closed the pipe: exit code 0.
    ClosedPipe,
}

/// Reports an option that the library refuses as bad usage.
pub fn usage(error: gpt2::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

impl From<gpt2::error::Error> for Failure {
    fn from(error: gpt2::error::Error) -> Self {
        Self::Work(error.to_string())
    }
}

impl Failure {
    /// Converts a failed write to standard output.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Work(format!("standard output: {error}")),
        }
    }

    /// Prints the message and returns the exit code.
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::Work(message) => (1, message),
            Self::Usage(message) => (2, message),
            Self::Different => return ExitCode::from(1),
            Self::Interrupted => return ExitCode::from(130),
            Self::ClosedPipe => return ExitCode::SUCCESS,
        };
        let _ = io::Write::write_all(&mut io::stderr(), format!("error: {message}\n").as_bytes());
        ExitCode::from(code)
    }
}
