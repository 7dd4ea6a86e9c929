//! What can go wrong at the edges: files and inputs. Arithmetic inside never fails.

use std::{fmt, io, path::PathBuf};

/// An error at the edge of the library. Its text is one line: what is wrong, where, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file was read, but its contents cannot be used.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do about it.
        problem: String,
    },
    /// An option is outside its range, or does not fit the other options.
    Option(String),
    /// A text or an id cannot be used with this model.
    Input(String),
    /// No token is left to choose: the options forbid all of them, or are too extreme.
    NoToken,
    /// The model's scores are not finite numbers: its weights are damaged.
    NotFinite,
    /// The text has filled the model's positions, and [`ContextPolicy::Error`](crate::generate::ContextPolicy::Error)
    /// does not let it slide.
    NoPositions {
        /// The number of positions of the model.
        n_positions: usize,
    },
}

/// A result whose error is this crate's [`enum@Error`] unless another one is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] for `path`, shaped for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// An [`Error::File`] for `path`.
    pub fn file(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::File { path: path.into(), problem: problem.into() }
    }

    /// An [`Error::File`] for `path`, shaped for `map_err` of a problem.
    pub fn in_file(path: impl Into<PathBuf>) -> impl FnOnce(String) -> Self {
        let path = path.into();
        move |problem| Self::File { path, problem }
    }

    /// An [`Error::Input`].
    pub fn input(problem: impl Into<String>) -> Self {
        Self::Input(problem.into())
    }
}

/// An error of this `kind` unless something `holds`.
pub(crate) fn ensure(holds: bool, kind: fn(String) -> Error, problem: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(kind(problem())) }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Self::Io { path, source } => format!("{}: {source}", path.display()),
            Self::File { path, problem } => format!("{}: {problem}", path.display()),
            Self::Option(problem) | Self::Input(problem) => problem.clone(),
            Self::NoToken => {
                "no token is left to choose: the options forbid all of them, or their numbers are too extreme"
                    .into()
            }
            Self::NotFinite => "the model's scores are not finite numbers; its weights are damaged".into(),
            Self::NoPositions { n_positions } => format!(
                "the text has reached the model's {n_positions} positions and is not finished; context-policy slide would go on, stop would end it there"
            ),
        };
        f.write_str(&one_line(&line))
    }
}

/// A message as one printable line of limited length: names come from files, and files may be hostile.
pub(crate) fn one_line(message: &str) -> String {
    const LONGEST: usize = 475;
    let unseen = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut line = Vec::new();
    for c in message.chars() {
        if unseen(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if line.len() > 2 * LONGEST {
        line.splice(LONGEST..line.len() - LONGEST, " ... ".chars());
    }
    line.into_iter().collect()
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_one_line() {
        let error = Error::file("a\nb", "tensor \u{1b}[31m");
        assert_eq!(error.to_string(), "a\\nb: tensor \\u{1b}[31m");
    }

    #[test]
    fn what_is_escaped_counts_as_it_is_shown() {
        assert!(one_line(&"\u{7f}".repeat(900)).chars().count() < 1000);
    }
}
