//! The source of commands: a terminal with editing and history, or a pipe with one command per line.

use super::super::failure::Failure;
use super::super::text::{self, RawLine};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{self, BufRead, IsTerminal};

/// The longest command, in bytes.
const LONGEST: usize = 1 << 16;

/// A source of commands: a person who types them, or else a file or a program that sends them.
pub struct Input(Option<DefaultEditor>);

/// What [`Input::read`] returns.
pub enum Line {
    /// A command.
    Command(String),
    /// A line that cannot be a command, and why.
    NoCommand(&'static str),
    /// The end of the input.
    End,
}

impl Input {
    /// A terminal if both standard input and standard output are one, otherwise plain lines.
    pub fn new() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self(None));
        }
        let editor = DefaultEditor::new().map_err(|e| format!("the terminal: {e}"))?;
        Ok(Self(Some(editor)))
    }

    /// Whether commands come from a terminal, which already shows them.
    pub fn is_terminal(&self) -> bool {
        self.0.is_some()
    }

    /// The width of the terminal in columns, if there is one.
    pub fn width(&mut self) -> Option<usize> {
        let editor = self.0.as_mut()?;
        editor.dimensions().map(|(columns, _)| columns.into()).filter(|columns| *columns > 0)
    }

    /// The next command, without the spaces around it.
    pub fn read(&mut self) -> Result<Line, Failure> {
        let Some(editor) = &mut self.0 else {
            return Ok(read_line(&mut io::stdin().lock()).map_err(|e| format!("standard input: {e}"))?);
        };
        match editor.readline("(gpt2) ") {
            Ok(line) => {
                let _ = editor.add_history_entry(&line); // a line missing from the history does no harm
                Ok(Line::Command(line.trim().into()))
            }
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(ReadlineError::Interrupted) => Err(Failure::Interrupted),
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Ok(Line::NoCommand("the input is not UTF-8"))
            }
            Err(error) => Err(format!("the terminal: {error}").into()),
        }
    }
}

/// Reads one line of any bytes and any length.
fn read_line(from: &mut impl BufRead) -> io::Result<Line> {
    Ok(match text::read_line(from, LONGEST as u64 + 1, 1 << 28)? {
        RawLine::Whole(line) => Line::Command(String::from_utf8_lossy(&line).trim().into()),
        RawLine::TooLong => Line::NoCommand("a line longer than 64 KiB cannot be a command"),
        RawLine::Endless => return Err(io::Error::new(io::ErrorKind::InvalidData, "the line does not end")),
        RawLine::End => Line::End,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_lines() {
        let mut text = b" next \r\n\n\xff\x00\n".to_vec();
        text.extend(vec![b'x'; LONGEST + 1]);
        text.extend(b"\nlast");
        let mut from = io::BufReader::with_capacity(7, &text[..]);
        let mut read = || match read_line(&mut from).expect("a line") {
            Line::Command(line) => line,
            Line::NoCommand(why) => why.into(),
            Line::End => "end".into(),
        };
        assert!(read_line(&mut io::BufReader::new(io::repeat(0))).is_err(), "endless");
        let lines: Vec<String> = (0..7).map(|_| read()).collect();
        assert_eq!(
            lines,
            ["next", "", "\u{fffd}\0", "a line longer than 64 KiB cannot be a command", "last", "end", "end"]
        );
    }
}
