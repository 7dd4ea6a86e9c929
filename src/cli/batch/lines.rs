//! The lines of a file, read by a separate thread so that running texts need not wait for a slow pipe.

use super::super::failure::Failure;
use gpt2::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// The longest accepted line, in bytes.
const LONGEST: u64 = 16 << 20;
/// The longest line that is skipped, in bytes: a device may never end.
const ENDLESS: u64 = 1 << 30;

/// A line that is not blank.
pub struct Line {
    /// The line number from 1; blank lines count.
    pub number: u64,
    /// The bytes of the line, or the reason it is refused.
    pub text: Result<Vec<u8>, String>,
}

/// The answer to a request for the next line.
pub enum Next {
    Line(Line),
    /// No line has arrived yet.
    NotYet,
    /// There are no more lines: the file has ended, or reading failed.
    End(Result<(), Failure>),
}

/// Lines that are read on demand.
pub struct Lines {
    from: Receiver<Result<Line, Error>>,
}

impl Lines {
    /// Opens a file, or standard input if `path` is `-`.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let (to, from) = sync_channel(1); // reads one line ahead
        let (name, input): (PathBuf, Box<dyn Read + Send>) = match path.to_str() {
            Some("-") => ("standard input".into(), Box::new(io::stdin())),
            _ => (path.into(), Box::new(File::open(path).map_err(Error::io(path))?)),
        };
        std::thread::spawn(move || {
            if let Err(error) = read(BufReader::new(input), &name, &to) {
                let _ = to.send(Err(error)); // the receiver may be gone
            }
        });
        Ok(Self { from })
    }

    /// The next line, if it has arrived.
    pub fn now(&mut self) -> Next {
        match self.from.try_recv() {
            Ok(line) => Next::from(line),
            Err(TryRecvError::Empty) => Next::NotYet,
            Err(TryRecvError::Disconnected) => Next::End(Ok(())),
        }
    }

    /// Waits for the next line; [`Next::NotYet`] after an interrupt.
    pub fn wait(&mut self, interrupted: &AtomicBool) -> Next {
        while !interrupted.load(Ordering::Relaxed) {
            match self.from.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => return Next::from(line),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return Next::End(Ok(())),
            }
        }
        Next::NotYet
    }
}

impl From<Result<Line, Error>> for Next {
    fn from(line: Result<Line, Error>) -> Self {
        line.map_or_else(|error| Self::End(Err(error.into())), Self::Line)
    }
}

/// Sends every line that is not blank, until the receiver is gone.
fn read(mut input: impl BufRead, name: &Path, to: &SyncSender<Result<Line, Error>>) -> Result<(), Error> {
    for number in 1.. {
        let mut line = Vec::new();
        let length = input.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(Error::io(name))?;
        let mut text = Ok(());
        if length as u64 == LONGEST && line.last() != Some(&b'\n') {
            line.clear();
            let skipped = input.by_ref().take(ENDLESS).skip_until(b'\n').map_err(Error::io(name))?;
            if skipped as u64 == ENDLESS {
                return Err(Error::file(
                    name,
                    format!("line {number} is longer than 1 GiB; is this a text file?"),
                ));
            }
            text = Err(format!("longer than {} MiB; give the prompt in parts", LONGEST >> 20));
        }
        if length == 0 {
            break;
        }
        if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3); // the byte order mark that some editors put before UTF-8
        }
        if text.is_ok() && line.trim_ascii().is_empty() {
            continue;
        }
        if to.send(Ok(Line { number, text: text.map(|()| line) })).is_err() {
            break;
        }
    }
    Ok(())
}
