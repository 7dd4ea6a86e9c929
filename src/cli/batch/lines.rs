//! The lines of a file, read by a separate thread so that running texts need not wait for a slow pipe.

use super::super::text::{RawLine, read_line};
use gpt2::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The longest accepted line, in bytes.
const LONGEST: u64 = 16 << 20;

/// A line that is not blank.
pub struct Line {
    /// The line number from 1; blank lines count.
    pub number: u64,
    /// The bytes of the line, or the reason it is refused.
    pub text: Result<Vec<u8>, Error>,
}

/// Opens a file, or standard input if `path` is `-`. The channel closes when the file has ended.
pub fn open(path: &Path) -> Result<Receiver<Result<Line, Error>>, Error> {
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
    Ok(from)
}

/// Sends every line that is not blank, until the receiver is gone.
fn read(mut input: impl BufRead, name: &Path, to: &SyncSender<Result<Line, Error>>) -> Result<(), Error> {
    for number in 1.. {
        let text = match read_line(&mut input, LONGEST, 1 << 30).map_err(Error::io(name))? {
            RawLine::Whole(mut line) => {
                if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3); // the byte order mark that some editors put before UTF-8
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                Ok(line)
            }
            RawLine::TooLong => {
                let most = LONGEST >> 20;
                Err(Error::input(format!("longer than {most} MiB; give the prompt in parts")))
            }
            RawLine::Endless => {
                let problem = format!("line {number} is longer than 1 GiB; is this a text file?");
                return Err(Error::file(name, problem));
            }
            RawLine::End => break,
        };
        if to.send(Ok(Line { number, text })).is_err() {
            break;
        }
    }
    Ok(())
}
